"""Who has nothing to do says next to nothing, one emission wakes one worker, and what is due is run on time.

Commands are counted on the wire, so what scripts do within the server does not count and handshakes do.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import time
from typing import Any, cast

import pytest

import taskmanager.seat
from taskmanager import Job, TaskManager
from taskmanager.engine import Claimed, Engine
from tests.engines.redis.ground import EVENT, App, quiet, started, until
from tests.engines.redis.proxy import Proxy
from tests.servers import Server

QUEUE = "default"


@pytest.fixture
def wire(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


# ---- nothing to do


async def test_an_idle_worker_with_ten_queues_sends_at_most_one_command_a_second(
    wire: Proxy, pytestconfig: pytest.Config
) -> None:
    # By night, long enough for two rounds of the look-around that comes every 15 s.
    watch_s = 31 if pytestconfig.getoption("--nightly") else 2
    tm = TaskManager(wire.url)
    for number in range(10):
        tm.register_handler(lambda job: None, EVENT, queue=f"queue-{number}")
    async with tm:
        await quiet(wire.commands.total)
        wire.clear()
        await asyncio.sleep(watch_s)
        assert wire.commands.total() <= watch_s, wire.commands


class Counting:
    """An engine whose claims are counted, and among them those that brought something."""

    claims: Counter[bool]

    def __init__(self, inner: Engine, claims: Counter[bool]) -> None:
        self._inner = inner
        self.claims = claims

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def claim(self, queue: str, worker: str, holds: Collection[int], *rest: int) -> Claimed:
        answer = await self._inner.claim(queue, worker, holds, *rest)
        self.claims[bool(answer.jobs)] += 1
        return answer


@asynccontextmanager
async def counted_workers(url: str, number: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter[bool]]:
    """That many started workers in this process; their claims."""
    claims: Counter[bool] = Counter()
    open_engine = cast(Any, taskmanager.seat).open_engine
    counting = lambda *args, **options: Counting(open_engine(*args, **options), claims)  # noqa: E731
    monkeypatch.setattr(taskmanager.seat, "open_engine", counting)
    async with AsyncExitStack() as stack:
        for _ in range(number):
            await stack.enter_async_context(started(url))
        yield claims


async def test_one_emission_to_50_idle_workers_makes_at_most_two_claims(
    wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = TaskManager(wire.url)
    async with counted_workers(wire.url, 50, monkeypatch) as claims:
        await quiet(wire.commands.total)
        claims.clear()
        handle = await client.emit(EVENT)
        await handle.result(timeout=5)
        await quiet(wire.commands.total)
        assert claims[True] == 1
        assert claims.total() <= 2
    await client.stop()


async def test_as_many_emissions_as_idle_workers_are_run_at_the_same_time(
    wire: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waking one a job must not mean waking one alone."""
    client = TaskManager(wire.url)
    async with AsyncExitStack() as stack:
        apps = [await stack.enter_async_context(started(wire.url)) for _ in range(10)]
        for app in apps:
            app.gate.clear()
        await quiet(wire.commands.total)
        await client.emit_many([{"event": EVENT, "id": str(n)} for n in range(10)])
        await until(lambda: all(app.runs for app in apps))
    await client.stop()


async def test_a_queue_that_is_served_later_is_heard_of_at_once(server: Server) -> None:
    """Registered while the worker waits on its other queues, at every moment of that."""
    client = TaskManager(server.url)
    ran: set[str] = set()

    async def later(job: Job[Any]) -> None:
        ran.add(job.id)

    async with started(server.url) as app:
        for number in range(100):
            queue = f"queue-{number}"
            app.tm.register_handler(later, EVENT, queue=queue)
            for _ in range(number % 10):
                await asyncio.sleep(0)
            await client.emit(EVENT, queue=queue, id=queue)
            await until(lambda: len(ran) == number + 1, within_s=2.0)  # noqa: B023 - it is awaited at once
    await client.stop()


# ---- something due


class Late(App):
    """Notes how late each job began, in seconds after its `run_at`."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.late: dict[str, float] = {}

    async def _work(self, job: Job[Any]) -> int:
        self.late[job.id] = time() - job.run_at.timestamp()
        return await super()._work(job)


async def test_a_thousand_delayed_jobs_are_never_early_and_little_late(every_server: Server) -> None:
    app = Late(every_server.url, concurrency=100)
    rng = random.Random(3)
    async with app.tm:
        jobs = [{"event": EVENT, "id": str(n), "delay": rng.uniform(0.3, 2.3)} for n in range(1000)]
        await app.tm.emit_many(jobs)
        await until(lambda: len(app.late) == 1000)
    late = sorted(app.late.values())
    assert late[0] >= 0
    assert late[500] < 0.02
    assert late[990] < 0.2


async def test_a_nearer_job_that_comes_while_a_worker_waits_for_a_farther_one_is_on_time(server: Server) -> None:
    client = TaskManager(server.url)
    app = Late(server.url)
    with Proxy(server.port) as wire:
        app = Late(wire.url)
        async with app.tm:
            await client.emit(EVENT, id="far", delay=3600)
            await quiet(wire.commands.total)
            await client.emit(EVENT, id="near", delay=0.3)
            await until(lambda: app.late)
            await client.promote("far")
            await until(lambda: len(app.late) == 2)
    assert list(app.late) == ["near", "far"]
    assert 0 <= app.late["near"] < 0.1
    await client.stop()


async def test_a_job_that_waits_no_longer_begins_at_once(server: Server) -> None:
    """From emission to the handler, through an idle worker: the median of many is some milliseconds."""
    client = TaskManager(server.url)
    app = Late(server.url)
    async with app.tm:
        for number in range(50):
            await (await client.emit(EVENT, id=str(number))).result(timeout=5)
    assert sorted(app.late.values())[25] < 0.03
    await client.stop()
