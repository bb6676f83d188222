"""A wire that loses replies: what was done without an answer is done once, and nothing is stranded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from taskmanager import TaskManager
from taskmanager.engine import Batch, Settlement
from taskmanager.errors import EngineUnavailable
from taskmanager.job import Emission, Kind, State, Transition
from tests.engines.redis.ground import EVENT, App, opened, quiet, started, until
from tests.engines.redis.proxy import Fate, Proxy
from tests.servers import Server

SCRIPTS = ("EVALSHA", "EVAL")
QUEUE = "default"
LEASE_MS = 60_000
FOUND_AGAIN_S = 2.0
DONE = Transition(Kind.COMPLETED, State.COMPLETED)


@pytest.fixture
def wire(server: Server) -> Iterator[Proxy]:
    server.ask("SCRIPT", "FLUSH")  # so that the wire sees every script whole, and knows it by name
    with Proxy(server.port, seed=11) as proxy:
        yield proxy


# ---- by the public API


async def test_1000_emits_with_half_the_replies_lost_are_1000_jobs(
    server: Server, wire: Proxy, pytestconfig: pytest.Config
) -> None:
    emitters = [TaskManager(wire.url) for _ in range(20)]
    wave = 1 if pytestconfig.getoption("--nightly") else 10
    rule = wire.rule(Fate.LOSE_REPLY, *SCRIPTS, rate=0.5)

    async def emit(number: int) -> list[str]:
        statuses: list[str] = []
        for start in range(0, 50, wave):
            emitted = [emitters[number].emit(EVENT, id=f"{number}-{n}") for n in range(start, start + wave)]
            statuses += [(await one).status for one in emitted]
        return statuses

    said = await asyncio.gather(*(emit(number) for number in range(20)))
    assert {status for statuses in said for status in statuses} == {"emitted"}
    assert len(rule.met) > 30
    wire.heal()
    looking = TaskManager(server.url)
    assert (await looking.counts())["waiting"] == 1000
    assert {job.id for job in await looking.jobs(limit=1000)} == {f"{a}-{b}" for a in range(20) for b in range(50)}
    await asyncio.gather(*(tm.stop() for tm in (*emitters, looking)))


async def test_a_worker_whose_replies_are_lost_runs_each_job_once(server: Server, wire: Proxy) -> None:
    client = TaskManager(server.url)
    await client.emit_many([{"event": EVENT, "id": str(n)} for n in range(100)])
    async with started(wire.url, concurrency=4) as app:
        rule = wire.rule(Fate.LOSE_REPLY, *SCRIPTS, rate=0.3)
        await until(lambda: len(app.runs) >= 100)
        wire.heal()
        for n in range(100):
            job = await app.ended(str(n))
            assert (job.state, job.attempt, job.losses) == ("completed", 1, 0)
        assert sorted(app.ran) == sorted(str(n) for n in range(100))
        assert rule.met
    await client.stop()


async def test_a_lost_claim_is_found_again_by_the_same_worker_within_two_seconds(server: Server, wire: Proxy) -> None:
    client = TaskManager(server.url)
    async with started(wire.url) as app:
        await quiet(wire.commands.total)
        rule = wire.rule(Fate.LOSE_REPLY, "claim", times=1)
        await client.emit(EVENT, id="lost")
        await until(lambda: rule.met)
        await until(lambda: app.runs, within_s=FOUND_AGAIN_S)
        job = await app.ended("lost")
        assert (job.state, job.attempt, job.losses) == ("completed", 1, 0)
    await client.stop()


async def test_an_emit_that_was_cancelled_is_stored_once(server: Server, wire: Proxy) -> None:
    app = App(wire.url)
    await app.emit("opens the connection")
    rule = wire.rule(Fate.DELAY, *SCRIPTS, delay_s=0.05)
    emitting = asyncio.ensure_future(app.emit("cancelled"))
    await until(lambda: rule.met)
    emitting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await emitting
    wire.heal()
    await app.tm.stop()
    async with started(server.url) as worker:
        await worker.ended("cancelled")
        assert worker.ran == ["opens the connection", "cancelled"]


# ---- by the port: the caller is cancelled at the worst moment


async def test_a_claim_that_was_cancelled_after_it_took_effect_is_handed_out_again(wire: Proxy) -> None:
    async with opened(wire.url) as engine:
        await engine.enqueue(QUEUE, [Emission(EVENT, "a"), Emission(EVENT, "b")], Batch("c", 1))
        rule = wire.rule(Fate.DELAY, *SCRIPTS, times=1, delay_s=0.05)
        claiming = asyncio.ensure_future(engine.claim(QUEUE, "w", (), 1, LEASE_MS, 2))
        await until(lambda: rule.met)
        claiming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await claiming
        again = await engine.claim(QUEUE, "w", (), 10, LEASE_MS, 2)
        assert [(claim.id, claim.attempt) for claim in again.jobs] == [("a", 1), ("b", 1)]
        holds = [claim.number for claim in again.jobs]
        assert (await engine.claim(QUEUE, "w", holds, 10, LEASE_MS, 2)).jobs == []


async def test_a_call_that_is_cancelled_is_cancelled_at_whatever_moment(server: Server) -> None:
    """Who cancels and is not heard waits for ever; who was heard twice dies of the second."""
    async with opened(server.url) as engine:
        await engine.count(QUEUE)
        for turns in range(200):
            counting = asyncio.ensure_future(engine.count(QUEUE))
            for _ in range(turns % 20):
                await asyncio.sleep(0)
            was_running = counting.cancel()
            await asyncio.wait([counting])
            assert counting.cancelled() == was_running


async def test_calls_that_were_cancelled_leave_no_answer_for_the_next_one(wire: Proxy) -> None:
    """A connection whose reply nobody waits for must not give that reply to somebody else."""
    async with opened(wire.url) as engine:
        await engine.enqueue(QUEUE, [Emission(EVENT, "a")], Batch("c", 1))
        wire.rule(Fate.DELAY, delay_s=0.02)
        for _ in range(20):
            counting = asyncio.ensure_future(engine.count(QUEUE))
            await asyncio.sleep(0)
            await asyncio.wait([counting], timeout=0.005)
            counting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await counting
            found = await engine.list(QUEUE, None, 10, None)
            assert [job.id for job in found] == ["a"]


async def test_an_enqueue_whose_reply_was_lost_is_answered_when_it_is_sent_again(wire: Proxy) -> None:
    async with opened(wire.url) as engine:
        wire.rule(Fate.LOSE_REPLY, "enqueue")
        with pytest.raises(EngineUnavailable):
            await engine.enqueue(QUEUE, [Emission(EVENT, "a")], Batch("c", 1))
        wire.heal()
        again = await engine.enqueue(QUEUE, [Emission(EVENT, "a")], Batch("c", 1))
        assert again.replayed
        assert [verdict.status for verdict in again.verdicts] == [Kind.EMITTED]
        assert (await engine.count(QUEUE)).states[State.WAITING] == 1


async def test_a_settle_whose_reply_was_lost_is_answered_when_it_is_sent_again(wire: Proxy) -> None:
    async with opened(wire.url) as engine:
        await engine.enqueue(QUEUE, [Emission(EVENT, "a")], Batch("c", 1))
        claimed = (await engine.claim(QUEUE, "w", (), 1, LEASE_MS, 2)).jobs
        settlements = [Settlement(claim.number, DONE) for claim in claimed]
        wire.rule(Fate.LOSE_REPLY, "settle")
        with pytest.raises(EngineUnavailable):
            await engine.settle(QUEUE, "w", settlements, Batch("w", 1))
        wire.heal()
        again = await engine.settle(QUEUE, "w", settlements, Batch("w", 1))
        assert again.replayed
        assert again.verdicts == [State.COMPLETED]
        assert (await engine.count(QUEUE)).states[State.COMPLETED] == 1
