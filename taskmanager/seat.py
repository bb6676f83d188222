"""What a TaskManager runs on: a client for what it says, a worker once it is started.

A simulation brings a seat of its own, so the same application object runs in simulated time.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from contextvars import copy_context
from datetime import timedelta
from typing import Any, Protocol

from taskmanager.app import App
from taskmanager.client import Client
from taskmanager.clock import duration_ms, monotonic
from taskmanager.connection import Connection
from taskmanager.emitter import Emitter
from taskmanager.engines import is_in_process, open_engine
from taskmanager.job import State
from taskmanager.runtime import RealRuntime, Runtime
from taskmanager.worker.context import Context
from taskmanager.worker.lifespan import entered
from taskmanager.worker.worker import Worker

_DRAIN_FIRST_S, _DRAIN_LONGEST_S = 0.002, 0.1


class Seat(Protocol):
    """See the module's law."""

    @property
    def client(self) -> Client: ...

    @property
    def context(self) -> Context: ...

    @property
    def is_started(self) -> bool: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def hurry(self) -> None: ...

    async def drain(self, timeout: timedelta | float | None) -> None: ...


class RealSeat:
    """The machine itself, and the engine of the application's URL. Neither is touched before the first call."""

    def __init__(self, app: App, emitter: Emitter) -> None:
        self._app = app
        self._emitter = emitter
        self._runtime: Runtime = RealRuntime()
        self._client: Client | None = None
        self._worker: Worker | None = None
        self._alive = AsyncExitStack()
        self._turn = asyncio.Lock()

    @property
    def client(self) -> Client:
        if self._client is None:
            settings = self._app.settings
            engine = open_engine(settings.db, prefix=settings.prefix, rings=settings.streamdb)
            connection = Connection(engine)
            self._client = Client(self._app, connection, self._runtime, self._runtime.incarnation())
        return self._client

    @property
    def context(self) -> Context:
        if self._worker is not None:
            return self._worker.context
        return make_context(self._app.settings.ctx, self._emitter)

    @property
    def is_started(self) -> bool:
        return self._worker is not None

    async def start(self) -> None:
        async with self._turn:
            if self._worker is not None:
                return
            async with AsyncExitStack() as stack:
                ctx = await stack.enter_async_context(entered(self._app.settings))
                stack.push_async_callback(self.client.connection.close)
                await self.client.connection.engine()
                name = self._runtime.incarnation()
                worker = Worker(self._app, self.client, self._runtime, name, make_context(ctx, self._emitter))
                stack.push_async_callback(worker.stop)
                await worker.start(copy_context())
                self._alive = stack.pop_all()
            self._worker = worker

    async def stop(self) -> None:
        async with self._turn:
            if self._worker is not None:
                try:
                    await self._alive.aclose()
                finally:
                    self._worker = None
            elif self._client is not None:
                await self._client.flush()
                await self._client.connection.close()

    def hurry(self) -> None:
        if self._worker is not None:
            self._worker.hurry()

    async def drain(self, timeout: timedelta | float | None) -> None:
        deadline = None if timeout is None else monotonic() + duration_ms(timeout, "timeout") / 1000
        pause_s = _DRAIN_FIRST_S
        while (busy := await self._busy()) is not None:
            if deadline is not None and monotonic() >= deadline:
                raise TimeoutError(f"not idle after {timeout}: {busy}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _DRAIN_LONGEST_S)

    async def _busy(self) -> str | None:
        """What keeps us from being idle, in words."""
        await self.client.flush()
        served = set(self._worker.queues()) if self._worker is not None else set()
        inspector = self.client.inspector
        for queue in await inspector.queues():
            counts = await inspector.counts(queue)
            live = {State.ACTIVE: counts[State.ACTIVE], State.DELAYED: counts[State.DELAYED]}
            if queue in served and not await inspector.is_queue_paused(queue):
                live[State.WAITING] = counts[State.WAITING]
            if any(live.values()):
                words = ", ".join(f"{number} {state}" for state, number in live.items() if number)
                return f"queue {queue!r} has {words}"
        return None


def make_context(ctx: Any, emitter: Emitter) -> Context:
    """The ctx of handlers: the user's, with the words of the emitter."""
    return Context(ctx, emitter.emit, emitter.emit_many)


def is_alone(app: App) -> bool:
    """Whether its store is in the memory of this process, so that no other process can share it."""
    return is_in_process(app.settings.db)
