"""What surrounds a worker: its lifespan and the ctx it makes; and the one TaskManager of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError
from tests.worker.worlds import app, found


def test_each_worker_and_each_reboot_enters_the_lifespan_and_its_yield_is_the_ctx() -> None:
    entered: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, Any]]:
        name = f"ctx {len(entered) + 1}"
        entered.append(name)
        yield {"name": name}
        entered.append(f"left {name}")

    tm = app(lifespan=lifespan)

    @tm.handler("work")
    async def work(job: Job[Any], ctx: Any) -> str:
        await asyncio.sleep(1)
        return str(ctx.name)

    with Simulation(tm, workers=2) as sim:
        jobs = [sim.emit("work", n) for n in range(2)]
        sim.run_until_idle()
        assert sorted(found(sim.job(job)).result for job in jobs) == ["ctx 1", "ctx 2"]
        sim.nodes[0].crash()
        sim.run(sim.nodes[0].boot())
        assert entered == ["ctx 1", "ctx 2", "ctx 3"]
        sim.stop()
    assert sorted(entered[3:]) == ["left ctx 2", "left ctx 3"]


def test_a_lifespan_that_yields_nothing_leaves_the_ctx_that_was_given() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield

    tm = app(lifespan=lifespan, ctx={"given": 1})

    @tm.handler("work")
    async def work(job: Job[Any], ctx: Any) -> int:
        return int(ctx.given)

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=5) == 1


def test_the_lifespan_is_left_after_the_last_handler_has_ended() -> None:
    told: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        told.append("left")

    tm = app(lifespan=lifespan, grace=5)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            told.append("handler ended")

    with Simulation(tm) as sim:
        sim.emit("work")
        sim.advance(1)
        sim.stop()
    assert told == ["handler ended", "left"]


def test_a_lifespan_that_fails_makes_the_start_fail_cleanly_and_a_later_one_succeeds() -> None:
    attempts = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("no database yet")
        yield

    tm = app(lifespan=lifespan)

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        return "done"

    with Simulation(tm, workers=0) as sim:
        with pytest.raises(ConnectionError):
            sim.run(tm.start())
        assert not sim.nodes[0].is_up
        sim.run(tm.start())
        assert sim.emit_and_wait("work", timeout=5) == "done"


def test_a_simulation_whose_workers_cannot_start_says_so() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        raise ConnectionError("no database")
        yield

    tm = app(lifespan=lifespan)
    with pytest.raises(ConnectionError):
        Simulation(tm)


def test_a_lifespan_that_fails_on_leaving_is_told_and_the_worker_is_down() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        raise ConnectionError("cannot close")

    tm = app(lifespan=lifespan)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        with pytest.raises(ConnectionError):
            sim.stop()
        assert not sim.nodes[0].is_up
        sim.emit("work", id="w")
        sim.start()
        sim.run_until_idle()
        assert found(sim.job("w")).state == "completed"


def test_a_lifespan_that_yields_a_ctx_with_an_emit_of_its_own_is_refused() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, Any]]:
        yield {"emit": print}

    with Simulation(app(lifespan=lifespan), workers=0) as sim, pytest.raises(UsageError, match="emit"):
        sim.start()


@pytest.mark.parametrize("lifespan", ["name", 7])
def test_a_lifespan_that_is_no_function_is_refused(lifespan: Any) -> None:
    with pytest.raises(UsageError, match="lifespan"):
        app(lifespan=lifespan)


def test_a_lifespan_that_makes_no_context_manager_is_refused_at_the_start() -> None:
    with Simulation(app(lifespan=lambda: None), workers=0) as sim, pytest.raises(UsageError, match="lifespan"):
        sim.start()


# ---- the singleton


@pytest.fixture
def fresh() -> Iterator[None]:
    asyncio.run(TaskManager.reset())
    yield
    asyncio.run(TaskManager.reset())


@pytest.mark.usefixtures("fresh")
def test_init_again_with_equal_options_returns_the_same_object() -> None:
    ctx = {"a": 1}
    tm = TaskManager.init("memory://", ctx=ctx, concurrency=2)
    assert TaskManager.init("memory://", ctx=ctx, concurrency=2) is tm
    assert TaskManager.instance() is tm


@pytest.mark.usefixtures("fresh")
def test_init_with_other_options_is_refused_names_them_and_changes_nothing() -> None:
    tm = TaskManager.init("memory://", concurrency=2)
    with pytest.raises(UsageError, match="concurrency"):
        TaskManager.init("memory://", concurrency=3)
    with pytest.raises(UsageError, match="db"):
        TaskManager.init("memory://other", concurrency=2)
    assert TaskManager.instance() is tm


@pytest.mark.usefixtures("fresh")
def test_the_options_that_are_left_out_are_the_defaults() -> None:
    tm = TaskManager.init("memory://")
    assert TaskManager.init("memory://", concurrency=1, lease=15.0) is tm


@pytest.mark.usefixtures("fresh")
def test_an_init_that_is_refused_leaves_no_instance_behind() -> None:
    with pytest.raises(UsageError, match="concurrency"):
        TaskManager.init("memory://", concurrency=0)
    with pytest.raises(UsageError, match="init"):
        TaskManager.instance()


@pytest.mark.usefixtures("fresh")
async def _reset_stops_and_forgets() -> None:
    tm = TaskManager.init("memory://")

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        return "done"

    await tm.start()
    assert await tm.emit_and_wait("work", timeout=5) == "done"
    await TaskManager.reset()
    await TaskManager.reset()
    with pytest.raises(UsageError, match="init"):
        TaskManager.instance()
    assert TaskManager.init("memory://", concurrency=9) is not tm


@pytest.mark.usefixtures("fresh")
def test_reset_stops_and_forgets_it_so_that_init_makes_another() -> None:
    asyncio.run(_reset_stops_and_forgets())


@pytest.mark.usefixtures("fresh")
def test_constructed_ones_are_independent_of_the_singleton() -> None:
    other = TaskManager("memory://")
    with pytest.raises(UsageError):
        TaskManager.instance()
    assert TaskManager.init("memory://") is not other
