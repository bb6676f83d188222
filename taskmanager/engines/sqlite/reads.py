"""Reading: records as they are at a moment.

A delayed job whose time has come is waiting in every read, whether or not a write has made it so yet. What is read
comes fresh from the file, so it is the reader's own.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from taskmanager.engine import Count, JobRef
from taskmanager.engines.rules.reads import state_at
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import PLACES, dead_letter_of, ends_of, follow_up_of, job_of, schedule_of
from taskmanager.job import FINISHED, DeadLetter, LogLine, State, StoredJob, StoredSchedule

__all__ = ["count", "dead_letters", "listing", "live_serial", "logs", "schedules", "seen_at"]

DEPTH = 2000
"""How many of a queue's newest jobs are looked through for a page of one state before its own index is asked."""
_LISTS = {
    State.WAITING: sql.LIST_WAITING,
    State.DELAYED: sql.LIST_DELAYED,
    State.ACTIVE: sql.LIST_ACTIVE,
}


def seen_at(job: StoredJob, now: int) -> StoredJob:
    """The record as it reads now."""
    job.state = state_at(job, now)
    return job


def listing(queue: Queue, state: State | None, limit: int, after: int | None, now: int) -> list[StoredJob]:
    """Newest emission first, below `after`."""
    low = queue.number << PLACES
    high = low + (1 << PLACES) if after is None else low + max(0, min(after, 1 << PLACES))
    if state is None:
        rows = queue.file.execute(sql.LIST_ALL, (low, high, limit)).fetchall()
    else:
        asked = {"queue": queue.number, "state": state.value, "now": now}
        asked |= {"low": low, "high": high, "limit": limit, "depth": DEPTH}
        rows = queue.file.execute(sql.LIST_RECENT, asked).fetchall()
        if len(rows) < limit:
            if state in FINISHED:
                asked["first"], asked["last"] = ends_of(queue.number, state)
            rows = queue.file.execute(_LISTS.get(state, sql.LIST_FINISHED), asked).fetchall()
    return [seen_at(job_of(row, queue.name), now) for row in rows]


def count(queue: Queue, now: int) -> Count:
    """All six states; only jobs that are overdue are looked at one by one."""
    _, due_at, schedule_at, lease_at = queue.tail(None)
    states = dict(queue.states)
    if due_at is not None and due_at <= now:
        overdue: int = queue.file.execute(sql.COUNT_OVERDUE, (queue.number, now)).fetchone()[0]
        states[State.WAITING] += overdue
        states[State.DELAYED] -= overdue
    return Count(states, bool(queue.paused), due_at, schedule_at, lease_at)


def logs(queue: Queue, id: str) -> list[LogLine]:
    rows = queue.file.execute(sql.LIST_LINES, {"queue": queue.number, "id": id}).fetchall()
    return [LogLine(at, attempt, str(message)) for at, attempt, message in rows]


def schedules(queue: Queue) -> list[StoredSchedule]:
    rows = queue.file.execute(sql.LIST_SCHEDULES, (queue.number,)).fetchall()
    return [schedule_of(row, row[5]) for row in rows]


def live_serial(file: sqlite3.Connection, queue: str, ref: JobRef) -> int | None:
    """The serial of the job or follow-up that is meant, None where it lives no more."""
    row: tuple[int, int, Any] | None = file.execute(sql.GET_LIVE, (queue, ref.id)).fetchone()
    if row is None:
        return None
    serial, is_live, recorded = row
    if ref.serial in (None, serial):
        return serial if is_live else None
    return ref.serial if recorded is not None and follow_up_of(recorded).serial == ref.serial else None


def dead_letters(file: sqlite3.Connection, stream: str) -> list[tuple[str, int, DeadLetter]]:
    """The entries of a dead-letter stream, oldest first: job id, serial, entry."""
    rows = file.execute(sql.LIST_DEAD, (stream,)).fetchall()
    return [(id, serial, dead_letter_of(entry)) for id, serial, entry in rows]
