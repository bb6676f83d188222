"""A task's own date: one run, whatever is restarted, and none where it was past from the beginning."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import pytest

from simulation import Simulation
from taskmanager.tasks import TaskContext, forget_tasks, task
from tests.tasks.worlds import START, at, driver_in_force, runs, world


class Store:
    """A file that an application is started on, again and again; `ran` is when its task ran."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.ran: list[datetime] = []

    def start(self, now: datetime, date: datetime | str | None) -> Simulation:
        forget_tasks()
        driver = driver_in_force()

        def launch(ctx: TaskContext) -> None:
            self.ran.append(ctx.timestamp)

        task(name="launch", schedule=date, execute=launch)
        return world(driver, now, engine=self.url)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "tasks.db")


def test_it_runs_once_and_no_restart_runs_it_again_not_even_after_retention(store: Store) -> None:
    with store.start(START, at(hours=1)) as sim:
        [schedule] = sim.schedules()
        assert (schedule.pattern, schedule.next_run) == ("@at 2026-03-01T01:00:00Z", at(hours=1))
        sim.advance(hours=2)
        assert runs(sim, "launch") == ["01 01:00"]
    for days in (1, 40, 400):
        with store.start(at(days=days), at(hours=1)) as sim:
            sim.advance(days=8)
            assert sim.counts()["completed"] == 0  # its job is long gone
            assert [one.next_run for one in sim.schedules()] == [None]
    assert store.ran == [at(hours=1)]


def test_a_changed_date_replaces_the_earlier_one_and_is_one_run(store: Store) -> None:
    """The original keeps both."""
    with store.start(START, at(hours=5)) as sim:
        sim.advance(hours=1)
    with store.start(at(hours=2), at(hours=7)) as sim:
        sim.advance(hours=20)
    assert store.ran == [at(hours=7)]


def test_a_date_that_is_changed_after_it_ran_runs_again_at_the_new_one(store: Store) -> None:
    with store.start(START, at(hours=1)) as sim:
        sim.advance(hours=2)
    with store.start(at(hours=2), at(hours=3)) as sim:
        sim.advance(hours=2)
    assert store.ran == [at(hours=1), at(hours=3)]


def test_a_date_that_passed_while_nothing_ran_runs_once_when_the_application_is_back(store: Store) -> None:
    with store.start(START, at(hours=5)) as sim:
        sim.advance(hours=1)
    with store.start(at(days=3), at(hours=5)) as sim:
        sim.advance(hours=1)
        assert runs(sim, "launch") == ["04 00:00"]
    assert store.ran == [at(hours=5)]


def test_a_date_that_is_past_from_the_beginning_does_not_run_and_a_warning_says_so(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "taskmanager"):
        with store.start(START, at(hours=-1)) as sim:
            sim.advance(days=1)
        with store.start(at(days=2), at(hours=-1)) as sim:
            sim.advance(days=1)
    assert store.ran == []
    assert [line.getMessage() for line in caplog.records] == [
        "'launch' in queue 'default' was registered after its date, 2026-02-28T23:00:00Z: it does not run"
    ]


def test_several_workers_run_it_once(store: Store) -> None:
    driver = driver_in_force()
    task(name="launch", schedule=at(minutes=1), execute=lambda ctx: None)
    with world(driver, workers=3) as sim:
        sim.advance(hours=1)
        assert runs(sim, "launch") == ["01 00:01"]


def test_a_date_may_become_a_cron_and_a_cron_a_date(store: Store) -> None:
    with store.start(START, at(hours=1)) as sim:
        sim.advance(hours=2)
    with store.start(at(hours=2), "0 * * * *") as sim:
        sim.advance(hours=2)
    with store.start(at(hours=4), at(hours=6)) as sim:
        sim.advance(hours=5)
    assert store.ran == [at(hours=hour) for hour in (1, 3, 4, 6)]


def test_a_date_is_exact_to_the_millisecond() -> None:
    driver = driver_in_force()
    task(name="launch", schedule=at(seconds=1.5), execute=lambda ctx: None)
    with world(driver) as sim:
        sim.run_until(at(minutes=1))
        [step] = sim.attempts("launch")
        assert (step.at, step.job_id) == (at(seconds=1.5), "launch@2026-03-01T00:00:01.500Z")
