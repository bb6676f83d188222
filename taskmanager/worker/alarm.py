"""How a duty sleeps: on the engine, until a moment, a tide, or a ring.

The engine keeps the time, so a worker's own clock is never asked when something is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from taskmanager.connection import Connection
from taskmanager.errors import EngineUnavailable

_UNAVAILABLE_PAUSE_S = 0.5


class Alarm:
    """One sleeper. A ring while it is awake ends its next sleep at once, so no ring is lost."""

    __slots__ = ("_connection", "_rung", "_waiting")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rung = False
        self._waiting: asyncio.Task[Collection[str]] | None = None

    def ring(self) -> None:
        self._rung = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def sleep(self, seen: Mapping[str, int], until: int | None) -> Collection[str] | None:
        """The queues whose tide or next due moment changed, none where `until` (engine ms) has come; None if rung."""
        if not self._rung:
            engine = await self._connection.engine()
            waiting = self._waiting = asyncio.ensure_future(engine.wait(seen, until))
            try:
                await asyncio.wait((waiting,))
            finally:
                self._waiting = None
                waiting.cancel()
            if not waiting.cancelled():
                self._rung = False
                return await _answer(waiting)
        self._rung = False
        return None


async def _answer(waiting: asyncio.Task[Collection[str]]) -> Collection[str]:
    try:
        return waiting.result()
    except EngineUnavailable:
        # Correctness never depends on waiting: look again, but do not spin.
        await asyncio.sleep(_UNAVAILABLE_PAUSE_S)
        return ()
