"""Faults to plant in the worker and the policy, which only a whole world can show. See `engine_bugs`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from taskmanager.job import Kind, Transition
from taskmanager.policy import lifecycle
from taskmanager.policy.cron import catch_up
from taskmanager.policy.retry import Retry
from taskmanager.worker import executor, janitor
from taskmanager.worker.keeper import Keeper
from taskmanager.worker.route import Route
from taskmanager.worker.worker import Worker

Plant = Callable[[pytest.MonkeyPatch], None]
BUGS: dict[str, Plant] = {}


def bug(plant: Plant) -> Plant:
    BUGS[plant.__name__] = plant
    return plant


def _deciding(patch: pytest.MonkeyPatch, change: Callable[[Transition, Any], Transition]) -> None:
    """What `decide` says is changed, knowing the outcome."""
    patch.setattr(
        executor,
        "decide",
        lambda claim, outcome, terms, rng: change(lifecycle.decide(claim, outcome, terms, rng), outcome),
    )


@bug
def a_lost_lease_spends_a_retry(patch: pytest.MonkeyPatch) -> None:
    _deciding(patch, lambda how, outcome: replace(how, failures=1) if isinstance(outcome, lifecycle.Lost) else how)


@bug
def retry_later_spends_a_retry(patch: pytest.MonkeyPatch) -> None:
    _deciding(patch, lambda how, outcome: replace(how, failures=1) if isinstance(outcome, lifecycle.Postponed) else how)


@bug
def a_failure_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    """The budget never ends, and no wait grows."""
    _deciding(patch, lambda how, outcome: replace(how, failures=0) if how.kind == Kind.RETRIED else how)


@bug
def the_first_retry_waits_twice_as_long(patch: pytest.MonkeyPatch) -> None:
    original = Retry.backoff_ms
    patch.setattr(Retry, "backoff_ms", lambda retry, n, rng: original(retry, n + 1, rng))


@bug
def a_timeout_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Route, "timeout_for", lambda route, options: None)


@bug
def a_worker_does_not_beat(patch: pytest.MonkeyPatch) -> None:
    async def silent(keeper: Keeper, engine: Any) -> None: ...

    patch.setattr(Keeper, "beat", silent)


@bug
def a_claim_forgets_what_the_worker_holds(patch: pytest.MonkeyPatch) -> None:
    """So the same jobs are handed out again, and started again."""
    patch.setattr(Worker, "holds", lambda worker, queue: ())


@bug
def a_slot_is_free_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Worker, "free", property(lambda worker: worker.settings.concurrency + 1 - worker.in_hand))


@bug
def an_occurrence_is_decided_before_its_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(janitor, "catch_up", lambda cron, place, now, *rest: catch_up(cron, place, now + 60_000, *rest))


@bug
def an_occurrence_is_named_by_the_clock(patch: pytest.MonkeyPatch) -> None:
    """And no longer by its moment: late ones get one name."""
    patch.setattr(janitor, "iso", lambda moment: "2026-03-28T00:00:00Z")
