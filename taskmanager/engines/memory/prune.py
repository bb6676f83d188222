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
    removed = 0
    for state, jobs in queue.finished.items():
        bound = limits.get(state)
        if bound is not None:
            for job in _beyond(jobs, bound, now, limit - removed):
                queue.forget(job)
                removed += 1
    queue.forget_replays(now)
    queue.forget_outcomes(now)
    ended = [key for key, opening in queue.windows.items() if opening.until is not None and opening.until <= now]
    for key in ended:
        del queue.windows[key]
    more = any(_beyond(jobs, limits[state], now, 1) for state, jobs in queue.finished.items() if state in limits)
    bounds = [(bound.count, queue.finished.get(state, ())) for state, bound in limits.items()]
    room = min((max(0, count - len(jobs)) for count, jobs in bounds if count is not None), default=None)
    return removed, more, _next_at(queue, limits), room


def _beyond(jobs: dict[int, StoredJob], bound: Limit, now: int, limit: int) -> list[StoredJob]:
    if not jobs:
        return []
    surplus = 0 if bound.count is None else len(jobs) - bound.count
    beyond: list[StoredJob] = []
    for job in islice(jobs.values(), max(0, limit)):
        if len(beyond) >= surplus and not _is_old(job, bound, now):
            break
        beyond.append(job)
    return beyond


def _is_old(job: StoredJob, bound: Limit, now: int) -> bool:
    return bound.age_ms is not None and job.finished_at is not None and job.finished_at + bound.age_ms <= now


def _next_at(queue: Queue, limits: Mapping[State, Limit]) -> int | None:
    moments = [outcome.until for outcome in islice(queue.outcomes.values(), 1)]
    for state, jobs in queue.finished.items():
        oldest = next(iter(jobs.values()), None)
        bound = limits.get(state)
        if oldest is not None and bound is not None and bound.age_ms is not None and oldest.finished_at is not None:
            moments.append(oldest.finished_at + bound.age_ms)
    return min(moments, default=None)
