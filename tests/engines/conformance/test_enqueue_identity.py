"""`enqueue` of an id that is taken: duplicate, replaced, follow-up, or a new job where the old one is finished."""

from __future__ import annotations

from typing import Any

import pytest

from taskmanager.engine import AWAITED_MS, Journal, Requeue
from taskmanager.job import Kind, RunOptions, State, Transition
from tests.engines.conformance.builders import (
    LEASE_MS,
    cancel_heard,
    completed,
    emission,
    failed,
    ref,
    released,
    retried,
    stalled,
    the_fact,
    told,
)
from tests.engines.conformance.world import World

OTHER: dict[str, Any] = {"event": "other", "data": b"2", "priority": 9, "options": RunOptions(retry_count=2)}
"""What a second emission may differ in, besides its time."""


# ---- waiting or delayed


@pytest.mark.parametrize("delay_ms", [0, 50])
async def test_emitted_again_before_it_runs_nothing_of_it_is_kept(world: World, delay_ms: int) -> None:
    serial = await world.add("x", delay_ms=delay_ms, expires_ms=500)
    before = await world.picture()
    answer = await world.enqueue(emission("x", **OTHER, delay_ms=7, expires_ms=9))
    assert answer.verdicts == [(Kind.DUPLICATE, "x", serial)]
    assert answer.facts == [(world.now, Kind.DUPLICATE, "q", "other", "x", None, None, None)]
    assert await world.picture() == before


async def test_a_duplicate_that_is_awaited_marks_the_job_as_awaited(world: World) -> None:
    await world.add("x")
    await world.add("x", awaited=True)
    await world.add("x")
    assert (await world.job("x")).awaited


async def test_a_delayed_job_whose_time_has_come_is_waiting_for_the_next_emission(world: World) -> None:
    await world.add("x", delay_ms=5)
    world.advance(5)
    answer = await world.enqueue(emission("x"))
    assert told(answer) == [(Kind.DUE, "x"), (Kind.DUPLICATE, "x")]


@pytest.mark.parametrize("delay_ms", [0, 50])
async def test_with_replace_the_job_takes_all_of_the_later_emission(world: World, delay_ms: int) -> None:
    serial = await world.add("x", delay_ms=delay_ms, expires_ms=500)
    world.advance(3)
    answer = await world.enqueue(emission("x", **OTHER, expires_ms=9, replace=True))
    job = await world.job("x")
    assert answer.verdicts == [(Kind.REPLACED, "x", serial)]
    assert told(answer) == [(Kind.REPLACED, "x")]
    assert (job.event, job.data, job.priority, job.options) == tuple(OTHER.values())
    assert (job.state, job.run_at, job.expires_at) == (State.WAITING, world.at(3), world.at(12))
    assert (job.serial, job.created_at) == (serial, world.at(0))
    assert job.emission > serial


async def test_replaced_with_a_delay_it_is_delayed_again(world: World) -> None:
    await world.add("x", expires_ms=5)
    answer = await world.enqueue(emission("x", delay_ms=2500, replace=True))
    job = await world.job("x")
    assert (job.state, job.run_at, job.expires_at) == (State.DELAYED, world.at(2500), None)
    assert the_fact(answer, Kind.REPLACED).detail == {"delay": 2.5}
    assert await world.line() == []


async def test_replaced_it_goes_to_the_end_of_its_priority(world: World) -> None:
    await world.enqueue(emission("x"), emission("y"), emission("low", priority=-1))
    await world.add("x", replace=True)
    assert await world.line() == ["y", "x", "low"]


async def test_replaced_while_delayed_it_ties_by_the_later_emission(world: World) -> None:
    await world.enqueue(emission("x", delay_ms=5), emission("y", delay_ms=5), emission("x", delay_ms=5, replace=True))
    world.advance(5)
    assert await world.line() == ["y", "x"]


async def test_replaced_it_has_a_fresh_budget_and_keeps_its_history_and_its_losses(world: World) -> None:
    await world.add("x")
    await world.take()
    await world.lose(stalled())
    await world.end(await world.take(), retried(50))
    await world.add("x", replace=True)
    job = await world.job("x")
    assert (job.attempt, job.failures, job.losses) == (0, 0, 1)
    assert [info.outcome for info in job.attempts] == [Kind.STALLED, Kind.RETRIED]
    assert (await world.take()).attempt == 1


async def test_replace_where_nothing_waits_is_an_ordinary_emission(world: World) -> None:
    assert told(await world.enqueue(emission("x", replace=True))) == [(Kind.EMITTED, "x")]


# ---- active


async def test_emitted_while_it_runs_it_is_recorded_as_the_follow_up(world: World) -> None:
    serial = await world.add("x")
    await world.take()
    world.advance(3)
    answer = await world.enqueue(emission("x", **OTHER, expires_ms=9))
    [verdict] = answer.verdicts
    assert (verdict.status, verdict.id) == (Kind.FOLLOW_UP, "x")
    assert verdict.serial not in (None, serial)
    job = await world.job("x")
    assert (job.state, job.serial, job.data) == (State.ACTIVE, serial, b"{}")
    assert job.follow_up is not None
    content = job.follow_up.content
    assert (content.event, content.data, content.priority, content.options) == tuple(OTHER.values())
    assert (job.follow_up.serial, job.follow_up.created_at) == (verdict.serial, world.at(3))
    assert (job.follow_up.run_at, job.follow_up.expires_at) == (None, world.at(12))
    assert told(answer) == [(Kind.FOLLOW_UP, "x")]


