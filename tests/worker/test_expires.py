"""`expires`: not started after that; then it is cancelled, and says why."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, JobFailed, TaskManager
from tests.worker.apps import keeping, kinds


@pytest.mark.parametrize("expires", [10, 10.0, timedelta(seconds=10)])
def test_a_job_that_waited_too_long_is_cancelled_unstarted(expires: Any) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "offer")
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit("offer", id="o", expires=expires)
        sim.advance(10.001)
        sim.resume_queue()
        sim.run_until_idle()
        record = sim.job("o")
        assert kinds(sim, "o") == ["emitted", "cancelled"]
    assert record is not None
    assert (record.state, record.reason, record.attempt) == ("cancelled", "expired", 0)
    assert record.dead_letter is None
    assert kept == []


def test_at_the_very_moment_it_may_still_start() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "offer")
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit("offer", expires=10)
        sim.advance(10)
        sim.resume_queue()
        sim.run_until_idle()
    assert len(kept) == 1


def test_expires_may_be_a_moment() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "offer")
    with Simulation(tm) as sim:
        until = sim.now + timedelta(minutes=1)
        sim.pause_queue()
        sim.emit("offer", {"n": 1}, expires=until)
        sim.emit("offer", {"n": 2}, expires=until + timedelta(minutes=2))
        sim.advance(minutes=2)
        sim.resume_queue()
        sim.run_until_idle()
    assert kept == [{"n": 2}]


def test_what_has_started_in_time_runs_to_its_end() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "offer", seconds=3600)
    with Simulation(tm) as sim:
        sim.emit("offer", id="o", expires=10)
        sim.run_until_idle()
        record = sim.job("o")
    assert record is not None
    assert record.state == "completed"


def test_a_retry_that_comes_after_it_is_not_started() -> None:
    tm = TaskManager(db="memory://")
    attempts: list[int] = []

    @tm.handler("offer", attempts=5, retry_delay=60)
    async def offer(job: Job[Any]) -> None:
        attempts.append(job.attempt)
        raise RuntimeError("again")

    with Simulation(tm) as sim:
        sim.emit("offer", id="o", expires=100)
        sim.run_until_idle()
        record = sim.job("o")
    assert attempts == [1, 2]
    assert record is not None
    assert (record.state, record.reason) == ("cancelled", "expired")


def test_who_waits_for_the_result_is_told() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "offer")

    async def main() -> None:
        waiting = asyncio.ensure_future(tm.emit_and_wait("offer", expires=10, timeout=100))
        await asyncio.sleep(20)
        await tm.resume_queue()
        with pytest.raises(JobFailed) as failed:
            await waiting
        assert failed.value.reason == "expired"

    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.run(main())


def test_each_occurrence_of_an_emitted_schedule_counts_from_its_own_moment() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "offer", seconds=90)
    with Simulation(tm, start="2026-03-28T00:00Z") as sim:
        sim.emit("offer", id="every", repeat={"pattern": "* * * * *"}, expires=20)
        sim.advance(minutes=4, seconds=30)
        sim.unschedule("every")
        sim.run_until_idle()
        # 00:01 runs until 02:30; 00:02 expired at 02:20; 00:03 runs until 04:30; 00:04 expired.
        cancelled = sim.timeline.only(kind="cancelled")
        assert [step.job_id for step in cancelled] == [
            "every@2026-03-28T00:02:00Z",
            "every@2026-03-28T00:04:00Z",
        ]
    assert len(kept) == 2
