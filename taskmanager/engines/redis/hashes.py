"""What the hashes hold: records of the port, made from the fields of a job, a follow-up, a schedule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from msgspec import json

from taskmanager.job import (
    DEFAULT_OPTIONS,
    AttemptInfo,
    DeadLetter,
    Edge,
    Emission,
    ErrorInfo,
    FollowUp,
    Kind,
    LogLine,
    Plan,
    Progress,
    RunOptions,
    State,
    StoredJob,
    StoredSchedule,
    Window,
)

__all__ = [
    "Fields",
    "fields_of",
    "follow_up_job",
    "job_of",
    "log_line",
    "number",
    "options_of",
    "progress_of",
    "run_of",
    "schedule_of",
    "word",
]

Fields = dict[str, bytes]


@lru_cache(maxsize=1024)
def word(raw: bytes) -> str:
    """A text that comes again and again."""
    return raw.decode()


@lru_cache(maxsize=1024)
def options_of(raw: bytes | None) -> RunOptions:
    return RunOptions(*json.decode(raw)) if raw else DEFAULT_OPTIONS


def number(raw: bytes | None) -> int | None:
    return None if raw is None or raw == b"" else int(raw)


def fields_of(flat: Sequence[bytes]) -> Fields:
    """A hash, from the list of its names and values."""
    pairs = iter(flat)
    return {word(name): value for name, value in zip(pairs, pairs, strict=True)}


def error_of(raw: bytes | None) -> ErrorInfo | None:
    return None if raw is None else ErrorInfo(*json.decode(raw))


def progress_of(raw: bytes) -> Progress:
    fraction, note = json.decode(raw)
    return Progress(fraction, note)


def _window(raw: bytes | None) -> Window | None:
    if raw is None:
        return None
    window = json.decode(raw)
    max_wait = window.get("max_wait")
    return Window(
        window["key"], Edge(window["edge"]), int(window["within"]), None if max_wait is None else int(max_wait)
    )


def _runs(raw: bytes | None) -> Iterator[AttemptInfo]:
    for line in raw.split(b"\n") if raw else ():
        attempt, worker, started_at, ended_at, outcome, error = json.decode(line)
        yield AttemptInfo(attempt, worker, started_at, ended_at, outcome, None if error is None else ErrorInfo(*error))


def run_of(raw: bytes) -> tuple[int, int]:
    """The number of a job's last claim, and when that was started."""
    claim, started_at = raw.split()
    return int(claim), int(started_at)


def _only_run(fields: Fields, started_at: int) -> AttemptInfo:
    """The run of a plain job that is completed, which has no history of its own (see settle.lua)."""
    began_at = started_at + (number(fields.get("unstarted")) or 0)
    return AttemptInfo(1, fields["worker"].decode(), began_at, int(fields["finished"]), Kind.COMPLETED.value)


def _dead(raw: bytes | None) -> DeadLetter | None:
    if raw is None:
        return None
    letter = json.decode(raw)
    return DeadLetter(letter["stream"], letter["reason"], int(letter["at"]), int(letter["attempts"]))


def job_of(id: str, queue: str, fields: Fields, now: int, follow_up: Fields | None = None) -> StoredJob:
    """The record of a job as it reads at `now`."""
    get = fields.get
    created_at = int(fields["created"])
    run_at = number(get("run_at")) or created_at
    state = State(fields["state"].decode())
    if state is State.DELAYED and run_at <= now:
        state = State.WAITING
    serial = int(fields["serial"])
    worker = get("worker") if state is State.ACTIVE else None
    is_plain = state is State.COMPLETED and "rare" not in fields
    claim, started_at = run_of(fields["run"]) if "run" in fields else (0, None)
    attempt = number(get("attempt"))
    return StoredJob(
        id=id,
        queue=queue,
        event=fields["event"].decode(),
        data=fields["data"],
        state=state,
        priority=number(get("priority")) or 0,
        serial=serial,
        emission=number(get("emission")) or serial,
        order=0 if state in _UNORDERED else number(get("order")) or 0,
        created_at=created_at,
        run_at=run_at,
        options=options_of(get("options")),
        expires_at=number(get("expires")),
        attempt=int(bool(claim)) if attempt is None else attempt,
        failures=number(get("failures")) or 0,
        losses=number(get("losses")) or 0,
        max_attempts=number(get("max")) or (1 if is_plain else None),
        schedule=_text(get("schedule")),
        window=_window(get("window")),
        awaited="awaited" in fields,
        requeued="requeued" in fields,
        cancel_requested="cancel" in fields,
        worker=_text(worker),
        claim=claim,
        reaped="reaped" in fields,
        started_at=started_at,
        finished_at=number(get("finished")),
        result=get("result"),
        error=error_of(get("error")),
        reason=_text(get("reason")),
        attempts=[_only_run(fields, started_at or 0)] if is_plain else list(_runs(get("runs"))),
        progress=None if "progress" not in fields else progress_of(fields["progress"]),
        follow_up=None if not follow_up else _follow_up(id, follow_up),
        dead_letter=_dead(get("dead")),
    )


_NEXT = "next:"  # before the names of a follow-up's fields, beside those of its job
_UNORDERED = frozenset({State.DELAYED, State.COMPLETED, State.FAILED, State.CANCELLED})


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode()


def _follow_up(id: str, fields: Fields) -> FollowUp:
    get = fields.get
    content = Emission(
        fields["event"].decode(),
        id,
        fields["data"],
        number(get("priority")) or 0,
        options=options_of(get("options")),
        window=_window(get("window")),
        awaited="awaited" in fields,
    )
    return FollowUp(
        content,
        int(fields["serial"]),
        int(fields["emission"]),
        int(fields["created"]),
        int(fields["first"]),
        number(get("run_at")),
        number(get("expires")),
        "awaited" in fields,
    )


def follow_up_job(id: str, queue: str, fields: Fields, now: int, losses: int | None = None) -> StoredJob:
    """A job as an operator is shown it, or a recorded follow-up as the job that it will be (see operate.lua)."""
    run_at = number(fields.get("run_at"))
    state = State.DELAYED if run_at is not None and run_at > now else State.WAITING
    rendered = {"state": state.value.encode()} | fields
    if losses:
        rendered["losses"] = b"%d" % losses
    recorded = {name[len(_NEXT) :]: value for name, value in fields.items() if name.startswith(_NEXT)}
    return job_of(id, queue, rendered, now, recorded)


def log_line(raw: bytes) -> LogLine:
    return LogLine(*json.decode(raw))


def schedule_of(name: str, fields: Fields, live: int) -> StoredSchedule:
    pattern, timezone, priority, options, expires_ms, *rest = json.decode(fields["plan"])
    catch_up, misfire_grace_ms, overlap, immediate, not_before_ms, not_before_at, *later = rest
    plan = Plan(
        name,
        fields["event"].decode(),
        pattern,
        timezone,
        fields["data"],
        priority,
        options_of(options.encode() or None),
        expires_ms,
        catch_up,
        misfire_grace_ms,
        overlap,
        immediate,
        not_before_ms,
        not_before_at,
        later[0] if later else None,  # written before there were origins
    )
    return StoredSchedule(
        plan,
        int(fields["place"]),
        int(fields["revision"]),
        number(fields.get("next_at")),
        int(fields["dropped"]),
        live,
    )
