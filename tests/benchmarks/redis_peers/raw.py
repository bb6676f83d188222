"""The floors: what a queue on Redis Streams must at least do, on redis-py's asyncio client, with no feature.

`Streams` knows no state: XADD, XREADGROUP, XACK and XDEL, pipelined. `Floor` keeps a hash a job, by which an id is
admitted once and which says what has become of it, and writes it by one script a batch: enqueue, start, finish. Neither
has leases, retries, priorities, timeouts, history or errors, nor survives its worker.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from functools import cache
from math import ceil
from typing import Any, NamedTuple

import msgspec
from redis.asyncio import Redis

from tests.benchmarks.redis_peers.peer import CONCURRENCY, Entry, Handle

_STREAM, _GROUP, _DUE = "raw:stream", "workers", "raw:due"
_HELD = 2 * CONCURRENCY
_BLOCK_MS = 10_000

_ENQUEUE = """
for i = 2, #ARGV, 2 do
  local job = 'raw:job:' .. ARGV[i]
  if redis.call('HSETNX', job, 'state', 'waiting') == 1 then
    redis.call('HSET', job, 'at', ARGV[1])
    redis.call('XADD', KEYS[1], '*', 'id', ARGV[i], 'data', ARGV[i + 1])
  end
end
"""
_START = """
for i = 2, #ARGV do redis.call('HSET', 'raw:job:' .. ARGV[i], 'state', 'active', 'at', ARGV[1]) end
"""
_FINISH = """
local messages = {}
for i = 2, #ARGV, 2 do
  local job = 'raw:job:' .. ARGV[i]
  redis.call('HSET', job, 'state', 'completed', 'at', ARGV[1])
  redis.call('EXPIRE', job, 600)
  messages[#messages + 1] = ARGV[i + 1]
end
redis.call('XACK', KEYS[1], 'workers', unpack(messages))
redis.call('XDEL', KEYS[1], unpack(messages))
"""
_PROMOTE = """
local due = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ARGV[1], 'LIMIT', 0, 500)
for _, job in ipairs(due) do
  redis.call('XADD', KEYS[1], '*', 'id', string.sub(job, 1, 24), 'data', string.sub(job, 25))
end
if #due > 0 then redis.call('ZREM', KEYS[2], unpack(due)) end
return redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
"""


class _Job(NamedTuple):
    message: bytes
    id: bytes
    data: bytes


class Streams:
    """Slots, a reader that keeps them supplied, and one pipeline for whatever ended while the last was under way."""

    def __init__(self, url: str) -> None:
        self._client: Any = Redis.from_url(url, protocol=2)
        self._reader: Any = Redis.from_url(url, protocol=2, socket_timeout=None)
        self._line: asyncio.Queue[_Job] = asyncio.Queue()
        self._held = 0
        self._started: list[_Job] = []
        self._ended: list[_Job] = []
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def emit(self, entry: Entry) -> None:
        await self._client.execute_command("XADD", _STREAM, "*", "data", msgspec.json.encode(entry.data))

    async def emit_many(self, entries: Sequence[Entry]) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for entry in entries:
                pipe.execute_command("XADD", _STREAM, "*", "data", msgspec.json.encode(entry.data))
            await pipe.execute()

    async def work(self, handle: Handle, *, keeps: bool) -> None:
        await self._client.execute_command("XGROUP", "CREATE", _STREAM, _GROUP, "0", "MKSTREAM")
        slots = [self._serve(handle) for _ in range(CONCURRENCY)]
        self._room.set()
        self._tasks = [asyncio.create_task(part) for part in (self._fetch(), self._settle(), *slots)]

    async def close(self) -> None:
        """It ends with its process."""

    # ---- a worker's parts

    async def _fetch(self) -> None:
        consumer = ("GROUP", _GROUP, "one", "BLOCK", _BLOCK_MS, "COUNT")
        while True:
            await self._room.wait()
            free = _HELD - self._held
            answer = await self._reader.execute_command("XREADGROUP", *consumer, free, "STREAMS", _STREAM, ">")
            for message, fields in answer[0][1] if answer else ():
                self._held += 1
                self._line.put_nowait(_Job(message, fields.get(b"id", b""), fields[b"data"]))
            if self._held > CONCURRENCY:
                self._room.clear()

    async def _serve(self, handle: Handle) -> None:
        while True:
            job = await self._line.get()
            self._started.append(job)
            self._news.set()
            await handle(msgspec.json.decode(job.data))
            self._ended.append(job)
            self._news.set()
            self._held -= 1
            if self._held <= CONCURRENCY:
                self._room.set()

    async def _settle(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            started, self._started = self._started, []
            ended, self._ended = self._ended, []
            await self._write(started, ended)

    async def _write(self, started: Sequence[_Job], ended: Sequence[_Job]) -> None:
        if not ended:
            return
        messages = [job.message for job in ended]
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.execute_command("XACK", _STREAM, _GROUP, *messages)
            pipe.execute_command("XDEL", _STREAM, *messages)
            await pipe.execute()


class Floor(Streams):
    """The same loop, with a state a job. Delayed jobs wait in a sorted set that a worker empties by one timer; it only
    learns of those that were there when it started.
    """

    _is_loaded = False

    async def emit(self, entry: Entry) -> None:
        await self.emit_many([entry])

    async def emit_many(self, entries: Sequence[Entry]) -> None:
        await self._load()
        texts = [(entry, msgspec.json.encode(entry.data)) for entry in entries]
        if now := [word for entry, data in texts if entry.due_s is None for word in (entry.id, data)]:
            await self._client.execute_command(*_call(_ENQUEUE, 1, _STREAM, _now_ms(), *now))
        delayed = [(ceil(1000 * entry.due_s), entry.id.encode() + data) for entry, data in texts if entry.due_s]
        if delayed:
            await self._client.execute_command("ZADD", _DUE, *(word for pair in delayed for word in pair))

    async def work(self, handle: Handle, *, keeps: bool) -> None:
        await self._load()
        await super().work(handle, keeps=keeps)
        self._tasks.append(asyncio.create_task(self._promote()))

    async def _load(self) -> None:
        if not self._is_loaded:
            for script in (_ENQUEUE, _START, _FINISH, _PROMOTE):
                await self._client.execute_command("SCRIPT", "LOAD", script)
            self._is_loaded = True

    async def _promote(self) -> None:
        while True:
            due_ms = await self._client.execute_command(*_call(_PROMOTE, 2, _STREAM, _DUE, _now_ms()))
            if due_ms is None:
                return
            await asyncio.sleep(max(0.0, float(due_ms) / 1000 - time.time()))

    async def _write(self, started: Sequence[_Job], ended: Sequence[_Job]) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            if started:
                pipe.execute_command(*_call(_START, 1, _STREAM, _now_ms(), *(job.id for job in started)))
            if ended:
                words = [word for job in ended for word in (job.id, job.message)]
                pipe.execute_command(*_call(_FINISH, 1, _STREAM, _now_ms(), *words))
            await pipe.execute()


def _call(script: str, keys: int, *words: object) -> tuple[object, ...]:
    return ("EVALSHA", _sha(script), keys, *words)


@cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode()).hexdigest()


def _now_ms() -> int:
    return int(1000 * time.time())
