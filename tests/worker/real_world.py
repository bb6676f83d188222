"""What the tests on the machine's own clock share: patience, and a neighbour in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from taskmanager import Job, JobRecord, TaskManager
from taskmanager.job import State

PATIENCE_S = 10.0


async def until(claim: Callable[[], object]) -> None:
    """Waits for a thing; fails where it does not come."""
    async with asyncio.timeout(PATIENCE_S):
        while not claim():  # noqa: ASYNC110 - the thing is told by a thread, or by nobody
            await asyncio.sleep(0.002)


async def ended(tm: TaskManager, job_id: str) -> JobRecord:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            job = await tm.get_job(job_id)
            if job is not None and job.state in {State.COMPLETED, State.FAILED, State.CANCELLED}:
                return job
            await asyncio.sleep(0.002)


def shared(lease: float = 15) -> tuple[TaskManager, TaskManager]:
    """Two TaskManagers over one store."""
    url = f"memory://{uuid4().hex}"
    return TaskManager(url, lease=lease), TaskManager(url, lease=lease)


class Neighbour(threading.Thread):
    """A worker of the same store in a thread and loop of its own; `runs` are the attempts it made."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.runs: list[int] = []
        self._url = url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def run(self) -> None:
        asyncio.run(self._main())

    def stop(self) -> None:
        assert self._loop is not None
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self.join()

    async def _main(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        tm = TaskManager(self._url, lease=0.1)

        @tm.handler("block")
        async def block(job: Job[Any]) -> str:
            self.runs.append(job.attempt)
            return "by the neighbour"

        async with tm:
            await self._over.wait()
