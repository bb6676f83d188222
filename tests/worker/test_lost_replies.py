"""Replies that get lost after the effect: nothing is stranded, and nothing counts twice."""

from __future__ import annotations

from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job
from tests.worker.worlds import app, found, holder, kinds, lose_replies, seconds, sleeper


@pytest.mark.parametrize("lease", [1, 15, 600])
def test_a_job_whose_claim_was_not_heard_is_handed_out_again_within_two_seconds(lease: float) -> None:
    tm = app(lease=lease, concurrency=3)
    sleeper(tm, 60)
    with Simulation(tm) as sim:
        sim.emit("work", id="before")
        sim.advance(30)
        lost = lose_replies(sim, sim.nodes[0], "claim", 1)
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert lost == ["claim"]
    assert (job.state, job.attempt, job.losses) == ("completed", 1, 0)
    assert 30 <= seconds(sim, "started", "w")[0] <= 32


def test_a_settlement_that_was_not_heard_is_sent_again_and_counts_once() -> None:
    tm = app()

    @tm.handler("work", attempts=2)
    async def work(job: Job[Any]) -> None:
        raise ValueError("boom")

    with Simulation(tm) as sim:
        lost = lose_replies(sim, sim.nodes[0], "settle", 3)
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert found(sim.job("w")).attempt == 3
    assert len(lost) == 3
    assert kinds(sim, "w") == ["emitted", "started", "retried", "due", "started", "retried", "due", "started", "failed"]


def test_an_emission_of_a_handler_that_was_not_heard_is_sent_again_and_counts_once() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        return str((await tm.emit("child", id="c")).status)

    @tm.handler("child")
    async def child(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        lost = lose_replies(sim, sim.nodes[0], "enqueue", 2)
        assert sim.emit_and_wait("work", timeout=60) == "emitted"
        sim.run_until_idle()
    assert len(lost) == 2
    assert kinds(sim, "c") == ["emitted", "started", "completed"]


def test_log_lines_that_were_not_heard_are_kept_once() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        for n in range(3):
            await job.logger(f"line {n}")

    with Simulation(tm) as sim:
        lose_replies(sim, sim.nodes[0], "extend", 2)
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert [line.message for line in sim.logs("w")] == ["line 0", "line 1", "line 2"]


def test_a_reaper_that_did_not_hear_what_it_took_over_settles_it_all_the_same() -> None:
    tm = app(lease=5)
    sleeper(tm, 10)
    with Simulation(tm, workers=2) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        dead = holder(sim)
        [reaper] = [node for node in sim.nodes if node is not dead]
        lose_replies(sim, reaper, "reap", 2)
        dead.crash()
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.attempt, job.losses) == ("completed", 2, 1)
