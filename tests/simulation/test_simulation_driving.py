"""Moving a world on: step by step, by a duration, to a moment, to a goal, to the end of an awaitable, over a sleep."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest

from simulation import Simulation, SimulationStuck
from taskmanager import Job, Retry, TaskManager, UsageError
from tests.worker.worlds import found, kinds

START = "2026-03-28T00:00Z"


def shop() -> TaskManager:
    """Sleeps as long as its data says; `flaky` fails once; `tick` comes every hour."""
    tm = TaskManager("memory://", concurrency=10)

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> float:
        await asyncio.sleep(job.data["seconds"])
        return float(job.data["seconds"])

    @tm.handler("flaky", retry=Retry(max_retries=1, delay=60))
    async def flaky(job: Job[Any]) -> None:
        if job.attempt == 1:
            raise ValueError("not yet")

    @tm.handler("tick", repeat="0 * * * *")
    async def tick(job: Job[Any]) -> None: ...

    return tm


def world(**options: object) -> Simulation:
    return Simulation(shop(), start=START, **options)  # type: ignore[arg-type]  # passed through


# ---- step


def test_step_makes_exactly_one_step_and_moves_time_to_it() -> None:
    with world() as sim:
        sim.emit("nap", {"seconds": 5}, delay=90)
        told = []
        while (step := sim.step()) is not None:
            told.append((str(step.kind), (step.at - sim.timeline[0].at).total_seconds()))
        assert told == [("due", 90), ("started", 90), ("completed", 95)]
        assert sim.step() is None


def test_steps_of_one_engine_call_come_one_by_one() -> None:
    with world() as sim:
        for n in range(3):
            sim.emit("nap", {"seconds": 0, "n": n}, delay=10)
        assert [str(step.kind) for step in iter(sim.step, None)] == ["due"] * 3 + ["started"] * 3 + ["completed"] * 3


def test_step_and_run_until_idle_make_the_same_timeline() -> None:
    stepped, driven = world(seed=3), world(seed=3)
    for sim in (stepped, driven):
        sim.emit("flaky")
        sim.emit("nap", {"seconds": 12}, delay=60)
    while stepped.step() is not None:
        pass
    driven.run_until_idle()
    assert stepped.timeline.to_json_lines() == driven.timeline.to_json_lines()
    assert len(driven.timeline) == 10
    stepped.close()
    driven.close()


def test_step_in_an_idle_world_is_none_and_time_stands_still() -> None:
    with world() as sim:
        assert sim.step() is None
        assert sim.now == datetime(2026, 3, 28, tzinfo=UTC)


# ---- advance


def test_advance_fires_each_thing_at_its_own_moment() -> None:
    with world() as sim:
        sim.emit("nap", {"seconds": 30}, delay=3600 * 1.5)
        sim.advance(days=2)
        assert sim.now == datetime(2026, 3, 30, tzinfo=UTC)
        ends = [step for step in sim.timeline if step.event == "nap" and step.kind == "completed"]
        assert [step.at.isoformat() for step in ends] == ["2026-03-28T01:30:30+00:00"]
        assert [step.at.hour for step in sim.attempts("tick")] == [*range(1, 24), *range(24), 0]


def test_advance_takes_seconds_a_timedelta_or_its_parts() -> None:
    with world() as sim:
        sim.advance(1.5)
        sim.advance(timedelta(minutes=1))
        sim.advance(hours=1, minutes=2)
        sim.advance(0)
        assert (sim.now - datetime(2026, 3, 28, tzinfo=UTC)).total_seconds() == 1.5 + 60 + 3720


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "2 days", None])
def test_a_duration_that_is_none_is_refused_and_nothing_moves(wrong: object) -> None:
    with world() as sim:
        before = sim.now
        with pytest.raises(UsageError):
            sim.advance(wrong if wrong is not None else -5)  # type: ignore[arg-type]  # what is refused
        with pytest.raises(UsageError):
            sim.jump(wrong if wrong is not None else -5)  # type: ignore[arg-type]  # what is refused
        assert sim.now == before


def test_a_duration_and_its_parts_together_or_an_unknown_part_are_refused() -> None:
    with world() as sim:
        with pytest.raises(UsageError, match="not both"):
            sim.advance(5, hours=1)
        with pytest.raises(UsageError, match="fortnights"):
            sim.advance(fortnights=1)


def test_advance_without_any_duration_is_refused() -> None:
    with world() as sim, pytest.raises(UsageError, match="duration"):
        sim.advance()


# ---- run_until and run_until_idle


def test_run_until_a_moment_stops_right_there() -> None:
    with world() as sim:
        sim.emit("nap", {"seconds": 100})
        sim.run_until(datetime(2026, 3, 28, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))))
        assert sim.now.isoformat() == "2026-03-28T00:00:30+00:00"
        assert sim.counts()["active"] == 1


def test_a_moment_that_is_over_or_naive_is_refused() -> None:
    with world() as sim:
        with pytest.raises(UsageError, match="must not be before"):
            sim.run_until(datetime(2026, 3, 27, tzinfo=UTC))
        with pytest.raises(UsageError, match="goal"):
            sim.run_until(datetime(2026, 3, 29))  # what is refused


def test_run_until_a_goal_asks_after_each_step_and_stops_at_once() -> None:
    with world() as sim:
        handle = sim.emit("flaky")
        sim.run_until(lambda: len(sim.attempts("flaky")) == 2)
        assert kinds(sim) == ["emitted", "started", "retried", "due", "started"]
        sim.run_until(lambda: found(sim.job(handle)).state == "completed")
        assert kinds(sim)[-1] == "completed"


def test_a_goal_that_is_reached_already_moves_nothing() -> None:
    with world() as sim:
        sim.emit("nap", {"seconds": 1})
        sim.run_until(lambda: True)
        assert kinds(sim) == ["emitted"]


def test_what_a_goal_raises_comes_through_and_the_world_goes_on() -> None:
    with world() as sim:
        handle = sim.emit("nap", {"seconds": 1})
        with pytest.raises(ZeroDivisionError):
            sim.run_until(lambda: 1 // (1 - len(sim.timeline)) and len(sim.timeline) > 1)
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "completed"


def test_idle_counts_delayed_jobs_but_no_occurrences_nor_paused_queues() -> None:
    with world() as sim:
        sim.emit("nap", {"seconds": 1}, delay=timedelta(days=4))
        sim.emit("nap", {"seconds": 1}, queue="closed")
        sim.pause_queue("closed")
        sim.run_until_idle()
        assert sim.now == datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)
        assert len(sim.attempts("tick")) == 24 * 4
        assert sim.counts("closed")["waiting"] == 1
        sim.run_until_idle()
        assert sim.now == datetime(2026, 4, 1, 0, 0, 1, tzinfo=UTC)


def test_a_waiting_job_of_a_queue_that_nobody_serves_does_not_count() -> None:
    with world() as sim:
        sim.emit("nap", {"seconds": 1}, queue="elsewhere")
        sim.run_until_idle()
        assert sim.counts("elsewhere")["waiting"] == 1


# ---- run


def test_run_gives_the_result_of_an_awaitable_in_virtual_time() -> None:
    async def wait_for_it() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        before = loop.time()
        handle = await sim_app.emit("nap", {"seconds": 86_400})
        return await handle.result(timeout=100_000), loop.time() - before

    sim_app = shop()
    with Simulation(sim_app, start=START) as sim:
        assert sim.run(wait_for_it()) == (86_400, 86_400)
        assert sim.run(sim_app.counts()) == sim.counts()


def test_what_an_awaitable_raises_comes_through() -> None:
    async def fail() -> None:
        await asyncio.sleep(10)
        raise LookupError("nothing there")

    with world() as sim:
        with pytest.raises(LookupError, match="nothing there"):
            sim.run(fail())
        with pytest.raises(TimeoutError):
            sim.run(asyncio.wait_for(asyncio.sleep(100), 5))
        assert (sim.now - datetime(2026, 3, 28, tzinfo=UTC)).total_seconds() == 15


def test_what_run_leaves_behind_goes_on_with_the_world() -> None:
    done: list[float] = []

    async def leave() -> asyncio.Task[None]:
        return asyncio.create_task(later())

    async def later() -> None:
        await asyncio.sleep(50)
        done.append(asyncio.get_running_loop().time())

    with world() as sim:
        task = sim.run(leave())
        assert not task.done()
        sim.advance(49.9)
        assert not done
        sim.advance(0.1)
        assert len(done) == 1


# ---- jump


def test_jump_moves_the_clocks_while_nothing_runs() -> None:
    with world() as sim:
        handle = sim.emit("nap", {"seconds": 7200})
        sim.advance(minutes=30)
        sim.jump(hours=8)
        assert sim.now.isoformat() == "2026-03-28T08:30:00+00:00"
        record = found(sim.job(handle))
        assert record.finished_at == sim.now  # its sleep was passed while the machine slept, and ends as it wakes
        assert record.attempt == 1


def test_after_a_jump_missed_occurrences_are_decided_by_catch_up() -> None:
    with world() as sim:
        sim.jump(hours=8)
        sim.advance(1)
        assert [step.job_id for step in sim.attempts("tick")] == ["tick@2026-03-28T08:00:00Z"]


def test_timers_that_a_jump_passed_fire_in_the_order_of_their_moments() -> None:
    fired: list[int] = []

    async def sleepers() -> None:
        async with asyncio.TaskGroup() as group:
            for seconds in (30, 10, 20):
                group.create_task(one(seconds))

    async def one(seconds: int) -> None:
        await asyncio.sleep(seconds)
        fired.append(seconds)

    async def begin() -> None:
        background.append(asyncio.create_task(sleepers()))

    background: list[asyncio.Task[None]] = []
    with world() as sim:
        sim.run(begin())
        sim.jump(60)
        assert fired == [10, 20, 30]


# ---- the clock


def test_a_year_passes_without_drift() -> None:
    tm = TaskManager("memory://")
    seen: list[tuple[datetime, float]] = []

    @tm.handler("tick", repeat={"pattern": "0 6 * * *"})
    async def tick(job: Job[Any]) -> None:
        seen.append((datetime.now(UTC), asyncio.get_running_loop().time()))
        await asyncio.sleep(0.1)

    with Simulation(tm, start="2026-01-01T00:00Z") as sim:
        sim.advance(days=365)
        assert sim.now == datetime(2027, 1, 1, tzinfo=UTC)
    assert [moment for moment, _ in seen] == [
        datetime(2026, 1, 1, 6, tzinfo=UTC) + timedelta(days=day) for day in range(365)
    ]
    assert {round(later - sooner, 6) for (_, sooner), (_, later) in pairwise(seen)} == {86_400.0}
    ends = sim.timeline.only(kind="completed")
    assert {step.at.microsecond for step in ends} == {100_000}


def test_two_thousand_sleepers_of_up_to_47_hours_end_each_at_its_own_moment() -> None:
    tm = TaskManager("memory://", concurrency=2000)

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> None:
        await asyncio.sleep(job.data["seconds"])

    naps = [(n * 7919) % (47 * 3600) for n in range(2000)]
    with Simulation(tm, start=START) as sim:
        sim.emit_many([{"event": "nap", "data": {"n": n, "seconds": seconds}} for n, seconds in enumerate(naps)])
        sim.run_until_idle()
        ran = [step.detail["duration"] for step in sim.timeline.only(kind="completed") if step.detail]
        assert ran == sorted(float(seconds) for seconds in naps)
        assert sim.now == datetime(2026, 3, 28, tzinfo=UTC) + timedelta(seconds=max(naps))


@pytest.mark.parametrize("start", ["2026-03-28", "yesterday", "2026-03-28T00:00", 5])
def test_a_start_without_an_offset_is_refused(start: object) -> None:
    with pytest.raises(UsageError, match="start"):
        Simulation(shop(), start=start)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("option", [{"workers": -1}, {"workers": 1.5}, {"max_steps": 0}, {"engine": "mysql://"}])
def test_an_option_out_of_range_is_refused_by_name(option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        world(**option)


@pytest.mark.parametrize(("given", "seen"), [(5, "got 5"), (asyncio.sleep, r"got <function sleep.*; call it")])
def test_run_takes_what_can_be_awaited(given: Any, seen: str) -> None:
    with world() as sim:
        before = sim.now
        with pytest.raises(UsageError, match=f"run takes an awaitable, such as a coroutine .*{seen}"):
            sim.run(given)
        assert (sim.now, len(sim.timeline)) == (before, 0)


def test_stuck_is_an_error_of_the_package() -> None:
    from taskmanager.errors import TaskManagerError

    assert issubclass(SimulationStuck, TaskManagerError)
