"""What a timeout does to an `async def` handler, to one that will not hear of it, and to a plain `def`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, Retry
from tests.worker.worlds import app, found, kinds, seconds


def test_a_handler_that_takes_too_long_is_cancelled_and_retried() -> None:
    tm = app()
    cleaned = []

    @tm.handler("slow", timeout=30, attempts=1)
    async def slow(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            cleaned.append(job.attempt)

    with Simulation(tm) as sim:
        sim.emit("slow", id="s")
        sim.run_until_idle()
        job = found(sim.job("s"))
    assert kinds(sim) == ["emitted", "started", "retried", "due", "started", "failed"]
    assert seconds(sim, "retried") + seconds(sim, "failed") == [30, 61]
    assert job.error is not None
    assert (job.error.type, job.reason, cleaned) == ("TimeoutError", None, [1, 2])
    assert "30 s" in job.error.message


def test_a_handler_that_ends_at_its_last_moment_is_in_time_or_late_but_not_both() -> None:
    tm = app()

    @tm.handler("work", timeout=10)
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(9.999)
        return "in time"

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=60) == "in time"


@pytest.mark.parametrize(("emission", "handler", "ends_at"), [(5, 30, 5), (None, 30, 30), (40, 30, 40), (7, None, 7)])
def test_the_emissions_timeout_goes_before_the_handlers(emission: Any, handler: Any, ends_at: float) -> None:
    tm = app()

    @tm.handler("slow", timeout=handler)
    async def slow(job: Job[Any]) -> None:
        await asyncio.sleep(3600)

    with Simulation(tm) as sim:
        sim.emit("slow", timeout=emission)
        sim.run_until_idle()
    assert seconds(sim, "failed") == [ends_at]


def test_a_handler_that_swallows_the_cancellation_keeps_its_slot_and_has_timed_out_all_the_same() -> None:
    tm = app()

    @tm.handler("stubborn", timeout=10)
    async def stubborn(job: Job[Any]) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        assert job.stopping
        await asyncio.sleep(50)
        return "done after all"

    @tm.handler("next")
    async def next_one(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        sim.emit("stubborn", id="s")
        sim.emit("next", id="n")
        sim.run_until_idle()
        job = found(sim.job("s"))
    assert (job.state, job.result) == ("failed", None)
    assert job.error is not None
    assert job.error.type == "TimeoutError"
    assert seconds(sim, "failed", "s") == seconds(sim, "started", "n") == [60]


def test_a_swallowed_timeout_does_not_cancel_the_next_job_of_the_slot() -> None:
    tm = app()

    @tm.handler("stubborn", timeout=1)
    async def stubborn(job: Job[Any]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

    @tm.handler("next")
    async def next_one(job: Job[Any]) -> str:
        async with asyncio.timeout(100):
            await asyncio.sleep(5)
        task = asyncio.current_task()
        assert task is not None
        return f"cancelling {task.cancelling()}"

    with Simulation(tm) as sim:
        sim.emit("stubborn")
        assert sim.emit_and_wait("next", timeout=60) == "cancelling 0"


def test_a_handlers_own_timeout_is_its_own_affair() -> None:
    tm = app()

    @tm.handler("work", timeout=100)
    async def work(job: Job[Any]) -> str:
        try:
            async with asyncio.timeout(3):
                await asyncio.sleep(3600)
        except TimeoutError:
            return "handled"
        return "never"

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", timeout=60) == "handled"


def test_what_a_handler_raises_when_it_is_timed_out_changes_nothing() -> None:
    tm = app()

    @tm.handler("slow", timeout=10)
    async def slow(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            raise ValueError("cleaning up failed") from None

    with Simulation(tm) as sim:
        sim.emit("slow", id="s")
        sim.run_until_idle()
        job = found(sim.job("s"))
    assert job.error is not None
    assert job.error.type == "TimeoutError"


def test_retry_on_is_asked_about_the_timeout_itself() -> None:
    tm = app()

    @tm.handler("slow", timeout=1, retry=Retry(2, retry_on=TimeoutError))
    async def slow(job: Job[Any]) -> None:
        await asyncio.sleep(3600)

    with Simulation(tm) as sim:
        sim.emit("slow")
        sim.run_until_idle()
    assert len(sim.attempts("slow")) == 3


# ---- plain handlers cannot be interrupted


def test_a_plain_handlers_timeout_takes_effect_when_it_returns_and_until_then_it_keeps_its_slot_and_lease() -> None:
    tm = app(lease=2, concurrency=1)
    seen = []

    @tm.handler("plain", timeout=10)
    def plain(job: Job[Any]) -> str:
        time.sleep(9)
        seen.append(job.stopping)
        time.sleep(91)
        seen.append(job.stopping)
        return "done after all"

    @tm.handler("next")
    async def next_one(job: Job[Any]) -> None: ...

    with Simulation(tm, workers=2) as sim:
        sim.nodes[1].crash()
        sim.emit("plain", id="p")
        sim.emit("next", id="n")
        sim.advance(5)
        sim.run(sim.nodes[1].boot())
        sim.run_until_idle()
        job = found(sim.job("p"))
    assert seen == [False, True]
    assert (job.state, job.result, job.losses, job.attempt) == ("failed", None, 0, 1)
    assert job.error is not None
    assert job.error.type == "TimeoutError"
    assert seconds(sim, "failed", "p") == [100]
    assert seconds(sim, "started", "n") == [5]


def test_a_plain_handler_that_looks_at_stopping_ends_at_its_timeout() -> None:
    tm = app()

    @tm.handler("plain", timeout=10, attempts=1, retry_delay=100)
    def plain(job: Job[Any]) -> None:
        while not job.stopping:
            time.sleep(1)

    with Simulation(tm) as sim:
        sim.emit("plain")
        sim.run_until_idle()
    assert seconds(sim, "retried") + seconds(sim, "failed") == [10, 120]


def test_a_plain_handler_that_raises_after_its_timeout_has_timed_out() -> None:
    tm = app()

    @tm.handler("plain", timeout=10)
    def plain(job: Job[Any]) -> None:
        time.sleep(20)
        raise ValueError("late")

    with Simulation(tm) as sim:
        sim.emit("plain", id="p")
        sim.run_until_idle()
        job = found(sim.job("p"))
    assert job.error is not None
    assert job.error.type == "TimeoutError"


def test_a_plain_function_that_returns_a_coroutine_is_timed_out_like_an_async_handler() -> None:
    tm = app()

    async def body() -> None:
        await asyncio.sleep(3600)

    @tm.handler("late", timeout=10)
    def late(job: Job[Any]) -> Any:
        return body()

    with Simulation(tm) as sim:
        sim.emit("late", id="l")
        sim.run_until_idle()
    assert seconds(sim, "failed") == [10]
