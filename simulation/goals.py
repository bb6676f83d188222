"""When a simulated world is idle, when it is stuck, and how to say who waits for what.

*Idle*: no job is active or delayed, and none waits in a running queue that has a worker. Occurrences to come,
heartbeats, the janitor and paused queues do not count. *Stuck*: not idle, and yet nothing that is still to happen can
change that: every active job is in the hands of a handler that waits for something nobody will bring.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import simulation
import taskmanager
from taskmanager.engine import Count, Engine
from taskmanager.job import State, StoredJob

if TYPE_CHECKING:
    from simulation.node import Node
    from taskmanager.worker.attempt import Attempt

_MANY = 1000
_SHOWN = 5
_OURS = tuple(f"{Path(package.__path__[0])}{os.sep}" for package in (simulation, taskmanager))
_ASYNCIO = f"{Path(asyncio.__file__).parent}{os.sep}"


@dataclass(frozen=True, slots=True)
class Census:
    """How many jobs keep the world from being idle; `due_at` is the next delayed one's moment (ms).

    `overdue` are the queues with delayed jobs whose own `due_at` is past, for nobody takes over what is due there.
    """

    active: int
    delayed: int
    waiting: int
    due_at: int | None
    overdue: tuple[str, ...]

    @property
    def is_idle(self) -> bool:
        return not (self.active or self.delayed or self.waiting)


async def take_census(engine: Engine, served: Iterable[str], now: int) -> Census:
    """Counts what matters, over all queues, at the moment `now` (ms); `served` are the queues that have a worker."""
    served = set(served)
    active = delayed = waiting = 0
    moments = []
    overdue = []
    for queue in await engine.queues():
        count: Count = await engine.count(queue)
        active += count.states.get(State.ACTIVE, 0)
        delayed += count.states.get(State.DELAYED, 0)
        if queue in served and not count.paused:
            waiting += count.states.get(State.WAITING, 0)
        if count.due_at is not None and count.due_at > now:
            moments.append(count.due_at)
        elif count.states.get(State.DELAYED):
            overdue.append(queue)
    return Census(active, delayed, waiting, min(moments, default=None), tuple(overdue))


async def moments_to_come(engine: Engine, queues: Iterable[str]) -> list[int]:
    """When the delayed jobs of those queues become due (ms), the latest first. It reads every one of them."""
    moments: set[int] = set()
    for queue in queues:
        below = None
        while jobs := await engine.list(queue, State.DELAYED, _MANY, below):
            moments.update(job.run_at for job in jobs)
            below = jobs[-1].emission
    return sorted(moments, reverse=True)


async def can_still_change(engine: Engine, nodes: Sequence[Node]) -> bool:
    """Whether an active job is about to be reaped, or about to hear of its cancel."""
    for queue in await engine.queues():
        for job in await engine.list(queue, State.ACTIVE, _MANY, None):
            attempt = _attempt_of(job, nodes)
            if attempt is None or (job.cancel_requested and attempt.ending is None):
                return True
    return False


def waiting_handlers(nodes: Sequence[Node]) -> list[str]:
    """One line for each handler in hand: which, since when, and at which line of whose code it waits."""
    lines = []
    for node in nodes:
        worker = node.worker
        for attempt in worker.attempts() if worker is not None else ():
            claim = attempt.claim
            lines.append(
                f"{claim.event!r} (job {claim.id!r} in queue {claim.queue!r}, attempt {claim.attempt} on {node.name})"
                f" waits {_place(attempt)}"
            )
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"and {len(lines) - _SHOWN} more"]
    return lines


def place_of(task: asyncio.Task[Any]) -> str:
    """Where a suspended task waits, as `at file.py:12 in function`."""
    frame = _innermost(task.get_coro())
    return "for what nobody brings" if frame is None else f"at {_file(frame[0])}:{frame[1]} in {frame[0].co_name}"


def _attempt_of(job: StoredJob, nodes: Sequence[Node]) -> Attempt | None:
    for node in nodes:
        if node.worker is not None and node.worker.name == job.worker:
            return node.worker.attempt(job.queue, job.claim)
    return None


def _place(attempt: Attempt) -> str:
    return "unstarted" if attempt.task is None else place_of(attempt.task)


def _innermost(awaited: Any) -> tuple[CodeType, int] | None:
    """The deepest frame of a suspended coroutine that is neither ours nor asyncio's; where there is none, not ours."""
    found = asyncios = None
    while awaited is not None:
        frame: FrameType | None = getattr(awaited, "cr_frame", None) or getattr(awaited, "gi_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_OURS):
            if frame.f_code.co_filename.startswith(_ASYNCIO):
                asyncios = frame.f_code, frame.f_lineno
            else:
                found = frame.f_code, frame.f_lineno
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    return found or asyncios


def _file(code: CodeType) -> str:
    return Path(code.co_filename).name
