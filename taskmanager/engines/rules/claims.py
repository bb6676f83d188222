"""Claims: how a hand-out reads to its worker, what ends in the line instead, and what a run says of itself.

Which jobs are handed out, under what lease, is the store's own: one pops them from heaps, another reads them from rows.
"""

from __future__ import annotations

from taskmanager.engines.rules.queue import Queue
from taskmanager.job import Claim, Fact, Kind, Progress, Reason, State, StoredJob, build

__all__ = ["claim_of", "expire", "report"]


def claim_of(job: StoredJob) -> Claim:
    """An active job, as its worker is given it."""
    fields = (
        job.claim,
        job.id,
        job.serial,
        job.queue,
        job.event,
        job.data,
        job.options,
        job.priority,
        job.attempt,
        job.failures,
        job.losses,
        job.created_at,
        job.run_at,
        job.schedule,
        job.started_at,
    )
    return build(Claim, fields)


def expire(queue: Queue, job: StoredJob, now: int, facts: list[Fact]) -> None:
    """Ends a job that nobody claimed in time, and that is already out of its line."""
    job.reason = Reason.EXPIRED.value
    queue.tell(facts, now, Kind.CANCELLED, job, {"reason": job.reason})
    queue.finish(job, Kind.CANCELLED, State.CANCELLED, now)


def report(queue: Queue, job: StoredJob, progress: Progress, now: int, facts: list[Fact]) -> None:
    """How far a run says it is."""
    job.progress = progress
    detail = {"fraction": progress.fraction, "note": progress.note}
    facts.append(Fact(now, Kind.PROGRESS, queue.name, job.event, job.id, job.attempt, job.worker, detail))
