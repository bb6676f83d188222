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
    """One duty's sleep. A ring while it is awake does nothing: who is awake looks for itself before it sleeps again."""

    __slots__ = ("_bell", "_connection", "_duty", "_rung", "_sleeper")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rung = False
        self._bell: asyncio.Future[None] | None = None
        self._duty: asyncio.Task[object] | None = None
        self._sleeper: asyncio.Task[object] | None = None

    def ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)
        if self._sleeper is not None and not self._rung:
            self._rung = True
            self._sleeper.cancel()

    async def until_rung(self) -> None:
        """Sleeps until it is rung, whatever happens in the engine."""
        self._bell = asyncio.get_running_loop().create_future()
        try:
            await self._bell
        finally:
            self._bell = None

    async def sleep(self, seen: Mapping[str, int], until: int | None) -> Collection[str] | None:
        """The queues whose tide or next due moment changed, none where `until` (engine ms) has come; None if rung."""
        self._rung = False
        if self._duty is None:
            self._duty = asyncio.current_task()
            assert self._duty is not None
        sleeper = self._sleeper = self._duty
        asked = sleeper.cancelling()
        try:
            return await (self._connection.opened or await self._connection.engine()).wait(seen, until)
        except asyncio.CancelledError:
            # A ring cancels the sleep, as asyncio.timeout does; any other cancellation is meant for the duty itself.
            if self._rung and sleeper.cancelling() == asked + 1:
                return None
            raise
        except EngineUnavailable:
            # Correctness never depends on waiting: look again, but do not spin.
            await asyncio.sleep(_UNAVAILABLE_PAUSE_S)
            return ()
        finally:
            self._sleeper = None
            if self._rung:
                sleeper.uncancel()  # also where the wait returned before it heard of the ring
