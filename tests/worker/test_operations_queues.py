"""The operations on queues: listings and pages, counts, pauses, purge, retry_all, and what exists."""

from __future__ import annotations

from typing import Any

import pytest

from simulation import Simulation
from taskmanager import State, TaskManager, UsageError
from tests.worker.apps import everything, failing, keeping, kinds


def numbered(count: int, **rest: Any) -> list[dict[str, Any]]:
    return [{"event": "work", "id": f"j{n}", **rest} for n in range(count)]


def test_jobs_are_listed_newest_emission_first() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit_many(numbered(4))
        sim.emit("work", id="j1", replace=True)
        assert [record.id for record in sim.jobs()] == ["j1", "j3", "j2", "j0"]


@pytest.mark.parametrize("by", ["record", "id", "handle"])
def test_pages_follow_one_another_without_a_gap(by: str) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        handles = {handle.id: handle for handle in sim.emit_many(numbered(25))}
        seen: list[str] = []
        after: Any = None
        while page := sim.jobs(limit=10, after=after):
            seen += [record.id for record in page]
            last = page[-1]
            after = {"record": last, "id": last.id, "handle": handles[last.id]}[by]
        assert seen == [f"j{n}" for n in range(24, -1, -1)]


def test_pages_by_record_go_on_where_that_job_is_gone() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit_many(numbered(6))
        page = sim.jobs(limit=3)
        sim.delete_job(page[-1].id)
        sim.emit("work", id="newer")
        assert [record.id for record in sim.jobs(limit=3, after=page[-1])] == ["j2", "j1", "j0"]
        with pytest.raises(UsageError, match="after must name a job that is still kept, got 'j3'"):
            sim.jobs(after="j3")


def test_a_listing_may_be_of_one_state() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit_many([*numbered(3), {"event": "work", "id": "later", "delay": 60}])
        sim.cancel("j1")
        assert [record.id for record in sim.jobs(state="waiting")] == ["j2", "j0"]
        assert [record.id for record in sim.jobs(state=State.DELAYED)] == ["later"]
        assert [record.id for record in sim.jobs(state="cancelled")] == ["j1"]
        assert sim.jobs(state="failed") == []


def test_counts_is_a_mapping_of_all_six_states() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        assert sim.counts("nowhere") == dict.fromkeys(State, 0)
        sim.emit_many([*numbered(3), {"event": "work", "id": "later", "delay": 60}])
        sim.cancel("j0")
        assert sim.counts() == {
            "waiting": 2,
            "delayed": 1,
            "active": 0,
            "completed": 0,
            "failed": 0,
            "cancelled": 1,
        }


def test_a_delayed_job_whose_time_has_come_is_waiting_for_every_read() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("work", id="j", delay=60)
        sim.advance(60)
        record = sim.job("j")
        assert record is not None
        assert record.state == "waiting"
        assert sim.counts()["waiting"] == 1
        assert [found.id for found in sim.jobs(state="waiting")] == ["j"]
        assert sim.jobs(state="delayed") == []


@pytest.mark.parametrize("state", ["waiting", "delayed", "completed", "failed", "cancelled"])
def test_purge_deletes_the_jobs_of_one_state_and_says_how_many(state: str) -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "fine")
    failing(tm, "bad")
    with Simulation(tm) as sim:
        sim.emit_many([{"event": event, "data": {"n": n}} for n in range(4) for event in ("fine", "bad")])
        sim.run_until_idle()
        sim.pause_queue()
        sim.emit_many([*numbered(12), *[{"event": "work", "id": f"d{n}", "delay": 60} for n in range(4)]])
        for n in range(8, 12):
            sim.cancel(f"j{n}")
        before = sim.counts()
        assert sim.purge("default", state) == before[State(state)]
        assert sim.counts() == {**before, State(state): 0}
        assert sim.purge("default", state) == 0


def test_purge_goes_on_past_a_thousand() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit_many(numbered(2500))
        assert sim.purge("default", "waiting") == 2500
        assert sim.jobs() == []


def test_purge_takes_no_active_job() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work", seconds=60)
    with Simulation(tm) as sim:
        sim.emit("work")
        sim.advance(1)
        before = everything(sim)
        with pytest.raises(UsageError, match="what is active in queue 'default' cannot be purged"):
            sim.purge("default", "active")
        assert everything(sim) == before


def test_retry_all_runs_every_failed_job_again_or_those_of_one_event() -> None:
    tm = TaskManager(db="memory://")
    bad, worse = failing(tm, "bad"), failing(tm, "worse")
    with Simulation(tm) as sim:
        sim.emit_many([{"event": event, "data": {"n": n}} for n in range(3) for event in ("bad", "worse")])
        sim.run_until_idle()
        assert sim.retry_all(event="bad") == 3
        sim.run_until_idle()
        assert (len(bad), len(worse)) == (6, 3)
        assert sim.retry_all() == 6
        sim.run_until_idle()
        assert (len(bad), len(worse)) == (9, 6)
        assert sim.retry_all("nowhere") == 0
        assert sim.retry_all(event="unknown") == 0


def test_a_pause_holds_a_queue_and_is_told_once() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work")
    with Simulation(tm) as sim:
        assert not sim.is_queue_paused()
        for _ in range(2):
            sim.pause_queue()
        assert sim.is_queue_paused()
        assert not sim.is_queue_paused("other")
        sim.emit("work", id="j")
        sim.advance(3600)
        assert kept == []
        for _ in range(2):
            sim.resume_queue()
        sim.run_until_idle()
        assert kinds(sim) == ["paused", "emitted", "resumed", "started", "completed"]
    assert len(kept) == 1


def test_a_pause_outlives_the_workers() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work")
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.stop()
        sim.start()
        assert sim.is_queue_paused()


def test_queues_are_those_of_the_store_and_those_that_are_served() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work", queue="served")
    with Simulation(tm) as sim:
        assert sim.queues() == ["served"]
        sim.emit("work", queue="nobody")
        sim.pause_queue("held")
        sim.emit("work", queue="planned", repeat={"pattern": "@daily"})
        assert sim.queues() == ["held", "nobody", "planned", "served"]


def test_schedules_say_which_has_no_handler_and_unschedule_ends_one() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "tick", repeat={"pattern": "@hourly"})
    with Simulation(tm, start="2026-03-28T00:30Z") as sim:
        sim.emit("orphan", id="o", repeat={"pattern": "@daily", "timezone": "Europe/Paris"})
        found = {schedule.name: schedule for schedule in sim.schedules()}
        assert {name: schedule.has_handler for name, schedule in found.items()} == {"tick": True, "o": False}
        assert found["o"].next_run is not None
        assert found["o"].next_run.isoformat() == "2026-03-28T23:00:00+00:00"
        assert sim.unschedule("o") is True
        assert sim.unschedule("o") is False
        assert [schedule.name for schedule in sim.schedules()] == ["tick"]


def test_a_page_is_at_most_a_thousand() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit_many(numbered(1001))
        assert len(sim.jobs()) == 100
        assert len(sim.jobs(limit=1000)) == 1000


def test_retry_all_takes_each_job_once_though_it_fails_again_meanwhile() -> None:
    tm = TaskManager(db="memory://", concurrency=50)
    ran = failing(tm, "bad")
    with Simulation(tm, workers=2) as sim:
        sim.emit_many([{"event": "bad", "data": {"n": n}} for n in range(2500)])
        sim.run_until_idle()
        before = len(ran)
        assert sim.retry_all() == 2500
        sim.run_until_idle()
        assert len(ran) == before + 2500
