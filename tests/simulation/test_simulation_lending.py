"""To whom time, randomness and the application belong: between entry and exit, between calls, afterwards."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from simulation import Simulation, SimulationStuck
from taskmanager import Job, TaskManager, UsageError
from tests.worker.worlds import found

START = "2036-03-28T00:00Z"
VIRTUAL = datetime(2036, 3, 28, tzinfo=UTC)


def napping(tm: TaskManager | None = None) -> TaskManager:
    tm = tm or TaskManager("memory://")

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> str:
        await asyncio.sleep(job.data.get("seconds", 0))
        return "rested"

    return tm


def is_real_time() -> bool:
    return datetime.now(UTC).year < 2036 and time.time() < VIRTUAL.timestamp()


async def serve_for_real(tm: TaskManager) -> Any:
    async with tm:
        return await tm.emit_and_wait("nap", timeout=5)


def leaves_no_trace(tm: TaskManager) -> bool:
    """Time, sleep and randomness are the process' own, and the application works for real."""
    state = random.getstate()
    assert is_real_time()
    assert "simulation" not in {time.sleep.__module__, time.monotonic.__module__}
    assert threading.Thread.start.__module__ == "threading"
    assert random.getstate() == state
    return bool(asyncio.run(serve_for_real(tm)) == "rested")


# ---- with, and without


def test_within_with_the_whole_process_lives_in_the_world() -> None:
    tm = napping()
    with Simulation(tm, start=START) as sim:
        assert datetime.now(UTC) == VIRTUAL
        sim.advance(3600)
        assert time.time() == VIRTUAL.timestamp() + 3600
        assert tm.get_context() is not None
    assert leaves_no_trace(tm)


def test_without_with_it_does_so_during_its_calls_only() -> None:
    tm = napping()
    sim = Simulation(tm, start=START)
    assert is_real_time()
    handle = sim.emit("nap", {"seconds": 5})
    assert is_real_time()
    sim.run_until_idle()
    assert found(sim.job(handle)).result == "rested"
    assert sim.now.isoformat() == "2036-03-28T00:00:05+00:00"
    assert is_real_time()
    sim.close()
    assert leaves_no_trace(tm)


def test_between_its_calls_the_application_works_for_real() -> None:
    tm = napping()
    sim = Simulation(tm, start=START)
    sim.emit("nap", {"seconds": 5})
    assert asyncio.run(serve_for_real(tm)) == "rested"
    sim.run_until_idle()
    assert sim.counts()["completed"] == 1
    sim.close()


def test_tm_itself_belongs_to_the_world_within_with() -> None:
    tm = napping()

    async def emit() -> str:
        return (await tm.emit("nap", {"seconds": 1})).status

    with Simulation(tm, start=START) as sim:
        assert sim.run(emit()) == "emitted"
        sim.run_until_idle()
        assert [str(step.kind) for step in sim.timeline] == ["emitted", "started", "completed"]


@pytest.mark.parametrize("how", ["with", "close"])
def test_leaving_twice_is_the_same_as_once(how: str) -> None:
    sim = Simulation(napping(), start=START)
    if how == "with":
        with sim:
            sim.advance(1)
            sim.close()
    sim.close()
    sim.close()
    assert is_real_time()


def test_what_is_left_running_is_cancelled_at_the_end() -> None:
    tm, ended = TaskManager("memory://"), []

    @tm.handler("hang")
    async def hang(job: Job[Any]) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(job.id)

    with Simulation(tm) as sim:
        sim.emit("hang", id="one")
        sim.advance(1)
        assert not ended
    assert ended == ["one"]
    assert [str(step.kind) for step in sim.timeline] == ["emitted", "started"]


def test_a_closed_simulation_can_be_read_but_not_used() -> None:
    with Simulation(napping(), start=START) as sim:
        sim.emit("nap")
        sim.run_until_idle()
    assert len(sim.timeline) == 3
    assert sim.summary["nap"].completed == 1
    assert sim.now == VIRTUAL
    calls: list[Callable[[], object]] = [
        sim.step,
        lambda: sim.advance(1),
        lambda: sim.jump(1),
        sim.run_until_idle,
        lambda: sim.run_until(lambda: True),
        lambda: sim.emit("nap"),
        sim.counts,
        sim.__enter__,
    ]
    for call in calls:
        with pytest.raises(UsageError, match=r"closed; make a new one"):
            call()


