"""Jobs that kill their worker: they end, and take no neighbour down."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job
from tests.worker.worlds import app, found


@pytest.mark.parametrize(("workers", "concurrency"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_a_job_that_kills_its_worker_ends_stalled_and_takes_no_neighbour_down(workers: int, concurrency: int) -> None:
    tm = app(lease=5, concurrency=concurrency, max_stalled=3)
    fatal: list[str] = []

    @tm.handler("poison")
    async def poison(job: Job[Any]) -> None:
        await asyncio.sleep(1)
        fatal.append(job.id)
        await asyncio.sleep(3600)

    @tm.handler("honest")
    async def honest(job: Job[Any]) -> None:
        await asyncio.sleep(3)

    with Simulation(tm, workers=workers) as sim:
        sim.emit("poison", id="poison")
        sim.emit_many([{"event": "honest", "data": n} for n in range(12)])
        for _ in range(400):
            sim.advance(0.5)
            for job_id in fatal:
                for node in sim.nodes:
                    if node.worker and any(attempt.claim.id == job_id for attempt in node.worker.attempts()):
                        node.crash()
                        sim.run(node.boot())
            fatal.clear()
        sim.run_until_idle()
        job = found(sim.job("poison"))
        counts = sim.counts()
    assert (job.state, job.reason, job.losses) == ("failed", "stalled", 3)
    assert (counts["failed"], counts["completed"]) == (1, 12)


def test_two_poison_jobs_are_tried_one_at_a_time_once_they_are_suspect() -> None:
    tm = app(lease=5, concurrency=4, max_stalled=2)
    together: list[int] = []
    running: set[str] = set()

    @tm.handler("suspect")
    async def suspect(job: Job[Any]) -> None:
        running.add(job.id)
        if job.attempt > 1:
            together.append(len(running))
        try:
            await asyncio.sleep(10)
        finally:
            running.discard(job.id)

    with Simulation(tm) as sim:
        sim.emit_many([{"event": "suspect", "data": n} for n in range(3)])
        sim.advance(1)
        sim.nodes[0].crash()
        sim.run(sim.nodes[0].boot())
        sim.run_until_idle()
        assert sim.counts()["completed"] == 3
    assert together == [1, 1, 1]
