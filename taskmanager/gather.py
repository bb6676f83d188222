"""One call in flight; what arrives meanwhile goes with the next.

That is the whole of our batching: no timer, no size to tune. Under light load each item travels alone and at once;
under heavy load the batches grow to what one round trip lets gather. Items are sent in the order in which they were
put.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Gatherer(Generic[T]):
    """Hands what has gathered to `send`, again and again. `send` never raises: errors are its own to handle."""

    __slots__ = ("_pending", "_send", "_task")

    def __init__(self, send: Callable[[list[T]], Awaitable[None]]) -> None:
        self._send = send
        self._pending: list[T] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, item: T) -> None:
        self._pending.append(item)
        if self._task is None or self._task.get_loop() is not asyncio.get_running_loop():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def flush(self) -> None:
        """Returns when everything put so far has been sent."""
        while (task := self._task) is not None and task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait((task,))

    def drop(self) -> None:
        """Gives up what has not been sent."""
        self._pending.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._pending:
                items, self._pending = self._pending, []
                await self._send(items)
        finally:
            if self._task is asyncio.current_task():
                self._task = None
