"""A world that cannot reach its goal says so at once, and says who waits for what."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from simulation import Simulation, SimulationStuck
from simulation.loop import VirtualLoop
from taskmanager import Job, TaskManager
from tests.worker.worlds import found


def trouble() -> TaskManager:
    tm = TaskManager("memory://", concurrency=10)

    @tm.handler("hang")
    async def hang(job: Job[Any]) -> None:
        await asyncio.Event().wait()

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> None:
        await asyncio.sleep(60)

    @tm.handler("echo")
    async def echo(job: Job[Any]) -> None:
        await tm.emit("echo", {"n": job.data.get("n", 0) + 1})

    @tm.handler("spin")
    async def spin(job: Job[Any]) -> None:
        while True:  # noqa: ASYNC110  # the fault that is told
            await asyncio.sleep(0)  # time never passes here

    @tm.handler("tick", repeat="0 * * * *")
    async def tick(job: Job[Any]) -> None: ...

    return tm


Way = Callable[[Simulation], object]
WAYS: dict[str, Way] = {
    "run_until_idle": lambda sim: sim.run_until_idle(),
    "run_until": lambda sim: sim.run_until(lambda: False),
    "step": lambda sim: list(iter(sim.step, None)),
    "run": lambda sim: sim.run(asyncio.Event().wait()),
    "drain": lambda sim: sim.run(sim.tm.drain()),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_hung_handler_is_named_with_its_job_its_worker_and_its_line(way: str) -> None:
    with Simulation(trouble()) as sim:
        sim.emit("hang", id="order-17")
        with pytest.raises(SimulationStuck) as stuck:
            WAYS[way](sim)
        told = str(stuck.value)
        assert "'hang' (job 'order-17' in queue 'default', attempt 1 on worker-1)" in told
        assert "waits at test_simulation_stuck.py:" in told
        assert told.endswith("in hang") or way in ("run", "drain")


def test_a_hung_handler_is_told_at_the_moment_when_nothing_else_is_left() -> None:
    with Simulation(trouble(), start="2026-03-28T00:30Z") as sim:
        sim.emit("hang")
        sim.emit("nap")
        with pytest.raises(SimulationStuck, match="2026-03-28T00:31:00"):
            sim.run_until_idle()
        with pytest.raises(SimulationStuck, match="2026-03-28T00:31:00"):
            sim.run_until_idle()


def test_many_hung_handlers_are_told_in_part_and_counted() -> None:
    with Simulation(trouble()) as sim:
        for n in range(8):
            sim.emit("hang", {"n": n})
        with pytest.raises(SimulationStuck, match="and 3 more"):
            sim.run_until_idle()


def test_a_goal_that_no_occurrence_may_bring_is_stuck_where_only_occurrences_are_left() -> None:
    def three_ticks() -> bool:
        return len(sim.attempts("tick")) == 3

    with Simulation(trouble()) as sim:
        with pytest.raises(SimulationStuck, match=r"the goal 'three_ticks' cannot.*nothing is left but occurrences"):
            sim.run_until(three_ticks)
        assert not sim.timeline


def test_an_awaitable_that_never_ends_is_told_with_its_line_and_is_cancelled() -> None:
    ended: list[str] = []

    async def wait_for_nobody() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("ended")

    with Simulation(trouble()) as sim:
        with pytest.raises(SimulationStuck, match=r"the awaitable waits at test_simulation_stuck.py:\d+ in wait_for"):
            sim.run(wait_for_nobody())
        assert ended == ["ended"]
        sim.advance(60)


def test_an_awaitable_that_waits_for_an_occurrence_is_stuck_as_well() -> None:
    tm, rung = TaskManager("memory://"), asyncio.Event()

    @tm.handler("ring", repeat="@daily")
    async def ring(job: Job[Any]) -> None:
        rung.set()

    with Simulation(tm) as sim:
        with pytest.raises(SimulationStuck, match="occurrences to come"):
            sim.run(rung.wait())
        sim.run(asyncio.wait_for(rung.wait(), 100_000))
        assert sim.now.hour == 0


def test_a_hung_handler_that_somebody_will_cancel_is_not_stuck() -> None:
    with Simulation(trouble()) as sim:
        handle = sim.emit("hang")
        sim.advance(1)
        sim.cancel(handle)
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "cancelled"


def test_a_job_of_a_crashed_worker_is_not_stuck_while_another_can_take_it() -> None:
    with Simulation(trouble(), workers=2) as sim:
        handle = sim.emit("nap")
        sim.advance(1)
        holder = next(node for node in sim.nodes if node.name == sim.attempts("nap")[0].worker)
        holder.crash()
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "completed"
        assert [step.worker == holder.name for step in sim.attempts("nap")] == [True, False]


def test_a_job_whose_only_worker_crashed_is_stuck_until_it_boots() -> None:
    with Simulation(trouble()) as sim:
        handle = sim.emit("nap")
        sim.advance(1)
        (node,) = sim.nodes
        node.crash()
        with pytest.raises(SimulationStuck, match="worker-1 is down"):
            sim.run_until_idle()
        sim.run(node.boot())
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "completed"


def test_too_many_steps_at_one_instant_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.wire.ONE_INSTANT_STEPS", 2_000)
    with Simulation(trouble()) as sim:
        sim.emit("echo")
        with pytest.raises(
            SimulationStuck, match=r"2,000 steps happened at one instant; .* 'echo' .*without a delay\?"
        ):
            sim.advance(1)
        assert 2_000 < len(sim.timeline) < 2_010
        assert sim.now == sim.timeline[0].at


def test_one_instant_is_allowed_a_hundred_thousand_steps() -> None:
    from simulation import wire

    assert wire.ONE_INSTANT_STEPS == 100_000


def test_the_same_number_of_steps_at_several_instants_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulation.wire.ONE_INSTANT_STEPS", 50)
    with Simulation(trouble()) as sim:
        sim.advance(hours=100)
        assert len(sim.attempts("tick")) == 100


@pytest.mark.parametrize("way", ["run_until_idle", "run_until", "run"])
def test_max_steps_bounds_a_call(way: str) -> None:
    with Simulation(trouble(), max_steps=100) as sim:
        sim.emit("echo")
        with pytest.raises(SimulationStuck, match=r"not reached within 100 steps; a world that is never idle"):
            WAYS[way](sim)
        assert 100 < len(sim.timeline) < 110


def test_max_steps_is_counted_anew_by_each_call() -> None:
    with Simulation(trouble(), max_steps=30) as sim:
        for _ in range(5):
            for n in range(5):
                sim.emit("nap", {"n": n})
            sim.run_until_idle()
        assert len(sim.timeline.only(kind="completed")) == 25


def test_a_handler_that_never_lets_time_pass_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VirtualLoop, "spin_limit", 50_000)
    with Simulation(trouble()) as sim:
        sim.emit("spin")
        with pytest.raises(SimulationStuck, match=r"the world spins at .*'spin' .* in spin"):
            sim.run_until_idle()


def test_a_stuck_world_can_be_looked_at_and_left() -> None:
    with Simulation(trouble()) as sim:
        handle = sim.emit("hang")
        with pytest.raises(SimulationStuck):
            sim.run_until_idle()
        assert found(sim.job(handle)).state == "active"
        assert "is now active" in sim.explain(handle)
        assert sim.counts()["active"] == 1
