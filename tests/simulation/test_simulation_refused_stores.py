"""A world whose store cannot be used: it says so in the store's own words, and the application is as it was before."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from simulation import Simulation
from taskmanager import EngineUnavailable, Job, TaskManager, UsageError

START = "2036-03-28T00:00Z"


def napping(tm: TaskManager) -> TaskManager:
    @tm.handler("nap")
    async def nap(job: Job[Any]) -> None:
        await asyncio.sleep(1)

    return tm


@pytest.mark.parametrize("workers", [1, 3])
def test_a_server_that_is_away_is_told_as_it_is_and_the_application_is_given_back(workers: int) -> None:
    tm = napping(TaskManager("memory://"))
    tm.register_handler(lambda job: None, "tick", repeat="0 * * * *")
    for _ in range(2):
        with (
            pytest.raises(EngineUnavailable, match=r"^redis://127\.0\.0\.1:1/0: "),
            Simulation(tm, engine="redis://127.0.0.1:1/0", workers=workers) as sim,
        ):
            sim.advance(hours=1)
    napping(tm)  # nobody of those worlds hears of it
    with Simulation(tm, start=START, workers=workers) as sim:
        sim.emit("nap")
        sim.advance(hours=1)
        assert len(sim.attempts("nap")) == 1


def test_a_store_that_is_real_is_refused_and_the_application_is_given_back() -> None:
    url = f"memory://{uuid4().hex}"

    async def mark() -> None:
        async with napping(TaskManager(url)) as real:
            await real.emit("nap")

    asyncio.run(mark())
    tm = napping(TaskManager("memory://"))
    with pytest.raises(UsageError, match="real"), Simulation(tm, engine=url, workers=2) as sim:
        sim.advance(hours=1)
    napping(tm)
    with Simulation(tm, start=START) as sim:
        sim.emit("nap")
        sim.run_until_idle()
