"""Which handler runs, under which cap, and what it may do: return oddly, raise oddly, set context variables."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, Retry
from tests.worker.worlds import app, found

# ---- what a handler raises


class Grim(BaseException):
    """As far from an ordinary exception as it gets."""


ODD = [
    SystemExit(3),
    KeyboardInterrupt(),
    asyncio.CancelledError(),
    Grim("reaper"),
    StopAsyncIteration(),
    TimeoutError(),
]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_whatever_a_handler_raises_ends_its_attempt_and_nothing_else(error: BaseException, plain: bool) -> None:
    tm = app(processor={"retry": Retry(1)})

    if plain:

        @tm.handler("work")
        def plain_work(job: Job[Any]) -> None:
            raise error

    else:

        @tm.handler("work")
        async def work(job: Job[Any]) -> None:
            await asyncio.sleep(0)
            raise error

    @tm.handler("next")
    async def next_one(job: Job[Any]) -> str:
        return "alive"

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        assert sim.emit_and_wait("next", timeout=60) == "alive"
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert (job.state, job.attempt, job.error.type) == ("failed", 2, type(error).__name__)


@pytest.mark.parametrize("plain", [False, True])
def test_sys_exit_in_a_handler_exits_nothing(plain: bool) -> None:
    tm = app()

    async def work(job: Job[Any]) -> None:
        sys.exit(1)

    def plain_work(job: Job[Any]) -> None:
        sys.exit(1)

    tm.register_handler(plain_work if plain else work, "work")
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert found(sim.job("w")).state == "failed"


@pytest.mark.parametrize("error", [StopIteration("end"), GeneratorExit()], ids=lambda error: type(error).__name__)
def test_what_no_future_can_carry_fails_a_plain_handler_like_anything_else(error: BaseException) -> None:
    tm = app()

    @tm.handler("work")
    def work(job: Job[Any]) -> None:
        raise error

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert type(error).__name__ in str(job.error)


def test_an_async_handler_that_raises_generator_exit_fails_too() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        raise GeneratorExit

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert found(sim.job("w")).state == "failed"


def test_an_error_that_cannot_be_printed_is_kept_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        raise Mute

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert job.error.type == "Mute"


def test_the_traceback_names_the_users_line_and_not_ours() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        raise ValueError("boom")

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert job.error.traceback is not None
    assert "test_handlers.py" in job.error.traceback
    assert "executor.py" not in job.error.traceback
    assert "route.py" not in job.error.traceback


# ---- what it returns


@pytest.mark.parametrize("result", [{1, 2}, b"bytes", float("nan"), object(), {1: 2}, "\ud800", "x" * 3000])
def test_a_result_that_cannot_be_stored_fails_the_job_at_once(result: Any) -> None:
    tm = app(processor={"retry": Retry(5)}, max_data_bytes=2000)

    @tm.handler("work")
    async def work(job: Job[Any]) -> Any:
        return result

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.reason, job.attempt, job.result) == ("failed", "result", 1, None)
    assert job.dead_letter is not None


def test_a_result_is_kept_as_json() -> None:
    tm = app()

    @tm.handler("work")
    def work(job: Job[Any]) -> Any:
        return {"list": (1, 2), "none": None}

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=5) == {"list": [1, 2], "none": None}


# ---- context variables

flavour: ContextVar[str] = ContextVar("flavour", default="plain")


@pytest.mark.parametrize("plain", [False, True])
def test_what_a_handler_sets_in_a_context_variable_the_next_does_not_see(plain: bool) -> None:
    tm = app()
    seen = []

    def taste(job: Job[Any]) -> None:
        seen.append(flavour.get())
        flavour.set(job.id)

    async def taste_slowly(job: Job[Any]) -> None:
        taste(job)
        await asyncio.sleep(0)

    tm.register_handler(taste if plain else taste_slowly, "work")
    with Simulation(tm) as sim:
        for n in range(5):
            sim.emit("work", id=str(n))
        sim.run_until_idle()
    assert seen == ["plain"] * 5


def test_handlers_run_in_the_context_of_the_start() -> None:
    tm = app()
    seen = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        seen.append(flavour.get())

    with Simulation(tm, workers=0) as sim:

        async def start() -> None:
            flavour.set("vanilla")
            await tm.start()

        sim.run(start())
        sim.emit("work")
        sim.run_until_idle()
    assert seen == ["vanilla"]
