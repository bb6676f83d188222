"""What a user sees of what an engine keeps: decoded, with aware datetimes.

A store can be damaged, and what is in it can be written by others. A record shows what of it can be read, and its
reason says what cannot: one damaged job must not hide the list that it stands in.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from taskmanager.clock import LATEST_MS, datetime_of
from taskmanager.codec import decode
from taskmanager.job import (
    AttemptInfo,
    DeadLetter,
    ErrorInfo,
    FollowUp,
    LogLine,
    Progress,
    State,
    StoredJob,
    StoredSchedule,
)
from taskmanager.policy.cron import timing_of


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One ended hand-out: `outcome` is the step that ended it."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime
    outcome: str
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class FollowUpRecord:
    """The emission recorded while its job runs; `run_at` is None where it is to wait at once."""

    event: str
    data: Any
    priority: int
    created_at: datetime
    run_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """The entry of a failed job in a dead-letter stream."""

    stream: str
    reason: str
    at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as it was when it was read. Moments are aware, UTC; `data` and `result` are decoded JSON.

    `max_attempts` is retries + 1; None where it is decided by the worker that will run the job. `losses` counts lost
    leases. `error` has `type`, `message`, `traceback`. `attempts` are the ended hand-outs, oldest first.
    """

    id: str
    queue: str
    event: str
    data: Any
    state: State
    priority: int
    attempt: int
    max_attempts: int | None
    losses: int
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: Any
    error: ErrorInfo | None
    reason: str | None
    attempts: tuple[AttemptRecord, ...]
    progress: Progress | None
    schedule: str | None
    follow_up: FollowUpRecord | None
    dead_letter: DeadLetterRecord | None
    emission: int


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One line of a job's log."""

    at: datetime
    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    """A registered schedule. `next_run` is None where it will never run again.

    `place` is the newest occurrence that has been decided, at first the registration. `has_handler` is False where the
    TaskManager that was asked has no handler for its event; `dropped` counts missed occurrences that catch-up left out
    and no later one has told of yet. `origin` is the folder of the task whose schedule it is, as `tasks:app/tasks`.
    """

    name: str
    queue: str
    event: str
    pattern: str
    timezone: str
    data: Any
    catch_up: str
    misfire_grace: float
    overlap: str
    next_run: datetime | None
    place: datetime
    dropped: int
    has_handler: bool
    origin: str | None


def job_record(job: StoredJob, max_attempts: int | None = None) -> JobRecord:
    """The user's view; `max_attempts` is what the asker would grant a job that has not been told its budget yet."""
    try:
        return _record(job, max_attempts)
    except _UNREADABLE:
        return _record(_readable(job), max_attempts)


def _record(job: StoredJob, max_attempts: int | None) -> JobRecord:
    budget = job.max_attempts
    if budget is None:
        budget = max_attempts if job.options.retry_count is None else job.options.retry_count + 1
    return JobRecord(
        id=job.id,
        queue=job.queue,
        event=job.event,
        data=decode(job.data),
        state=job.state,
        priority=job.priority,
        attempt=job.attempt,
        max_attempts=budget,
        losses=job.losses,
        created_at=datetime_of(job.created_at),
        run_at=datetime_of(job.run_at),
        started_at=_moment(job.started_at),
        finished_at=_moment(job.finished_at),
        result=None if job.result is None else decode(job.result),
        error=job.error,
        reason=job.reason,
        attempts=tuple(_attempt(attempt) for attempt in job.attempts),
        progress=job.progress,
        schedule=job.schedule,
        follow_up=None if job.follow_up is None else _follow_up(job.follow_up),
        dead_letter=None if job.dead_letter is None else _dead_letter(job.dead_letter),
        emission=job.emission,
    )


def log_record(line: LogLine) -> LogRecord:
    return LogRecord(datetime_of(line.at), line.attempt, line.message)


def schedule_record(queue: str, schedule: StoredSchedule, has_handler: bool) -> ScheduleRecord:
    plan = schedule.plan
    next_at = schedule.next_at
    if next_at is None:
        next_at = timing_of(plan.pattern, plan.timezone).next_after(schedule.place)
    return ScheduleRecord(
        name=plan.name,
        queue=queue,
        event=plan.event,
        pattern=plan.pattern,
        timezone=plan.timezone,
        data=decode(plan.data),
        catch_up=plan.catch_up,
        misfire_grace=plan.misfire_grace_ms / 1000,
        overlap=plan.overlap,
        next_run=None if next_at is None or next_at >= LATEST_MS else datetime_of(next_at),
        place=datetime_of(schedule.place),
        dropped=schedule.dropped,
        has_handler=has_handler,
        origin=plan.origin,
    )


def counts_record(states: Mapping[State, int]) -> dict[str, int]:
    """All six states, also those without jobs, in the order of a life."""
    return {state: states.get(state, 0) for state in State}


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime_of(ms)


def _attempt(info: AttemptInfo) -> AttemptRecord:
    return AttemptRecord(
        info.number, info.worker, datetime_of(info.started_at), datetime_of(info.ended_at), info.outcome, info.error
    )


def _follow_up(follow_up: FollowUp) -> FollowUpRecord:
    content = follow_up.content
    return FollowUpRecord(
        content.event,
        decode(content.data),
        content.priority,
        datetime_of(follow_up.created_at),
        _moment(follow_up.run_at),
    )


def _dead_letter(entry: DeadLetter) -> DeadLetterRecord:
    return DeadLetterRecord(entry.stream, entry.reason, datetime_of(entry.at), entry.attempts)


# ---- damage

_UNREADABLE = (ValueError, TypeError, OverflowError, msgspec.MsgspecError)
_PARTS: dict[str, tuple[Callable[[Any], object], object]] = {
    # what reads it, and what stands in for it where it cannot be read
    "data": (decode, b"null"),
    "result": (decode, None),
    "created_at": (datetime_of, 0),
    "run_at": (datetime_of, 0),
    "started_at": (datetime_of, None),
    "finished_at": (datetime_of, None),
    "attempts": (lambda attempts: [_attempt(attempt) for attempt in attempts], []),
    "follow_up": (_follow_up, None),
    "dead_letter": (_dead_letter, None),
}


def read_result(job: StoredJob) -> Any:
    """The decoded result of a completed job. Raises `ValueError`, in words for its reason, where it is damaged."""
    fault = _fault("result", job.result)
    if fault is not None:
        raise ValueError(f"damaged row: {fault}")
    return None if job.result is None else decode(job.result)


def _readable(job: StoredJob) -> StoredJob:
    """A copy without what cannot be read, and with a reason that says what that is."""
    faults = {name: fault for name in _PARTS if (fault := _fault(name, getattr(job, name))) is not None}
    readable = copy.copy(job)
    for name in faults:
        setattr(readable, name, _PARTS[name][1])
    damage = f"damaged row: {'; '.join(faults.values())}"
    readable.reason = damage if job.reason is None else f"{job.reason} ({damage})"
    return readable


def _fault(name: str, value: Any) -> str | None:
    if value is None:
        return None
    try:
        _PARTS[name][0](value)
    except _UNREADABLE as error:
        return f"{name} {repr(value)[:80]} cannot be read ({error})"
    return None
