"""One memory store used from several threads and event loops at once, as a worker's heartbeat thread does."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable

from taskmanager.engine import Batch, Claimed, JobRef, Settlement
from taskmanager.engines.memory import MemoryEngine
from taskmanager.job import Emission, Kind, State, Transition

LEASE_MS = 60_000
GIVE_UP_S = 30.0
COMPLETED = Transition(Kind.COMPLETED, State.COMPLETED)


def in_threads(*bodies: Callable[[], object]) -> None:
    """Runs all at once, switching between them as often as can be; whatever one raises is raised here."""
    raised: list[BaseException] = []

    def run(body: Callable[[], object]) -> None:
        try:
            body()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(body,), daemon=True) for body in bodies]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(GIVE_UP_S)
            assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)
    for error in raised:
        raise error


def test_each_job_is_handed_out_once_however_many_threads_claim() -> None:
    engine = MemoryEngine()
    total = 10_000
    handed: list[str] = []

    async def emit(name: str) -> None:
        for number in range(total // 2):
            await engine.enqueue("q", [Emission("send", f"{name}{number}")], Batch(name, number + 1))

    async def work(name: str) -> None:
        mine, number = engine.fork(), 0
        while len(handed) < total:
            jobs = (await mine.claim("q", name, (), 7, LEASE_MS, 2)).jobs
            handed.extend(claim.id for claim in jobs)
            number += 1
            settlements = [Settlement(claim.number, COMPLETED) for claim in jobs]
            answer = await mine.settle("q", name, settlements, Batch(name, number))
            assert answer.verdicts == [State.COMPLETED] * len(jobs)

    bodies = [emit("a"), emit("b"), work("w1"), work("w2")]
    in_threads(*(lambda body=body: asyncio.run(body) for body in bodies))
    assert len(handed) == len(set(handed)) == total
    assert asyncio.run(engine.count("q")).states[State.COMPLETED] == total


def test_an_emission_in_one_loop_wakes_who_waits_in_another() -> None:
    engine = MemoryEngine()
    waits = threading.Event()
    woken: list[list[str]] = []

    async def wait() -> None:
        asyncio.get_running_loop().call_soon(waits.set)
        async with asyncio.timeout(GIVE_UP_S):
            woken.append(list(await engine.wait({"q": 0}, None)))

    async def emit() -> None:
        await engine.fork().enqueue("q", [Emission("send", "x")], Batch("caller", 1))

    def emit_then() -> None:
        assert waits.wait(GIVE_UP_S)
        asyncio.run(emit())

    in_threads(lambda: asyncio.run(wait()), emit_then)
    assert woken == [["q"]]


def test_an_end_in_one_loop_wakes_who_waits_for_it_in_another() -> None:
    engine = MemoryEngine()
    waits = threading.Event()
    seen: list[State] = []

    async def wait() -> None:
        [verdict] = (await engine.enqueue("q", [Emission("send", "x")], Batch("caller", 1))).verdicts
        asyncio.get_running_loop().call_soon(waits.set)
        async with asyncio.timeout(GIVE_UP_S):
            await engine.wait_ended("q", JobRef("x", verdict.serial), await engine.now() + 3_600_000)
        job = await engine.get("q", JobRef("x"))
        assert job is not None
        seen.append(job.state)

    async def cancel() -> None:
        await engine.cancel("q", JobRef("x"), Batch("operator", 1))

    def cancel_then() -> None:
        assert waits.wait(GIVE_UP_S)
        asyncio.run(cancel())

    in_threads(lambda: asyncio.run(wait()), cancel_then)
    assert seen == [State.CANCELLED]


def test_a_heartbeat_from_another_loop_keeps_the_lease() -> None:
    engine = MemoryEngine()
    [claim] = asyncio.run(_one(engine)).jobs
    answers = []
    in_threads(lambda: answers.append(asyncio.run(engine.fork().extend("q", "w", [claim.number], LEASE_MS))))
    assert [(answer.lost, answer.beyond) for answer in answers] == [([], False)]


async def _one(engine: MemoryEngine) -> Claimed:
    await engine.enqueue("q", [Emission("send", "x")], Batch("caller", 1))
    return await engine.claim("q", "w", (), 1, LEASE_MS, 2)
