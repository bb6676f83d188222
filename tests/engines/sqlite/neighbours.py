"""What other processes do beside a test: `python -m tests.engines.sqlite.neighbours ROLE URL ...`.

A role talks by lines: it says when it is ready, does a thing for each line it is sent, and says how it went.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, Settlement
from taskmanager.engines import open_engine
from taskmanager.job import Emission
from tests.engines.conformance.builders import completed

Role = Callable[..., Awaitable[None]]
ROLES: dict[str, Role] = {}


def role(function: Role) -> Role:
    ROLES[function.__name__] = function
    return function


def say(*words: object) -> None:
    print(*words, flush=True)


@role
async def emitter(url: str) -> None:
    """Emits a job for each line it is sent, and says at what moment (of the monotonic clock)."""
    engine = open_engine(url)
    await engine.open()
    say("ready")
    number = 0
    while await asyncio.to_thread(sys.stdin.readline):
        number += 1
        began_s = time.monotonic()
        await engine.enqueue("q", [Emission("send", f"e{number}")], Batch("emitter", number))
        say(began_s)


@role
async def hammer(url: str, name: str, seconds: str) -> None:
    """Emits without a pause; says the sorted milliseconds of the emissions."""
    engine = open_engine(url)
    await engine.open()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    took: list[float] = []
    over_s = time.monotonic() + float(seconds)
    while (began_s := time.monotonic()) < over_s:
        batch = Batch(name, len(took) + 1)
        await engine.enqueue("q", [Emission("send", f"{name}-{len(took)}")], batch)
        took.append((time.monotonic() - began_s) * 1000)
        await asyncio.sleep(0)
    say(*(f"{ms:.3f}" for ms in sorted(took)))


@role
async def idler(url: str, seconds: str) -> None:
    """Waits for work that does not come; says how much processor that took, in seconds."""
    engine = open_engine(url)
    await engine.open()
    answer = await engine.claim("q", "w", (), 1, 60_000, 2)
    await asyncio.wait({asyncio.ensure_future(engine.wait({"q": answer.tide}, None))}, timeout=0.1)
    before_s = time.process_time()
    waiting = asyncio.ensure_future(engine.wait({"q": answer.tide}, None))
    await asyncio.wait({waiting}, timeout=float(seconds))
    say(time.process_time() - before_s)
    waiting.cancel()


@role
async def claimer(url: str, name: str) -> None:
    """Claims and settles until nothing is left; says what it was handed."""
    engine = open_engine(url)
    await engine.open()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    got: list[str] = []
    number = 0
    while jobs := (await engine.claim("q", name, (), 3, 60_000, 2)).jobs:
        number += 1
        got += [claim.id for claim in jobs]
        await engine.settle("q", name, [Settlement(one.number, completed()) for one in jobs], Batch(name, number))
        await asyncio.sleep(0)
    say(*got)


@role
async def holder(url: str, lease_s: str) -> None:
    """A worker whose handler blocks its loop and never returns: only the heartbeat's thread keeps the job."""
    tm = TaskManager(url, lease=float(lease_s))

    @tm.handler("hold")
    async def hold(job: Job[Any]) -> None:
        say("running", job.attempt)
        time.sleep(3600)  # noqa: ASYNC251 - that is what it is for

    await tm.start()
    say("ready")
    await asyncio.sleep(3600)


class Neighbour:
    """A process that plays a role."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def heard(self) -> list[str]:
        """The words of its next line."""
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return (await self.process.stdout.readline()).decode().split()

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")


@asynccontextmanager
async def neighbours(*roles: Sequence[object]) -> AsyncIterator[list[Neighbour]]:
    """Processes that play these roles, each given with its arguments; they end with the block."""
    beside = []
    pipe = asyncio.subprocess.PIPE
    try:
        for words in roles:
            command = [sys.executable, "-m", __name__, *map(str, words)]
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=1 << 24)
            beside.append(Neighbour(process))
        yield beside
    finally:
        for one in beside:
            if one.process.returncode is None:
                one.process.kill()
            await one.process.wait()


if __name__ == "__main__":
    asyncio.run(ROLES[sys.argv[1]](*sys.argv[2:]))  # type: ignore[arg-type]  # every role is a coroutine
