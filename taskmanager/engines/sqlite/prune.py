"""Pruning: finished jobs beyond their limits go, oldest end first, and so does whatever was kept for a while.

Pruning changes no later verdict. An open window, a caller's last answer, an awaited outcome and a schedule's place do
not depend on the record that is removed. The oldest end is the one of the lowest number, never of the earliest moment,
so a clock that was set back changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from taskmanager.engine import REPLAY_MS, Limit
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import ends_of
from taskmanager.job import State

__all__ = ["prune"]

ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)
End = tuple[int, int, int]
"""Place, serial and moment of a job's end."""


def prune(
    queue: Queue, limits: Mapping[State, Limit], limit: int, now: int
) -> tuple[int, bool, int | None, int | None]:
    """How many records went, whether more are to go, when the next outlives its time, and the room that is left."""
    removed = 0
    more = False
    moments: list[int] = []
    file, number = queue.file, queue.number
    for state in ENDED:
        bound = limits.get(state)
        if bound is None or not queue.states[state]:
            continue
        allowed = max(0, limit - removed)
        first = file.execute(sql.FIRST_ENDS, (*ends_of(number, state), state.value, allowed + 1)).fetchall()
        beyond = _beyond(first, queue.states[state], bound, now)
        more = more or beyond > allowed
        gone, left = first[: min(beyond, allowed)], first[min(beyond, allowed) :]
        queue.forget_all(state, [(place, serial) for place, serial, _ in gone])
        removed += len(gone)
        if left and bound.age_ms is not None:
            moments.append(left[0][2] + bound.age_ms)
    queue.flush()
    file.execute(sql.DROP_LEASES, (number,))
    file.execute(sql.DROP_REPLAYS, (number, now - REPLAY_MS))
    file.execute(sql.DROP_OUTCOMES, (number, now))
    file.execute(sql.DROP_WINDOWS, (number, now))
    kept_until = file.execute(sql.NEXT_OUTCOME, (number,)).fetchone()[0]
    if kept_until is not None:
        moments.append(kept_until)
    bounds = [(bound.count, queue.states[state]) for state, bound in limits.items()]
    room = min((max(0, count - jobs) for count, jobs in bounds if count is not None), default=None)
    return removed, more, min(moments, default=None), room


def _beyond(first: list[End], total: int, bound: Limit, now: int) -> int:
    """How many of the first ends, from the oldest on, are beyond the limits of their state."""
    surplus = 0 if bound.count is None else total - bound.count
    for nth, (_, _, finished_at) in enumerate(first):
        is_old = bound.age_ms is not None and finished_at + bound.age_ms <= now
        if nth >= surplus and not is_old:
            return nth
    return len(first)