def test_a_closed_simulation_refuses_an_awaitable_and_leaves_no_warning() -> None:
    sim = Simulation(napping())
    sim.close()
    with pytest.raises(UsageError, match="closed"):
        sim.run(asyncio.sleep(1))


# ---- where a loop already runs


def test_it_works_where_a_loop_is_already_running() -> None:
    tm = napping()

    async def notebook() -> None:
        task = asyncio.current_task()
        sim = Simulation(tm, start=START)
        handle = sim.emit("nap", {"seconds": 3600})
        sim.run_until_idle()
        assert found(sim.job(handle)).result == "rested"
        assert sim.run(asyncio.sleep(5, "slept")) == "slept"
        sim.close()
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        with Simulation(tm, start=START) as inner:
            inner.advance(days=1)
        await asyncio.sleep(0.001)
        assert await serve_for_real(tm) == "rested"

    asyncio.run(notebook())
    assert leaves_no_trace(tm)


def test_the_outer_loops_tasks_stand_still_during_its_calls() -> None:
    turns: list[str] = []

    async def outer() -> None:
        other = asyncio.create_task(tick())
        await asyncio.sleep(0)
        sim = Simulation(napping(), start=START)
        sim.emit("nap", {"seconds": 10})
        sim.run_until_idle()
        turns.append("simulated")
        sim.close()
        await other

    async def tick() -> None:
        turns.append("before")
        await asyncio.sleep(0.005)
        turns.append("after")

    asyncio.run(outer())
    assert turns == ["before", "simulated", "after"]


# ---- one at a time


def test_a_handler_that_drives_its_own_world_is_refused_and_the_world_goes_on() -> None:
    tm = TaskManager("memory://")
    told: list[str] = []

    @tm.handler("meddle")
    async def meddle(job: Job[Any]) -> None:
        for call in (lambda: sim.advance(1), sim.counts, sim.run_until_idle, sim.step, sim.close):
            try:
                call()
            except UsageError as error:
                told.append(str(error))

    with Simulation(tm) as sim:
        sim.emit("meddle")
        sim.run_until_idle()
        assert len(told) == 5
        assert all("came from inside it" in text for text in told)
        assert sim.counts()["completed"] == 1


def test_a_plain_handler_that_drives_its_own_world_is_refused_as_well() -> None:
    tm = TaskManager("memory://")
    told: list[object] = []

    @tm.handler("meddle")
    def meddle(job: Job[Any]) -> None:
        with pytest.raises(UsageError, match="came from inside it") as refusal:
            sim.advance(1)
        told.append(refusal)

    with Simulation(tm) as sim:
        sim.emit("meddle")
        sim.run_until_idle()
        assert sim.counts()["completed"] == 1
    assert len(told) == 1


def test_what_run_runs_may_drive_but_its_tasks_may_not() -> None:
    async def scenario() -> int:
        sim.advance(10)
        sim.emit("nap", {"seconds": 10})
        sim.run_until_idle()
        with pytest.raises(UsageError, match="came from inside it"):
            await asyncio.create_task(meddle())
        await asyncio.sleep(1)
        return sim.counts()["completed"]

    async def meddle() -> None:
        sim.advance(1)

    with Simulation(napping(), start=START) as sim:
        assert sim.run(scenario()) == 1
        assert sim.now.isoformat() == "2036-03-28T00:00:21+00:00"


def test_an_application_is_in_one_simulation_at_a_time() -> None:
    tm = napping()
    with Simulation(tm, start=START) as sim:
        with pytest.raises(UsageError, match="in a simulation already"):
            Simulation(tm)
        sim.advance(1)
    assert leaves_no_trace(tm)


def test_an_application_that_is_started_for_real_is_refused() -> None:
    tm = napping()

    async def main() -> None:
        async with tm:
            with pytest.raises(UsageError, match="started for real"):
                Simulation(tm)

    asyncio.run(main())
    with Simulation(tm, start=START) as sim:
        sim.advance(1)


def test_an_outer_world_cannot_be_driven_while_an_inner_one_holds_the_process() -> None:
    with Simulation(napping(), start=START) as outer:
        with Simulation(napping(), start="2040-01-01T00:00Z") as inner:
            inner.advance(1)
            assert datetime.now(UTC).year == 2040
            with pytest.raises(UsageError, match="entered inside this one"):
                outer.advance(1)
        outer.advance(1)
        assert datetime.now(UTC).year == 2036
    assert is_real_time()


