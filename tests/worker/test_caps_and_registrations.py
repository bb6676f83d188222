"""A handler's own cap on one worker, and handlers that are registered late or again."""

from __future__ import annotations

import asyncio
from typing import Any

from simulation import Simulation
from taskmanager import Job
from tests.worker.worlds import app, found, kinds, seconds


def test_jobs_over_their_handlers_cap_keep_a_slot_and_wait_there_unstarted() -> None:
    tm = app(concurrency=3)

    @tm.handler("narrow", concurrency=1)
    async def narrow(job: Job[Any]) -> None:
        await asyncio.sleep(10)

    @tm.handler("wide")
    async def wide(job: Job[Any]) -> None:
        await asyncio.sleep(1)

    with Simulation(tm) as sim:
        sim.emit_many([{"event": "narrow", "id": f"n{n}"} for n in range(3)])
        sim.emit("wide", id="w")
        sim.advance(5)
        assert [found(sim.job(f"n{n}")).state for n in range(3)] == ["active", "active", "active"]
        assert found(sim.job("w")).state == "waiting"
        assert len(sim.attempts("narrow")) == 1
        sim.run_until_idle()
        record = found(sim.job("n2"))
    assert [seconds(sim, "started", f"n{n}") for n in range(3)] == [[0], [10], [20]]
    assert seconds(sim, "started", "w") == [10]
    assert [step.detail["duration"] for step in sim.timeline.only(kind="completed", event="narrow") if step.detail] == [
        10,
        10,
        10,
    ]
    assert (record.attempts[0].ended_at - record.attempts[0].started_at).total_seconds() == 10


def test_a_timeout_counts_from_the_start_and_not_from_the_wait_for_the_cap() -> None:
    tm = app(concurrency=2)

    @tm.handler("narrow", concurrency=1, timeout=12)
    async def narrow(job: Job[Any]) -> None:
        await asyncio.sleep(10)

    with Simulation(tm) as sim:
        sim.emit_many([{"event": "narrow", "id": str(n)} for n in range(2)])
        sim.run_until_idle()
        assert sim.counts()["completed"] == 2


def test_a_job_that_waits_for_its_cap_is_cancelled_unstarted() -> None:
    tm = app(concurrency=2)

    @tm.handler("narrow", concurrency=1)
    async def narrow(job: Job[Any]) -> None:
        await asyncio.sleep(100)

    with Simulation(tm) as sim:
        sim.emit_many([{"event": "narrow", "id": str(n)} for n in range(2)])
        sim.advance(1)
        sim.cancel("1")
        sim.advance(5)
        assert found(sim.job("1")).state == "cancelled"
        sim.run_until_idle()
    assert kinds(sim, "1") == ["emitted", "cancelled"]


def test_the_cap_is_for_one_worker_and_holds_when_another_handler_is_registered_meanwhile() -> None:
    tm = app(concurrency=4)
    running: list[int] = []
    most: list[int] = []

    async def narrow(job: Job[Any]) -> None:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(10)
        running.pop()

    tm.register_handler(narrow, "narrow", concurrency=2)
    with Simulation(tm) as sim:
        sim.emit_many([{"event": "narrow", "data": n} for n in range(8)])
        sim.advance(5)
        tm.register_handler(narrow, "other")
        sim.advance(6)
        tm.register_handler(narrow, "narrow", concurrency=2)
        sim.run_until_idle()
        assert sim.counts()["completed"] == 8
    assert max(most) == 2


# ---- registered late, or again


def test_a_handler_registered_after_the_start_is_served_with_its_queue_and_its_schedule() -> None:
    tm = app()

    @tm.handler("early")
    async def early(job: Job[Any]) -> None: ...

    with Simulation(tm, start="2026-01-01T00:00:30Z") as sim:
        sim.emit("late", queue="new", id="l")
        sim.advance(60)
        assert found(sim.job("l", "new")).state == "waiting"

        @tm.handler("late", queue="new", repeat="* * * * *")
        async def late(job: Job[Any]) -> str | None:
            return job.schedule

        sim.run_until_idle()
        assert found(sim.job("l", "new")).state == "completed"
        sim.advance(120)
        assert len(sim.attempts("late")) == 3
        assert found(sim.job("late@2026-01-01T00:02:00Z", "new")).result == "late"


def test_a_handler_may_be_registered_by_a_handler_and_by_a_plain_one() -> None:
    tm = app()

    async def child(job: Job[Any]) -> str:
        return job.name

    @tm.handler("parent")
    async def parent(job: Job[Any]) -> None:
        tm.register_handler(child, "first", queue="first")

    @tm.handler("plain-parent")
    def plain_parent(job: Job[Any]) -> None:
        tm.register_handler(child, "second", queue="second", repeat="@hourly")

    with Simulation(tm) as sim:
        sim.emit("parent")
        sim.emit("plain-parent")
        sim.run_until_idle()
        assert sim.emit_and_wait("first", queue="first", timeout=5) == "first"
        assert sim.emit_and_wait("second", queue="second", timeout=5) == "second"
        assert [schedule.name for schedule in sim.schedules()] == ["second"]


def test_the_last_registration_wins_and_running_jobs_end_on_the_old() -> None:
    tm = app(concurrency=2)

    @tm.handler("work")
    async def old(job: Job[Any]) -> str:
        await asyncio.sleep(10)
        return "old"

    with Simulation(tm) as sim:
        sim.emit("work", id="1")
        sim.advance(1)

        @tm.handler("work", attempts=7)
        async def new(job: Job[Any]) -> str:
            return f"new {job.max_attempts}"

        sim.emit("work", id="2")
        sim.run_until_idle()
        assert [found(sim.job(job)).result for job in "12"] == ["old", "new 8"]


def test_a_worker_serves_only_the_queues_it_was_told_to() -> None:
    tm = app(queues=["mine"])

    for queue in ("mine", "theirs"):

        @tm.handler("work", queue=queue)
        async def work(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        sim.emit("work", queue="mine")
        sim.emit("work", queue="theirs")
        tm.register_handler(work, "late", queue="others")
        sim.emit("late", queue="others")
        sim.run_until_idle()
        sim.advance(60)
        assert [sim.counts(queue)["completed"] for queue in ("mine", "theirs", "others")] == [1, 0, 0]
