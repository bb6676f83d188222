"""The tour, part two: later, every morning, not so often. A week of it passes in milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from simulation import Simulation
from taskmanager import Job, TaskManager


def test_a_delay_passes_without_waiting_for_it() -> None:
    tm = TaskManager(db="memory://")
    reminded: list[datetime] = []

    @tm.handler("remind")
    async def remind(job: Job[Any]) -> None:
        reminded.append(datetime.now(UTC))

    with Simulation(tm, start="2026-03-28T00:00Z") as sim:
        sim.emit("remind", delay=timedelta(days=3))
        sim.advance(days=2)
        assert reminded == []
        sim.advance(days=1)

    assert reminded == [datetime(2026, 3, 31, tzinfo=UTC)]


def test_every_workday_at_nine_wherever_the_clocks_are_set() -> None:
    tm = TaskManager(db="memory://")
    ran: list[str] = []

    @tm.handler("report", repeat={"pattern": "0 9 * * 1-5", "timezone": "Europe/Paris"})
    async def report(job: Job[Any]) -> None:
        ran.append(f"{job.run_at:%a %H:%M}")

    # The clocks of Paris go forward in the night to Sunday: nine o'clock is then an hour earlier for everybody else.
    with Simulation(tm, start="2026-03-26T00:00Z", workers=3) as sim:
        sim.advance(days=6)

    assert ran == ["Thu 08:00", "Fri 08:00", "Mon 07:00", "Tue 07:00"]


def test_many_clicks_are_one_search() -> None:
    tm = TaskManager(db="memory://")
    searched: list[str] = []

    @tm.handler("search", debounce={"window": 0.5, "edge": "trailing", "key": lambda data: str(data["user"])})
    async def search(job: Job[Any]) -> None:
        searched.append(job.data["text"])

    with Simulation(tm) as sim:
        for text in ("h", "he", "hel", "help"):
            sim.emit("search", {"user": 7, "text": text})
            sim.advance(0.2)
        sim.run_until_idle()

    assert searched == ["help"]


def test_an_alarm_rings_once_in_five_minutes() -> None:
    tm = TaskManager(db="memory://")
    rung: list[str] = []

    @tm.handler("alarm", debounce=300)
    async def alarm(job: Job[Any]) -> None:
        rung.append(f"{job.created_at:%M:%S}")

    with Simulation(tm, start="2026-03-28T00:00Z") as sim:
        for _ in range(60):
            sim.emit("alarm", {"disk": "full"})
            sim.advance(10)

    assert rung == ["00:00", "05:00"]


def test_what_comes_too_late_is_not_started() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("offer-taxi")
    async def offer_taxi(job: Job[Any]) -> None:
        raise AssertionError("the guest has walked home")

    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit("offer-taxi", id="taxi", expires=60)
        sim.advance(minutes=5)
        sim.resume_queue()
        sim.run_until_idle()
        taxi = sim.job("taxi")

    assert taxi is not None
    assert (taxi.state, taxi.reason) == ("cancelled", "expired")
