"""`settle` where something came between: a cancel mark, or a follow-up, which only an unfinished end yields to."""

from __future__ import annotations

import pytest

from taskmanager.engine import Journal, Settlement
from taskmanager.job import Claim, Kind, RunOptions, State, Transition
from tests.engines.conformance.builders import (
    LEASE_MS,
    cancel_heard,
    completed,
    emission,
    failed,
    plan,
    postponed,
    released,
    retried,
    skipped,
    stalled,
    stalled_for_good,
    the_fact,
    told,
)
from tests.engines.conformance.world import World

FINAL = [
    (completed(b"42"), Kind.COMPLETED, State.COMPLETED),
    (skipped(), Kind.SKIPPED, State.COMPLETED),
    (failed("unwanted", "dlq"), Kind.FAILED, State.FAILED),
    (stalled_for_good(), Kind.FAILED, State.FAILED),
    (cancel_heard(), Kind.CANCELLED, State.CANCELLED),
]
NOT_FINAL = [
    (retried(), Kind.FAILED, State.FAILED),
    (postponed(), Kind.FAILED, State.FAILED),
    (released(), Kind.CANCELLED, State.CANCELLED),
    (stalled(), Kind.CANCELLED, State.CANCELLED),
]
"""How a run ends, and what a follow-up makes of that."""
NAMES = [f"{how.kind}-{how.to}-{number}" for number, (how, _, _) in enumerate(NOT_FINAL)]
FINAL_NAMES = [f"{how.kind}-{number}" for number, (how, _, _) in enumerate(FINAL)]


async def started(world: World, id: str = "x", **fields: object) -> Claim:
    await world.add(id, **{"awaited": True} | fields)
    return await world.take()


# ---- cancel marks


@pytest.mark.parametrize(("how", "kind", "to"), NOT_FINAL, ids=NAMES)
async def test_a_cancel_mark_overrules_what_does_not_finish_the_job(
    world: World, how: Transition, kind: Kind, to: State
) -> None:
    claim = await started(world)
    await world.cancel()
    answer = await world.settle(Settlement(claim.number, how, duration_ms=5))
    assert (answer.verdicts, told(answer)) == ([State.CANCELLED], [(Kind.CANCELLED, "x")])
    fact = the_fact(answer, Kind.CANCELLED)
    assert fact.detail is not None
    assert fact.detail["reason"] == "requested"
    assert "delay" not in fact.detail
    job = await world.job()
    assert (job.state, job.reason, job.dead_letter) == (State.CANCELLED, "requested", None)
    assert (job.finished_at, job.failures, job.losses) == (world.now, how.failures, how.losses)
    assert answer.due_at is None


@pytest.mark.parametrize(("how", "kind", "to"), FINAL, ids=FINAL_NAMES)
async def test_a_cancel_mark_leaves_what_finishes_the_job(world: World, how: Transition, kind: Kind, to: State) -> None:
    claim = await started(world)
    await world.cancel()
    answer = await world.settle(Settlement(claim.number, how))
    assert (answer.verdicts, told(answer)) == ([to], [(kind, "x")])
    job = await world.job()
    assert (job.state, job.result, job.reason) == (to, how.result, how.reason)
    assert (job.dead_letter is not None) == (how.dead_letter is not None)


async def test_a_cancel_mark_overrules_a_reap(world: World) -> None:
    await started(world)
    await world.cancel()
    await world.lose(stalled())
    job = await world.job()
    assert (job.state, job.reason, job.losses) == (State.CANCELLED, "requested", 1)


async def test_a_cancel_mark_set_while_a_reaper_holds_the_job_overrules_too(world: World) -> None:
    await started(world)
    world.advance(LEASE_MS)
    [claim] = (await world.reap()).jobs
    await world.cancel()
    assert await world.end(claim, stalled(), "reaper") == State.CANCELLED


async def test_a_cancel_mark_ends_the_job_and_a_later_follow_up_takes_its_place(world: World) -> None:
    claim = await started(world)
    await world.cancel()
    serial = await world.add(data=b"2")
    assert await world.end(claim, retried()) == State.CANCELLED
    assert (await world.job("x", claim.serial)).reason == "requested"
    job = await world.job()
    assert (job.state, job.serial, job.cancel_requested) == (State.WAITING, serial, False)


async def test_a_cancelled_end_is_transient_where_cancelled_is(world: World) -> None:
    claim = await started(world, awaited=False)
    await world.cancel()
    await world.end(claim, retried(), transient={State.CANCELLED})
    assert await world.find() is None


# ---- follow-ups


@pytest.mark.parametrize(("how", "kind", "to"), NOT_FINAL, ids=NAMES)
async def test_a_follow_up_supersedes_what_does_not_finish_the_job(
    world: World, how: Transition, kind: Kind, to: State
) -> None:
    claim = await started(world)
    serial = await world.add(data=b"2")
    answer = await world.settle(Settlement(claim.number, how))
    assert (answer.verdicts, told(answer)) == ([to], [(kind, "x")])
    fact = the_fact(answer, kind)
    assert fact.detail is not None
    assert (fact.detail["reason"], fact.attempt) == ("superseded", 1)
    old = await world.job("x", claim.serial)
    assert (old.state, old.reason, old.dead_letter, old.follow_up) == (to, "superseded", None, None)
    new = await world.job()
    assert (new.state, new.serial, new.data) == (State.WAITING, serial, b"2")


