"""The engine of one TaskManager, opened by whoever needs it first."""

from __future__ import annotations

import asyncio

from taskmanager.engine import Engine


class Connection:
    """Opens its engine once, however many ask at the same time; after `close` the next who asks opens it again."""

    __slots__ = ("_engine", "_opening", "_simulated", "opened")

    def __init__(self, engine: Engine, *, simulated: bool = False) -> None:
        self._engine = engine
        self._simulated = simulated
        self.opened: Engine | None = None
        """The engine while it is open: who calls often need not await what is there."""
        self._opening: asyncio.Future[None] | None = None

    async def engine(self) -> Engine:
        if self.opened is None:
            await self._open_once()
        return self._engine

    async def close(self) -> None:
        if self.opened is not None:
            self.opened = None
            await self._engine.close()

    async def _open_once(self) -> None:
        # A failed or abandoned opening is forgotten, so the next who asks tries again.
        if self._opening is None or self._opening.done():
            self._opening = asyncio.ensure_future(self._engine.open(simulated=self._simulated))
        await asyncio.shield(self._opening)
        self.opened = self._engine
