"""What a queue keeps beside its jobs, and the look-up of legal moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from taskmanager.engine import Answer
from taskmanager.errors import InvariantError
from taskmanager.job import DeadLetter, Edge, StoredJob
from taskmanager.policy.lifecycle import MOVES

__all__ = ["LEGAL", "Counters", "DeadLetters", "Lease", "Opening", "Outcome", "Replay", "WindowKey", "check"]

LEGAL = frozenset((start, step, end) for (start, step), ends in MOVES.items() for end in ends)
"""The table of legal moves, flat: one look-up a move."""

DeadLetters = dict[str, dict[tuple[str, int], tuple[str, DeadLetter]]]
"""By stream, then by (queue, serial), in the order of arrival: the job's id and its entry."""
WindowKey = tuple[str, str, Edge]
"""Event, key and edge of a debounce window."""


class Counters(NamedTuple):
    """What a queue must never forget, lest a number be given twice."""

    emissions: int = 0
    tide: int = 0
    claims: int = 0
    revisions: int = 0


@dataclass(slots=True)
class Lease:
    """One worker's hold on its jobs, by claim number. `heard` is the last journal number taken of a claim."""

    expires_at: int = 0
    claims: dict[int, StoredJob] = field(default_factory=dict)
    reaped: dict[int, StoredJob] = field(default_factory=dict)
    heard: dict[int, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.claims or self.reaped)


@dataclass(slots=True)
class Opening:
    """An open debounce window: whose it is, when it opened, and (leading) when it ends."""

    id: str
    serial: int
    first_at: int
    until: int | None


class Outcome(NamedTuple):
    """How an awaited job ended, readable before `until`."""

    until: int
    job: StoredJob


class Replay(NamedTuple):
    """A caller's last call of one verb."""

    number: int
    at: int
    answer: Answer


def check(start: str, step: str, end: str) -> None:
    """Raises `InvariantError` for a move that is not in the table."""
    if (start, step, end) not in LEGAL:
        legal = ", ".join(sorted(MOVES.get((start, step), ()))) or "nowhere"
        raise InvariantError(f"no step {step} leads from {start} to {end}; by the table of moves it leads to: {legal}")
