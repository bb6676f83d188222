"""Small applications to emit to: handlers that keep what they were given, and run as long as they are told."""

from __future__ import annotations

import asyncio
from typing import Any

from simulation import Simulation
from taskmanager import Job, TaskManager


def keeping(tm: TaskManager, event: str, *, seconds: float = 0, **options: Any) -> list[Any]:
    """Registers a handler that takes `seconds`; the data of each run, in the order of their starts."""
    kept: list[Any] = []

    async def keep(job: Job[Any]) -> None:
        kept.append(job.data)
        await asyncio.sleep(seconds)

    tm.register_handler(keep, event=event, **options)
    return kept


def failing(tm: TaskManager, event: str, **options: Any) -> list[int]:
    """Registers a handler that always raises; the number of each attempt."""
    attempts: list[int] = []

    async def fail(job: Job[Any]) -> None:
        attempts.append(job.attempt)
        raise RuntimeError("it is broken")

    tm.register_handler(fail, event=event, **options)
    return attempts


def everything(sim: Simulation) -> tuple[Any, ...]:
    """All that a store holds and all that has happened: equal before and after a call that changed nothing."""
    queues = sim.queues()
    jobs = [sim.jobs(queue, limit=1000) for queue in queues]
    paused = [sim.is_queue_paused(queue) for queue in queues]
    return queues, jobs, paused, sim.schedules(), str(sim.timeline)


def kinds(sim: Simulation, job_id: str | None = None) -> list[str]:
    """The kinds of the steps so far (of one job), in order."""
    return [str(step.kind) for step in sim.timeline.only(job_id=job_id)]
