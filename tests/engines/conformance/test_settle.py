"""`settle`: what each decision makes of a job, what it tells, and that a stale claim writes nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from taskmanager.engine import ATTEMPTS_KEPT, AWAITED_MS, Journal, Settlement
from taskmanager.job import Claim, DeadLetter, Kind, State, Transition
from tests.engines.conformance.builders import (
    BOOM,
    LEASE_MS,
    QUEUE,
    cancel_heard,
    completed,
    emission,
    emissions,
    failed,
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


async def started(world: World, id: str = "x", **fields: object) -> Claim:
    await world.add(id, **fields)
    claim = await world.take()
    assert claim.id == id
    return claim


# ---- each decision


@pytest.mark.parametrize(("how", "kind"), [(completed(b"42"), Kind.COMPLETED), (skipped(), Kind.SKIPPED)], ids=str)
async def test_a_run_that_returns_completes_the_job(world: World, how: Transition, kind: Kind) -> None:
    claim = await started(world)
    world.advance(70)
    answer = await world.settle(Settlement(claim.number, how, duration_ms=70))
    job = await world.job()
    assert answer.verdicts == [State.COMPLETED]
    assert answer.facts == [(world.now, kind, "q", "send", "x", 1, "w", {"duration": 0.07})]
    assert (job.state, job.finished_at, job.result) == (State.COMPLETED, world.now, how.result)
    assert (job.failures, job.error, job.reason, job.dead_letter) == (0, None, None, None)


async def test_a_run_that_fails_for_good_fails_the_job(world: World) -> None:
    claim = await started(world)
    answer = await world.settle(Settlement(claim.number, failed(dead_letter="dlq"), duration_ms=70))
    job = await world.job()
    assert answer.verdicts == [State.FAILED]
    assert the_fact(answer, Kind.FAILED).detail == {"duration": 0.07, "error": "ValueError: boom"}
    assert (job.state, job.finished_at, job.error, job.failures) == (State.FAILED, world.now, BOOM, 1)
    assert job.dead_letter == DeadLetter("dlq", "ValueError", world.now, 1)


async def test_a_failure_with_a_reason_tells_it(world: World) -> None:
    claim = await started(world)
    answer = await world.settle(Settlement(claim.number, failed("unwanted", "dlq")))
    fact = the_fact(answer, Kind.FAILED)
    assert fact.detail is not None
    assert (fact.detail["reason"], fact.detail["error"]) == ("unwanted", "ValueError: boom")
    job = await world.job()
    assert job.reason == "unwanted"
    assert job.dead_letter is not None
    assert job.dead_letter.reason == "unwanted"


async def test_without_a_stream_there_is_no_dead_letter(world: World) -> None:
    await world.run(failed())
    assert (await world.job()).dead_letter is None


async def test_a_run_that_is_retried_delays_the_job(world: World) -> None:
    claim = await started(world)
    world.advance(10)
    answer = await world.settle(Settlement(claim.number, retried(2500), duration_ms=10))
    job = await world.job()
    assert answer.verdicts == [State.DELAYED]
    assert the_fact(answer, Kind.RETRIED).detail == {"duration": 0.01, "error": "ValueError: boom", "delay": 2.5}
    assert answer.due_at == world.at(2510)
    assert (job.state, job.run_at, job.finished_at) == (State.DELAYED, world.at(2510), None)
    assert (job.attempt, job.failures, job.error, job.max_attempts) == (1, 1, BOOM, 4)


async def test_retries_that_tie_go_by_emission(world: World) -> None:
    await world.enqueue(*emissions(12))
    claims = (await world.claim()).jobs
    await world.settle(*(Settlement(claim.number, retried(5)) for claim in reversed(claims)))
    world.advance(5)
    assert await world.line() == [one.id for one in emissions(12)]


async def test_a_run_that_is_postponed_spends_no_retry(world: World) -> None:
    claim = await started(world)
    answer = await world.settle(Settlement(claim.number, postponed(50)))
    job = await world.job()
    assert told(answer) == [(Kind.RETRIED, "x")]
    assert (job.state, job.run_at, job.attempt, job.failures, job.error) == (State.DELAYED, world.at(50), 1, 0, None)


async def test_a_released_job_waits_at_the_end_of_its_priority(world: World) -> None:
    claim = await started(world, priority=1)
    await world.enqueue(emission("y", priority=1), emission("z"))
    world.advance(10)
    answer = await world.settle(Settlement(claim.number, released()))
    job = await world.job()
    assert (answer.verdicts, told(answer)) == ([State.WAITING], [(Kind.RELEASED, "x")])
    assert (job.state, job.run_at, job.attempt, job.failures, job.losses) == (State.WAITING, world.at(0), 1, 0, 0)
    assert job.worker is None
    assert await world.line() == ["y", "x", "z"]


async def test_a_heard_cancel_cancels_the_job(world: World) -> None:
    claim = await started(world)
    await world.cancel()
    answer = await world.settle(Settlement(claim.number, cancel_heard()))
    fact = the_fact(answer, Kind.CANCELLED)
    assert fact.detail is not None
    assert fact.detail["reason"] == "requested"
    job = await world.job()
    assert (job.state, job.reason, job.finished_at) == (State.CANCELLED, "requested", world.now)


async def test_a_completed_job_has_no_error_of_an_earlier_attempt(world: World) -> None:
    await world.run(retried(5))
    assert (await world.job()).error == BOOM
    world.advance(5)
    await world.end(await world.take(), completed())
    job = await world.job()
    assert (job.error, job.failures, job.attempt) == (None, 1, 2)


async def test_the_number_of_allowed_attempts_is_kept_where_it_is_told(world: World) -> None:
    claim = await started(world)
    await world.end(claim, Transition(Kind.RELEASED, State.WAITING, max_attempts=6))
    await world.end(await world.take(), released())
    assert (await world.job()).max_attempts == 6


async def test_what_becomes_claimable_raises_the_tide(world: World) -> None:
    claim = await started(world)
    tide = (await world.enqueue()).tide
    assert (await world.settle(Settlement(claim.number, released()))).tide > tide


# ---- its turn


async def test_a_claim_that_is_made_while_a_settlement_is_under_way_takes_effect_behind_it(world: World) -> None:
    """Else it would hand the same jobs out again, for it does not name them."""
    for number in range(20):
        await world.add(f"job-{number}")
        claim = await world.take()
        settling = asyncio.ensure_future(world.settle(Settlement(claim.number, completed())))
        await asyncio.sleep(0)
        assert (await world.engine.claim(QUEUE, "w", (), 5, LEASE_MS, 2)).jobs == []
        assert (await settling).verdicts == [State.COMPLETED]


# ---- the history


async def test_each_ended_attempt_is_kept_with_its_times(world: World) -> None:
    claim = await started(world)
    world.advance(100)
    await world.settle(Settlement(claim.number, retried(50), duration_ms=70, unstarted_ms=30))
    world.advance(50)
    claim = await world.take("v")
    world.advance(7)
    await world.settle(Settlement(claim.number, completed(), duration_ms=7), worker="v")
    first, second = (await world.job()).attempts
    assert (first.number, first.worker, first.outcome, first.error) == (1, "w", Kind.RETRIED, BOOM)
    assert (first.started_at, first.ended_at) == (world.at(30), world.at(100))
    assert (second.number, second.worker, second.outcome, second.error) == (2, "v", Kind.COMPLETED, None)
    assert (second.started_at, second.ended_at) == (world.at(150), world.at(157))


@pytest.mark.parametrize("result", [None, b'"done"'])
@pytest.mark.parametrize("max_attempts", [1, 4])
async def test_the_only_attempt_of_most_jobs_is_kept_with_its_times_too(
    world: World, result: bytes | None, max_attempts: int
) -> None:
    claim = await started(world)
    world.advance(100)
    end = replace(completed(result), max_attempts=max_attempts)
    await world.settle(Settlement(claim.number, end, duration_ms=70, unstarted_ms=30))
    job = await world.job()
    [only] = job.attempts
    assert (only.number, only.worker, only.outcome, only.error) == (1, "w", Kind.COMPLETED, None)
    assert (only.started_at, only.ended_at) == (world.at(30), world.at(100))
    assert (job.started_at, job.finished_at) == (world.at(0), world.at(100))
    assert (job.result, job.max_attempts) == (result, max_attempts)


async def test_of_too_many_attempts_the_oldest_go(world: World) -> None:
    claim = await started(world)
    for _ in range(ATTEMPTS_KEPT + 2):
        await world.end(claim, released())
        claim = await world.take()
    numbers = [info.number for info in (await world.job()).attempts]
    assert numbers == list(range(3, ATTEMPTS_KEPT + 3))
    assert claim.attempt == ATTEMPTS_KEPT + 3


async def test_a_lost_run_tells_no_duration_and_is_charged_to_who_lost_it(world: World) -> None:
    await started(world)
    world.advance(LEASE_MS)
    [claim] = (await world.reap()).jobs
    answer = await world.settle(Settlement(claim.number, stalled()), worker="reaper")
    job = await world.job()
    fact = the_fact(answer, Kind.STALLED)
    assert answer.verdicts == [State.WAITING]
    assert "duration" not in (fact.detail or {})
    assert fact.attempt == 1
    assert (job.state, job.losses, job.failures) == (State.WAITING, 1, 0)
    assert [(info.number, info.worker, info.outcome) for info in job.attempts] == [(1, "w", Kind.STALLED)]


async def test_the_last_allowed_loss_fails_the_job(world: World) -> None:
    await started(world)
    world.advance(LEASE_MS)
    [claim] = (await world.reap()).jobs
    answer = await world.settle(Settlement(claim.number, stalled_for_good(), duration_ms=9), worker="reaper")
    job = await world.job()
    assert answer.verdicts == [State.FAILED]
    assert the_fact(answer, Kind.FAILED).detail == {
        "error": "LeaseLost: the lease was lost 3 times",
        "reason": "stalled",
    }
    assert (job.state, job.reason, job.losses) == (State.FAILED, "stalled", 1)
    assert job.dead_letter is not None
    assert job.dead_letter.reason == "stalled"


# ---- the fence


async def test_a_claim_of_another_worker_is_lost_and_nothing_is_written(world: World) -> None:
    claim = await started(world)
    before = await world.picture()
    answer = await world.settle(Settlement(claim.number, completed()), worker="other")
    assert (answer.verdicts, answer.facts) == ([None], [])
    assert await world.picture() == before


async def test_a_number_that_was_never_given_is_lost(world: World) -> None:
    claim = await started(world)
    before = await world.picture()
    answer = await world.settle(Settlement(claim.number + 1000, completed()))
    assert (answer.verdicts, answer.facts) == ([None], [])
    assert await world.picture() == before


async def test_a_claim_that_was_reaped_is_lost_to_who_had_it(world: World) -> None:
    claim = await started(world)
    world.advance(LEASE_MS)
    await world.reap()
    before = await world.picture()
    assert await world.end(claim, completed()) is None
    assert await world.picture() == before


async def test_a_lease_that_has_run_out_but_was_not_reaped_still_settles(world: World) -> None:
    claim = await started(world)
    world.advance(10 * LEASE_MS)
    assert await world.end(claim, completed()) == State.COMPLETED


async def test_a_claim_settles_once(world: World) -> None:
    claim = await started(world)
    answer = await world.settle(Settlement(claim.number, released()), Settlement(claim.number, completed()))
    assert (answer.verdicts, told(answer)) == ([State.WAITING, None], [(Kind.RELEASED, "x")])
    before = await world.picture()
    assert await world.end(claim, completed()) is None
    assert await world.picture() == before


async def test_an_attempt_number_is_no_fence(world: World) -> None:
    old = await started(world)
    await world.end(old, released())
    await world.add(replace=True)
    new = await world.take()
    assert (old.attempt, new.attempt) == (1, 1)
    assert await world.end(old, completed()) is None
    assert await world.end(new, completed()) == State.COMPLETED


async def test_of_several_the_standing_ones_are_written_in_order(world: World) -> None:
    await world.enqueue(*emissions(3))
    one, two, three = (await world.claim()).jobs
    answer = await world.settle(
        Settlement(three.number, released()), Settlement(999, completed()), Settlement(one.number, completed())
    )
    assert answer.verdicts == [State.WAITING, None, State.COMPLETED]
    assert told(answer) == [(Kind.RELEASED, three.id), (Kind.COMPLETED, one.id)]
    assert (await world.job(two.id)).state == State.ACTIVE


# ---- removed by the write that ends it


async def test_a_transient_end_removes_the_job_and_its_log(world: World) -> None:
    claim = await started(world)
    await world.extend(Journal(claim.number, 1, "a line"))
    answer = await world.settle(Settlement(claim.number, completed()), transient={State.COMPLETED})
    assert (answer.verdicts, told(answer)) == ([State.COMPLETED], [(Kind.COMPLETED, "x")])
    assert await world.find() is None
    assert await world.find("x", claim.serial) is None
    assert await world.states() == {}
    assert list(await world.engine.logs("q", "x")) == []
    assert list(await world.engine.queues()) == []


async def test_only_the_states_named_are_transient(world: World) -> None:
    claim = await started(world)
    await world.end(claim, failed(), transient={State.COMPLETED, State.CANCELLED})
    assert await world.states() == {"x": State.FAILED}


async def test_a_transient_end_of_an_awaited_job_leaves_its_outcome_by_serial(world: World) -> None:
    claim = await started(world, awaited=True)
    await world.end(claim, completed(b"42"), transient={State.COMPLETED})
    assert await world.find() is None
    assert await world.states() == {}
    world.advance(AWAITED_MS - 1)
    await world.prune()
    outcome = await world.job("x", claim.serial)
    assert (outcome.state, outcome.result) == (State.COMPLETED, b"42")
    world.advance(2)
    await world.prune()
    assert await world.find("x", claim.serial) is None
