"""Cancelling waiting, delayed and running jobs."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Discard, Job, JobFailed, RetryLater, TaskManager
from tests.worker.worlds import app, found, kinds, lose_replies


def sleeper(tm: TaskManager, sleep: float = 3600.0, **options: Any) -> None:
    @tm.handler("work", **options)
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(sleep)
        return "done"


def test_a_waiting_job_is_cancelled_at_once() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm, workers=0) as sim:
        sim.emit("work", id="w")
        job = found(sim.cancel("w"))
        assert (job.state, job.reason, job.dead_letter) == ("cancelled", "requested", None)
        assert kinds(sim, "w") == ["emitted", "cancelled"]


def test_a_delayed_job_is_cancelled_at_once_and_never_runs() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm) as sim:
        sim.emit("work", id="w", delay=60)
        assert found(sim.cancel("w")).state == "cancelled"
        sim.advance(hours=1)
    assert kinds(sim, "w") == ["emitted", "cancelled"]


@given(st.floats(0, 30), st.sampled_from([1, 2, 5, 15, 60]))
def test_a_running_job_hears_of_its_cancel_within_a_fifth_of_the_lease(after: float, lease: float) -> None:
    tm = app(lease=lease)
    sleeper(tm)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(after)
        asked = sim.now
        assert found(sim.cancel("w")).state == "active"
        sim.run_until_idle()
        ended = sim.timeline[-1]
    assert (ended.kind, ended.detail and ended.detail["reason"]) == ("cancelled", "requested")
    assert (ended.at - asked).total_seconds() <= lease / 5 + 0.001


def test_a_cancel_is_also_heard_by_the_second_of_two_workers() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm, workers=2) as sim:
        one, two = sim.emit("work", id="1"), sim.emit("work", id="2")
        sim.advance(1)
        sim.cancel(two)
        sim.advance(3)
        assert [found(sim.job(job)).state for job in (one, two)] == ["active", "cancelled"]


def test_a_run_that_completes_before_it_hears_keeps_its_outcome() -> None:
    tm = app()
    sleeper(tm, 1.5)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        sim.cancel("w")
        sim.run_until_idle()
        assert found(sim.job("w")).result == "done"


@pytest.mark.parametrize("error", [ValueError("boom"), RetryLater(5), RetryLater(0)])
def test_a_run_that_would_be_tried_again_becomes_cancelled_in_the_same_write(error: Exception) -> None:
    tm = app()

    @tm.handler("work", attempts=5)
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(1)
        raise error

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(0.5)
        sim.cancel("w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.reason, job.dead_letter) == ("cancelled", "requested", None)
    assert kinds(sim, "w") == ["emitted", "started", "cancelled"]


def test_a_final_failure_before_it_hears_keeps_its_outcome() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(1)
        raise Discard("no")

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(0.5)
        sim.cancel("w")
        sim.run_until_idle()
        assert found(sim.job("w")).state == "failed"


def test_what_the_handler_returns_once_the_cancel_was_heard_changes_nothing() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        return "done after all"

    with Simulation(tm) as sim:
        handle = sim.emit("work", id="w")
        sim.advance(1)
        sim.cancel("w")
        sim.run_until_idle()
        assert found(sim.job("w")).state == "cancelled"
        with pytest.raises(JobFailed, match="reason 'cancelled'"):
            sim.run(handle.result())


def test_a_plain_handler_is_cancelled_when_it_returns_and_is_told_by_stopping() -> None:
    tm = app(lease=5)
    told = []

    @tm.handler("work")
    def work(job: Job[Any]) -> str:
        while not job.stopping:
            time.sleep(0.25)
        told.append(True)
        time.sleep(20)
        return "done after all"

    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(1.1)
        sim.cancel("w")
        sim.advance(1.5)
        assert told == [True]
        assert found(sim.job("w")).state == "active"
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.result, job.losses) == ("cancelled", None, 0)
    assert kinds(sim, "w") == ["emitted", "started", "cancelled"]


def test_a_cancel_during_the_last_flush_comes_too_late() -> None:
    tm = app(lease=1)

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        tm.emit("note", id="n", queue="other")
        return "done"

    with Simulation(tm) as sim:
        lost = lose_replies(sim, sim.nodes[0], "enqueue", 5)
        handle = sim.emit("work", id="w")
        sim.advance(0.1)
        assert found(sim.cancel(handle)).state == "active"
        sim.run_until_idle()
        assert (sim.now - sim.timeline[0].at).total_seconds() > 1 / 5
        assert len(lost) == 5
        assert found(sim.job("w")).result == "done"


def test_cancelling_twice_is_cancelling_once() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        assert found(sim.cancel("w")).state == found(sim.cancel("w")).state == "active"
        sim.run_until_idle()
        assert found(sim.cancel("w")).state == "cancelled"
    assert kinds(sim, "w").count("cancelled") == 1


def test_a_cancelled_job_whose_worker_dies_ends_cancelled_and_does_not_run_again() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(0.5)
        node = next(node for node in sim.nodes if node.worker and node.worker.attempts())
        sim.cancel("w")
        node.crash()
        sim.run_until_idle()
        assert found(sim.job("w")).reason == "requested"
    assert kinds(sim, "w") == ["emitted", "started", "cancelled"]


def test_an_expired_job_is_not_started() -> None:
    tm = app()
    sleeper(tm, 60)
    with Simulation(tm) as sim:
        sim.emit("work", id="first")
        sim.emit("work", id="second", expires=59)
        sim.emit("work", id="third", expires=60)
        sim.run_until_idle()
        assert (found(sim.job("second")).state, found(sim.job("second")).reason) == ("cancelled", "expired")
        assert found(sim.job("third")).state == "completed"
    assert kinds(sim, "second") == ["emitted", "cancelled"]
