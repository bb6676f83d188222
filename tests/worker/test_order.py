"""Who goes first: priority, then the order of becoming waiting; and between queues, turns."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Job, TaskManager
from tests.worker.apps import keeping


def test_higher_priority_goes_first_and_within_one_the_first_emitted() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work")
    with Simulation(tm) as sim:
        sim.pause_queue()
        for n, priority in enumerate([0, 100, -100, 0, 7, 100]):
            sim.emit("work", {"n": n}, priority=priority)
        sim.resume_queue()
        sim.run_until_idle()
    assert [data["n"] for data in kept] == [1, 5, 4, 0, 3, 2]


@given(st.lists(st.integers(-100, 100), max_size=30), st.integers(1, 3))
def test_the_order_of_starts_is_that_of_a_stable_sort_by_priority(priorities: list[int], concurrency: int) -> None:
    tm = TaskManager(db="memory://", concurrency=concurrency)
    kept = keeping(tm, "work", seconds=1)
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit_many([{"event": "work", "data": {"n": n}, "priority": p} for n, p in enumerate(priorities)])
        sim.resume_queue()
        sim.run_until_idle()
    expected = sorted(range(len(priorities)), key=lambda n: -priorities[n])
    assert [data["n"] for data in kept] == expected


def test_a_handlers_priority_holds_for_emissions_that_bring_none() -> None:
    tm = TaskManager(db="memory://")
    ran: list[str] = []
    for name, priority in (("low", -5), ("none", None), ("high", 5)):
        tm.register_handler(_naming(ran), event=name, priority=priority)
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit_many(
            [{"event": "low"}, {"event": "none"}, {"event": "high"}, {"event": "low", "id": "urgent", "priority": 9}]
        )
        sim.resume_queue()
        sim.run_until_idle()
    assert ran == ["low", "high", "none", "low"]


def _naming(ran: list[str]) -> Any:
    async def run(job: Job[Any]) -> None:
        ran.append(job.name)

    return run


def test_what_becomes_waiting_again_goes_to_the_end_of_its_priority() -> None:
    tm = TaskManager(db="memory://")
    ran: list[tuple[int, int]] = []

    @tm.handler("work", attempts=1, retry_delay=1)
    async def work(job: Job[Any]) -> None:
        ran.append((job.data["n"], job.attempt))
        await asyncio.sleep(1)
        if job.data["n"] == 0 and job.attempt == 1:
            raise RuntimeError("again")

    with Simulation(tm) as sim:
        sim.emit_many([{"event": "work", "data": {"n": n}} for n in range(4)])
        sim.run_until_idle()
    # Its retry was due at 2 s, behind those that were waiting since the beginning.
    assert ran == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2)]


def test_delayed_jobs_become_waiting_in_the_order_of_their_moments_then_of_their_emission() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work")
    with Simulation(tm) as sim:
        sim.pause_queue()
        for n, delay in enumerate([30, 10, 20, 10]):
            sim.emit("work", {"n": n}, delay=delay)
        sim.advance(60)
        sim.emit("work", {"n": "now"})
        sim.resume_queue()
        sim.run_until_idle()
    assert [data["n"] for data in kept] == [1, 3, 2, 0, "now"]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("quiet_first", [True, False], ids=["quiet queue first", "flooded queue first"])
def test_a_flooded_queue_does_not_starve_a_quiet_one(concurrency: int, quiet_first: bool) -> None:
    tm = TaskManager(db="memory://", concurrency=concurrency)
    order: list[str] = []

    async def work(job: Job[Any]) -> None:
        order.append(job.queue)
        await asyncio.sleep(1)

    queues = ("quiet", "flooded") if quiet_first else ("flooded", "quiet")
    for queue in queues:
        tm.register_handler(work, event="work", queue=queue)
    with Simulation(tm) as sim:
        sim.emit_many([{"event": "work", "data": {"n": n}, "queue": "flooded"} for n in range(400)])
        sim.advance(10.5)
        for n in range(5):
            sim.emit("work", {"n": n}, queue="quiet")
        before = len(order)
        sim.advance(12)
    # A turn each: the five of the quiet queue are among the next ones, not behind the four hundred.
    assert order[before:].count("quiet") == 5
    assert order[before : before + 10 * concurrency].count("quiet") == 5


def test_many_flooded_queues_advance_side_by_side() -> None:
    tm = TaskManager(db="memory://", concurrency=2)
    order: list[str] = []

    async def work(job: Job[Any]) -> None:
        order.append(job.queue)
        await asyncio.sleep(1)

    queues = [f"q{n}" for n in range(5)]
    for queue in queues:
        tm.register_handler(work, event="work", queue=queue)
    with Simulation(tm) as sim:
        sim.emit_many([{"event": "work", "data": {"n": n}, "queue": queue} for queue in queues for n in range(50)])
        sim.advance(49.5)
    served = [order.count(queue) for queue in queues]
    assert sum(served) == 100
    assert min(served) >= 18


def test_a_paused_queue_gives_its_turns_to_the_others() -> None:
    tm = TaskManager(db="memory://")
    order: list[str] = []

    async def work(job: Job[Any]) -> None:
        order.append(job.queue)
        await asyncio.sleep(1)

    for queue in ("a", "b"):
        tm.register_handler(work, event="work", queue=queue)
    with Simulation(tm) as sim:
        sim.pause_queue("a")
        sim.emit_many([{"event": "work", "data": {"n": n}, "queue": queue} for queue in "ab" for n in range(5)])
        sim.advance(5.5)
        assert order == ["b"] * 5
        sim.resume_queue("a")
        sim.run_until_idle()
    assert order == ["b"] * 5 + ["a"] * 5


def test_a_quiet_queue_is_found_in_a_flood_of_handlers_that_take_no_time() -> None:
    tm = TaskManager(db="memory://")
    order: list[str] = []

    async def work(job: Job[Any]) -> None:
        order.append(job.queue)

    for queue in ("flooded", "quiet"):
        tm.register_handler(work, event="work", queue=queue)
    with Simulation(tm) as sim:
        sim.pause_queue("flooded")
        sim.emit_many([{"event": "work", "data": {"n": n}, "queue": "flooded"} for n in range(200)])
        sim.resume_queue("flooded")
        sim.run_until(lambda: len(order) == 20)
        sim.emit("work", queue="quiet")
        sim.run_until_idle()
    assert order.index("quiet") < 60


def test_a_delayed_job_of_a_quiet_queue_is_not_hidden_by_a_flood() -> None:
    tm = TaskManager(db="memory://")
    order: list[str] = []

    async def work(job: Job[Any]) -> None:
        order.append(job.queue)
        await asyncio.sleep(1)

    for queue in ("flooded", "quiet"):
        tm.register_handler(work, event="work", queue=queue)
    with Simulation(tm) as sim:
        sim.emit("work", queue="quiet", delay=20)
        sim.emit_many([{"event": "work", "data": {"n": n}, "queue": "flooded"} for n in range(200)])
        sim.advance(23)
    assert "quiet" in order


def test_the_first_turn_is_shared_as_well() -> None:
    tm = TaskManager("memory://", concurrency=1)
    order: list[str] = []
    for queue in "abc":

        @tm.handler("work", queue=queue)
        async def work(job: Job[Any]) -> None:
            order.append(job.queue)
            await asyncio.sleep(1)

    with Simulation(tm) as sim:
        for queue in "abc":
            sim.emit_many([{"event": "work", "queue": queue, "data": {"n": n}} for n in range(4)])
        sim.run_until_idle()
    assert "".join(order) == "abc" * 4
