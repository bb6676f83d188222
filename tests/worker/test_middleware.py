"""What is wrapped around handlers: the order, going on once, not at all, and what comes back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, JobFailed, TaskManager, UsageError
from taskmanager.app import Next
from tests.worker.worlds import app, found, kinds, seconds


def test_middleware_goes_around_handlers_in_the_order_of_its_registration() -> None:
    tm = app()
    said: list[str] = []

    def layer(name: str) -> Any:
        async def around(job: Job[Any], ctx: Any, next: Next) -> Any:
            said.append(f"{name} in")
            result = await next()
            said.append(f"{name} out")
            return result

        return around

    tm.use(layer("outer"))
    tm.use(layer("inner"))

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        said.append("handler")
        return "done"

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=5) == "done"
    assert said == ["outer in", "inner in", "handler", "inner out", "outer out"]


def test_calling_next_twice_is_a_usage_error_and_the_handler_runs_once() -> None:
    tm = app()
    ran = []

    @tm.use
    async def twice(job: Job[Any], ctx: Any, next: Next) -> Any:
        await next()
        return await next()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        ran.append(job.attempt)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert ran == [1]
    assert job.error is not None
    assert (job.state, job.error.type) == ("failed", UsageError.__name__)
    assert "twice" in job.error.message


def test_not_calling_next_completes_the_job_without_the_handler() -> None:
    tm = app()
    ran = []

    @tm.use
    async def stop_here(job: Job[Any], ctx: Any, next: Next) -> Any:
        return "not today"

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        ran.append(job.attempt)

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=5) == "not today"
    assert ran == []
    assert kinds(sim) == ["emitted", "started", "completed"]


@pytest.mark.parametrize(("returned", "result"), [(None, "from the handler"), ("from the layer", "from the layer")])
def test_what_a_middleware_returns_if_anything_replaces_the_result(returned: str | None, result: str) -> None:
    tm = app()

    @tm.use
    async def around(job: Job[Any], ctx: Any, next: Next) -> Any:
        await next()
        return returned

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        return "from the handler"

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=5) == result


def test_a_middleware_may_turn_an_error_into_a_result_and_a_result_into_an_error() -> None:
    tm = app()

    @tm.use
    async def judge(job: Job[Any], ctx: Any, next: Next) -> Any:
        try:
            await next()
        except ValueError as error:
            return f"forgiven: {error}"
        raise RuntimeError("too good to be true")

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        if job.data["bad"]:
            raise ValueError("boom")

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", {"bad": True}, timeout=5) == "forgiven: boom"
        with pytest.raises(JobFailed, match="too good"):
            sim.emit_and_wait("work", {"bad": False}, timeout=5)


@pytest.mark.parametrize("plain", [False, True])
def test_the_timeout_covers_middleware_and_handler_together(plain: bool) -> None:
    tm = app()

    @tm.use
    async def slow_layer(job: Job[Any], ctx: Any, next: Next) -> Any:
        await asyncio.sleep(6)
        return await next()

    if plain:

        @tm.handler("work", timeout=10)
        def plain_work(job: Job[Any]) -> None:
            while not job.stopping:
                time.sleep(1)

    else:

        @tm.handler("work", timeout=10)
        async def work(job: Job[Any]) -> None:
            await asyncio.sleep(6)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert (job.state, job.error.type, seconds(sim, "failed")) == ("failed", "TimeoutError", [10])


def test_a_middleware_sees_job_and_ctx_and_may_leave_something_for_the_handler() -> None:
    tm = app(ctx={"tenant": "none"})

    @tm.use
    async def tenant(job: Job[Any], ctx: Any, next: Next) -> Any:
        ctx.tenant = job.data["tenant"]
        return await next()

    @tm.handler("work")
    async def work(job: Job[Any], ctx: Any) -> str:
        return f"{ctx.tenant} {ctx['tenant']}"

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", {"tenant": "a"}, timeout=5) == "a a"


def test_a_middleware_added_while_running_counts_from_the_next_run_on() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        return "plain"

    async def loud(job: Job[Any], ctx: Any, next: Next) -> Any:
        return f"{await next()}!"

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=5) == "plain"
        tm.use(loud)
        assert sim.emit_and_wait("work", timeout=5) == "plain!"


def test_a_middleware_that_is_no_function_is_refused() -> None:
    with pytest.raises(UsageError, match="middleware"):
        app().use("logging")  # type: ignore[arg-type]


@pytest.mark.parametrize("middleware", [lambda job: 1, lambda: 1, 7, lambda a, b, c, d: 1])
def test_a_middleware_of_another_shape_is_refused(middleware: Any) -> None:
    with pytest.raises(UsageError, match=r"middleware must be an async function \(job, ctx, next\)"):
        TaskManager("memory://").use(middleware)
