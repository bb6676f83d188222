"""An operator's other words: pause, resume, promote, delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError
from tests.worker.worlds import app, found, kinds, seconds


def sleeper(tm: TaskManager, sleep: float = 3600.0, **options: Any) -> None:
    @tm.handler("work", **options)
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(sleep)
        return "done"


def test_a_paused_queue_hands_out_nothing_and_what_runs_goes_on() -> None:
    tm = app(concurrency=5)
    sleeper(tm, 10)
    with Simulation(tm) as sim:
        sim.emit("work", id="1")
        sim.advance(1)
        sim.pause_queue()
        assert sim.is_queue_paused()
        sim.emit("work", id="2")
        sim.emit("work", id="3", delay=5)
        sim.advance(60)
        assert kinds(sim).count("started") == 1
        assert [found(sim.job(job)).state for job in "123"] == ["completed", "waiting", "waiting"]
        sim.resume_queue()
        sim.run_until_idle()
        assert sim.counts()["completed"] == 3
    assert seconds(sim, "started", "2") == seconds(sim, "resumed") == [61]


def test_pausing_twice_is_pausing_once() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.pause_queue()
        sim.resume_queue()
        sim.resume_queue()
    assert kinds(sim) == ["paused", "resumed"]


def test_a_queue_may_be_paused_from_within_a_handler() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await tm.pause_queue()

    with Simulation(tm) as sim:
        sim.emit_many([{"event": "work", "data": n} for n in range(3)])
        sim.run_until_idle()
        assert (sim.counts()["completed"], sim.counts()["waiting"]) == (1, 2)


def test_promote_runs_a_delayed_job_now() -> None:
    tm = app()
    sleeper(tm, 1)
    with Simulation(tm) as sim:
        sim.emit("work", id="w", delay=3600)
        assert found(sim.promote("w")).state == "waiting"
        sim.run_until_idle()
    assert kinds(sim) == ["emitted", "due", "started", "completed"]
    assert seconds(sim, "started") == [0]


def test_promote_of_a_job_between_two_tries_runs_the_retry_now() -> None:
    tm = app()

    @tm.handler("work", attempts=1, retry_delay=3600)
    async def work(job: Job[Any]) -> int:
        if job.attempt == 1:
            raise ValueError("boom")
        return job.attempt

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(10)
        sim.promote("w")
        sim.run_until_idle()
        assert found(sim.job("w")).result == 2
    assert seconds(sim, "completed") == [10]


@pytest.mark.parametrize("verb", ["promote", "delete_job", "retry"])
def test_an_active_job_takes_no_word_but_cancel(verb: str) -> None:
    tm = app()
    sleeper(tm, 10)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        with pytest.raises(UsageError, match="active"):
            getattr(sim, verb)("w")
        sim.run_until_idle()
        assert found(sim.job("w")).state == "completed"


def test_deleting_a_delayed_job_is_cancelling_it_and_it_is_gone() -> None:
    tm = app()
    sleeper(tm)
    with Simulation(tm) as sim:
        sim.emit("work", id="w", delay=10)
        assert found(sim.delete_job("w")).state == "cancelled"
        assert sim.job("w") is None
        sim.run_until_idle()
    assert kinds(sim) == ["emitted", "cancelled"]
