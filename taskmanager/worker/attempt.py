"""One claim in this worker's hands, from the hand-out until its settlement is stored.

`ending` is why the run is asked to end before its own end; the first reason counts. Asking cancels an `async def`
handler at its next await. A plain `def` handler cannot be interrupted: it sees `stopping`, and the ending takes effect
when it returns. Once an ending is decided, whatever the handler still returns or raises changes nothing.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from taskmanager.engine import Journal
from taskmanager.job import Claim, Progress
from taskmanager.worker.job import Job

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker


class Ending(Enum):
    """Why a run is ended from outside."""

    TIMEOUT = auto()
    CANCEL = auto()
    LOST = auto()
    STOP = auto()


current_attempt: ContextVar[Attempt | None] = ContextVar("current_attempt", default=None)
"""The attempt on whose behalf the running code runs: what it emits is flushed before that attempt is settled."""


class Attempt:
    """See the module's law. It was received at `received_at` (engine time), `received_s` (the worker's monotonic
    clock).

    `cancellable` is True while cancelling `task` reaches the handler, or what it waits for; `is_deaf` while a plain
    function runs that has never looked whether it is asked to end; `looks` once it has looked; `settled` once its
    outcome is decided. `error` is what it raised. `skipped` says that the handler declined this run: it ends the job
    with the step `skipped`, whatever middleware makes of the result.
    """

    __slots__ = (
        "_lines",
        "cancellable",
        "claim",
        "ending",
        "error",
        "is_deaf",
        "job",
        "looks",
        "loop",
        "received_at",
        "received_s",
        "sent",
        "settled",
        "skipped",
        "started_at",
        "task",
        "worker",
    )

    def __init__(
        self, worker: Worker, claim: Claim, received_at: int, received_s: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.worker = worker
        self.claim = claim
        self.received_at = received_at
        self.received_s = received_s
        self.started_at: int | None = None
        self.ending: Ending | None = None
        self.error: BaseException | None = None
        self.job: Job[Any] | None = None
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.cancellable = False
        self.is_deaf = False
        self.settled = False
        self.skipped = False
        self.sent: list[asyncio.Future[Any]] = []
        self._lines = 0
        self.looks = False

    @property
    def stopping(self) -> bool:
        self.looks = True
        self.is_deaf = False
        return self.ending is not None

    @property
    def is_current(self) -> bool:
        """Whether it is this attempt's own task that is running here."""
        try:
            return self.task is not None and asyncio.current_task() is self.task
        except RuntimeError:  # no event loop runs
            return False

    def let_go(self) -> None:
        """Drops what was only needed to judge the run, once it is judged.

        The job and the error (by its traceback) refer to the attempt in turn: left so, each run would be a cycle, and
        stay until the collector comes by.
        """
        self.job = self.error = None

    def end(self, ending: Ending) -> None:
        """Asks the run to end. A lost lease overrules what was asked before; else the first asking counts."""
        first = self.ending is None
        if first or ending is Ending.LOST:
            self.ending = ending
        if first and self.cancellable and self.task is not None:
            self.task.cancel()

    def say(self, entry: str | Progress) -> Awaitable[None]:
        """Stores a log line or a progress report; from a plain handler's thread it returns when that is done."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self.worker.runtime.block_on(self.loop, self._say(entry))
            return _Done()
        return self._send(entry)

    async def _say(self, entry: str | Progress) -> None:
        await self._send(entry)

    def _send(self, entry: str | Progress) -> asyncio.Future[None]:
        self._lines += 1
        stored = self.worker.journal.put(self.claim, Journal(self.claim.number, self._lines, entry))
        self.sent.append(stored)
        return stored


async def in_own_thread(function: Callable[..., Any], *args: object) -> Any:
    """Calls a plain function in a thread for the current attempt, and awaits what it returns where that can be.

    It cannot be interrupted, so nobody may stop waiting for it; what was asked meanwhile takes effect as it returns.
    """
    attempt = current_attempt.get()
    assert attempt is not None
    attempt.cancellable = False
    attempt.is_deaf = not attempt.looks
    value = await attempt.worker.runtime.in_thread(function, *args)
    attempt.is_deaf = False
    attempt.cancellable = True
    if attempt.ending is not None:
        if inspect.iscoroutine(value):
            value.close()
        raise asyncio.CancelledError
    return await value if inspect.isawaitable(value) else value


class _Done:
    """Awaitable at once: what a thread was made to wait for has happened."""

    def __await__(self):  # type: ignore[no-untyped-def]  # a generator without values
        return
        yield
