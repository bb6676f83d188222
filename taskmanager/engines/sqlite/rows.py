"""Rows and records: how a job, a schedule and an answer lie in the file, and how they are read again.

A damaged row must not stop its queue. So `job_of` never raises for what a row holds: where it cannot be read as it
stands, what can be read of it is (`salvage`), and `damage_of` says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from taskmanager.job import (
    DEFAULT_OPTIONS,
    AttemptInfo,
    DeadLetter,
    ErrorInfo,
    FollowUp,
    Kind,
    Plan,
    Progress,
    RunOptions,
    State,
    StoredJob,
    StoredSchedule,
    Window,
)

__all__ = [
    "LARGE_BYTES", "Damaged", "attempts_text", "damage_of", "dead_letter_of", "ends_of", "follow_up_of", "job_of",
    "json_of", "new_row", "options_of", "packed", "plain", "schedule_of", "unpacked", "whole_row",
]  # fmt: skip

T = TypeVar("T")
Row = Sequence[Any]

PLACES = 40
"""How many bits of a job's place are its emission's number; those above are its queue's."""
_EMISSION = (1 << PLACES) - 1
_END_ORDER = {State.FAILED: 0, State.CANCELLED: 1, State.COMPLETED: 2}
LARGE_BYTES = 600
"""Data of more than this lies apart from its job's row."""
STATES = {state.value: state for state in State}
_to_json: Final = msgspec.json.Encoder().encode
_to_bytes: Final = msgspec.msgpack.Encoder().encode


class Damaged(str):
    """A text of the file that is not UTF-8, as far as it can be read."""


# ---- values


def plain(text: str) -> str:
    """A text that the file can hold: what is no character (a lone surrogate) becomes a question mark."""
    return text.encode(errors="replace").decode() if not text.isascii() else text


def json_of(value: object) -> str | None:
    """A part of a record as JSON, None for None."""
    if value is None:
        return None
    try:
        return _to_json(value).decode()
    except UnicodeEncodeError:
        return _to_json(_plainly(msgspec.to_builtins(value))).decode()


def packed(value: object) -> bytes:
    """What only the engine reads again."""
    try:
        return _to_bytes(value)
    except UnicodeEncodeError:
        return _to_bytes(_plainly(msgspec.to_builtins(value, builtin_types=(bytes,))))


def unpacked(data: bytes, kind: type[T]) -> T:
    return msgspec.msgpack.decode(data, type=kind)


def _plainly(value: Any) -> Any:
    match value:
        case str():
            return plain(value)
        case list() | tuple():
            return [_plainly(one) for one in value]
        case dict():
            return {_plainly(key): _plainly(one) for key, one in value.items()}
        case _:
            return value


def _reader(kind: Any) -> Callable[[Any], Any]:
    return msgspec.json.Decoder(kind).decode


_options_of = _reader(RunOptions)
_window_of = _reader(Window)
_error_of = _reader(ErrorInfo)
_attempt_rows_of = _reader(list[tuple[int, str, int, int, str, ErrorInfo | None]])
_progress_of = _reader(Progress)
follow_up_of: Callable[[Any], FollowUp] = _reader(FollowUp)
dead_letter_of: Callable[[Any], DeadLetter] = _reader(DeadLetter)
_plan_of = _reader(Plan)
_COMPLETED = Kind.COMPLETED.value  # a state and a step
_OPTIONS: dict[str, RunOptions] = {}


def attempts_text(attempts: Sequence[AttemptInfo]) -> str | None:
    """The ended hand-outs, each as number, worker, start, end, outcome, error; None for none."""
    told = [(one.number, one.worker, one.started_at, one.ended_at, one.outcome, one.error) for one in attempts]
    return json_of(told or None)


def _attempts_of(text: str) -> list[AttemptInfo]:
    return [AttemptInfo(*told) for told in _attempt_rows_of(text)]


