"""From points to stretches: how long each job was delayed, waiting and active, read off the facts.

Facts say when something changed; people ask how long it lasted. This walks the facts once, keeps for every job the
stretch it is in, and closes it with the step that ended it. It is a reader, not a judge: a timeline that begins in the
middle of a life simply has no stretch for what came before.

A follow-up's taking its place is no step, so it is inferred: the step that ends the run begins the follow-up's stretch.
An engine may leave `due` out; a start then closes the delay at the moment it was to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from taskmanager.job import Fact, Kind, Reason, State

__all__ = ["Span", "spans"]


class Span(NamedTuple):
    """One stretch of one job in one live state, in ms. `end` and `ended_by` are None while it lasts."""

    state: State
    queue: str
    event: str
    job_id: str
    start: int
    end: int | None
    ended_by: Kind | None
    attempt: int | None
    worker: str | None


@dataclass(slots=True)
class _Open:
    """The stretch a job is in; `due_at` is when a delay is to end."""

    state: State
    start: int
    due_at: int
    attempt: int | None = None
    worker: str | None = None


_ENDS = frozenset({Kind.COMPLETED, Kind.SKIPPED, Kind.FAILED, Kind.CANCELLED})
_BORN = frozenset({Kind.EMITTED, Kind.SCHEDULED})
_WAITS_AGAIN = _BORN | {Kind.DUE, Kind.RETRIED, Kind.RELEASED, Kind.STALLED, Kind.REQUEUED}
"""Each of these leaves the job waiting, or delayed where its detail has a `delay`."""


def spans(facts: Iterable[Fact]) -> list[Span]:
    """Every stretch, in the order in which they ended; those that last are at the end, oldest first."""
    walk = _Walk()
    for fact in facts:
        walk.take(fact)
    lasting = [walk.closed(key, span, None, None) for key, span in walk.open.items()]
    return walk.done + sorted(lasting, key=lambda span: (span.start, span.queue, span.job_id))


class _Walk:
    """The state of one reading: what is open, what is done, and which follow-ups are recorded (due when)."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], _Open] = {}
        self.events: dict[tuple[str, str], str] = {}
        self.pending: dict[tuple[str, str], int] = {}
        self.done: list[Span] = []

    def take(self, fact: Fact) -> None:
        if fact.job_id is None:
            return
        key = (fact.queue, fact.job_id)
        if fact.event is not None:
            self.events[key] = fact.event
        if fact.kind in _WAITS_AGAIN:
            if fact.kind in _BORN:
                self.pending.pop(key, None)
            self._turn(key, fact)
        elif fact.kind is Kind.STARTED:
            self._start(key, fact)
        elif fact.kind in _ENDS:
            self._close(key, fact)
            self._succeed(key, fact)
        elif fact.kind is Kind.FOLLOW_UP:
            self.pending[key] = fact.at + _delay_ms(fact)
        elif fact.kind in {Kind.REPLACED, Kind.DEBOUNCED}:
            self._move(key, fact)

    def closed(self, key: tuple[str, str], span: _Open, end: int | None, by: Kind | None) -> Span:
        queue, job_id = key
        return Span(
            span.state, queue, self.events.get(key, job_id), job_id, span.start, end, by, span.attempt, span.worker
        )

    def _close(self, key: tuple[str, str], fact: Fact) -> None:
        if (span := self.open.pop(key, None)) is not None:
            self.done.append(self.closed(key, span, fact.at, fact.kind))

    def _turn(self, key: tuple[str, str], fact: Fact) -> None:
        self._close(key, fact)
        self._wait(key, fact.at, fact.at + _delay_ms(fact))

    def _wait(self, key: tuple[str, str], at: int, due_at: int) -> None:
        self.open[key] = _Open(State.DELAYED if due_at > at else State.WAITING, at, due_at)

    def _start(self, key: tuple[str, str], fact: Fact) -> None:
        span = self.open.get(key)
        if span is not None and span.state is State.DELAYED:
            due_at = min(span.due_at, fact.at)
            self.done.append(self.closed(key, span, due_at, Kind.DUE))
            self.open[key] = _Open(State.WAITING, due_at, due_at)
        self._close(key, fact)
        self.open[key] = _Open(State.ACTIVE, fact.at, fact.at, fact.attempt, fact.worker)

    def _succeed(self, key: tuple[str, str], fact: Fact) -> None:
        """The run ended in whatever way but a cancel, which drops it too: the recorded follow-up is now that job."""
        is_dropped = fact.detail is not None and fact.detail.get("reason") == Reason.REQUESTED
        if (due_at := self.pending.pop(key, None)) is not None and not is_dropped:
            self._wait(key, fact.at, due_at)

    def _move(self, key: tuple[str, str], fact: Fact) -> None:
        """Replaced or debounced while it waits: a new time, but only a replacement starts the wait anew."""
        span = self.open.get(key)
        if key in self.pending and span is not None and span.state is State.ACTIVE:
            self.pending[key] = fact.at + _delay_ms(fact)
        elif span is not None and span.state is not State.ACTIVE:
            if fact.kind is Kind.REPLACED:
                self._turn(key, fact)
            elif span.state is State.DELAYED and _delay_ms(fact):
                span.due_at = fact.at + _delay_ms(fact)


def _delay_ms(fact: Fact) -> int:
    return round(fact.detail.get("delay", 0) * 1000) if fact.detail else 0
