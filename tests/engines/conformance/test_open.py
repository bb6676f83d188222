"""`open`, `close` and `fork`: several connections, one store, which is real or simulated and never both."""

from __future__ import annotations

import pytest

from taskmanager.engine import Batch
from taskmanager.errors import UsageError
from taskmanager.job import State
from tests.engines.conformance.builders import LEASE_MS, emission
from tests.engines.conformance.world import World


async def test_a_fork_is_another_connection_to_the_same_store(world: World) -> None:
    await world.add("x")
    other = world.engine.fork()
    await other.open(simulated=True)
    try:
        [claim] = (await other.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
        assert claim.id == "x"
        assert (await world.job("x")).state == State.ACTIVE
        assert (await world.extend(holds=[claim.number])).lost == []
    finally:
        await other.close()
    assert (await world.job("x")).state == State.ACTIVE


async def test_a_callers_number_counts_over_all_connections(world: World) -> None:
    await world.enqueue(emission("x"), batch=Batch("one", 1))
    other = world.engine.fork()
    await other.open(simulated=True)
    try:
        assert (await other.enqueue("q", [emission("x")], Batch("one", 1))).replayed
    finally:
        await other.close()


async def test_a_store_that_is_simulated_refuses_a_real_worker_and_says_so(world: World) -> None:
    await world.add("x")
    before = await world.picture()
    other = world.engine.fork()
    with pytest.raises(UsageError, match=r"simulated .* real"):
        await other.open()
    await other.close()
    assert await world.picture() == before


async def test_a_store_that_is_real_refuses_a_simulation_and_says_so(world: World) -> None:
    real = world.engine.fork()
    await real.open()
    await real.enqueue("q", [emission("x")], Batch("one", 1))
    other = world.engine.fork()
    with pytest.raises(UsageError, match=r"real .* simulated"):
        await other.open(simulated=True)
    with pytest.raises(UsageError, match=r"real .* simulated"):
        await world.add("y")
    assert (await real.count("q")).states[State.WAITING] == 1
    await other.close()
    await real.close()


async def test_opening_and_closing_may_be_repeated(world: World) -> None:
    other = world.engine.fork()
    for _ in range(2):
        await other.open(simulated=True)
        await other.close()
        await other.close()
    assert await world.states() == {}
