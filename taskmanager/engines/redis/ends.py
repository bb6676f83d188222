"""Waiting for the end of one job.

The end of an awaited job is published to its queue's channel. A subscription that breaks loses what is published
meanwhile, and the end of a job that nobody marked as awaited is not published at all, so who waits also looks from
time to time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from redis import exceptions as redis_errors

from taskmanager.engine import JobRef
from taskmanager.engines.redis.address import Address
from taskmanager.engines.redis.connection import is_at_work
from taskmanager.engines.redis.keys import Layout

__all__ = ["Ends"]

log = logging.getLogger("taskmanager")

_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.1, 1.0


class Ends:
    """The subscriptions of one engine, made when somebody waits first. `live` says whether a job has still to end."""

    def __init__(self, layout: Layout, address: Address, live: Callable[[str, JobRef], Awaitable[int | None]]) -> None:
        self._layout = layout
        self._address = address
        self._live = live
        self._awaiting: dict[tuple[str, int], set[asyncio.Future[None]]] = {}
        self._channels: dict[str, asyncio.Task[None]] = {}

    async def wait(self, queue: str, ref: JobRef, until: int, now_us: Callable[[], int]) -> None:
        """Returns when that job has ended, or at `until` (ms)."""
        look_s = _FIRST_LOOK_S
        while (serial := await self._live(queue, ref)) is not None:
            left_s = until / 1000 - now_us() / 1_000_000
            if left_s <= 0:
                return
            await self._until_told((queue, serial), min(look_s, left_s))
            look_s = min(2 * look_s, _LONGEST_LOOK_S)

    async def close(self) -> None:
        channels, self._channels = self._channels, {}
        ours = [task for task in channels.values() if is_at_work(task)]
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)

    async def _until_told(self, key: tuple[str, int], seconds: float) -> None:
        queue = key[0]
        if not is_at_work(self._channels.get(queue)):
            self._channels[queue] = asyncio.get_running_loop().create_task(self._hear(queue), name="taskmanager-ends")
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._awaiting.setdefault(key, set())
        waiting.add(told)
        try:
            await asyncio.wait((told,), timeout=seconds)
        finally:
            waiting.discard(told)
            if not waiting:
                self._awaiting.pop(key, None)

    async def _hear(self, queue: str) -> None:
        """Reads the channel of one queue for as long as the connection lasts."""
        connection: Any = self._address.connect()
        try:
            await connection.send_command("SUBSCRIBE", self._layout.key(queue, "ENDED"))
            while True:
                message = await connection.read_response(disconnect_on_error=False)
                if isinstance(message, list) and message[0] == b"message":
                    for told in self._awaiting.get((queue, int(message[2])), ()):
                        if not told.done():
                            told.set_result(None)
        except (redis_errors.RedisError, OSError) as error:
            log.warning("the news of ended jobs from %s was interrupted (%s)", self._address.name, error)
        finally:
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await connection.disconnect(nowait=True)
