"""A world in which nobody works: its clock goes from one delayed job to the next, and it is idle when all are due."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulation import Simulation, SimulationStuck, pursuit
from simulation.goals import Census, take_census
from taskmanager import Job, TaskManager
from tests.servers import Servers

START = datetime(2026, 3, 28, tzinfo=UTC)
ENGINES = ["memory", "sqlite", "redis"]


def mailing() -> TaskManager:
    tm = TaskManager("memory://")

    @tm.handler("mail")
    async def mail(job: Job[Any]) -> None: ...

    return tm


def world(**options: Any) -> Simulation:
    return Simulation(mailing(), start=START, **options)


def store(engine: str, servers: Servers) -> str:
    return servers.shared("valkey").url if engine == "redis" else f"{engine}://"


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture(autouse=True)
def looks_that_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world that is looked at without end is ended."""
    taken: list[Census] = []

    async def counted(*known: Any) -> Census:
        taken.append(await take_census(*known))
        assert len(taken) < 100, f"the world is looked at again and again: {taken[-1]}"
        return taken[-1]

    monkeypatch.setattr(pursuit, "take_census", counted)


WAYS: dict[str, Callable[[Simulation], object]] = {
    "step": lambda sim: sim.step(),
    "run_until_idle": lambda sim: sim.run_until_idle(),
    "drain": lambda sim: sim.drain(timeout=100),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_world_is_idle_when_the_last_of_its_delayed_jobs_is_due(
    way: str, workers: int, engine: str, servers: Servers
) -> None:
    with world(workers=workers, engine=store(engine, servers)) as sim:
        if workers:
            sim.stop()
        for seconds in (5, 1, 5, 3):
            sim.emit("mail", {"seconds": seconds}, id=f"{seconds}", delay=seconds)
        sim.emit("mail", queue="second", delay=2)
        sim.emit("mail", {"last": True}, queue="second", delay=7.5)
        assert WAYS[way](sim) is None
        assert sim.now == after(7.5)
        assert sim.counts()["waiting"] == 3
        assert sim.timeline.only(kind="started") == []


def test_the_clock_stops_at_the_moment_of_each_delayed_job() -> None:
    seen: list[datetime] = []

    def all_seen() -> bool:
        seen.append(sim.now)
        return sim.counts()["delayed"] == 0

    with world(workers=0) as sim:
        for seconds in range(1, 5):
            sim.emit("mail", {"seconds": seconds}, delay=seconds)
        sim.run_until(all_seen)
        assert sorted(set(seen)) == [after(seconds) for seconds in range(5)]


def test_what_comes_meanwhile_is_stopped_at_as_well() -> None:
    with world(workers=0) as sim:
        sim.emit("mail", {"n": 1}, delay=1)
        sim.emit("mail", {"n": 2}, delay=5)
        sim.run_until(lambda: sim.now == after(1))
        sim.emit("mail", {"n": 3}, delay=10)
        sim.run_until_idle()
        assert sim.now == after(11)


def test_more_delayed_jobs_than_are_read_at_once_are_all_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.goals._MANY", 2)
    with world(workers=0) as sim:
        for seconds in (9, 1, 2, 3, 4):  # the last moment is that of the oldest emission
            sim.emit("mail", {"seconds": seconds}, delay=seconds)
        sim.run_until_idle()
        assert sim.now == after(9)


def test_a_goal_that_nobody_brings_about_is_stuck_when_all_is_due() -> None:
    with world(workers=0) as sim:
        sim.emit("mail", {"n": 1}, delay=1)
        sim.emit("mail", {"n": 2}, delay=5)
        with pytest.raises(SimulationStuck, match=r"cannot be reached at 2026-03-28T00:00:05.*worker-1 is down"):
            sim.run_until(lambda: False)
        assert sim.now == after(5)


def test_delayed_jobs_of_a_paused_queue_are_waited_for_until_they_are_due() -> None:
    with world() as sim:
        sim.pause_queue()
        sim.emit("mail", {"n": 1}, delay=1)
        sim.emit("mail", {"n": 2}, delay=5)
        sim.run_until_idle()
        assert sim.now == after(5)


# ---- the first look


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("way", ["step", "run_until_idle"])
def test_the_first_look_finds_a_store_that_an_earlier_world_left(way: str, fresh: bool, servers: Servers) -> None:
    engine = servers.shared("valkey").url
    with world(engine=engine, workers=0) as sim:
        sim.emit("mail", delay=1)
    with world(engine=engine, workers=0, fresh=fresh) as sim:
        assert WAYS[way](sim) is None
        assert sim.now == (START if fresh else after(1))
        assert sim.counts()["waiting"] == (0 if fresh else 1)
