"""One call in flight; what arrives meanwhile goes with the next.

That is the whole of our batching: no timer, no size to tune. Under light load each item travels alone and at once;
under heavy load the batches grow to what one round trip lets gather. Items are sent in the order in which they were
put.

Where many travel alone, a new task for each would cost more than the sending: a sender that *stays* rests in between,
until it is told to send the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

T = TypeVar("T")


class Gatherer(Generic[T]):
    """Hands what has gathered to `send`, again and again. `send` never raises: errors are its own to handle.

    Given a `context`, the sender stays, in a copy of it; all is put in one event loop then. Else it goes when nothing
    is left, and the next one runs in the context of whoever puts first.
    """

    __slots__ = ("_bell", "_context", "_pending", "_send", "_stays", "_task")

    def __init__(self, send: Callable[[list[T]], Awaitable[None]], context: Context | None = None) -> None:
        self._send = send
        self._context = context
        self._stays = context is not None
        self._pending: list[T] = []
        self._task: asyncio.Task[None] | None = None
        self._bell: asyncio.Future[None] | None = None

    def put(self, item: T) -> None:
        self._pending.append(item)
        if self._bell is not None:
            self._ring(self._bell)
        elif self._task is None or self._task.get_loop() is not asyncio.get_running_loop():
            context = None if self._context is None else self._context.copy()
            self._task = asyncio.get_running_loop().create_task(self._run(), context=context)

    async def flush(self) -> None:
        """Returns when everything put so far has been sent. No sender stays any longer."""
        self._stays = False
        if self._bell is not None:
            self._ring(self._bell)
        while (task := self._task) is not None and task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait((task,))

    def drop(self) -> None:
        """Gives up what has not been sent."""
        self._pending.clear()
        if self._task is not None:
            self._task.cancel()

    def _ring(self, bell: asyncio.Future[None]) -> None:
        self._bell = None
        if not bell.done():
            bell.set_result(None)

    async def _run(self) -> None:
        try:
            while True:
                while self._pending:
                    items, self._pending = self._pending, []
                    await self._send(items)
                if not self._stays:
                    return
                bell = self._bell = asyncio.get_running_loop().create_future()
                await bell
        finally:
            if self._task is asyncio.current_task():
                self._task = self._bell = None
