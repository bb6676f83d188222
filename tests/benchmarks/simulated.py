"""The speed of simulations, and the floors beside them."""

from __future__ import annotations

import asyncio
import gc
import random
import selectors
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import time_machine
from croniter import croniter  # type: ignore[import-untyped]  # it ships no types

from simulation import Simulation
from taskmanager import Job, TaskManager

JOBS = 20_000
BATCH = 1000
CONCURRENCY = 100
SLEEPERS = 2000
LONGEST_S = 47 * 3600.0
MODULES = 500


# ---- no-op jobs


def jobs() -> float:
    """Jobs a second, from the first emit to the last settlement."""
    return _jobs(timed_emit=True)


def drained_jobs() -> float:
    """Jobs a second, emitted before the clock is started."""
    return _jobs(timed_emit=False)


def _jobs(*, timed_emit: bool) -> float:
    tm = TaskManager("memory://", concurrency=CONCURRENCY)

    @tm.handler("noop")
    async def noop(job: Job[Any], ctx: Any) -> None:
        pass

    with Simulation(tm) as sim:
        gc.collect()
        started = time.perf_counter()
        for first in range(0, JOBS, BATCH):
            sim.emit_many([{"event": "noop", "data": {"i": i}} for i in range(first, first + BATCH)])
        if not timed_emit:
            started = time.perf_counter()
        sim.run_until_idle()
        seconds = time.perf_counter() - started
        assert len(sim.attempts("noop")) == JOBS
    return JOBS / seconds


def bare_tasks() -> float:
    """Tasks a second on asyncio's own loop with a selector that jumps the clock: it only makes a task a job."""

    async def noop(_: int) -> None:
        pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for first in range(0, JOBS, CONCURRENCY):
            await asyncio.gather(*(loop.create_task(noop(i)) for i in range(first, first + CONCURRENCY)))

    return JOBS / _timed(lambda: _on_jumping_loop(main))


# ---- long sleeps


def sleepers() -> float:
    """Seconds for 2,000 handlers that sleep up to 47 hours at the same time."""
    tm = TaskManager("memory://", concurrency=SLEEPERS)

    @tm.handler("sleep")
    async def sleep(job: Job[Any]) -> None:
        await asyncio.sleep(job.data["seconds"])

    entries = [{"event": "sleep", "data": {"seconds": seconds}} for seconds in _sleeps()]

    def run() -> None:
        with Simulation(tm) as sim:
            sim.emit_many(entries)
            sim.run_until_idle()
            assert len(sim.timeline.only(kind="completed")) == SLEEPERS

    return _timed(run)


def bare_sleepers() -> float:
    """Seconds for 2,000 bare `asyncio.sleep` on the jumping loop."""

    async def main() -> None:
        await asyncio.gather(*(asyncio.sleep(seconds) for seconds in _sleeps()))

    return _timed(lambda: _on_jumping_loop(main))


def _sleeps() -> list[float]:
    drawn = random.Random(47)
    return [drawn.random() * LONGEST_S for _ in range(SLEEPERS)]


# ---- a year of crons


def hourly_year() -> float:
    """Seconds for a simulated year of an hourly cron with a no-op handler."""
    tm = TaskManager("memory://")

    @tm.handler("hourly", repeat={"pattern": "0 * * * *"})
    async def hourly(job: Job[Any]) -> None:
        pass

    def run() -> None:
        with Simulation(tm) as sim:
            sim.advance(days=365)
            assert len(sim.attempts("hourly")) == 365 * 24

    return _timed(run)


def croniter_year() -> float:
    """Seconds for croniter to name the same 8,760 moments."""

    def run() -> None:
        moments = croniter("0 * * * *", datetime(2026, 1, 1, tzinfo=UTC))
        for _ in range(365 * 24):
            moments.get_next(datetime)

    return _timed(run)


# ---- entering


def entering_first() -> float:
    """Milliseconds to make, enter and leave a simulation where 500 modules of 100 names have come since the last."""
    return _entering(times=1)


def entering_again() -> float:
    """The same for the next simulation in that process."""
    return _entering(times=2)


def _entering(times: int) -> float:
    """Milliseconds that the last of so many entries took."""
    tm = TaskManager("memory://")
    names = [f"benchmark_module_{n}" for n in range(MODULES)]
    for name in names:
        module = ModuleType(name)
        vars(module).update({f"name_{i}": object() for i in range(100)})
        sys.modules[name] = module
    try:

        def run() -> None:
            with Simulation(tm):
                pass

        return 1000 * [_timed(run) for _ in range(times)][-1]
    finally:
        for name in names:
            del sys.modules[name]


def bare_travel() -> float:
    """Milliseconds to start and stop time-machine."""

    def run() -> None:
        with time_machine.travel(0, tick=False):
            pass

    return 1000 * _timed(run)


# ---- how it is measured


def _timed(run: Callable[[], object]) -> float:
    gc.collect()
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


class _JumpingSelector:
    """A selector that waits for nothing and moves the loop's clock instead."""

    def __init__(self, loop: _JumpingLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is left to wait for")
        self._loop.now += max(timeout, 0.0)
        return []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_JumpingSelector(self))  # type: ignore[arg-type]  # all that asyncio asks of a selector
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now


def _on_jumping_loop(main: Callable[[], Any]) -> None:
    loop = _JumpingLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
