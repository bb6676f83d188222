"""A process that writes one of everything, hears that it is stored, and is killed: `... left_behind URL`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from taskmanager.engine import Batch, Journal, Pause, Settlement
from taskmanager.engines import open_engine
from taskmanager.job import Edge, Emission, Plan, Progress, Window
from tests.engines.conformance.builders import failed, retried

LEASE_MS = 600_000
WINDOW_MS = 3_600_000


async def write_one_of_everything(url: str) -> None:
    engine = open_engine(url)
    await engine.open()
    entries: list[Emission | Plan] = [
        Emission("send", "retrying", priority=9),
        Emission("send", "dead", priority=8),
        Emission("send", "running", priority=7),
        Emission("send", "waiting", window=Window("key", Edge.LEADING, WINDOW_MS)),
        Emission("send", "delayed", delay_ms=WINDOW_MS),
        Plan("nightly", "report", "0 3 * * *", "UTC", immediate=True),
    ]
    await engine.enqueue("q", entries, Batch("left", 1))
    retrying, dead, running = (await engine.claim("q", "w", (), 3, LEASE_MS, 2)).jobs
    ends = [Settlement(retrying.number, retried(WINDOW_MS)), Settlement(dead.number, failed(dead_letter="dlq"))]
    await engine.settle("q", "w", ends, Batch("w", 1))
    journal = [Journal(running.number, 1, "half way"), Journal(running.number, 2, Progress(0.5))]
    await engine.extend("q", "w", [running.number], LEASE_MS, journal)
    await engine.control("paused", Pause(), Batch("left", 1))


if __name__ == "__main__":
    asyncio.run(write_one_of_everything(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGKILL)
