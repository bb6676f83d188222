"""What a queue keeps beside its jobs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from taskmanager.engine import Answer
from taskmanager.job import DeadLetter, StoredJob

__all__ = ["Counters", "DeadLetters", "Lease", "Outcome", "Replay"]

DeadLetters = dict[str, dict[tuple[str, int], tuple[str, DeadLetter]]]
"""By stream, then by (queue, serial), in the order of arrival: the job's id and its entry."""


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


class Outcome(NamedTuple):
    """How an awaited job ended, readable before `until`."""

    until: int
    job: StoredJob


class Replay(NamedTuple):
    """A caller's last call of one verb."""

    number: int
    at: int
    answer: Answer
