"""Schedules in a whole world: workers that crash and sleep, catch-up, replacement, and the two odd nights of a year."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from simulation import Simulation, Timeline
from taskmanager import Job, TaskManager, UsageError
from taskmanager.records import ScheduleRecord

START = "2026-03-28T00:00Z"
MIDNIGHT = datetime(2026, 3, 28, tzinfo=UTC)
HOURLY = "0 * * * *"


def app(event: str = "tick", *, seconds: float = 0, tm: TaskManager | None = None, **repeat: Any) -> TaskManager:
    """One handler with a schedule; each run takes so many seconds."""
    tm = tm or TaskManager("memory://")

    @tm.handler(event, repeat=repeat or None)
    async def tick(job: Job[Any]) -> None:
        await asyncio.sleep(seconds)

    return tm


def occurrences(steps: Timeline) -> list[str]:
    """The moments in the ids of jobs, `name@2026-03-28T01:00:00Z`, as day and time."""
    return [str(step.job_id).partition("@")[2][8:16] for step in steps]


def hours(*told: int, day: int = 28) -> list[str]:
    return [f"{day:02}T{hour:02}:00" for hour in told]


def the_schedule(sim: Simulation) -> ScheduleRecord:
    (one,) = sim.schedules()
    return one


def kill(sim: Simulation, numbers: Iterable[int]) -> None:
    for number in numbers:
        sim.nodes[number].crash()


def revive(sim: Simulation) -> None:
    for node in sim.nodes:
        sim.run(node.boot())


# ---- each occurrence, once


@pytest.mark.parametrize("workers", [1, 5])
def test_every_occurrence_runs_exactly_once_at_its_own_moment(workers: int) -> None:
    with Simulation(app(pattern="*/5 * * * *"), start=START, workers=workers) as sim:
        sim.advance(days=1)
        runs = sim.attempts("tick")
        assert [step.at for step in runs] == [MIDNIGHT + timedelta(minutes=5 * n) for n in range(1, 289)]
        assert len({step.job_id for step in runs}) == 288
        assert occurrences(runs) == [step.at.strftime("%dT%H:%M") for step in runs]


def test_every_occurrence_runs_exactly_once_however_workers_crash() -> None:
    with Simulation(app(pattern="*/5 * * * *", catch_up="all"), start=START, workers=5, seed=3) as sim:
        for hour in range(24):
            sim.advance(minutes=55)
            victim = hour % 5
            kill(sim, {victim, (victim + 2) % 5})
            sim.advance(minutes=5)
            revive(sim)
        completed = sim.timeline.only(kind="completed", event="tick")
        assert sorted(occurrences(completed)) == [
            (MIDNIGHT + timedelta(minutes=5 * n)).strftime("%dT%H:%M") for n in range(1, 289)
        ]


def test_an_occurrence_whose_worker_crashed_runs_again_and_the_next_ones_are_not_held_up() -> None:
    with Simulation(app(pattern=HOURLY, seconds=60), start=START, workers=2) as sim:
        sim.advance(hours=1, seconds=10)
        (step,) = sim.attempts("tick")
        sim.nodes[int(str(step.worker)[-1]) - 1].crash()
        sim.advance(hours=1)
        assert occurrences(sim.attempts("tick")) == hours(1, 1, 2)
        assert occurrences(sim.timeline.only(kind="completed")) == hours(1)
        assert occurrences(sim.timeline.only(kind="scheduled")) == hours(1, 2)


def test_an_occurrence_does_not_depend_on_the_run_before() -> None:
    tm = TaskManager("memory://", concurrency=3)
    with Simulation(app(pattern=HOURLY, seconds=7000, tm=tm), start=START) as sim:
        sim.advance(hours=4)
        assert occurrences(sim.attempts("tick")) == hours(1, 2, 3, 4)


# ---- catch-up


OUTAGE = {
    "latest": hours(1, 2, 10, 11, 12),
    "all": hours(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    "none": hours(1, 2, 11, 12),
}
DROPPED = {"latest": 7, "all": None, "none": 8}


@pytest.mark.parametrize("catch_up", OUTAGE)
def test_what_a_sleeping_machine_missed_is_decided_by_catch_up(catch_up: str) -> None:
    with Simulation(app(pattern=HOURLY, catch_up=catch_up), start=START, workers=2) as sim:
        sim.advance(hours=2, minutes=30)
        sim.jump(hours=8)
        sim.advance(hours=2)
        assert occurrences(sim.attempts("tick")) == OUTAGE[catch_up]
        assert dropped(sim) == ([DROPPED[catch_up]] if DROPPED[catch_up] else [])


@pytest.mark.parametrize("catch_up", OUTAGE)
def test_what_passed_while_all_workers_were_down_is_decided_by_catch_up(catch_up: str) -> None:
    with Simulation(app(pattern=HOURLY, catch_up=catch_up), start=START, workers=3) as sim:
        sim.advance(hours=2, minutes=30)
        kill(sim, range(3))
        sim.advance(hours=8)
        assert occurrences(sim.attempts("tick")) == hours(1, 2)
        revive(sim)
        sim.advance(hours=2)
        assert occurrences(sim.attempts("tick")) == OUTAGE[catch_up]
        assert dropped(sim) == ([DROPPED[catch_up]] if DROPPED[catch_up] else [])


def dropped(sim: Simulation) -> list[int]:
    return [step.detail["dropped"] for step in sim.timeline.only(kind="scheduled") if step.detail]


def test_the_next_scheduled_step_tells_how_many_were_dropped_and_the_schedule_does_until_then() -> None:
    with Simulation(app(pattern=HOURLY, catch_up="none"), start=START) as sim:
        sim.advance(hours=2, minutes=30)
        sim.jump(hours=3)
        sim.advance(1)
        assert the_schedule(sim).dropped == 3
        assert dropped(sim) == []
        sim.advance(hours=2)
        assert [step.detail for step in sim.timeline.only(kind="scheduled")] == [None, None, {"dropped": 3}, None]
        assert the_schedule(sim).dropped == 0


def test_an_occurrence_within_its_misfire_grace_is_not_missed() -> None:
    with Simulation(app(pattern=HOURLY, catch_up="none", misfire_grace=3600), start=START) as sim:
        sim.advance(minutes=30)
        sim.jump(hours=1)
        sim.advance(1)
        assert occurrences(sim.attempts("tick")) == hours(1)
        sim.jump(hours=3)
        sim.advance(1)
        assert occurrences(sim.attempts("tick")) == hours(1, 4)


def test_all_runs_the_newest_thousand_and_tells_of_the_rest() -> None:
    with Simulation(app(pattern="* * * * *", catch_up="all"), start=START) as sim:
        sim.jump(minutes=1500)
        sim.advance(0.5)
        runs = sim.attempts("tick")
        assert len(runs) == 1000
        assert occurrences(runs)[-1] == "29T01:00"
        assert dropped(sim) == [500]


# ---- overlap, immediate, delay


def test_overlap_skip_leaves_out_what_comes_while_an_earlier_one_is_live() -> None:
    tm = TaskManager("memory://", concurrency=3)
    with Simulation(app(pattern=HOURLY, overlap="skip", seconds=5400, tm=tm), start=START) as sim:
        sim.advance(hours=6)
        assert occurrences(sim.attempts("tick")) == hours(1, 3, 5)
        assert occurrences(sim.timeline.only(kind="skipped")) == hours(2, 4, 6)


def test_immediate_adds_one_run_when_the_name_is_new() -> None:
    with Simulation(app(pattern="0 9 * * *", immediate=True), start=START, workers=3) as sim:
        sim.advance(days=1)
        assert [step.at - MIDNIGHT for step in sim.attempts("tick")] == [timedelta(0), timedelta(hours=9)]
        kill(sim, range(3))
        revive(sim)
        sim.advance(1)
        assert len(sim.attempts("tick")) == 2


def test_a_delay_means_no_occurrence_before_then() -> None:
    with Simulation(app(), start=START) as sim:
        handle = sim.emit("tick", {"n": 1}, repeat={"pattern": HOURLY}, delay=3 * 3600 + 1800)
        assert (handle.status, sim.counts()["delayed"]) == ("scheduled", 0)
        sim.advance(hours=6)
        assert occurrences(sim.attempts("tick")) == hours(4, 5, 6)
        sim.emit("tick", {"n": 2}, id="tomorrow", repeat=HOURLY, delay_until=MIDNIGHT + timedelta(days=1))
        sim.unschedule(handle.id)
        sim.advance(hours=19)
        assert occurrences(sim.attempts("tick"))[3:] == hours(0, 1, day=29)


# ---- registration


def test_an_emitted_schedule_is_named_by_its_id_else_by_its_data_and_carries_it() -> None:
    tm, seen = TaskManager("memory://"), []

    @tm.handler("greet", queue="mail")
    async def greet(job: Job[Any]) -> None:
        seen.append((job.schedule, job.data, job.priority))

    with Simulation(tm, start=START) as sim:
        named = sim.emit("greet", {"to": "a"}, queue="mail", id="hello", repeat=HOURLY, priority=5)
        unnamed = sim.emit("greet", {"to": "b"}, queue="mail", repeat=HOURLY)
        assert [one.name for one in sim.schedules()] == sorted(["hello", unnamed.id])
        sim.advance(hours=1)
        assert (named.id, unnamed.id.partition(":")[0]) == ("hello", "greet")
        assert sorted(seen) == sorted([("hello", {"to": "a"}, 5), (unnamed.id, {"to": "b"}, 0)])


def test_the_same_name_replaces_and_what_was_admitted_stays() -> None:
    with Simulation(app(), start=START) as sim:
        sim.emit("tick", {"v": 1}, id="one", repeat=HOURLY)
        sim.advance(hours=2)
        sim.emit("tick", {"v": 2}, id="one", repeat="30 * * * *")
        sim.advance(hours=2)
        assert occurrences(sim.attempts("tick")) == ["28T01:00", "28T02:00", "28T02:30", "28T03:30"]
        assert the_schedule(sim).data == {"v": 2}


def test_a_handlers_schedule_keeps_its_place_over_a_restart_and_starts_anew_with_another_pattern() -> None:
    tm = app(pattern=HOURLY)
    with Simulation(tm, start=START) as sim:
        sim.advance(hours=2, minutes=30)
        sim.stop()
        sim.advance(hours=3)
        sim.start()
        sim.advance(1)
        assert occurrences(sim.attempts("tick")) == hours(1, 2, 5)  # the place was kept: what was missed is known
        sim.stop()
        app(pattern="15 * * * *", tm=tm)
        sim.advance(hours=3)
        sim.start()
        sim.advance(hours=1)
        assert occurrences(sim.attempts("tick")) == [*hours(1, 2, 5), "28T09:15"]


def test_a_handler_registered_while_the_world_runs_is_scheduled_too() -> None:
    tm = app(pattern=HOURLY)
    with Simulation(tm, start=START) as sim:
        sim.advance(minutes=90)
        app("tock", pattern="*/30 * * * *", tm=tm)
        sim.advance(hours=1)
        assert occurrences(sim.attempts("tock")) == ["28T02:00", "28T02:30"]


def test_unschedule_stops_further_occurrences_and_leaves_those_admitted() -> None:
    with Simulation(app(pattern=HOURLY, seconds=600), start=START) as sim:
        sim.advance(hours=1, minutes=5)
        assert sim.unschedule("tick")
        assert not sim.unschedule("tick")
        assert sim.schedules() == []
        sim.advance(hours=3)
        assert occurrences(sim.timeline.only(kind="completed")) == hours(1)


def test_schedules_tell_when_they_run_next_and_whether_anybody_will() -> None:
    with Simulation(app(pattern="0 9 * * 1-5", timezone="Europe/Paris"), start=START) as sim:
        sim.emit("nobody", id="orphan", queue="elsewhere", repeat={"pattern": HOURLY, "catch_up": "all"})
        tick, orphan = sorted(sim.schedules(), key=lambda one: one.queue)
        assert (tick.name, tick.pattern, tick.timezone, tick.has_handler) == (
            "tick",
            "0 9 * * 1-5",
            "Europe/Paris",
            True,
        )
        assert tick.next_run == datetime(2026, 3, 30, 7, tzinfo=UTC)
        assert tick.place == MIDNIGHT
        assert (orphan.name, orphan.queue, orphan.has_handler, orphan.catch_up) == ("orphan", "elsewhere", False, "all")


@pytest.mark.parametrize("pattern", ["0 0 31 2 *", "@reboot", "H * * * *", "* * * *"])
def test_a_pattern_that_cannot_be_is_refused_and_nothing_is_registered(pattern: str) -> None:
    with Simulation(app(), start=START) as sim:
        with pytest.raises(UsageError, match="pattern"):
            sim.emit("tick", repeat=pattern)
        with pytest.raises(UsageError, match="debounce"):
            sim.emit("tick", repeat=HOURLY, debounce=5)
        assert sim.schedules() == []


# ---- the two odd nights


NIGHTS = {
    # at 02:00 the clocks of Berlin go to 03:00, at 01:00 UTC; what is fixed in the gap runs at its end
    ("2026-03-28T22:00Z", "30 2 * * *"): ["2026-03-29T03:00+02:00"],
    ("2026-03-28T22:00Z", "*/30 * * * *"): [
        "2026-03-28T23:30+01:00", "2026-03-29T00:00+01:00", "2026-03-29T00:30+01:00", "2026-03-29T01:00+01:00",
        "2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", "2026-03-29T04:00+02:00",
    ],
    # at 03:00 they go back to 02:00, at 01:00 UTC; what is fixed in the overlap runs the first time only
    ("2026-10-24T22:00Z", "30 2 * * *"): ["2026-10-25T02:30+02:00"],
    ("2026-10-24T22:00Z", "*/30 * * * *"): [
        "2026-10-25T00:30+02:00", "2026-10-25T01:00+02:00", "2026-10-25T01:30+02:00", "2026-10-25T02:00+02:00",
        "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00", "2026-10-25T03:00+01:00",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("start", "pattern"), NIGHTS)
def test_a_night_in_berlin_in_which_the_clocks_change(start: str, pattern: str) -> None:
    with Simulation(app(pattern=pattern, timezone="Europe/Berlin"), start=start, workers=2) as sim:
        sim.advance(hours=4)
        told = [
            step.at.astimezone(ZoneInfo("Europe/Berlin")).isoformat(timespec="minutes") for step in sim.attempts("tick")
        ]
        assert told == NIGHTS[start, pattern]


def test_a_year_in_berlin_has_each_day_once() -> None:
    with Simulation(app(pattern="30 2 * * *", timezone="Europe/Berlin"), start="2025-12-31T23:00Z", workers=2) as sim:
        sim.advance(days=365)
        days = [step.at.astimezone(ZoneInfo("Europe/Berlin")).date() for step in sim.attempts("tick")]
        assert days == [days[0] + timedelta(days=n) for n in range(365)]