@pytest.mark.parametrize("replace", [False, True])
async def test_a_later_follow_up_replaces_the_recorded_one(world: World, replace: bool) -> None:
    await world.add("x")
    claim = await world.take()
    first = await world.add("x", data=b"1")
    recorded = (await world.job("x")).follow_up
    answer = await world.enqueue(emission("x", data=b"2", replace=replace))
    assert answer.verdicts == [(Kind.FOLLOW_UP, "x", first)]
    latest = (await world.job("x")).follow_up
    assert recorded is not None
    assert latest is not None
    assert latest.emission > recorded.emission
    await world.end(claim, completed())
    assert [claim.data for claim in (await world.claim()).jobs] == [b"2"]


async def test_a_follow_up_that_differs_in_nothing_is_a_duplicate(world: World) -> None:
    await world.add("x")
    await world.take()
    same = emission("x", **OTHER, delay_ms=50, expires_ms=500)
    [first] = (await world.enqueue(same)).verdicts
    before = await world.picture()
    answer = await world.enqueue(same)
    assert answer.verdicts == [(Kind.DUPLICATE, "x", first.serial)]
    assert told(answer) == [(Kind.DUPLICATE, "x")]
    assert await world.picture() == before


@pytest.mark.parametrize("data", [(b"1", b"1", b"1"), (b"1", b"2", b"3")], ids=["the same again", "others"])
async def test_a_follow_up_stays_awaited_once_it_is(world: World, data: tuple[bytes, ...]) -> None:
    await world.add("x")
    await world.take()
    for content, awaited in zip(data, (False, True, False), strict=True):
        await world.add("x", data=content, awaited=awaited)
    recorded = (await world.job("x")).follow_up
    assert recorded is not None
    assert recorded.awaited


@pytest.mark.parametrize(
    "different",
    [
        {"event": "another"},
        {"data": b"3"},
        {"priority": 1},
        {"options": RunOptions(timeout_ms=5)},
        {"expires_ms": 501},
        {"delay_ms": 51},
        {"delay_ms": 0},
    ],
    ids=str,
)
async def test_a_follow_up_that_differs_in_anything_is_recorded(world: World, different: dict[str, Any]) -> None:
    await world.add("x")
    await world.take()
    fields = {**OTHER, "delay_ms": 50, "expires_ms": 500}
    first = await world.add("x", **fields)
    assert (await world.enqueue(emission("x", **fields | different))).verdicts == [(Kind.FOLLOW_UP, "x", first)]


async def test_a_follow_up_with_a_delay_tells_it_and_the_same_delay_later_is_another_moment(world: World) -> None:
    await world.add("x")
    await world.take()
    first = await world.enqueue(emission("x", delay_ms=50))
    assert the_fact(first, Kind.FOLLOW_UP).detail == {"delay": 0.05}
    world.advance(1)
    assert told(await world.enqueue(emission("x", delay_ms=50))) == [(Kind.FOLLOW_UP, "x")]
    recorded = (await world.job("x")).follow_up
    assert recorded is not None
    assert (recorded.run_at, recorded.created_at) == (world.at(51), world.at(0))


async def test_a_follow_up_is_recorded_also_when_the_lease_has_run_out_and_while_a_reaper_holds_the_job(
    world: World,
) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS + 1)
    assert told(await world.enqueue(emission("x", data=b"1"))) == [(Kind.FOLLOW_UP, "x")]
    await world.reap()
    assert told(await world.enqueue(emission("x", data=b"2"))) == [(Kind.FOLLOW_UP, "x")]


# ---- finished


@pytest.mark.parametrize(
    "end", [completed(b"1"), failed(dead_letter="dlq"), cancel_heard()], ids=lambda end: str(end.to)
)
async def test_when_the_job_is_finished_a_new_one_takes_its_place(world: World, end: Transition) -> None:
    old = await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "a line"))
    await world.end(claim, end)
    world.advance(5)
    answer = await world.enqueue(emission("x", data=b"2"))
    job = await world.job("x")
    assert answer.verdicts == [(Kind.EMITTED, "x", job.serial)]
    assert job.serial > old
    assert (job.state, job.data, job.created_at) == (State.WAITING, b"2", world.at(5))
    assert (job.attempt, job.failures, job.losses, job.attempts) == (0, 0, 0, [])
    assert (job.result, job.error, job.reason, job.dead_letter, job.finished_at) == (None, None, None, None, None)
    assert list(await world.engine.logs("q", "x")) == []
    assert await world.find("x", old) is None
    assert (await world.engine.count("q")).states[end.to] == 0


async def test_an_awaited_outcome_outlives_the_new_job_of_its_id(world: World) -> None:
    old = await world.run(completed(b"1"), "x", awaited=True)
    new = await world.add("x")
    world.advance(AWAITED_MS - 1)
    outcome = await world.job("x", old)
    assert (outcome.state, outcome.result) == (State.COMPLETED, b"1")
    assert (await world.job("x")).serial == new


async def test_a_released_job_is_waiting_like_any_other(world: World) -> None:
    serial = await world.run(released(), "x")
    assert (await world.enqueue(emission("x"))).verdicts == [(Kind.DUPLICATE, "x", serial)]


async def test_a_requeued_job_is_replaced_like_any_other(world: World) -> None:
    serial = await world.run(failed(), "x")
    await world.control(Requeue(ref("x")))
    assert (await world.enqueue(emission("x", replace=True))).verdicts == [(Kind.REPLACED, "x", serial)]
    refused = await world.control(Requeue(ref("x")))
    assert (refused.refused, refused.changed) == (State.WAITING, False)