def options_of(text: str | None) -> RunOptions:
    """The options of a row. There are few different ones, and each is read once."""
    if text is None:
        return DEFAULT_OPTIONS
    known = _OPTIONS.get(text)
    if known is None:
        if len(_OPTIONS) >= 1000:
            _OPTIONS.clear()
        known = _OPTIONS[text] = _options_of(text)
    return known


# ---- places


def ends_of(queue: int, state: State) -> tuple[int, int]:
    """The first and the last number that an end in this state may have."""
    first = (queue << 2 | _END_ORDER[state]) << PLACES
    return first, first + _EMISSION


# ---- jobs


def job_of(row: Row, queue: str) -> StoredJob:
    """The record of a row with the columns `statements.JOB`."""
    try:
        return _job_of(row, queue)
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError):
        return salvage(row, queue)


def _job_of(row: Row, queue: str) -> StoredJob:
    (
        place, serial, id, event, data, state, priority, line, created_at, run_at, options, expires_at, attempt,
        failures, losses, max_attempts, schedule, debounce, awaited, requeued, cancel_requested, worker, claim,
        reaped, started_at, finished_at, result, error, reason, attempts, progress, follow_up, dead_letter,
    ) = row  # fmt: skip
    if type(data) is not bytes or type(id) is not str or type(event) is not str:
        raise ValueError("not what was written")
    sum_of_numbers = serial + priority + line + created_at + run_at + attempt + failures + losses + claim
    sum_of_optional = (expires_at or 0) + (max_attempts or 0) + (started_at or 0) + (finished_at or 0)
    if type(sum_of_numbers + sum_of_optional) is not int:  # one look at all of them: a text does not add
        raise ValueError("not what was written")
    runs = [] if attempts is None else _attempts_of(attempts)
    if state == _COMPLETED and worker is not None and attempts is None:
        # The plain end of its only run, which these columns tell whole.
        runs, worker = [AttemptInfo(attempt, worker, started_at, finished_at, _COMPLETED)], None
    return StoredJob(
        id,
        queue,
        event,
        data,
        STATES[state],
        priority,
        serial,
        place & _EMISSION,
        line,
        created_at,
        run_at,
        DEFAULT_OPTIONS if options is None else options_of(options),
        expires_at,
        attempt,
        failures,
        losses,
        max_attempts,
        schedule,
        None if debounce is None else _window_of(debounce),
        awaited == 1,
        requeued == 1,
        cancel_requested == 1,
        worker,
        claim,
        reaped == 1,
        started_at,
        finished_at,
        result,
        None if error is None else _error_of(error),
        reason,
        runs,
        None if progress is None else _progress_of(progress),
        None if follow_up is None else follow_up_of(follow_up),
        None if dead_letter is None else dead_letter_of(dead_letter),
    )


def _in_row(data: bytes) -> bytes | None:
    return data if len(data) <= LARGE_BYTES else None


def new_row(job: StoredJob, queue: int) -> Row:
    """What `ADD_JOB` takes."""
    return (
        queue << PLACES | job.emission,
        queue,
        job.serial,
        job.id,
        job.event,
        job.state.value,
        job.priority,
        job.order,
        job.created_at,
        job.run_at,
        job.expires_at,
        job.losses,
        1 if job.awaited else 0,
        job.schedule,
        None if job.options is DEFAULT_OPTIONS or job.options == DEFAULT_OPTIONS else json_of(job.options),
        None if job.window is None else json_of(job.window),
        _in_row(job.data),
    )


