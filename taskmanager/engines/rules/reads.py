"""Reading: which record a reference means, and how it reads at a moment.

A delayed job whose time has come is waiting in every read, whether or not a write has made it so yet.
"""

from __future__ import annotations

from taskmanager.engine import JobRef
from taskmanager.engines.rules.queue import Queue
from taskmanager.job import FollowUp, State, StoredJob

__all__ = ["find", "get", "recorded", "state_at"]


def state_at(job: StoredJob, now: int) -> State:
    return State.WAITING if job.state is State.DELAYED and job.run_at <= now else job.state


def find(queue: Queue, ref: JobRef) -> StoredJob | None:
    """The job itself, by id, or by id and serial."""
    job = queue.job(ref.id)
    return job if job is not None and ref.serial in (None, job.serial) else None


def recorded(holder: StoredJob, ref: JobRef) -> FollowUp | None:
    """The follow-up of the job of that id, where it is what is meant."""
    follow_up = holder.follow_up
    return follow_up if follow_up is not None and follow_up.serial == ref.serial else None


def get(queue: Queue, ref: JobRef, now: int) -> StoredJob | None:
    """The job, the follow-up recorded with it, or the outcome that outlived it; not yet copied."""
    holder = queue.job(ref.id)
    if holder is not None:
        if ref.serial in (None, holder.serial):
            return holder
        follow_up = recorded(holder, ref)
        if follow_up is not None:
            return queue.render(holder, follow_up, now)
    return queue.outcome(ref, now)