def test_worlds_that_hold_the_process_during_their_calls_may_take_turns() -> None:
    one, two = Simulation(napping(), start=START), Simulation(napping(), start="2040-01-01T00:00Z")
    for _ in range(3):
        one.advance(1)
        two.advance(60)
    assert (one.now - VIRTUAL).total_seconds() == 3
    assert (two.now - datetime(2040, 1, 1, tzinfo=UTC)).total_seconds() == 180
    one.close()
    two.close()
    assert is_real_time()


def test_another_thread_cannot_simulate_meanwhile() -> None:
    told: list[str] = []

    def other() -> None:
        try:
            Simulation(napping())
        except UsageError as error:
            told.append(str(error))

    with Simulation(napping(), start=START) as sim:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        sim.advance(1)
    assert len(told) == 1
    assert "another thread" in told[0]


# ---- when something goes wrong


def test_an_exception_inside_leaves_the_process_clean() -> None:
    tm = napping()

    def fail() -> None:
        with Simulation(tm, start=START) as sim:
            sim.emit("nap", {"seconds": 100})
            sim.advance(1)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        fail()
    assert leaves_no_trace(tm)


def test_a_stuck_world_leaves_the_process_clean() -> None:
    tm = napping()
    sim = Simulation(tm, start=START)
    with pytest.raises(SimulationStuck):
        sim.run(asyncio.Event().wait())
    assert is_real_time()
    sim.close()
    assert leaves_no_trace(tm)


def test_a_builder_that_raises_leaves_the_process_clean() -> None:
    def build() -> TaskManager:
        assert datetime.now(UTC) == VIRTUAL
        raise LookupError("no settings")

    with pytest.raises(LookupError, match="no settings"):
        Simulation(build, start=START)
    assert is_real_time()


def test_a_lifespan_that_raises_comes_through_and_leaves_the_process_clean() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, int]]:
        raise LookupError("no database")
        yield {}

    tm = napping(TaskManager("memory://", lifespan=lifespan))
    with pytest.raises(LookupError, match="no database"):
        Simulation(tm, start=START).advance(1)
    assert is_real_time()


# ---- applications


def test_a_function_that_builds_the_application_is_called_once_inside_the_world() -> None:
    built: list[datetime] = []

    def build() -> TaskManager:
        built.append(datetime.now(UTC))
        return napping()

    with Simulation(build, start=START) as sim:
        handle = sim.emit("nap", {"seconds": 1})
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "completed"
        assert isinstance(sim.tm, TaskManager)
    assert built == [VIRTUAL]


@pytest.mark.parametrize("wrong", [None, "app", lambda: None, dict])
def test_what_is_no_application_is_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="TaskManager"):
        Simulation(wrong)


def test_without_workers_nothing_runs_until_the_application_starts_itself() -> None:
    tm = napping()
    with Simulation(tm, start=START, workers=0) as sim:
        handle = sim.emit("nap", {"seconds": 1})
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "waiting"
        sim.run(tm.start())
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "completed"
        sim.run(tm.stop())
        assert found(sim.job(sim.emit("nap"))).state == "waiting"


def test_an_application_may_start_and_stop_itself_in_what_is_run() -> None:
    tm = napping()

    async def main() -> Any:
        async with tm:
            return await tm.emit_and_wait("nap", {"seconds": 3600}, timeout=4000)

    with Simulation(tm, start=START, workers=0) as sim:
        assert sim.run(main()) == "rested"
        assert sim.now.hour == 1


def test_every_worker_enters_the_lifespan_and_a_reboot_enters_it_again() -> None:
    entered: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[dict[str, int]]:
        entered.append("in")
        yield {"number": len(entered)}
        entered.append("out")

    tm = TaskManager("memory://", lifespan=lifespan)
    with Simulation(tm, workers=3) as sim:
        sim.advance(1)
        assert entered == ["in"] * 3
        sim.nodes[1].crash()
        sim.run(sim.nodes[1].boot())
        assert entered[:4] == ["in"] * 4
        sim.stop()
        assert entered.count("out") == 3
