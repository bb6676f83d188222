"""The seat of an application that is being simulated: what `tm.emit`, `tm.start` and the rest mean in there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from taskmanager.app import App
from taskmanager.client import Client
from taskmanager.clock import duration_ms
from taskmanager.emitter import Emitter
from taskmanager.seat import make_context
from taskmanager.worker.context import Context

if TYPE_CHECKING:
    from simulation.simulation import Simulation


class SimulatedSeat:
    """`taskmanager.seat.Seat` over the nodes of a simulation. `client` speaks for the world outside them."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._idle: list[asyncio.Future[None]] = []

    def furnish(self, client: Client, app: App, emitter: Emitter) -> None:
        self.client = client
        self._app = app
        self._emitter = emitter

    @property
    def context(self) -> Context:
        for node in self._sim.nodes:
            if node.worker is not None:
                return node.worker.context
        return make_context(self._app.settings.ctx, self._emitter)

    @property
    def is_started(self) -> bool:
        return any(node.is_up for node in self._sim.nodes)

    async def start(self) -> None:
        """Boots the nodes that are down."""
        for boot in [asyncio.ensure_future(node.boot()) for node in self._sim.nodes]:
            await boot

    async def stop(self) -> None:
        """Stops every node gracefully, side by side, as a deploy does."""
        stops = [asyncio.ensure_future(node.stop()) for node in self._sim.nodes]
        for stop in stops:
            await stop
        await self.client.flush()

    def hurry(self) -> None:
        for node in self._sim.nodes:
            node.hurry()

    async def drain(self, timeout: timedelta | float | None) -> None:
        seconds = None if timeout is None else duration_ms(timeout, "timeout") / 1000
        idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(idle)
        async with asyncio.timeout(seconds):
            await idle

    def tell_idle(self) -> bool:
        """The world is idle: those who drain go on. True where there were any."""
        told = [idle for idle in self._idle if not idle.done()]
        self._idle.clear()
        for idle in told:
            idle.set_result(None)
        return bool(told)
