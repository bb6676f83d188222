"""This project, by its public names alone, with all that is on by default."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from taskmanager import Job, TaskManager
from tests.benchmarks.redis_peers.peer import CONCURRENCY, Entry, Handle

_EVENT = "noop"


class Ours:
    """A TaskManager; an id is given, because by default equal data is one job."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tm = TaskManager(url)

    async def emit(self, entry: Entry) -> None:
        await self._tm.emit(_EVENT, entry.data, id=entry.id)

    async def emit_many(self, entries: Sequence[Entry]) -> None:
        await self._tm.emit_many([_options(entry) for entry in entries])

    async def work(self, handle: Handle, *, keeps: bool) -> None:
        self._tm = TaskManager(self._url, concurrency=CONCURRENCY, retention=None if keeps else {"completed": 0})

        @self._tm.handler(_EVENT)
        async def run(job: Job[Any]) -> None:
            await handle(job.data)

        await self._tm.start()

    async def close(self) -> None:
        await self._tm.stop()


def _options(entry: Entry) -> dict[str, Any]:
    options: dict[str, Any] = {"event": _EVENT, "data": entry.data, "id": entry.id}
    if entry.due_s is not None:
        options["delay_until"] = datetime.fromtimestamp(entry.due_s, UTC)
    return options
