"""Settling: what a decision whose claim stands makes of its job.

An engine decides nothing here but two comparisons: a move that does not finish the job yields to a cancel mark, and
else to a recorded follow-up.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from taskmanager.clock import later
from taskmanager.engine import ATTEMPTS_KEPT, Settlement
from taskmanager.engines.rules.queue import Queue
from taskmanager.job import (
    FINISHED,
    AttemptInfo,
    DeadLetter,
    ErrorInfo,
    Fact,
    Kind,
    Reason,
    State,
    StoredJob,
    Transition,
    build,
)

__all__ = ["letter", "told", "write"]

SUPERSEDED_STEP = {State.FAILED: Kind.FAILED, State.CANCELLED: Kind.CANCELLED}
"""The step of a job whose follow-up took over, by the state that its transition names for that."""
STALLED, RETRIED, COMPLETED = Kind.STALLED, Kind.RETRIED, State.COMPLETED  # a look-up in an Enum costs a call
WORDS = {kind: kind.value for kind in Kind}


def write(
    queue: Queue,
    worker: str,
    job: StoredJob,
    settlement: Settlement,
    transient: Collection[State],
    now: int,
    facts: list[Fact],
) -> State:
    """Carries a decision out, for a job that is out of its lease; the state that it got."""
    transition = settlement.transition
    step, to, reason, stream = transition.kind, transition.to, transition.reason, transition.dead_letter
    if to not in FINISHED:
        if job.cancel_requested:
            step, to, reason, stream = Kind.CANCELLED, State.CANCELLED, Reason.REQUESTED, None
        elif job.follow_up is not None:
            to, reason, stream = transition.superseded, Reason.SUPERSEDED, None
            step = SUPERSEDED_STEP[to]
    word = None if reason is None else queue.text(str(reason))
    detail = told(settlement, step, word, job.reaped)
    facts.append(build(Fact, (now, step, queue.name, job.event, job.id, job.attempt, worker, detail)))
    _record_run(job, settlement, WORDS[step], now)
    _take_over(queue, job, transition, to, word)
    if to in FINISHED:
        if stream is not None:
            job.dead_letter = letter(stream, word, job.error, to, now, job.attempt)
            queue.post(job)
        queue.finish(job, step, to, now, transient)
    elif to is State.DELAYED:
        job.run_at = later(now, transition.delay_ms)
        queue.delay(job, step)
    else:
        queue.line_up(job, step)
    return to


def told(settlement: Settlement, step: Kind, reason: str | None, was_reaped: bool) -> dict[str, Any] | None:
    """The details of the step that ends a run."""
    transition = settlement.transition
    detail: dict[str, Any] = {}
    if not was_reaped and transition.kind is not STALLED:
        detail["duration"] = settlement.duration_ms / 1000
    if transition.error is not None:
        detail["error"] = str(transition.error)
    if reason is not None:
        detail["reason"] = reason
    if step is RETRIED:
        detail["delay"] = transition.delay_ms / 1000
    return detail or None


def letter(stream: str, reason: str | None, error: ErrorInfo | None, to: State, now: int, attempts: int) -> DeadLetter:
    """The entry of a failed job in its stream."""
    return DeadLetter(stream, reason or (to.value if error is None else error.type), now, attempts)


def _record_run(job: StoredJob, settlement: Settlement, outcome: str, now: int) -> None:
    """Into the history of attempts. A reaped job's `worker` is still the one that had the run, and lost it."""
    started_at = now if job.started_at is None else job.started_at + settlement.unstarted_ms
    attempts = job.attempts
    attempts.append(AttemptInfo(job.attempt, job.worker or "", started_at, now, outcome, settlement.transition.error))
    if len(attempts) > ATTEMPTS_KEPT:
        del attempts[0]


def _take_over(queue: Queue, job: StoredJob, transition: Transition, to: State, reason: str | None) -> None:
    """The transition's numbers and texts onto the record. A job that is to run again keeps the error it last had."""
    if job.losses:
        queue.tide += 1  # it counts as a suspect, and its worker may now be handed another
    job.failures += transition.failures
    job.losses += transition.losses
    if transition.max_attempts is not None:
        job.max_attempts = transition.max_attempts
    if transition.error is not None or to is COMPLETED:
        job.error = transition.error
    job.result = transition.result
    job.reason = reason
    job.worker = None
    job.reaped = False
