"""What `emit` gives back.

A handle belongs to its emission, not to the id: it carries the serial of the job that the emission became, so `result`,
`refresh` and `cancel` never touch a later job of the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from taskmanager.engine import JobRef, Verdict
from taskmanager.errors import JobFailed, UsageError
from taskmanager.job import Kind, Reason
from taskmanager.records import JobRecord

R = TypeVar("R")


class Desk(Protocol):
    """What a handle asks of the client that made it."""

    async def fetch(self, queue: str, ref: JobRef) -> JobRecord | None: ...

    async def cancel(self, queue: str, ref: JobRef) -> JobRecord | None: ...

    async def result(self, queue: str, ref: JobRef, timeout: timedelta | float | None) -> Any: ...


class JobHandle:
    """One emission and what became of it: `id`, `queue`, and `status` at the time of the answer.

    `status` is `emitted`, `duplicate`, `replaced`, `follow_up`, `debounced` or `scheduled`.
    """

    __slots__ = ("_desk", "_serial", "id", "queue", "status")

    def __init__(self, desk: Desk, queue: str, verdict: Verdict) -> None:
        self._desk = desk
        self._serial = verdict.serial
        self.id = verdict.id
        self.queue = queue
        self.status: Kind = verdict.status

    @property
    def ref(self) -> JobRef:
        """The job this emission became; with serial 0, which no job has, where it became none."""
        return JobRef(self.id, self._serial or 0)

    async def result(self, timeout: timedelta | float | None = None) -> Any:
        """The handler's result, waiting for the job to end; across processes too.

        Raises `JobFailed` with the reason where there will be none, and `TimeoutError` after `timeout` (seconds or a
        timedelta; None waits without end).
        """
        if self.status is Kind.SCHEDULED:
            raise UsageError(f"schedule {self.id!r} has no result: it emits jobs, each with a result of its own")
        if self._serial is None:
            raise JobFailed(Reason.DEBOUNCED, job_id=self.id, queue=self.queue)
        return await self._desk.result(self.queue, self.ref, timeout)

    async def refresh(self) -> JobRecord | None:
        """The job's record as it is now, or None where it is no longer kept."""
        return await self._desk.fetch(self.queue, self.ref)

    async def cancel(self) -> JobRecord | None:
        """Cancels the job, as `TaskManager.cancel` does, and answers it as it then is."""
        return await self._desk.cancel(self.queue, self.ref)

    def __repr__(self) -> str:
        return f"<JobHandle {self.id!r} queue={self.queue!r} {self.status}>"


class Emitting(Generic[R]):
    """An emission under way. Awaiting it gives the handle(s); not awaiting it is fine too."""

    __slots__ = ("_finish", "future")

    def __init__(self, future: asyncio.Future[list[Verdict]], finish: Callable[[list[Verdict]], R]) -> None:
        self.future = future
        self._finish = finish

    def __await__(self) -> Generator[Any, None, R]:
        # Shielded: cancelling whoever waits must not take back an emission that others are waiting behind.
        verdicts = yield from asyncio.shield(self.future).__await__()
        return self._finish(verdicts)
