"""Workers that die, freeze, or fall silent: their jobs run again, and nothing that a zombie does changes them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Job
from tests.worker.worlds import app, found, holder, kinds, mute, seconds, sleeper, unmute, worker_of

# ---- crashes


@given(st.floats(0.01, 50), st.sampled_from([1, 5, 15]))
def test_the_jobs_of_a_killed_worker_run_again_within_lease_and_two_seconds(after: float, lease: float) -> None:
    tm = app(lease=lease, concurrency=2)
    sleeper(tm, 60)
    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="a")
        sim.emit("work", id="b")
        sim.advance(after)
        dead = holder(sim)
        mine = [attempt.claim.id for attempt in worker_of(dead).attempts()]
        dead.crash()
        crashed = sim.now
        sim.run_until_idle()
        for job_id in mine:
            again = sim.timeline.only(kind="started", job_id=job_id)[1]
            assert (again.at - crashed).total_seconds() <= lease + 2
            job = found(sim.job(job_id))
            assert (job.state, job.result, job.losses) == ("completed", 2, 1)
            assert kinds(sim, job_id) == ["emitted", "started", "stalled", "started", "completed"]


def test_a_lone_worker_that_comes_back_runs_its_own_jobs_again_under_a_new_name() -> None:
    tm = app(lease=10)
    ended = sleeper(tm, 60)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(30)
        sim.nodes[0].crash()
        sim.advance(1)
        sim.run(sim.nodes[0].boot())
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert ended == [2]
    first, second = (attempt.worker for attempt in job.attempts)
    assert first != second
    assert [attempt.outcome for attempt in job.attempts] == ["stalled", "completed"]
    assert 38 <= seconds(sim, "stalled")[0] <= 43


def test_nothing_of_a_crashed_worker_leaves_its_node() -> None:
    tm = app(lease=10)
    cleaned = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(job.attempt)
            if job.attempt == 1:
                tm.emit("from-the-grave")
                await job.logger("last words")

    @tm.handler("plain")
    def plain(job: Job[Any]) -> None:
        time.sleep(60)
        if job.attempt == 1:
            tm.emit("from-the-grave")

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(5)
        sim.nodes[0].crash()
        sim.advance(1)
        assert (cleaned, sim.logs("w")) == ([1], [])
        sim.run(sim.nodes[0].boot())
        sim.run_until_idle()
        sim.emit("plain", id="p")
        sim.advance(5)
        sim.nodes[0].crash()
        sim.advance(200)
        sim.run(sim.nodes[0].boot())
        sim.run_until_idle()
        assert sim.counts()["completed"] == 2
    assert not sim.timeline.only(event="from-the-grave")


def test_a_lost_lease_spends_no_retry_but_the_last_allowed_loss_fails_the_job() -> None:
    tm = app(lease=5, max_stalled=3)
    sleeper(tm, 3600)
    with Simulation(tm) as sim:
        sim.emit("work", id="w", attempts=0)
        for _ in range(3):
            sim.advance(10)
            sim.nodes[0].crash()
            sim.run(sim.nodes[0].boot())
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.reason, job.losses, job.attempt) == ("failed", "stalled", 3, 3)
    assert job.dead_letter is not None
    assert kinds(sim, "w") == ["emitted", "started", "stalled", "started", "stalled", "started", "failed"]


# ---- zombies


def test_a_zombie_loses_its_jobs_and_nothing_it_does_changes_them() -> None:
    tm = app(lease=5)
    ended = sleeper(tm, 30)
    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        zombie = holder(sim)
        mute(sim, zombie)
        sim.run_until_idle()
        job = found(sim.job("w"))
        assert (job.state, job.result, job.losses, ended) == ("completed", 2, 1, [1, 2])
        assert job.attempts[0].worker != job.attempts[1].worker
    assert kinds(sim, "w") == ["emitted", "started", "stalled", "started", "completed"]


def test_a_zombies_failure_log_and_progress_change_nothing() -> None:
    tm = app(lease=5)

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(20)
        await job.logger(f"attempt {job.attempt}")
        await job.progress(0.5)
        if job.attempt == 1:
            raise ValueError("from the zombie")
        return "second"

    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        mute(sim, holder(sim))
        sim.run_until_idle()
        job = found(sim.job("w"))
        assert [line.message for line in sim.logs("w")] == ["attempt 2"]
    assert (job.state, job.result, job.error) == ("completed", "second", None)
    assert [step.attempt for step in sim.timeline.only(kind="progress")] == [2]


def test_a_worker_that_lost_its_lease_is_told_with_its_next_beat_and_its_handlers_are_cancelled() -> None:
    tm = app(lease=5)
    cancelled = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append((job.attempt, job.stopping))
            raise

    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        zombie = holder(sim)
        mute(sim, zombie)
        sim.advance(15)
        assert found(sim.job("w")).attempt == 2
        assert cancelled == []
        unmute(sim, zombie)
        sim.advance(1)
        assert cancelled == [(1, True)]
        assert worker_of(zombie).free == 1
        sim.run_until_idle()
        assert found(sim.job("w")).state == "completed"


def test_a_lost_plain_handler_keeps_its_slot_until_it_returns_and_then_the_worker_goes_on() -> None:
    tm = app(lease=5)
    said = []

    @tm.handler("plain")
    def plain(job: Job[Any]) -> None:
        time.sleep(40)
        said.append((job.attempt, job.stopping))

    with Simulation(tm, workers=2) as sim:
        sim.emit("plain", id="p")
        sim.advance(1)
        zombie = holder(sim)
        mute(sim, zombie)
        sim.advance(10)
        unmute(sim, zombie)
        sim.advance(20)
        assert worker_of(zombie).free == 0
        sim.advance(10)
        assert worker_of(zombie).free == 1
        sim.run_until_idle()
        job = found(sim.job("p"))
    assert said[0] == (1, True)
    assert (job.state, job.attempt, job.losses) == ("completed", 2, 1)


def test_a_late_worker_nobody_has_reaped_keeps_its_job() -> None:
    tm = app(lease=5)
    ended = sleeper(tm, 60)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        mute(sim, sim.nodes[0])
        sim.advance(30)
        unmute(sim, sim.nodes[0])
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.losses, ended) == ("completed", 0, [1])


@pytest.mark.parametrize("hours", [0.01, 1, 24])
def test_after_the_machine_slept_each_worker_beats_before_it_reaps_so_no_job_is_lost(hours: float) -> None:
    tm = app(lease=15)
    sleeper(tm, 600)
    with Simulation(tm, workers=3) as sim:
        jobs = sim.emit_many([{"event": "work", "data": n} for n in range(3)])
        sim.advance(100)
        sim.jump(hours=hours)
        sim.run_until_idle()
        for job in jobs:
            assert (found(sim.job(job)).state, found(sim.job(job)).losses) == ("completed", 0)
    assert "stalled" not in kinds(sim)


def test_a_frozen_worker_that_wakes_takes_up_what_died_meanwhile_after_a_beat() -> None:
    tm = app(lease=5)
    sleeper(tm, 100)
    with Simulation(tm, workers=2) as sim:
        sim.emit_many([{"event": "work", "data": n} for n in range(2)])
        sim.advance(10)
        sim.nodes[0].crash()
        sim.jump(hours=1)
        woke = sim.now
        sim.run_until_idle()
        assert sim.counts()["completed"] == 2
        [stalled] = sim.timeline.only(kind="stalled")
    assert (stalled.at - woke).total_seconds() <= 7


def test_a_handler_that_swallows_the_loss_of_its_lease_changes_nothing() -> None:
    tm = app(lease=5)

    @tm.handler("work")
    async def work(job: Job[Any]) -> int:
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
        return job.attempt

    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        zombie = holder(sim)
        mute(sim, zombie)
        sim.advance(13)
        unmute(sim, zombie)
        sim.run_until_idle()
        assert found(sim.job("w")).result == 2
