"""Worker processes for the kill tests, and the nursery they come from.

`python -m tests.engines.redis.worker_process` is the nursery: it imports everything once and forks a worker for each
order, which takes milliseconds where a new interpreter would take a third of a second. Orders come as lines of JSON on
its standard input, word of births and deaths goes as lines of JSON to its standard output. When its input ends it kills
all its children, stopped ones too, and ends.

A worker is a `TaskManager` by its public API, over an engine that writes a diary and may be doomed (see `doom.py`). It
serves until SIGTERM. Its one event is `work`; what a job does is in its data (see `Work`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any, TypedDict, cast

import taskmanager.engines
import taskmanager.seat
from taskmanager import Job, TaskManager
from taskmanager.engine import Engine
from tests.engines.redis.diary import Diary, Phase
from tests.engines.redis.doom import Doom, DoomedEngine, Point

EVENT = "work"
_GATE_LOOK_S = 0.005


class Work(TypedDict, total=False):
    """What a job does: sleeps, waits until a file exists, blocks the event loop, emits a child, kills its worker."""

    sleep_s: float
    gate: str
    block_s: float
    child: bool
    kill: bool


class Spec(TypedDict):
    """One worker: where it works, and where it dies."""

    url: str
    queue: str
    diary: str
    lease: float
    concurrency: int
    max_stalled: int
    point: str | None
    nth: int


def child_of(job_id: str, attempt: int) -> str:
    """The id of what that run of a job emits. Each run has its own: a run that was killed has perhaps emitted."""
    return f"{job_id}/child-{attempt}"


# ---- a worker


def application(spec: Spec) -> TaskManager:
    """The TaskManager of a worker process, with its handler and its doom."""
    diary = Diary(Path(spec["diary"]))
    doom = Doom(diary, Point(spec["point"]) if spec["point"] else None, spec["nth"])
    seat: Any = taskmanager.seat  # what it imports is not its to export
    open_engine = seat.open_engine

    def doomed(*args: Any, **options: Any) -> Engine:
        return cast(Engine, DoomedEngine(open_engine(*args, **options), diary, doom, spec["lease"]))

    seat.open_engine = doomed  # this process is nobody else's
    tm = TaskManager(
        spec["url"],
        {"diary": diary, "doom": doom},
        lease=spec["lease"],
        concurrency=spec["concurrency"],
        max_stalled=spec["max_stalled"],
        retention={"completed": (3600, 1_000_000)},
    )
    tm.register_handler(_work, EVENT, queue=spec["queue"])
    return tm


async def _work(job: Job[Work], ctx: Any) -> int:
    ctx.diary.write(Phase.BEGUN, job.id, job.attempt)
    try:
        ctx.doom.at(Point.MID_HANDLER)
        if job.data.get("kill"):
            ctx.diary.write(Phase.KILLED, detail="by-its-job")
            os.kill(os.getpid(), signal.SIGKILL)
        if "block_s" in job.data:
            time.sleep(job.data["block_s"])  # noqa: ASYNC251 - a handler that blocks the loop is what is wanted
        while "gate" in job.data and not os.path.exists(job.data["gate"]):  # noqa: ASYNC110, ASYNC240 - another process' file
            await asyncio.sleep(_GATE_LOOK_S)
        await asyncio.sleep(job.data.get("sleep_s", 0))
        ctx.diary.write(Phase.RAN, job.id, job.attempt)
        ctx.doom.at(Point.AFTER_EFFECT)
        if job.data.get("child"):
            await ctx.emit(EVENT, {}, queue=job.queue, id=child_of(job.id, job.attempt))
    except asyncio.CancelledError:
        ctx.diary.write(Phase.UNDONE, job.id, job.attempt)
        raise
    return os.getpid()


async def serve(spec: Spec) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    diary = Diary(Path(spec["diary"]))
    async with application(spec):
        diary.write(Phase.READY)
        await over.wait()
    diary.write(Phase.OVER)


# ---- the nursery


def _born(spec: Spec) -> None:
    """The life of a forked child; it never returns to the nursery's code."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        asyncio.run(serve(spec))
        status = 0
    finally:
        if status:
            sys.excepthook(*cast(Any, sys.exc_info()))
        sys.stderr.flush()
        os._exit(status)


def _tell(**word: object) -> None:
    os.write(1, (json.dumps(word) + "\n").encode())


def nursery() -> None:
    children: set[int] = set()
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    buffer = b""
    while True:
        readable, _, _ = select.select([0, woken.fileno()], [], [])
        if woken.fileno() in readable:
            woken.recv(4096)
            _bury(children)
        if 0 not in readable:
            continue
        received = os.read(0, 65_536)
        if not received:
            break
        *orders, buffer = (buffer + received).split(b"\n")
        for order in map(json.loads, orders):
            if "signal" in order:
                if order["pid"] in children:  # else it has ended, and its pid may be another's
                    os.kill(order["pid"], order["signal"])
                continue
            _warm_up(order["spec"]["url"])
            if (pid := os.fork()) == 0:
                _born(order["spec"])
            else:
                children.add(pid)
                _tell(born=pid, name=order["name"])
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@cache
def _warm_up(url: str) -> None:
    """Imports what that engine needs once, and not in every child."""
    taskmanager.engines.open_engine(url)
    gc.freeze()


def _bury(children: set[int]) -> None:
    for pid in tuple(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            _tell(died=pid, status=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    nursery()
