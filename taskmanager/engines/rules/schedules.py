"""Schedules: registered under a name, and advanced by whoever comes first.

An engine computes no occurrence. It keeps the place that has been decided, compares the revision, and admits what it is
told in the same step; so however many workers advance a schedule, each occurrence is decided once.
"""

from __future__ import annotations

from collections.abc import Sequence

from taskmanager.engine import Verdict
from taskmanager.engines.rules.admit import identify
from taskmanager.engines.rules.queue import Queue
from taskmanager.job import Emission, Fact, Kind, Plan, StoredSchedule

__all__ = ["advance", "register"]


def register(queue: Queue, plan: Plan, now: int, facts: list[Fact]) -> Verdict:
    """Adds or replaces the schedule of that name. Its place is kept unless pattern or timezone changed."""
    known = queue.schedule(plan.name)
    is_new_pattern = known is None or known.plan.pattern != plan.pattern
    queue.revisions += 1
    if known is not None and not is_new_pattern and known.plan.timezone == plan.timezone:
        known.plan, known.revision = plan, queue.revisions
        queue.put_schedule(known)
    else:
        not_before = now + plan.not_before_ms if plan.not_before_at is None else plan.not_before_at
        queue.put_schedule(StoredSchedule(plan, max(now, not_before - 1), queue.revisions))
    queue.tide += 1  # not a job, but an occurrence to compute: whoever waits has to hear of it once
    if plan.immediate and is_new_pattern:
        run = Emission(
            plan.event,
            f"{plan.name}@immediate",
            plan.data,
            plan.priority,
            expires_ms=plan.expires_ms,
            options=plan.options,
        )
        identify(queue, run, now, now, facts, born=Kind.SCHEDULED, schedule=plan.name)
    return Verdict(Kind.SCHEDULED, plan.name, None)


def advance(
    queue: Queue,
    name: str,
    revision: int,
    place: int,
    next_at: int | None,
    occurrences: Sequence[Emission],
    dropped: int,
    now: int,
    facts: list[Fact],
) -> bool:
    """Moves the schedule and admits its occurrences, where it still has that revision."""
    schedule = queue.schedule(name)
    if schedule is None or schedule.revision != revision:
        return False
    schedule.place, schedule.next_at = place, next_at
    schedule.dropped += dropped
    queue.revisions = schedule.revision = queue.revisions + 1
    for occurrence in occurrences:
        if schedule.plan.overlap == "skip" and queue.is_live(name):
            facts.append(Fact(now, Kind.SKIPPED, queue.name, occurrence.event, occurrence.id))
            continue
        run_at = now + occurrence.delay_ms if occurrence.run_at is None else occurrence.run_at
        detail = {"dropped": schedule.dropped} if schedule.dropped else None
        verdict = identify(queue, occurrence, run_at, now, facts, Kind.SCHEDULED, name, detail)
        if verdict.status is Kind.EMITTED:
            schedule.dropped = 0
    queue.put_schedule(schedule)
    return True