def whole_row(job: StoredJob, queue: int, ended: int | None, place: int) -> Row:
    """What `PUT_JOB` takes; `place` is where the job was."""
    return (
        queue << PLACES | job.emission,
        job.id,
        job.event,
        _in_row(job.data),
        job.state.value,
        job.priority,
        job.order,
        job.created_at,
        job.run_at,
        None if job.options == DEFAULT_OPTIONS else json_of(job.options),
        job.expires_at,
        job.attempt,
        job.failures,
        job.losses,
        job.max_attempts,
        job.schedule,
        json_of(job.window),
        job.awaited,
        job.requeued,
        job.cancel_requested,
        job.worker,
        job.claim,
        job.reaped,
        job.started_at,
        job.finished_at,
        job.result,
        json_of(job.error),
        None if job.reason is None else plain(job.reason),
        attempts_text(job.attempts),
        json_of(job.progress),
        json_of(job.follow_up),
        None if job.dead_letter is None else job.dead_letter.stream,
        json_of(job.dead_letter),
        ended,
        place,
    )


# ---- damage


_COLUMNS = (
    # name, what it must be, whether it may be missing, what stands in for it
    *(("place", int, False, 0), ("serial", int, False, 0), ("id", str, False, "?"), ("event", str, False, "?")),
    *(("data", bytes, False, b"null"), ("state", str, False, State.FAILED), ("priority", int, False, 0)),
    *(("line", int, False, 0), ("created_at", int, False, 0), ("run_at", int, False, 0), ("options", str, True, None)),
    *(("expires_at", int, True, None), ("attempt", int, False, 0), ("failures", int, False, 0)),
    *(("losses", int, False, 0), ("max_attempts", int, True, None), ("schedule", str, True, None)),
    *(("debounce", str, True, None), ("awaited", int, False, 0), ("requeued", int, False, 0)),
    *(("cancel_requested", int, False, 0), ("worker", str, True, None), ("claim", int, False, 0)),
    *(("reaped", int, False, 0), ("started_at", int, True, None), ("finished_at", int, True, None)),
    *(("result", bytes, True, None), ("error", str, True, None), ("reason", str, True, None)),
    *(("attempts", str, True, None), ("progress", str, True, None), ("follow_up", str, True, None)),
    ("dead_letter", str, True, None),
)
_NESTED: dict[str, Callable[[Any], Any]] = {
    "options": _options_of,
    "debounce": _window_of,
    "error": _error_of,
    "attempts": _attempts_of,
    "progress": _progress_of,
    "follow_up": follow_up_of,
    "dead_letter": dead_letter_of,
}


def _fault(name: str, kind: type, may_miss: bool, value: Any) -> str | None:
    if value is None and may_miss:
        return None
    if isinstance(value, Damaged):
        return f"{name} is not UTF-8"
    if not isinstance(value, kind):
        return f"{name} is {type(value).__name__}, not {kind.__name__}"
    if name == "state" and value not in STATES:
        return f"state is {value!r}"
    try:
        if name in _NESTED:
            _NESTED[name](value)
    except (msgspec.MsgspecError, ValueError) as error:
        return f"{name} cannot be read ({error})"
    return None


def damage_of(row: Row) -> str | None:
    """What is wrong with a row of the columns `statements.JOB`, in words; None where nothing is."""
    faults = [_fault(name, kind, may, value) for (name, kind, may, _), value in zip(_COLUMNS, row, strict=True)]
    return "; ".join(fault for fault in faults if fault is not None) or None


def salvage(row: Row, queue: str) -> StoredJob:
    """What can be read of a damaged row, with a reason that says what cannot."""
    sound: list[Any] = [
        value if _fault(name, kind, may, value) is None else stand_in
        for (name, kind, may, stand_in), value in zip(_COLUMNS, row, strict=True)
    ]
    if sound[2] != row[2]:
        sound[2] = f"{row[2] if isinstance(row[2], str) else 'damaged'}#{row[0]}"  # no other row's
    if isinstance(row[3], Damaged):
        sound[3] = str(row[3])
    job = _job_of(sound, queue)
    job.reason = f"damaged row: {damage_of(row)}"
    return job


# ---- schedules


def schedule_of(row: Row, live: int = 0) -> StoredSchedule:
    plan, place, revision, next_at, dropped = row[:5]
    return StoredSchedule(_plan_of(plan), place, revision, next_at, dropped, live)
