"""What a handler emits, awaited or not, in its task or in a thread, is stored before its own job is settled."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import EngineUnavailable, Job, TaskManager
from tests.worker.apps import keeping, kinds
from tests.worker.dead_queue import dead_queue as dead_queue


def test_what_a_handler_emitted_is_stored_before_its_own_job_is_settled() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "child")

    @tm.handler("parent")
    async def parent(job: Job[Any], ctx: Any) -> None:
        for n in range(3):
            ctx.emit("child", {"n": n})
        tm.emit("child", {"n": "by tm"})

    with Simulation(tm) as sim:
        sim.emit("parent", id="p")
        sim.run_until_idle()
        steps = [(str(step.kind), step.event) for step in sim.timeline]
    assert steps.index(("completed", "parent")) > max(
        place for place, step in enumerate(steps) if step == ("emitted", "child")
    )
    assert steps.count(("emitted", "child")) == 4


def test_emissions_are_not_undone_when_the_attempt_fails() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "child")

    @tm.handler("parent", attempts=2, retry_delay=60)
    async def parent(job: Job[Any], ctx: Any) -> None:
        ctx.emit("child", {"same": "each time"}, delay=3600)
        ctx.emit("child", {"attempt": job.attempt})
        raise RuntimeError("after all")

    with Simulation(tm) as sim:
        sim.emit("parent")
        sim.run_until_idle()
        # The next run emits again, and identity makes that harmless.
        assert kinds(sim).count("duplicate") == 2
    assert kept == [{"attempt": 1}, {"attempt": 2}, {"attempt": 3}, {"same": "each time"}]


def test_a_refused_emission_fails_the_attempt_like_any_error() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("parent")
    async def parent(job: Job[Any], ctx: Any) -> None:
        ctx.emit("child", {"bad": {1, 2}})

    with Simulation(tm) as sim:
        sim.emit("parent", id="p")
        sim.run_until_idle()
        record = sim.job("p")
    assert record is not None
    assert record.error is not None
    assert (record.state, record.error.type) == ("failed", "UsageError")
    assert "data.bad" in record.error.message


def test_what_could_not_be_sent_is_logged_and_fails_the_attempt(
    dead_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("parent", attempts=1, retry_delay=1)
    async def parent(job: Job[Any], ctx: Any) -> str:
        ctx.emit("child", queue="dead" if job.attempt == 1 else "alive")
        return "fine"

    with Simulation(tm, engine=dead_queue) as sim, caplog.at_level(logging.ERROR, "taskmanager"):
        sim.emit("parent", id="p")
        sim.run_until_idle()
        record = sim.job("p")
        assert sim.counts("alive")["waiting"] == 1
    assert record is not None
    assert (record.state, record.attempt, record.result) == ("completed", 2, "fine")
    first = record.attempts[0].error
    assert first is not None
    assert first.type == "EngineUnavailable"
    assert "perhaps stored" in first.message
    assert "1 emission(s) to queue 'dead' could not be sent" in caplog.text


def test_a_task_that_a_handler_started_emits_for_that_handler_while_it_runs() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "child")

    @tm.handler("parent")
    async def parent(job: Job[Any], ctx: Any) -> None:
        async def side(n: int) -> None:
            await asyncio.sleep(n)
            ctx.emit("child", {"n": n})

        async with asyncio.TaskGroup() as group:
            for n in (2, 1):
                group.create_task(side(n))

    with Simulation(tm) as sim:
        sim.emit("parent")
        sim.run_until_idle()
    assert kept == [{"n": 1}, {"n": 2}]


def test_a_task_that_outlives_its_handler_still_emits() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "child")
    tasks: list[asyncio.Task[None]] = []

    @tm.handler("parent")
    async def parent(job: Job[Any], ctx: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(60)
            await ctx.emit("child", {"late": True})

        tasks.append(asyncio.create_task(later()))

    with Simulation(tm) as sim:
        sim.emit("parent")
        sim.advance(61)
    assert kept == [{"late": True}]


def test_a_thread_that_an_async_handler_started_emits_for_that_handler() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "child")

    @tm.handler("parent")
    async def parent(job: Job[Any], ctx: Any) -> Any:
        handle = await asyncio.to_thread(ctx.emit, "child", {"n": 1})
        return handle.status

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("parent", timeout=5) == "emitted"
        sim.run_until_idle()
    assert kept == [{"n": 1}]


# ---- in a plain handler's thread


def test_in_a_plain_handler_the_call_returns_a_handle_when_it_is_stored() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "child")

    @tm.handler("parent")
    def parent(job: Job[Any], ctx: Any) -> list[str]:
        one = ctx.emit("child", {"n": 1}, id="c")
        two: Any = tm.emit("child", {"n": 2}, id="c")
        many = ctx.emit_many([{"event": "child", "data": {"n": 3}}, {"event": "child", "data": {"n": 4}}])
        return [one.status, two.status, *(handle.status for handle in many)]

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("parent", timeout=5) == ["emitted", "duplicate", "emitted", "emitted"]
        sim.run_until_idle()
    assert kept == [{"n": 1}, {"n": 3}, {"n": 4}]


def test_in_a_plain_handler_what_could_not_be_stored_raises_at_the_call(dead_queue: str) -> None:
    tm = TaskManager(db="memory://")
    caught: list[str] = []

    @tm.handler("parent")
    def parent(job: Job[Any], ctx: Any) -> None:
        try:
            ctx.emit("child", queue="dead")
        except EngineUnavailable as error:
            caught.append(str(error))
            raise

    with Simulation(tm, engine=dead_queue) as sim:
        sim.emit("parent", id="p")
        sim.run_until_idle()
        record = sim.job("p")
    assert len(caught) == 1
    assert record is not None
    assert record.state == "failed"


def test_for_real_plain_and_async_handlers_emit_alike() -> None:
    tm = TaskManager(db="memory://", concurrency=2)
    kept = keeping(tm, "child")

    @tm.handler("plain")
    def plain(job: Job[Any], ctx: Any) -> str:
        job.logger("in a thread")
        return str(ctx.emit("child", {"n": 1}).status)

    @tm.handler("coroutine")
    async def coroutine(job: Job[Any], ctx: Any) -> str:
        ctx.emit("child", {"n": 2})
        return str((await asyncio.to_thread(ctx.emit, "child", {"n": 3})).status)

    async def main() -> list[Any]:
        async with tm:
            answers = [await tm.emit_and_wait(event, timeout=10) for event in ("plain", "coroutine")]
            await tm.drain(timeout=10)
        return answers

    assert asyncio.run(main()) == ["emitted", "emitted"]
    assert sorted(data["n"] for data in kept) == [1, 2, 3]
