"""Pruning: finished jobs beyond their limits go, oldest end first, and so does whatever was kept for a while.

Pruning changes no later verdict. An open window, a caller's last answer, an awaited outcome and a schedule's place do
not depend on the record that is removed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from taskmanager.engine import Limit
from taskmanager.engines.memory.queue import Queue
from taskmanager.job import State, StoredJob

__all__ = ["prune"]


def prune(
    queue: Queue, limits: Mapping[State, Limit], limit: int, now: int
) -> tuple[int, bool, int | None, int | None]:
    """How many records went, whether more are to go, when the next outlives its time, and the room that is left."""
    removed, more = 0, False
    next_at: int | None = None
    room: int | None = None
    for state, jobs in queue.finished.items():
        bound = limits.get(state)
        if bound is None:
            continue
        if jobs:
            left = limit - removed
            beyond = _beyond(jobs, bound, now, left + 1)
            more = more or len(beyond) > left
            for job in beyond[:left]:
                queue.forget(job)
                removed += 1
            if jobs and bound.age_ms is not None:
                next_at = _sooner(next_at, _ended_at(next(iter(jobs.values()))) + bound.age_ms)
        if bound.count is not None and (room is None or bound.count - len(jobs) < room):
            room = max(0, bound.count - len(jobs))
    queue.forget_replays(now)
    if queue.outcomes:
        queue.forget_outcomes(now)
    if queue.outcomes:
        next_at = _sooner(next_at, next(iter(queue.outcomes.values())).until)
    if queue.windows:
        _close_windows(queue, now)
    return removed, more, next_at, room


def _sooner(one: int | None, other: int) -> int:
    return other if one is None or other < one else one


def _beyond(jobs: dict[int, StoredJob], bound: Limit, now: int, limit: int) -> list[StoredJob]:
    """The first of them, at most `limit`, that are too many or too old."""
    surplus = 0 if bound.count is None else len(jobs) - bound.count
    beyond: list[StoredJob] = []
    for job in islice(jobs.values(), limit):
        if len(beyond) >= surplus and (bound.age_ms is None or _ended_at(job) + bound.age_ms > now):
            break
        beyond.append(job)
    return beyond


def _ended_at(job: StoredJob) -> int:
    assert job.finished_at is not None
    return job.finished_at


def _close_windows(queue: Queue, now: int) -> None:
    over = [key for key, opening in queue.windows.items() if opening.until is not None and opening.until <= now]
    for key in over:
        del queue.windows[key]
