"""Faults to plant in the memory engine, a few lines each: what a tired author might have written.

Each takes pytest's `MonkeyPatch` and changes one place of `taskmanager.engines.memory`, or of the rules it follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from taskmanager.engines.memory import claims, engine
from taskmanager.engines.memory import settle as settling
from taskmanager.engines.memory.lines import Lines
from taskmanager.engines.memory.queue import Queue
from taskmanager.engines.rules import admit, control, settle
from taskmanager.job import Edge, Emission, State

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, Plant] = {}


def bug(plant: Plant) -> Plant:
    BUGS[plant.__name__] = plant
    return plant


def _around(patch: pytest.MonkeyPatch, place: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """`wrapper(original, *arguments)` in the place of `original(*arguments)`."""
    original = getattr(place, name)
    patch.setattr(place, name, lambda *args, **more: wrapper(original, *args, **more))


# ---- the fence


def _settle_by(patch: pytest.MonkeyPatch, matches: Callable[[Any, Any], bool]) -> None:
    """A stale claim settles the job that it once had, where the fence finds the two alike."""
    given: dict[int, Any] = {}

    def remembering(original: Any, job: Any) -> Any:
        claim = given[job.claim] = original(job)
        return claim

    def unfenced(original: Any, queue: Queue, worker: str, settlements: Any, *rest: Any) -> Any:
        for one in settlements:
            old = given.get(one.claim)
            for lease in [*queue.leases.values()]:
                for held in (lease.claims, lease.reaped):
                    for number, job in [*held.items()]:
                        if old is not None and number != one.claim and job.id == old.id and matches(old, job):
                            del held[number]
                            queue.leases.setdefault(worker, lease).claims[one.claim] = job
        queue.leases = {owner: lease for owner, lease in queue.leases.items() if lease}
        return original(queue, worker, settlements, *rest)

    _around(patch, claims, "claim_of", remembering)
    _around(patch, engine, "settle", unfenced)


@bug
def settle_is_not_fenced(patch: pytest.MonkeyPatch) -> None:
    _settle_by(patch, lambda old, job: True)


@bug
def settle_is_fenced_by_the_attempt_number(patch: pytest.MonkeyPatch) -> None:
    _settle_by(patch, lambda old, job: old.attempt == job.attempt)


@bug
def a_lease_ends_when_its_time_passes(patch: pytest.MonkeyPatch) -> None:
    """Instead of when it is reaped."""

    def strict(original: Any, queue: Queue, worker: str, settlements: Any, transient: Any, now: int, facts: Any) -> Any:
        lease = queue.leases.get(worker)
        lapsed = lease is not None and lease.expires_at < now
        return [None] * len(settlements) if lapsed else original(queue, worker, settlements, transient, now, facts)

    _around(patch, engine, "settle", strict)


@bug
def a_lease_is_reaped_early(patch: pytest.MonkeyPatch) -> None:
    _around(patch, engine, "reap", lambda original, *args: original(*args[:-1], args[-1] + 1))


@bug
def a_lost_reply_strands_its_jobs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(claims, "_given_before", lambda held, holds, limit: ([], False))


@bug
def the_reaper_forgets_the_cancel_mark(patch: pytest.MonkeyPatch) -> None:
    def forgetful(original: Any, queue: Queue, *rest: Any) -> Any:
        jobs, more = original(queue, *rest)
        for claim in jobs:
            queue.jobs[claim.id].cancel_requested = False
        return jobs, more

    _around(patch, engine, "reap", forgetful)


# ---- time and order


@bug
def what_is_due_is_promoted_late(patch: pytest.MonkeyPatch) -> None:
    _around(patch, Queue, "make_due", lambda original, queue, now, facts: original(queue, now - 1, facts))


@bug
def a_claim_starts_before_its_time(patch: pytest.MonkeyPatch) -> None:
    _around(patch, Queue, "make_due", lambda original, queue, now, facts: original(queue, now + 1, facts))


@bug
def a_line_goes_by_timestamp(patch: pytest.MonkeyPatch) -> None:
    def by_time(original: Any, lines: Lines, job: Any) -> None:
        original(lines, job)
        line = lines.by_priority[job.priority]
        for order in sorted(line, key=lambda order: line[order].run_at):
            line.move_to_end(order)

    _around(patch, Lines, "append", by_time)


@bug
def expiry_is_off_by_one(patch: pytest.MonkeyPatch) -> None:
    def at_the_moment_itself(original: Any, queue: Queue, *rest: Any) -> Any:
        for job in queue.lines:
            if job.expires_at == rest[-2]:
                job.expires_at = job.created_at - 1
        return original(queue, *rest)

    _around(patch, engine, "claim", at_the_moment_itself)


# ---- admission


@bug
def a_nonce_is_ignored(patch: pytest.MonkeyPatch) -> None:
    """A call sent again is carried out again."""
    patch.setattr(Queue, "replayed", lambda queue, kind, verb, batch, now: None)


@bug
def a_duplicate_keeps_the_new_data(patch: pytest.MonkeyPatch) -> None:
    def keeps(original: Any, queue: Queue, job: Any, entry: Emission, *rest: Any) -> Any:
        job.data = entry.data
        return original(queue, job, entry, *rest)

    _around(patch, admit, "_meet", keeps)


@bug
def a_strangers_failure_closes_a_window(patch: pytest.MonkeyPatch) -> None:
    def closes(original: Any, queue: Queue, serial: int, to: State) -> None:
        original(queue, serial, to)
        if to is State.FAILED:
            queue.windows = {key: one for key, one in queue.windows.items() if key[2] is not Edge.LEADING}

    _around(patch, Queue, "end_serial", closes)


@bug
def a_dropped_emission_prolongs_its_window(patch: pytest.MonkeyPatch) -> None:
    def prolongs(original: Any, queue: Queue, entry: Emission, window: Any, now: int, facts: Any) -> Any:
        verdict = original(queue, entry, window, now, facts)
        if verdict.serial is None:
            key = (entry.event, window.key, window.edge)
            queue.windows[key] = queue.windows[key]._replace(until=now + window.window_ms)
        return verdict

    patch.setattr(admit, "EDGES", dict(admit.EDGES))
    original = admit.EDGES[Edge.LEADING]
    patch.setitem(admit.EDGES, Edge.LEADING, lambda *args: prolongs(original, *args))


@bug
def max_wait_counts_from_the_last_emission(patch: pytest.MonkeyPatch) -> None:
    def from_now(original: Any, entry: Emission, window: Any, first_at: int, now: int) -> Any:
        return original(entry, window, now, now)

    _around(patch, admit, "_trailing_moment", from_now)


# ---- ends


@bug
def a_follow_up_is_lost_on_a_retry(patch: pytest.MonkeyPatch) -> None:
    def loses(original: Any, queue: Queue, worker: str, job: Any, settlement: Any, *rest: Any) -> Any:
        if settlement.transition.to is State.DELAYED:
            job.follow_up = None
        return original(queue, worker, job, settlement, *rest)

    _around(patch, settling, "write", loses)


@bug
def a_postponed_run_spends_a_retry(patch: pytest.MonkeyPatch) -> None:
    def spends(original: Any, queue: Queue, job: Any, transition: Any, to: State, reason: Any) -> None:
        failures = 1 if transition.to is State.DELAYED else transition.failures
        original(queue, job, replace(transition, failures=failures), to, reason)

    _around(patch, settle, "_take_over", spends)


@bug
def a_cancel_mark_overrules_a_run_that_completed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(settle, "FINISHED", frozenset({State.FAILED, State.CANCELLED}))


@bug
def an_awaited_outcome_goes_with_its_job(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "keep_outcome", lambda queue, job, now: None)


# ---- upkeep


@bug
def an_advance_does_not_look_at_the_revision(patch: pytest.MonkeyPatch) -> None:
    def blind(original: Any, queue: Queue, name: str, revision: int, *rest: Any) -> Any:
        known = queue.schedules.get(name)
        return original(queue, name, revision if known is None else known.revision, *rest)

    _around(patch, engine, "advance", blind)


@bug
def a_prune_forgets_the_windows(patch: pytest.MonkeyPatch) -> None:
    def forgets(original: Any, queue: Queue, *rest: Any) -> Any:
        queue.windows.clear()
        return original(queue, *rest)

    _around(patch, engine, "prune", forgets)


@bug
def a_requeued_job_keeps_its_spent_budget(patch: pytest.MonkeyPatch) -> None:
    def keeps(original: Any, queue: Queue, job: Any, call: Any) -> None:
        failures = job.failures
        original(queue, job, call)
        job.failures = failures

    _around(patch, control, "_run_again", keeps)
