"""What it means for a model and an engine to agree, or two engines with each other.

All that can be read must be equal, but for the numbers an engine gives: serials, claims and revisions may be any that
grow, so they are compared by a pairing that must be one to one and in the same order. Of the tide only its growth
counts, and of the birth of a store that it stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from taskmanager.engine import Answer, Enqueued
from taskmanager.job import Claim, FollowUp, State, StoredJob, StoredSchedule


class Disagreement(AssertionError):
    """Two that should be equal are not."""


class Pairs:
    """Which number of the one is which of the other."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.theirs: dict[int, int] = {}

    def pair(self, mine: int, theirs: int) -> None:
        known = self.theirs.setdefault(mine, theirs)
        if known != theirs:
            raise Disagreement(f"{self.name} {mine} is {theirs} and was {known}")
        later = [other for one, other in self.theirs.items() if one > mine]
        earlier = [other for one, other in self.theirs.items() if one < mine]
        if min(later, default=theirs + 1) <= theirs or max(earlier, default=theirs - 1) >= theirs:
            raise Disagreement(f"{self.name} {theirs} is out of order: {self.theirs}")

    def __getitem__(self, mine: int) -> int:
        """A number that was never given stays one."""
        return self.theirs.get(mine, mine + 10**9)


class Comparison:
    def __init__(self) -> None:
        self.serials = Pairs("serial")
        self.claims = Pairs("claim")
        self.revisions = Pairs("revision")
        self.tides = (0, 0)
        self.births: set[int] = set()

    # ---- answers

    def answers(self, mine: Answer, theirs: Answer) -> None:
        if type(mine) is not type(theirs):
            raise Disagreement(f"{type(mine).__name__} is answered with {theirs}")
        for field in fields(mine):
            one, other = getattr(mine, field.name), getattr(theirs, field.name)
            match field.name:
                case "tide":
                    self.tide(one, other, mine.replayed)
                case "born":
                    self.births.add(other)
                    equal("number of births", 1, len(self.births))
                case "jobs":
                    self.handed(one, other)
                case "job":
                    self.optional_job(one, other)
                case "verdicts" if isinstance(mine, Enqueued):
                    self.verdicts(one, other)
                case "lost" | "cancelled":
                    equal(field.name, sorted(self.claims[number] for number in one), sorted(other))
                case _:
                    equal(field.name, one, other)

    def tide(self, mine: int, theirs: int, replayed: bool) -> None:
        if replayed:
            return
        before_mine, before_theirs = self.tides
        if theirs < before_theirs or (mine > before_mine and theirs == before_theirs):
            raise Disagreement(
                f"the tide went from {before_theirs} to {theirs}, the model's from {before_mine} to {mine}"
            )
        self.tides = (mine, theirs)

    def verdicts(self, mine: Sequence[Any], theirs: Sequence[Any]) -> None:
        equal("verdicts", [one[:2] for one in mine], [one[:2] for one in theirs])
        for one, other in zip(mine, theirs, strict=True):
            self.optional_serial(one.serial, other.serial)

    def optional_serial(self, mine: int | None, theirs: int | None) -> None:
        equal("has a serial", mine is not None, theirs is not None)
        if mine is not None and theirs is not None:
            self.serials.pair(mine, theirs)

    def handed(self, mine: Sequence[Claim], theirs: Sequence[Claim]) -> None:
        equal("handed out", [one.id for one in mine], [one.id for one in theirs])
        for one, other in zip(mine, theirs, strict=True):
            self.claims.pair(one.number, other.number)
            self.serials.pair(one.serial, other.serial)
            equal("claim", one, other._replace(number=one.number, serial=one.serial))

    # ---- what is kept

    def jobs(self, mine: Sequence[StoredJob], theirs: Sequence[StoredJob]) -> None:
        equal("listing", [job.id for job in mine], [job.id for job in theirs])
        for one, other in zip(mine, theirs, strict=True):
            self.job(one, other)

    def optional_job(self, mine: StoredJob | None, theirs: StoredJob | None) -> None:
        equal("exists", mine is not None, theirs is not None)
        if mine is not None and theirs is not None:
            self.job(mine, theirs)

    def job(self, mine: StoredJob, theirs: StoredJob) -> None:
        self.serials.pair(mine.serial, theirs.serial)
        equal("emission", mine.emission == mine.serial, theirs.emission == theirs.serial)
        if mine.state == State.ACTIVE == theirs.state:
            self.claims.pair(mine.claim, theirs.claim)
        other = replace(
            theirs, serial=mine.serial, emission=mine.emission, order=mine.order, claim=mine.claim, follow_up=None
        )
        one = replace(mine, follow_up=None)
        for field in fields(StoredJob):
            equal(f"{field.name} of {mine.id!r}", getattr(one, field.name), getattr(other, field.name))
        equal("has a follow-up", mine.follow_up is not None, theirs.follow_up is not None)
        if mine.follow_up is not None and theirs.follow_up is not None:
            self.follow_up(mine.follow_up, theirs.follow_up)

    def follow_up(self, mine: FollowUp, theirs: FollowUp) -> None:
        self.serials.pair(mine.serial, theirs.serial)
        equal("follow-up", _told(mine), _told(theirs))

    def schedules(self, mine: Sequence[StoredSchedule], theirs: Sequence[StoredSchedule]) -> None:
        equal("schedules", [one.plan.name for one in mine], [one.plan.name for one in theirs])
        for one, other in zip(mine, theirs, strict=True):
            self.revisions.pair(one.revision, other.revision)
            equal("schedule", one, replace(other, revision=one.revision))


def _told(follow_up: FollowUp) -> tuple[Any, ...]:
    content = follow_up.content
    return (
        *(content.event, content.data, content.priority, content.options),
        *(follow_up.created_at, follow_up.first_at, follow_up.run_at, follow_up.expires_at, follow_up.awaited),
    )


def equal(what: str, mine: object, theirs: object) -> None:
    if mine != theirs:
        raise Disagreement(f"{what}:\n  expected {mine!r}\n  but got  {theirs!r}")
