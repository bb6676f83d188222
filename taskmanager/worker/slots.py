"""Where handlers run: one long-lived task a slot, because a new task a job costs more than the job.

A slot's task keeps its context variables from job to job. A handler that sets some would leak them into the next, so a
slot whose context has changed is retired, and a fresh one takes its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context

from taskmanager.worker.attempt import Attempt

SLOT = "taskmanager-slot"
"""The name of the tasks that handlers run in."""


class Slots:
    """Runs attempts through `run`, each in a task of its own for as long as it runs."""

    def __init__(self, run: Callable[[Attempt], Awaitable[None]], context: Context) -> None:
        self._run = run
        self._context = context
        self._idle: list[asyncio.Future[Attempt]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def give(self, attempt: Attempt) -> None:
        while self._idle:
            slot = self._idle.pop()
            if not slot.done():
                slot.set_result(attempt)
                return
        task = asyncio.get_running_loop().create_task(self._slot(attempt), name=SLOT, context=self._context.copy())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> list[asyncio.Task[None]]:
        """Ends every slot where it stands; the tasks, for whoever wants to wait for them."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        return tasks

    async def _slot(self, attempt: Attempt) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        blank = copy_context()
        while True:
            attempt.task = task
            await self._run(attempt)
            attempt.task = None
            if self._closed or copy_context() != blank:
                return  # a run that was asked to end before takes our cancellation for that, and comes back
            idle: asyncio.Future[Attempt] = loop.create_future()
            self._idle.append(idle)
            attempt = await idle
