"""What must hold whatever a model says: the promises of the port, read off an engine's answers and listings alone."""

from __future__ import annotations

from collections.abc import Sequence

from taskmanager.engine import Answer, Claimed, Controlled, Enqueued
from taskmanager.job import FINISHED, Fact, Kind, State, StoredJob

ENDS = frozenset({Kind.COMPLETED, Kind.SKIPPED, Kind.FAILED, Kind.CANCELLED})
NEW = frozenset({Kind.EMITTED, Kind.SCHEDULED, Kind.FOLLOW_UP})


class Broken(AssertionError):
    """A promise that holds in every world did not hold in this one."""


class Laws:
    """Follows one queue of an engine from answer to answer.

    `open` are the serials that were accepted and have not ended; `given` says of each claim number who got what, and
    `valid` which one a job's running hand-out has.
    """

    def __init__(self) -> None:
        self.latest = 0
        self.open: dict[int, str] = {}
        self.given: dict[int, int] = {}
        self.occurrences: set[str] = set()

    def pass_time(self, now: int) -> None:
        self.latest = max(self.latest, now)

    def follow(self, before: Sequence[StoredJob], answer: Answer, after: Sequence[StoredJob]) -> None:
        self.pass_time(answer.now)
        self.each_id_once(after)
        self.each_accepted_is_somewhere(answer, after)
        self.each_end_once(answer.facts, before, after)
        self.within_budget(after)
        for fact in answer.facts:
            self.each_occurrence_once(fact)
        if isinstance(answer, Claimed):
            self.handed_out(before, answer, after)

    def each_id_once(self, after: Sequence[StoredJob]) -> None:
        ids, serials = [job.id for job in after], [job.serial for job in after]
        if len(set(ids)) < len(ids) or len(set(serials)) < len(serials):
            raise Broken(f"a job is in two places: {sorted(ids)}, serials {sorted(serials)}")
        running = [job.claim for job in after if job.state == State.ACTIVE]
        if len(set(running)) < len(running):
            raise Broken(f"a claim number is valid for two jobs: {sorted(running)}")

    def each_accepted_is_somewhere(self, answer: Answer, after: Sequence[StoredJob]) -> None:
        """Nothing is lost: who was accepted is there until a step has told its end."""
        if isinstance(answer, Enqueued):
            self.open |= {one.serial: one.id for one in answer.verdicts if one.status in NEW and one.serial is not None}
        there = {job.serial for job in after} | {job.follow_up.serial for job in after if job.follow_up is not None}
        ended = {fact.job_id for fact in answer.facts if fact.kind in ENDS}
        if isinstance(answer, Controlled) and answer.changed and answer.job is not None and answer.job.cancel_requested:
            ended.add(answer.job.id)  # the cancel of a running job drops its follow-up, and tells nothing yet
        for serial, id in list(self.open.items()):
            if serial in there:
                continue
            if id not in ended:
                raise Broken(f"job {serial} of id {id!r} was accepted, and is gone without an end")
            del self.open[serial]
        for job in after:
            if job.state in FINISHED:
                self.open.pop(job.serial, None)
            else:
                self.open[job.serial] = job.id

    def each_end_once(self, facts: Sequence[Fact], before: Sequence[StoredJob], after: Sequence[StoredJob]) -> None:
        """A job ends with one step, and what has ended moves on by an operator's retry alone."""
        told = {fact.job_id for fact in facts if fact.kind in ENDS}
        retried = {fact.job_id for fact in facts if fact.kind == Kind.REQUEUED}
        was = {job.serial: job.state for job in before}
        for job in after:
            old = was.get(job.serial)
            if old is None or old == job.state:
                continue
            if old in FINISHED and job.id not in retried:
                raise Broken(f"{job.id!r} was {old} and is {job.state}")
            if job.state in FINISHED and job.id not in told:
                raise Broken(f"{job.id!r} is {job.state}, and no step told it")

    def within_budget(self, after: Sequence[StoredJob]) -> None:
        for job in after:
            if job.max_attempts is not None and job.failures > job.max_attempts:
                raise Broken(f"{job.id!r} failed {job.failures} times, and {job.max_attempts} are allowed")

    def each_occurrence_once(self, fact: Fact) -> None:
        id = fact.job_id
        if fact.kind != Kind.SCHEDULED or id is None or id.endswith("@immediate"):
            return
        if id in self.occurrences:
            raise Broken(f"the occurrence {id!r} was admitted twice")
        self.occurrences.add(id)

    def handed_out(self, before: Sequence[StoredJob], answer: Claimed, after: Sequence[StoredJob]) -> None:
        """One valid claim a job, a new number each, nothing before its time, and nobody before a higher priority."""
        now_valid = {job.serial: job.claim for job in after if job.state == State.ACTIVE}
        was = {job.serial: job for job in before}
        fresh = []
        for claim in answer.jobs:
            if now_valid.get(claim.serial) != claim.number:
                raise Broken(f"{claim.id!r} was handed out with claim {claim.number}, which is not valid")
            if self.given.setdefault(claim.number, claim.serial) != claim.serial:
                raise Broken(f"claim {claim.number} was given twice")
            if claim.run_at > self.latest:
                raise Broken(f"{claim.id!r} is due at {claim.run_at} and was handed out by {self.latest}")
            old = was.get(claim.serial)
            if old is not None and old.state != State.ACTIVE:
                fresh.append(claim.priority)
                if old.run_at > self.latest:
                    raise Broken(f"{claim.id!r} was to run at {old.run_at} and was handed out by {self.latest}")
        if fresh != sorted(fresh, reverse=True):
            raise Broken(f"priorities were handed out in the order {fresh}")
