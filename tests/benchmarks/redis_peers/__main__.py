"""One process of one peer: `python -m tests.benchmarks.redis_peers PEER URL COMMAND NUMBERS...`.

It says its figures as one line of JSON, the last that it says. A worker first says `ready`. `bullmq.mjs` has the same
commands.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from itertools import count

from tests.benchmarks.redis_peers.peer import BULK, Data, Entry, Figures, Peer, Probe

PEERS = {
    # peer: (module, class), imported in its own process only
    "ours": ("ours", "Ours"),
    "floor": ("raw", "Floor"),
    "streams": ("raw", "Streams"),
    "taskiq": ("taskiq_streams", "Taskiq"),
}
LEAD_S = 4.0
"""How long after its emission the first delayed job is due at the earliest: until then the worker is ready."""

_prefix = uuid.uuid4().hex[:12]
_serials = count()


def _entry(due_s: float | None = None, **more: float) -> Entry:
    data: Data = {"userId": "123", **more}
    return Entry(f"{_prefix}{next(_serials):012}", data, due_s)


async def one_by_one(peer: Peer, jobs: float) -> Figures:
    """Each awaited before the next."""
    await peer.emit(_entry())
    began_s = time.perf_counter()
    for _ in range(int(jobs) - 1):
        await peer.emit(_entry())
    return _rate(jobs - 1, began_s)


async def in_bulk(peer: Peer, jobs: float) -> Figures:
    """By the peer's own way to emit a hundred."""
    await peer.emit(_entry())
    began_s = time.perf_counter()
    left = int(jobs) - 1
    while left > 0:
        size = min(BULK, left)
        await peer.emit_many([_entry() for _ in range(size)])
        left -= size
    return _rate(jobs - 1, began_s)


async def steadily(peer: Peer, jobs: float, rate: float) -> Figures:
    """At so many a second. The first twentieth is not measured."""
    began_s = time.perf_counter()
    for number in range(int(jobs)):
        await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
        await peer.emit(_entry(at=time.time()) if number >= jobs // 20 else _entry())
    return _rate(jobs, began_s)


async def later(peer: Peer, jobs: float, within_s: float) -> Figures:
    """Due at random moments of a stretch of so many seconds."""
    drawn = random.Random(7)
    first_s = time.time() + LEAD_S
    dues = [first_s + drawn.random() * within_s for _ in range(int(jobs))]
    began_s = time.perf_counter()
    for start in range(0, len(dues), BULK):
        await peer.emit_many([_entry(due_s, at=due_s) for due_s in dues[start : start + BULK]])
    return _rate(jobs, began_s)


async def work(peer: Peer, jobs: float, sleep_ms: float, keeps: float) -> Figures:
    """Until so many handlers have run."""
    probe = Probe(int(jobs), sleep_ms / 1000)
    await peer.work(probe, keeps=bool(keeps))
    print("ready", flush=True)
    await probe.over.wait()
    return probe.figures


COMMANDS: dict[str, Callable[..., Awaitable[Figures]]] = {
    "one_by_one": one_by_one,
    "in_bulk": in_bulk,
    "steadily": steadily,
    "later": later,
    "work": work,
}


def _rate(jobs: float, began_s: float) -> Figures:
    return {"rate": jobs / (time.perf_counter() - began_s)}


async def _play(name: str, url: str, command: str, numbers: list[float]) -> None:
    module, class_name = PEERS[name]
    peer: Peer = getattr(import_module(f"tests.benchmarks.redis_peers.{module}"), class_name)(url)
    figures = await COMMANDS[command](peer, *numbers)
    await peer.close()
    print(json.dumps(figures), flush=True)
    os._exit(0)  # not every peer's tasks let themselves be cancelled


def main() -> None:
    name, url, command, *numbers = sys.argv[1:]
    loops = import_module("uvloop").new_event_loop if find_spec("uvloop") else None
    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(_play(name, url, command, [float(number) for number in numbers]))


if __name__ == "__main__":
    main()
