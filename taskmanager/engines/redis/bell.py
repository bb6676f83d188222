"""Waiting for a server without asking it again and again.

Whatever makes something claimable puts a token into the queue's bell, a list that never holds more than one, and each
waiting worker blocks on the bells of its queues: the server gives the token to one of them, so one emission wakes one
worker. Whoever takes the last free slot while more is left rings again (see claim.lua).

What makes this safe, though a token may reach somebody who has no use for it:

* A token is a level: rung while nobody waits, it stays and ends the next wait at once.
* A blocking read takes one token, and the next begins only when somebody comes to wait again: a worker whose slots are
  full takes none from one that is idle. A token that comes when nobody here waits any more is put back.
* A ring is spent by the wait that tells of it and by nothing else: not by an answer of our own that was under way
  meanwhile and is older than the ring.
* Where the connection broke, a token may have been lost with it: every queue counts as rung. The next comes after a
  pause, which grows while connections go on failing.
* What this engine's own calls tell is noticed at once, without the server (see `waiters`).

A blocking read's time-out is no timer (servers look at them a few times a second), so moments are waited for here, on
the local clock set by the server's; see `clock`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from redis import exceptions as redis_errors

from taskmanager.engine import Answer
from taskmanager.engines.redis.address import REPLY_S, Address
from taskmanager.engines.redis.connection import Connections, is_at_work
from taskmanager.engines.redis.keys import Layout
from taskmanager.engines.waiters import Waiters

__all__ = ["Bell"]

log = logging.getLogger("taskmanager")

_BLOCK_S = 30
"""How long one blocking read lasts: so long may a dead connection go unnoticed."""
_CLOSING_S = 1.0
_AGAIN_S = 0.005
_PAUSE_S, _LONGEST_PAUSE_S, _MANY_FAILURES = 0.025, 2.0, 10
_UNKNOWN = -1
"""The tide of a queue that was rung: it is not the one that anybody has seen."""


class Bell:
    """The waiting of one engine, in one event loop. `rings` is where the blocking reads go, `connections` the rest."""

    def __init__(self, layout: Layout, connections: Connections, rings: Address, now_us: Callable[[], int]) -> None:
        self._layout = layout
        self._connections = connections
        self._rings = rings
        self._now_us = now_us
        self._waiters = Waiters()
        self._watched: Counter[str] = Counter()
        self._rung: set[str] = set()
        self._queues: set[str] = set()
        self._listener: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._client: bytes | None = None
        self._heard: frozenset[str] = frozenset()
        self._failures = 0
        self._closing = False

    def notice(self, queue: str, answer: Answer) -> None:
        """What one of our own calls told."""
        self._waiters.notice(queue, answer)

    async def wait(self, seen: Mapping[str, int], until: int | None) -> Collection[str]:
        """See `Engine.wait`; the moment is to come."""
        if not seen:
            return await self._waiters.wait(seen, until, self._now_us)
        self._watched.update(seen.keys())
        try:
            rung = self._rung & seen.keys()
            if rung:
                await asyncio.sleep(0)
            else:
                await self._listen(seen)
                rung = set(await self._waiters.wait(seen, until, self._now_us))
            self._rung -= rung
            return rung
        finally:
            self._watched.subtract(seen.keys())

    async def close(self) -> None:
        """Ends the blocking read without losing a token to it."""
        if self._listener is None or not is_at_work(self._listener):
            return
        self._closing = True
        self._wanted.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                await self._unblock_until(self._listener.done)
        self._listener.cancel()
        await asyncio.wait((self._listener,))
        self._listener, self._closing = None, False

    async def _listen(self, seen: Mapping[str, int]) -> None:
        """There is a blocking read, and it is about these queues too."""
        self._queues |= seen.keys()
        if self._listener is None or not is_at_work(self._listener):
            self._wanted = asyncio.Event()
            self._wanted.set()
            self._listener = asyncio.get_running_loop().create_task(self._hear(), name="taskmanager-bell")
        elif not self._wanted.is_set():
            self._wanted.set()
        elif not self._queues <= self._heard:
            listener = self._listener
            await self._unblock_until(lambda: self._queues <= self._heard or listener.done())

    async def _unblock_until(self, is_reached: Callable[[], bool]) -> None:
        """Ends the blocking read that is under way. It may not have reached the server yet, so once is not enough."""
        while not is_reached():
            if self._client is not None:
                with contextlib.suppress(redis_errors.RedisError, OSError):
                    await self._connections.ask("CLIENT", "UNBLOCK", self._client)
            await asyncio.sleep(_AGAIN_S)

    async def _hear(self) -> None:
        """Takes one token each time that somebody has come to wait: a second would be missed where it is of use."""
        connection = self._rings.connect()
        self._heard = frozenset()
        if self._failures:
            await asyncio.sleep(min(_PAUSE_S * 2**self._failures, _LONGEST_PAUSE_S))
        try:
            async with asyncio.timeout(REPLY_S):
                await connection.send_command("CLIENT", "ID")
                self._client = await connection.read_response()
            while True:
                await self._wanted.wait()
                if self._closing:
                    return
                self._heard = frozenset(self._queues)
                bells = [self._layout.key(queue, "BELL") for queue in sorted(self._heard)]
                async with asyncio.timeout(_BLOCK_S + REPLY_S):
                    await connection.send_command("BLPOP", *bells, _BLOCK_S)
                    token = await connection.read_response()
                self._failures = 0
                if token is not None:
                    self._wanted.clear()
                    await self._take(token[0].decode())
        except (redis_errors.RedisError, OSError, TimeoutError) as error:
            self._failures = min(self._failures + 1, _MANY_FAILURES)
            log.warning("waiting at %s was interrupted (%s); looking again", self._rings.name, error)
            for queue in self._queues:
                self._ring(queue)
        finally:
            self._client = None
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await connection.disconnect(nowait=True)

    async def _take(self, key: str) -> None:
        """The token of a bell: for who waits here, else for somebody else."""
        queue = self._layout.queue_of(key)
        if self._watched[queue]:
            self._ring(queue)
        else:
            with contextlib.suppress(redis_errors.RedisError, OSError):
                await self._connections.ask("LPUSH", key, "1")

    def _ring(self, queue: str) -> None:
        self._rung.add(queue)
        self._waiters.tell(queue, _UNKNOWN, None)
