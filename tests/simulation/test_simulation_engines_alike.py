"""A store that answers on the spot and a server that answers after a round trip: one order of things at one instant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from simulation import Simulation, SimulationStuck
from taskmanager import Job, JobHandle, TaskManager
from taskmanager.steps import Step
from tests.servers import Servers


def meddling() -> TaskManager:
    """`meddle` cancels job after job, as many as its data says, whether they are there or not."""
    tm = TaskManager("memory://", concurrency=2)

    @tm.handler("meddle")
    async def meddle(job: Job[Any]) -> None:
        for n in range(job.data["cancels"]):
            await tm.cancel(f"idle-{n}")

    return tm


def store(engine: str, servers: Servers) -> str:
    return servers.shared("valkey").url if engine == "redis" else f"{engine}://"


CALLS: dict[str, Callable[[JobHandle], Any]] = {
    "cancel": lambda handle: handle.cancel(),
    "refresh": lambda handle: handle.refresh(),
    "result": lambda handle: handle.result(timeout=5),
}


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("cancels", [0, 1, 3])
@pytest.mark.parametrize("call", CALLS)
def test_what_run_was_given_ends_before_the_world_calls_again(
    call: str, cancels: int, workers: int, servers: Servers
) -> None:
    def steps(engine: str) -> list[Step]:
        with Simulation(meddling(), engine=store(engine, servers), workers=workers) as sim:
            handle = sim.emit("meddle", {"cancels": cancels}, id="one")
            sim.run(CALLS[call](handle))
            sim.emit("meddle", {"cancels": cancels}, id="two")
            sim.run_until_idle()
            return list(sim.timeline)

    told = steps("memory")
    assert len(told) == 6
    assert steps("sqlite") == told
    assert steps("redis") == told


@pytest.mark.parametrize("max_steps", [1, 2, 3, 4])
def test_a_world_that_is_stopped_stands_at_the_same_step(max_steps: int, servers: Servers) -> None:
    def steps(engine: str) -> list[Step]:
        with Simulation(meddling(), engine=store(engine, servers), max_steps=max_steps) as sim:
            for n in range(6):
                sim.emit("idle", id=f"idle-{n}", delay=60)
            sim.emit("meddle", {"cancels": 6})
            with pytest.raises(SimulationStuck, match=f"within {max_steps} steps"):
                sim.run_until_idle()
            return list(sim.timeline)

    told = steps("memory")
    assert len(told) == 7 + max_steps + 1
    assert steps("sqlite") == told
    assert steps("redis") == told


def test_a_plain_call_is_answered_also_behind_a_command_of_a_handler(servers: Servers) -> None:
    def steps(engine: str) -> list[Step]:
        with Simulation(meddling(), engine=store(engine, servers)) as sim:
            sim.emit("idle", id="idle-1", delay=60)
            handle = sim.emit("meddle", {"cancels": 3})
            sim.run(handle.cancel())
            before = sim.now
            assert sim.cancel("idle-7") is None  # the handler is in the midst of its first one
            assert sim.now == before
            assert [step.kind for step in sim.timeline][-1] == "started"
            sim.run_until_idle()
            return list(sim.timeline)

    told = steps("memory")
    assert [step.kind for step in told] == ["emitted", "emitted", "started", "cancelled", "completed"]
    assert steps("sqlite") == told
    assert steps("redis") == told
