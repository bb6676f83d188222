"""Started applications in the test's own loop, and waiting for things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple

from taskmanager import Job, JobRecord, TaskManager
from taskmanager.engine import Engine
from taskmanager.engines import open_engine
from taskmanager.errors import TaskManagerError
from taskmanager.job import FINISHED

PATIENCE_S = 10.0
LOOK_S = 0.005
EVENT = "work"


class Run(NamedTuple):
    """One attempt that a handler saw, and when (monotonic seconds)."""

    id: str
    attempt: int
    t: float


class App:
    """A TaskManager with one event. A job runs until the `gate` is open, which it is unless a test closes it."""

    def __init__(self, url: Any, **options: Any) -> None:
        self.tm = TaskManager(url, **options)
        self.runs: list[Run] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.tm.register_handler(self._work, EVENT)

    @property
    def ran(self) -> list[str]:
        return [run.id for run in self.runs]

    async def _work(self, job: Job[Any]) -> int:
        self.runs.append(Run(job.id, job.attempt, monotonic()))
        await self.gate.wait()
        return job.attempt

    async def emit(self, *ids: str) -> None:
        await self.tm.emit_many([{"event": EVENT, "id": job_id} for job_id in ids])

    async def ended(self, job_id: str, within_s: float = PATIENCE_S) -> JobRecord:
        """The job, once it is finished."""
        async with asyncio.timeout(within_s):
            while True:
                job = await self.tm.get_job(job_id)
                if job is not None and job.state in FINISHED:
                    return job
                await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def started(url: Any, **options: Any) -> AsyncIterator[App]:
    """An application that serves until it is left; its running handlers are let go then."""
    app = App(url, **options)
    await app.tm.start()
    try:
        yield app
    finally:
        app.gate.set()
        await app.tm.stop()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Engine]:
    """The port itself."""
    engine = open_engine(url)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def until(claim: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Waits for a thing; fails where it does not come."""
    async with asyncio.timeout(within_s):
        while not claim():  # noqa: ASYNC110 - the thing is told by another thread or process, or by nobody
            await asyncio.sleep(LOOK_S)


async def eventually(ask: Callable[[], Awaitable[object]], within_s: float = PATIENCE_S) -> None:
    """Waits until what is asked of a store is true; a store that does not answer is asked again."""
    async with asyncio.timeout(within_s):
        while True:
            try:
                if await ask():
                    return
            except TaskManagerError:
                pass
            await asyncio.sleep(LOOK_S)


async def quiet(count: Callable[[], int], for_s: float = 0.3, within_s: float = PATIENCE_S) -> None:
    """Waits until a count has stood still for so long."""
    seen, since = count(), monotonic()
    async with asyncio.timeout(within_s):
        while monotonic() - since < for_s:
            await asyncio.sleep(LOOK_S)
            if count() != seen:
                seen, since = count(), monotonic()
