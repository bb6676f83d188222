"""Settling: a decision is written if its claim still stands.

The engine decides nothing here but two comparisons: a move that does not finish the job yields to a cancel mark, and
else to a recorded follow-up. Most runs end without either, at their first attempt: those go the short way (`ends`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskmanager.clock import later
from taskmanager.engine import ATTEMPTS_KEPT, Settlement
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.ends import PlainRun, end_plainly, letter, told
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import json_of, plain
from taskmanager.job import FINISHED, AttemptInfo, Fact, Kind, Reason, State, StoredJob, Transition

__all__ = ["settle"]

SUPERSEDED_STEP = {State.FAILED: Kind.FAILED, State.CANCELLED: Kind.CANCELLED}
"""The step of a job whose follow-up took over, by the state that its transition names for that."""
_tuple = tuple.__new__


def settle(
    queue: Queue,
    worker: str,
    settlements: Sequence[Settlement],
    transient: Collection[State],
    now: int,
    facts: list[Fact],
) -> list[State | None]:
    """The states the jobs got, in the order of the settlements; None where the claim was lost."""
    lease = queue.file.execute(sql.GET_LEASE, (queue.number, worker)).fetchone()
    if lease is None or not settlements:
        return [None] * len(settlements)
    ends, jobs = _runs(queue, lease[0], settlements, transient)
    verdicts: list[State | None] = []
    for settlement in settlements:
        end = ends.pop(settlement.claim, None)
        if end is not None:
            verdicts.append(end_plainly(queue, worker, end, settlement, now, facts))
            continue
        job = jobs.pop(settlement.claim, None)
        if job is None:
            verdicts.append(None)
            continue
        verdicts.append(_write(queue, worker, job, settlement, transient, now, facts))
    return verdicts


def _runs(
    queue: Queue, lease: int, settlements: Sequence[Settlement], transient: Collection[State]
) -> tuple[dict[int, PlainRun], dict[int, StoredJob]]:
    """What stands of what is settled, by claim: the runs that end plainly, and the records of the others."""
    to = {settlement.claim: settlement.transition.to for settlement in settlements}
    plain_ends: dict[int, PlainRun] = {}
    others: list[int] = []
    for claim, place, *columns in queue.file.execute(sql.GET_RUNS, (lease, json_of(list(to)))).fetchall():
        run = PlainRun(place, *columns)
        if to[claim] in FINISHED and to[claim] not in transient and run.ends_plainly():
            plain_ends[claim] = run
        else:
            others.append(place)
    rows = queue.file.execute(sql.GET_PLACES, (json_of(others),)).fetchall() if others else []
    return plain_ends, {job.claim: job for job in queue.take_in_all(rows)}


def _write(
    queue: Queue,
    worker: str,
    job: StoredJob,
    settlement: Settlement,
    transient: Collection[State],
    now: int,
    facts: list[Fact],
) -> State:
    transition = settlement.transition
    step, to, reason, stream = transition.kind, transition.to, transition.reason, transition.dead_letter
    if to not in FINISHED:
        if job.cancel_requested:
            step, to, reason, stream = Kind.CANCELLED, State.CANCELLED, Reason.REQUESTED, None
        elif job.follow_up is not None:
            to, reason, stream = transition.superseded, Reason.SUPERSEDED, None
            step = SUPERSEDED_STEP[to]
    word = None if reason is None else plain(str(reason))
    detail = told(settlement, step, word, was_reaped=job.reaped)
    facts.append(_tuple(Fact, (now, step, queue.name, job.event, job.id, job.attempt, worker, detail)))
    _record_run(job, settlement, step.value, now)
    _take_over(queue, job, transition, to, word)
    if to in FINISHED:
        if stream is not None:
            job.dead_letter = letter(stream, job.reason, job.error, to, now, job.attempt)
        queue.finish(job, step, to, now, transient)
    elif to is State.DELAYED:
        job.run_at = later(now, transition.delay_ms)
        queue.move(job, step, to)
        queue.rewrite(job)
    else:
        queue.line_up(job, step)
    return to


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
    if transition.error is not None or to is State.COMPLETED:
        job.error = transition.error
    job.result = transition.result
    job.reason = reason
    job.worker = None
    job.reaped = False
