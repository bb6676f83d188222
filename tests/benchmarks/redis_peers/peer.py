"""What a system must do to be measured, and what is measured inside its processes.

Each measured thing is a process of its own, so that its CPU is only its own. A producer's rate is taken from after its
first job, which opens connections and loads scripts. A worker's clock runs from the start of its first handler to the
end of its last. Latency and lateness are differences of the machine's one wall clock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

CONCURRENCY = 100
BULK = 100

Data = dict[str, Any]
Figures = dict[str, float]
Handle = Callable[[Data], Awaitable[None]]


class Entry(NamedTuple):
    """One job to emit: ids are of 24 characters in every system. `due_s` is seconds since the epoch, None for now."""

    id: str
    data: Data
    due_s: float | None = None


class Peer(Protocol):
    """A queue on the Redis of a URL, which is what it is made of."""

    async def emit(self, entry: Entry) -> None: ...

    async def emit_many(self, entries: Sequence[Entry]) -> None: ...

    async def work(self, handle: Handle, *, keeps: bool) -> None:
        """Returns when it serves, 100 handlers at a time. With `keeps` false a job that is done leaves nothing."""

    async def close(self) -> None: ...


class Probe:
    """The handler: sleeps if it is to, notes how late it began, and takes the figures at the last of so many jobs."""

    def __init__(self, jobs: int, sleep_s: float) -> None:
        self.figures: Figures = {}
        self.over = asyncio.Event()
        self._jobs = self._left = jobs
        self._sleep_s = sleep_s
        self._late_ms: list[float] = []
        self._began_s = self._cpu_s = 0.0

    async def __call__(self, data: Data) -> None:
        if not self._began_s:
            self._began_s, self._cpu_s = time.perf_counter(), time.process_time()
        if "at" in data:
            self._late_ms.append(1000 * (time.time() - data["at"]))
        if self._sleep_s:
            await asyncio.sleep(self._sleep_s)
        self._left -= 1
        if not self._left:
            self._take()

    def _take(self) -> None:
        self.figures["rate"] = self._jobs / (time.perf_counter() - self._began_s)
        self.figures["cpu_us"] = 1e6 * (time.process_time() - self._cpu_s) / self._jobs
        if late := sorted(self._late_ms):
            self.figures["p50_ms"] = late[len(late) // 2]
            self.figures["p99_ms"] = late[int(0.99 * len(late))]
            self.figures["earliest_ms"] = late[0]
        self.over.set()
