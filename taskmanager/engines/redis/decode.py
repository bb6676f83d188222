"""What comes from the scripts: records of the port, made from the fields of hashes and the values of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from msgspec import json

from taskmanager.engine import Settlement, Verdict
from taskmanager.job import (
    DEFAULT_OPTIONS,
    AttemptInfo,
    Claim,
    DeadLetter,
    Edge,
    Emission,
    ErrorInfo,
    Fact,
    FollowUp,
    Kind,
    LogLine,
    Plan,
    Progress,
    Reason,
    RunOptions,
    State,
    StoredJob,
    StoredSchedule,
    Window,
)

__all__ = [
    "Late",
    "claims",
    "enqueue_facts",
    "enqueued",
    "facts",
    "fields_of",
    "follow_up_job",
    "job_of",
    "log_line",
    "number",
    "schedule_of",
    "settle_facts",
    "settled",
]

Fields = dict[str, bytes]
_tuple = tuple.__new__
PLAIN_VALUES, CLAIM_VALUES = 6, 14
FACT_VALUES = 4


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


# ---- answers


class Late(Sequence[Fact]):
    """Facts that are made when somebody looks at them first: mostly nobody does."""

    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Sequence[Fact]]) -> None:
        self._make = make
        self._made: Sequence[Fact] | None = None

    def _facts(self) -> Sequence[Fact]:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __len__(self) -> int:
        return len(self._facts())

    def __getitem__(self, place: Any) -> Any:
        return self._facts()[place]

    def __eq__(self, other: object) -> bool:
        return list(self) == other if not isinstance(other, Late) else list(self) == list(other)

    def __repr__(self) -> str:
        return repr(self._facts())


def facts(values: Sequence[Any], now: int, queue: str, worker: str | None = None) -> list[Fact]:
    """Facts, from four values each: step, event, job id, detail."""
    return [_fact(now, queue, worker, *values[at : at + FACT_VALUES]) for at in range(0, len(values), FACT_VALUES)]


def _fact(now: int, queue: str, worker: str | None, step: bytes, event: bytes, id: bytes, raw: bytes) -> Fact:
    kind = Kind(word(step))
    if kind is Kind.PROGRESS:
        attempt, _, text = raw.partition(b" ")
        progress = progress_of(text)
        detail: dict[str, Any] = {"fraction": progress.fraction, "note": progress.note}
        return Fact(now, kind, queue, word(event), id.decode(), int(attempt), worker, detail)
    return Fact(now, kind, queue, word(event) or None, id.decode() or None, None, None, _detail(raw))


def _detail(raw: bytes) -> dict[str, Any] | None:
    if not raw:
        return None
    detail: dict[str, Any] = json.decode(raw)
    if "delay" in detail:
        detail["delay"] /= 1000
    return detail


def enqueued(values: Sequence[Any], entries: Sequence[Any]) -> list[Verdict]:
    """The verdicts, from what follows the first facts of an answer."""
    if len(values) == len(entries) and bytes not in map(type, values):
        # Nothing but new waiting jobs, whose serials these are.
        return [_tuple(Verdict, (Kind.EMITTED, one.id, serial)) for one, serial in zip(entries, values, strict=True)]
    verdicts = []
    at = 0
    for entry in entries:
        value = values[at]
        at += 1
        if isinstance(value, int):
            verdicts.append(Verdict(Kind.EMITTED, entry.id, value))
            continue
        status, count, serial, id = value.split(b" ", 3)
        at += FACT_VALUES * int(count)
        verdicts.append(Verdict(Kind(word(status)), id.decode(), int(serial) or None))
    return verdicts


def enqueue_facts(values: Sequence[Any], entries: Sequence[Any], now: int, queue: str) -> list[Fact]:
    """The facts of the entries, from the same values."""
    told: list[Fact] = []
    at = 0
    for entry in entries:
        value = values[at]
        at += 1
        if isinstance(value, int):
            told.append(Fact(now, Kind.EMITTED, queue, entry.event, entry.id))
            continue
        end = at + FACT_VALUES * int(value.split(b" ", 3)[1])
        told += facts(values[at:end], now, queue)
        at = end
    return told


def claims(values: Sequence[Any], queue: str, now: int) -> list[Claim]:
    """Claims, from six values each, or fourteen where the first is negative."""
    made = []
    at, end = 0, len(values)
    while at < end:
        if values[at] < 0:
            made.append(_claim(queue, *values[at : at + CLAIM_VALUES]))
            at += CLAIM_VALUES
            continue
        claim, id, serial, event, data, created = values[at : at + PLAIN_VALUES]
        born = int(created)
        made.append(
            _tuple(
                Claim,
                (
                    *(claim, id.decode(), int(serial), queue, word(event), data, DEFAULT_OPTIONS),
                    *(0, 1, 0, 0, born, born, None, now),
                ),
            )
        )
        at += PLAIN_VALUES
    return made


def _claim(
    queue: str,
    claim: int,
    id: bytes,
    serial: bytes,
    event: bytes,
    data: bytes,
    options: bytes | None,
    priority: bytes | None,
    attempt: bytes,
    failures: bytes | None,
    losses: bytes | None,
    created: bytes,
    run_at: bytes | None,
    schedule: bytes | None,
    started: bytes,
) -> Claim:
    created_at = int(created)
    values = (
        -claim,
        id.decode(),
        int(serial),
        queue,
        word(event),
        data,
        options_of(options),
        int(priority) if priority else 0,
        int(attempt),
        int(failures) if failures else 0,
        int(losses) if losses else 0,
        created_at,
        int(run_at) if run_at else created_at,
        word(schedule) if schedule else None,
        int(started),
    )
    return _tuple(Claim, values)


_ENDS = {
    # by the lower bits of how: step and state (None: as the transition says for a superseded job), reason
    1: (Kind.CANCELLED, State.CANCELLED, Reason.REQUESTED),
    2: (None, None, Reason.SUPERSEDED),
}
_STEP_OF = {State.FAILED: Kind.FAILED, State.CANCELLED: Kind.CANCELLED}
LOST, OVERRULED, REAPED, MISPLACED = -1, 3, 4, 8


def settled(hows: Sequence[int], settlements: Sequence[Settlement]) -> list[State | None]:
    """The verdicts, from one value a settlement."""
    return [
        one.transition.to if not how & OVERRULED else _overruled(how, one)
        for how, one in zip(hows, settlements, strict=True)
    ]


def _overruled(how: int, settlement: Settlement) -> State | None:
    if how == LOST:
        return None
    return _ENDS[how & OVERRULED][1] or settlement.transition.superseded


def settle_facts(
    hows: Sequence[int],
    values: Sequence[bytes],
    settlements: Sequence[Settlement],
    now: int,
    queue: str,
    worker: str,
) -> list[Fact]:
    """The facts, from the same values and three more a settlement: job id, event, attempt."""
    told = []
    for place, (how, settlement) in enumerate(zip(hows, settlements, strict=True)):
        if how == LOST:
            continue
        id, event, attempt = values[3 * place : 3 * place + 3]
        transition = settlement.transition
        step, reason = transition.kind, transition.reason
        if how & OVERRULED:
            overruled_step, _, reason = _ENDS[how & OVERRULED]
            step = overruled_step or _STEP_OF[transition.superseded]
        detail: dict[str, Any] = {}
        if not how & REAPED and transition.kind is not Kind.STALLED:
            detail["duration"] = settlement.duration_ms / 1000
        if transition.error is not None:
            detail["error"] = str(transition.error)
        if reason is not None:
            detail["reason"] = str(reason)
        if step is Kind.RETRIED:
            detail["delay"] = transition.delay_ms / 1000
        told.append(Fact(now, step, queue, word(event), id.decode(), int(attempt), worker, detail or None))
    return told


# ---- records


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


def _only_run(fields: Fields) -> AttemptInfo:
    """The run of a plain job that is completed, which has no history of its own (see settle.lua)."""
    return AttemptInfo(
        int(fields["attempt"]),
        fields["worker"].decode(),
        int(fields["started"]),
        int(fields["finished"]),
        Kind.COMPLETED.value,
    )


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
        attempt=number(get("attempt")) or 0,
        failures=number(get("failures")) or 0,
        losses=number(get("losses")) or 0,
        max_attempts=number(get("max")) or (1 if is_plain else None),
        schedule=_text(get("schedule")),
        window=_window(get("window")),
        awaited="awaited" in fields,
        requeued="requeued" in fields,
        cancel_requested="cancel" in fields,
        worker=_text(worker),
        claim=number(get("claim")) or 0,
        reaped="reaped" in fields,
        started_at=number(get("started")),
        finished_at=number(get("finished")),
        result=get("result"),
        error=error_of(get("error")),
        reason=_text(get("reason")),
        attempts=[_only_run(fields)] if is_plain else list(_runs(get("runs"))),
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