@pytest.mark.parametrize(("how", "kind", "to"), FINAL, ids=FINAL_NAMES)
async def test_a_follow_up_leaves_what_finishes_the_job_and_takes_its_place(
    world: World, how: Transition, kind: Kind, to: State
) -> None:
    claim = await started(world)
    serial = await world.add(data=b"2")
    answer = await world.settle(Settlement(claim.number, how))
    assert (answer.verdicts, told(answer)) == ([to], [(kind, "x")])
    old = await world.job("x", claim.serial)
    assert (old.state, old.reason, old.result) == (to, how.reason, how.result)
    assert (old.dead_letter is not None) == (how.dead_letter is not None)
    new = await world.job()
    assert (new.state, new.serial, new.data) == (State.WAITING, serial, b"2")


async def test_the_follow_up_is_a_new_job_with_a_budget_and_options_of_its_own(world: World) -> None:
    await world.add()
    await world.take()
    await world.lose(stalled())
    await world.end(await world.take(), retried(5))
    world.advance(5)
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "of the old run"))
    world.advance(10)
    recorded = world.now
    options = RunOptions(timeout_ms=9)
    serial = await world.add(event="other", data=b"2", priority=3, options=options, expires_ms=700)
    world.advance(10)
    await world.end(claim, completed(b"42"))
    job = await world.job()
    assert (job.event, job.data, job.priority, job.options) == ("other", b"2", 3, options)
    assert (job.state, job.serial, job.created_at, job.expires_at) == (State.WAITING, serial, recorded, recorded + 700)
    assert (job.attempt, job.failures, job.losses, job.attempts) == (0, 0, 1, [])
    assert (job.result, job.error, job.reason, job.finished_at, job.follow_up) == (None, None, None, None, None)
    assert (job.max_attempts, job.progress, job.cancel_requested, job.schedule) == (None, None, False, None)
    assert list(await world.engine.logs("q", "x")) == []
    assert (await world.take()).attempt == 1


async def test_the_follow_up_waits_at_the_end_of_its_priority(world: World) -> None:
    claim = await started(world)
    await world.add("x", data=b"2")
    await world.add("y")
    await world.end(claim, completed())
    assert await world.line() == ["y", "x"]


async def test_a_follow_up_with_a_delay_is_delayed_until_then(world: World) -> None:
    claim = await started(world)
    await world.add("x", delay_ms=50)
    world.advance(20)
    answer = await world.settle(Settlement(claim.number, completed()))
    job = await world.job()
    assert (job.state, job.run_at, answer.due_at) == (State.DELAYED, world.at(50), world.at(50))
    world.advance(30)
    assert await world.line() == ["x"]


async def test_a_follow_up_whose_delay_has_passed_waits_at_once(world: World) -> None:
    claim = await started(world)
    await world.add("x", delay_ms=50)
    world.advance(50)
    assert told(await world.settle(Settlement(claim.number, completed()))) == [(Kind.COMPLETED, "x")]
    answer = await world.claim()
    assert ([claim.id for claim in answer.jobs], answer.facts) == (["x"], [])


async def test_a_follow_up_that_has_expired_meanwhile_is_cancelled_by_the_claim(world: World) -> None:
    claim = await started(world)
    await world.add("x", expires_ms=50)
    world.advance(51)
    await world.end(claim, completed())
    assert told(await world.claim()) == [(Kind.CANCELLED, "x")]


async def test_a_follow_up_takes_the_place_of_a_transient_job_too(world: World) -> None:
    claim = await started(world, awaited=False)
    serial = await world.add("x", data=b"2")
    await world.end(claim, completed(), transient={State.COMPLETED})
    assert (await world.job()).serial == serial
    assert await world.find("x", claim.serial) is None


async def test_each_outcome_is_awaited_on_its_own(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    follow_up = await world.add("x", awaited=True)
    await world.end(claim, completed(b"1"))
    assert await world.find("x", claim.serial) is None
    assert (await world.job()).awaited
    await world.end(await world.take(), completed(b"2"), transient={State.COMPLETED})
    assert (await world.job("x", follow_up)).result == b"2"


async def test_the_follow_up_of_an_occurrence_belongs_to_no_schedule(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    claim = await world.take()
    await world.add("nightly@immediate", data=b"2")
    await world.end(claim, completed())
    assert (await world.job("nightly@immediate")).schedule is None
    assert (await world.schedule()).live == 0


async def test_a_follow_up_becomes_claimable_and_raises_the_tide(world: World) -> None:
    claim = await started(world)
    await world.add("x")
    tide = (await world.enqueue()).tide
    assert (await world.settle(Settlement(claim.number, completed()))).tide > tide


async def test_settling_several_keeps_each_follow_up_with_its_job(world: World) -> None:
    await world.enqueue(emission("x"), emission("y"))
    one, two = (await world.claim()).jobs
    await world.enqueue(emission("y", data=b"y2"), emission("x", data=b"x2"))
    await world.settle(Settlement(one.number, completed()), Settlement(two.number, completed()))
    assert [(claim.id, claim.data) for claim in (await world.claim()).jobs] == [("x", b"x2"), ("y", b"y2")]
