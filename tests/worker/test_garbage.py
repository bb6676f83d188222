"""A run that is over is freed at once: what refers to itself would stay until the cyclic collector comes by."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Discard, Job, RetryLater, TaskManager

RUNS = 3


async def returning(job: Job[Any], ctx: Any) -> str:
    await asyncio.sleep(1)
    return "done"


async def raising(job: Job[Any], ctx: Any) -> None:
    raise ValueError("wrong")


async def discarding(job: Job[Any], ctx: Any) -> None:
    raise Discard("never")


async def postponing(job: Job[Any], ctx: Any) -> None:
    if job.attempt == 1:
        raise RetryLater(1)


async def sleeping_too_long(job: Job[Any], ctx: Any) -> None:
    await asyncio.sleep(60)


async def speaking(job: Job[Any], ctx: Any) -> None:
    await job.logger("a line")
    await ctx.emit("other", delay=60)


def plain(job: Job[Any], ctx: Any) -> None:
    job.progress(0.5)


def made() -> int:
    """How many job objects are about."""
    return sum(type(one) is Job for one in gc.get_objects())


@pytest.mark.parametrize(
    "handler",
    [returning, raising, discarding, postponing, sleeping_too_long, speaking, plain],
    ids=lambda h: h.__name__,
)
def test_a_job_object_is_gone_with_its_run_without_the_collectors_help(handler: Any) -> None:
    tm = TaskManager("memory://")
    tm.register_handler(handler, event="work", timeout=10, attempts=1)
    gc.collect()
    before = made()
    gc.disable()
    try:
        with Simulation(tm) as sim:
            sim.emit_many([{"event": "work", "data": {"n": n}} for n in range(RUNS)])
            sim.run_until_idle()
            assert len(sim.attempts("work")) >= RUNS
            assert made() == before
    finally:
        gc.enable()
