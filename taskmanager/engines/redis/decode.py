"""What the scripts answer, as the answers of the port: verdicts, facts, claims. Records are made by `hashes`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import json

from taskmanager.engine import Settlement, Verdict
from taskmanager.engines.redis.hashes import options_of, progress_of, run_of, word
from taskmanager.job import (
    DEFAULT_OPTIONS,
    Claim,
    Fact,
    Kind,
    Reason,
    State,
    build,
)

__all__ = ["Late", "claims", "enqueue_facts", "enqueued", "facts", "misplaced", "settle_facts", "settled"]

PLAIN_VALUES, CLAIM_VALUES = 3, 14
FACT_VALUES = 4


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
    if values[0]:
        return [build(Verdict, (Kind.EMITTED, one.id, serial)) for serial, one in enumerate(entries, values[0])]
    verdicts = []
    at = 1
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
    if values[0]:
        return [Fact(now, Kind.EMITTED, queue, entry.event, entry.id) for entry in entries]
    told: list[Fact] = []
    at = 1
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
    """Claims, from three values each, or fourteen where the first is negative."""
    made = []
    at, end = 0, len(values)
    while at < end:
        if values[at] < 0:
            made.append(_claim(queue, *values[at : at + CLAIM_VALUES]))
            at += CLAIM_VALUES
            continue
        claim, id, job = values[at : at + PLAIN_VALUES]
        serial, event, created, data = job.split(b" ", 3)
        born = int(created)
        made.append(
            build(
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
    attempt: bytes | None,
    failures: bytes | None,
    losses: bytes | None,
    created: bytes,
    run_at: bytes | None,
    schedule: bytes | None,
    run: bytes,
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
        int(attempt) if attempt else 1,
        int(failures) if failures else 0,
        int(losses) if losses else 0,
        created_at,
        int(run_at) if run_at else created_at,
        word(schedule) if schedule else None,
        run_of(run)[1],
    )
    return build(Claim, values)


_ENDS = {
    # by the lower bits of how: step and state (None: as the transition says for a superseded job), reason
    1: (Kind.CANCELLED, State.CANCELLED, Reason.REQUESTED),
    2: (None, None, Reason.SUPERSEDED),
}
_STEP_OF = {State.FAILED: Kind.FAILED, State.CANCELLED: Kind.CANCELLED}
OVERRULED, REAPED, MISPLACED = 3, 4, 8
_PLAIN, _LOST = ord("p"), b"-"


def settled(values: Sequence[bytes], settlements: Sequence[Settlement]) -> list[State | None]:
    """The verdicts, from one value a settlement."""
    return [
        one.transition.to if value[0] == _PLAIN else _verdict(value, one)
        for value, one in zip(values, settlements, strict=True)
    ]


def _verdict(value: bytes, settlement: Settlement) -> State | None:
    if value == _LOST:
        return None
    overruled = _how(value) & OVERRULED
    if not overruled:
        return settlement.transition.to
    return _ENDS[overruled][1] or settlement.transition.superseded


def _how(value: bytes) -> int:
    return 0 if value[0] == _PLAIN else int(value[1 : value.index(b" ")])


def misplaced(values: Sequence[bytes], settlements: Sequence[Settlement]) -> list[str | None]:
    """The dead-letter streams that could not be written."""
    return [
        one.transition.dead_letter
        for value, one in zip(values, settlements, strict=True)
        if value[0] != _PLAIN and value != _LOST and _how(value) & MISPLACED
    ]


def settle_facts(
    values: Sequence[bytes],
    settlements: Sequence[Settlement],
    now: int,
    queue: str,
    worker: str,
) -> list[Fact]:
    """The facts, from the same values."""
    told = []
    for value, settlement in zip(values, settlements, strict=True):
        if value == _LOST:
            continue
        how = _how(value)
        _, attempt, event, id = value.split(b" ", 3)
        if value[0] == _PLAIN:
            attempt = b"1"  # the place is its serial's
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
