"""Reading: copies of records, as they are at a moment.

A delayed job whose time has come is waiting in every read, whether or not a write has made it so yet.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import replace

from taskmanager.engine import Count, JobRef
from taskmanager.engines.memory.queue import Queue
from taskmanager.engines.rules.reads import find, recorded, state_at
from taskmanager.job import FINISHED, State, StoredJob, StoredSchedule

__all__ = ["copy_of", "count", "listing", "live_serial", "schedules"]


def copy_of(job: StoredJob, now: int) -> StoredJob:
    """The record as it reads now. What a reader does to it changes nothing here."""
    follow_up = None if job.follow_up is None else replace(job.follow_up)
    return replace(job, state=state_at(job, now), attempts=list(job.attempts), follow_up=follow_up)


def live_serial(queue: Queue, ref: JobRef) -> int | None:
    """The serial of the job or follow-up that is meant, None where it lives no more."""
    job = find(queue, ref)
    if job is not None:
        return None if job.state in FINISHED else job.serial
    holder = queue.jobs.get(ref.id)
    return ref.serial if holder is not None and recorded(holder, ref) is not None else None


def listing(queue: Queue, state: State | None, limit: int, after: int | None, now: int) -> list[StoredJob]:
    """Newest emission first, below `after`."""
    jobs: Iterable[StoredJob] = queue.jobs.values() if state is None else queue.in_state(state, now)
    if after is not None:
        jobs = (job for job in jobs if job.emission < after)
    return [copy_of(job, now) for job in heapq.nlargest(limit, jobs, key=lambda job: job.emission)]


def count(queue: Queue, now: int) -> Count:
    """All six states; only jobs that are overdue are looked at one by one."""
    _, due_at, schedule_at, lease_at = queue.tail(None)
    delayed = len(queue.delays)
    due = sum(job.run_at <= now for job in queue.delays.jobs.values()) if due_at is not None and due_at <= now else 0
    states = {
        State.WAITING: len(queue.lines) + due,
        State.DELAYED: delayed - due,
        State.ACTIVE: sum(len(lease.claims) + len(lease.reaped) for lease in queue.leases.values()),
    }
    states |= {state: len(jobs) for state, jobs in queue.finished.items()}
    return Count(states, queue.paused, due_at, schedule_at, lease_at)


def schedules(queue: Queue) -> list[StoredSchedule]:
    return [
        StoredSchedule(one.plan, one.place, one.revision, one.next_at, one.dropped, queue.live_of.get(name, 0))
        for name, one in sorted(queue.schedules.items())
    ]
