"""Whoever waits hears of what he could have, in whatever order the news of it and older answers reach him."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from taskmanager import TaskManager
from taskmanager.engine import Batch
from taskmanager.job import Emission
from tests.engines.redis.ground import EVENT, opened, started, until
from tests.engines.redis.proxy import Fate, Proxy
from tests.servers import Server

QUEUE = "default"
LEASE_MS = 60_000
HEARS_S = 2.0


@pytest.fixture
def wire(server: Server) -> Iterator[Proxy]:
    server.ask("SCRIPT", "FLUSH")  # so that the wire sees every script whole, and knows it by name
    with Proxy(server.port) as proxy:
        yield proxy


async def test_a_ring_that_comes_while_an_older_answer_is_under_way_is_not_forgotten(
    server: Server, wire: Proxy
) -> None:
    async with opened(wire.url) as waiting, opened(server.url) as emitting:
        claimed = await waiting.claim(QUEUE, "w", (), 1, LEASE_MS, 2)
        resting = asyncio.ensure_future(waiting.wait({QUEUE: claimed.tide}, None))
        await until(lambda: wire.commands["BLPOP"])
        resting.cancel()
        upkeep = asyncio.ensure_future(waiting.wait({}, None))  # as a worker's janitor waits beside its fetcher
        # The answer to this claim is older than the emission, and arrives after its ring.
        rule = wire.rule(Fate.DELAY, "claim", delay_s=0.2)
        claiming = asyncio.ensure_future(waiting.claim(QUEUE, "w", (), 1, LEASE_MS, 2))
        await until(lambda: rule.met)
        await emitting.enqueue(QUEUE, [Emission(EVENT, "a")], Batch("c", 1))
        claimed = await claiming
        if not claimed.jobs:
            assert QUEUE in await asyncio.wait_for(waiting.wait({QUEUE: claimed.tide}, None), HEARS_S)
        upkeep.cancel()


async def test_no_emission_is_slept_through_by_two_workers_that_take_turns(
    server: Server, pytestconfig: pytest.Config
) -> None:
    """One after another, each as soon as the last is stored: the moments between looking and sleeping are all met."""
    client = TaskManager(server.url)
    async with started(server.url, concurrency=3) as one, started(server.url, concurrency=3) as two:
        for number in range(20_000 if pytestconfig.getoption("--nightly") else 1000):
            await client.emit(EVENT, id=str(number))
            if number % 10 == 9:
                await until(lambda: len(one.runs) + len(two.runs) == number + 1, HEARS_S)  # noqa: B023 - awaited at once
    await client.stop()


async def test_a_worker_without_a_free_slot_takes_no_ring_from_one_that_has(server: Server) -> None:
    client = TaskManager(server.url)
    async with started(server.url) as one, started(server.url) as two:
        one.gate.clear()
        two.gate.clear()
        await client.emit(EVENT, id="long")
        await until(lambda: one.runs or two.runs)
        idle = two if one.runs else one
        idle.gate.set()
        for number in range(10):
            await client.emit(EVENT, id=str(number))
            await until(lambda: str(number) in idle.ran, HEARS_S)  # noqa: B023 - awaited at once
        assert len(one.runs) + len(two.runs) == 11
    await client.stop()
