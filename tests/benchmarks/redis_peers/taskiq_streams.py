"""taskiq over the streams of taskiq-redis: what it has by default, with no result backend and no type checks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from tests.benchmarks.redis_peers.peer import CONCURRENCY, Data, Entry, Handle

_ACKNOWLEDGES_IN_S = 0.5


class Taskiq:
    """A hundred are emitted at the same time; it has no call of its own for that. It keeps every entry for ever."""

    def __init__(self, url: str) -> None:
        self._broker: Any = import_module("taskiq_redis").RedisStreamBroker(url, consumer_id="0")
        self._handle: Handle | None = None
        self._task: Any = self._broker.register_task(self._function(), task_name="noop")
        self._receiver: asyncio.Task[None] | None = None
        self._is_open = False

    async def emit(self, entry: Entry) -> None:
        if not self._is_open:
            await self._broker.startup()
            self._is_open = True
        await self._task.kicker().with_task_id(entry.id).kiq(entry.data)

    async def emit_many(self, entries: Sequence[Entry]) -> None:
        await asyncio.gather(*map(self.emit, entries))

    async def work(self, handle: Handle, *, keeps: bool) -> None:
        self._handle = handle
        self._broker.is_worker_process = True
        await self._broker.startup()
        receive = import_module("taskiq.api").run_receiver_task
        self._receiver = asyncio.create_task(receive(self._broker, max_async_tasks=CONCURRENCY, validate_params=False))

    async def close(self) -> None:
        """A receiver that is cancelled may wait for ever, so it is only given time to acknowledge its last jobs."""
        if self._receiver is not None:
            await asyncio.sleep(_ACKNOWLEDGES_IN_S)

    def _function(self) -> Handle:
        async def run(data: Data) -> None:
            if self._handle is not None:
                await self._handle(data)

        return run
