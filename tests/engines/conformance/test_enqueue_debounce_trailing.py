"""`enqueue` with a trailing window: the last emission runs, when the key has been quiet for the window."""

from __future__ import annotations

from typing import Any

import pytest

from taskmanager.engine import Delete, Promote
from taskmanager.job import Claim, Kind, RunOptions, State
from tests.engines.conformance.builders import (
    completed,
    emission,
    failed,
    leading,
    ref,
    retried,
    the_fact,
    told,
    trailing,
)
from tests.engines.conformance.world import World

W = 100
OTHER: dict[str, Any] = {"data": b"2", "priority": 9, "options": RunOptions(retry_count=2)}


async def emit(world: World, id: str = "x", window_ms: int = W, max_wait_ms: int | None = None, **fields: Any) -> Kind:
    """Emits with a trailing window of the one key; gives the verdict's status."""
    answer = await world.enqueue(emission(id, window=trailing(window_ms, max_wait_ms=max_wait_ms), **fields))
    return answer.verdicts[0].status


async def run_at(world: World, id: str = "x") -> int:
    return (await world.job(id)).run_at


async def test_the_first_is_due_when_the_window_ends(world: World) -> None:
    answer = await world.enqueue(emission("x", window=trailing(W)))
    job = await world.job("x")
    assert answer.verdicts == [(Kind.EMITTED, "x", job.serial)]
    assert (job.state, job.run_at) == (State.DELAYED, world.at(W))
    assert the_fact(answer, Kind.EMITTED).detail == {"delay": W / 1000}


async def test_another_of_the_key_replaces_the_content_but_not_the_id_and_moves_the_job(world: World) -> None:
    serial = await world.add("x", window=trailing(W), expires_ms=500)
    world.advance(60)
    answer = await world.enqueue(emission("y", window=trailing(W), expires_ms=900, **OTHER))
    assert answer.verdicts == [(Kind.DEBOUNCED, "x", serial)]
    assert told(answer) == [(Kind.DEBOUNCED, "x")]
    assert the_fact(answer, Kind.DEBOUNCED).detail == {"delay": W / 1000}
    assert await world.states() == {"x": State.DELAYED}
    job = await world.job("x")
    assert (job.data, job.priority, job.options) == tuple(OTHER.values())
    assert (job.run_at, job.expires_at) == (world.at(60 + W), world.at(960))
    assert (job.serial, job.created_at) == (serial, world.at(0))
    assert job.emission > serial


async def test_only_the_last_runs_and_it_runs_once(world: World) -> None:
    for number in range(5):
        await emit(world, f"x{number}", data=b"%d" % number)
        world.advance(W - 1)
    world.advance(1)
    assert [(claim.id, claim.data) for claim in (await world.claim()).jobs] == [("x0", b"4")]


async def test_a_debounced_emission_that_is_awaited_marks_the_windows_job_as_awaited(world: World) -> None:
    await emit(world)
    await emit(world, "y", awaited=True)
    await emit(world, "z")
    assert (await world.job("x")).awaited


async def test_a_max_wait_that_has_passed_makes_it_wait_at_once(world: World) -> None:
    await emit(world, delay_ms=500)
    world.advance(200)
    answer = await world.enqueue(emission("x", window=trailing(W, max_wait_ms=150)))
    assert the_fact(answer, Kind.DEBOUNCED).detail is None
    job = await world.job("x")
    assert (job.state, job.run_at) == (State.WAITING, world.at(200))


async def test_max_wait_bounds_the_moving(world: World) -> None:
    await emit(world, max_wait_ms=150)
    world.advance(40)
    await emit(world, max_wait_ms=150)
    assert await run_at(world) == world.at(140)
    world.advance(40)
    await emit(world, max_wait_ms=150)
    assert await run_at(world) == world.at(150)
    world.advance(69)
    await emit(world, max_wait_ms=150)
    assert await run_at(world) == world.at(150)


async def test_a_shorter_window_may_bring_it_forward(world: World) -> None:
    await emit(world, window_ms=W)
    await emit(world, window_ms=10)
    assert await run_at(world) == world.at(10)


@pytest.mark.parametrize("bound", [{"delay_ms": 300}, {"run_at": 1_700_000_000_300}], ids=str)
async def test_a_delay_is_a_lower_bound_at_the_opening_and_later(world: World, bound: dict[str, Any]) -> None:
    await emit(world, **bound)
    assert await run_at(world) == world.at(300)
    await emit(world)
    assert await run_at(world) == world.at(W)
    await emit(world, max_wait_ms=150, **bound)
    assert await run_at(world) == world.at(300)


async def test_a_delay_within_the_window_changes_nothing(world: World) -> None:
    await emit(world, delay_ms=W - 1)
    assert await run_at(world) == world.at(W)


async def test_key_event_edge_and_queue_make_windows_of_their_own(world: World) -> None:
    await emit(world)
    others = [
        emission("key", window=trailing(W, key="other")),
        emission("event", event="other", window=trailing(W)),
        emission("edge", window=leading(W)),
    ]
    assert [verdict.status for verdict in (await world.enqueue(*others)).verdicts] == [Kind.EMITTED] * 3
    assert told(await world.enqueue(emission("y", window=trailing(W)), queue="other")) == [(Kind.EMITTED, "y")]


async def test_a_duplicate_opens_no_window(world: World) -> None:
    await world.add("x")
    assert await emit(world, "x") == Kind.DUPLICATE
    assert await emit(world, "y") == Kind.EMITTED
    assert await world.states() == {"x": State.WAITING, "y": State.DELAYED}


async def test_a_replacement_opens_a_window(world: World) -> None:
    await world.add("x")
    assert await emit(world, "x", replace=True) == Kind.REPLACED
    assert await run_at(world) == world.at(W)
    assert await emit(world, "y") == Kind.DEBOUNCED


async def test_a_follow_up_opens_a_window(world: World) -> None:
    await world.add("x")
    await world.take()
    assert await emit(world, "x") == Kind.FOLLOW_UP
    recorded = (await world.job("x")).follow_up
    world.advance(40)
    answer = await world.enqueue(emission("y", window=trailing(W), data=b"2"))
    assert recorded is not None
    assert answer.verdicts == [(Kind.FOLLOW_UP, "x", recorded.serial)]
    moved = (await world.job("x")).follow_up
    assert moved is not None
    assert (moved.run_at, moved.content.data) == (world.at(40 + W), b"2")


async def test_an_emission_of_the_id_without_a_window_is_an_ordinary_one(world: World) -> None:
    await emit(world)
    assert told(await world.enqueue(emission("x"))) == [(Kind.DUPLICATE, "x")]
    assert await run_at(world) == world.at(W)


# ---- waiting


async def test_once_due_it_keeps_its_place_and_takes_the_content(world: World) -> None:
    await emit(world)
    world.advance(W)
    await world.enqueue(emission("later"))
    answer = await world.enqueue(emission("z", window=trailing(W), **OTHER | {"priority": 0}))
    assert told(answer) == [(Kind.DEBOUNCED, "x")]
    assert the_fact(answer, Kind.DEBOUNCED).detail is None
    assert (await world.job("x")).state == State.WAITING
    claims = (await world.claim()).jobs
    assert [(claim.id, claim.data) for claim in claims] == [("x", b"2"), ("later", b"{}")]


async def test_once_due_another_priority_takes_it_to_the_end_of_that(world: World) -> None:
    await emit(world)
    world.advance(W)
    await world.enqueue(emission("before", priority=9))
    assert await emit(world, priority=9) == Kind.DEBOUNCED
    await world.enqueue(emission("after", priority=9))
    assert await world.line() == ["before", "x", "after"]
    assert (await world.engine.count("q")).states[State.WAITING] == 0


async def test_promoted_it_keeps_its_place_and_stays_waiting(world: World) -> None:
    await emit(world)
    await world.control(Promote(ref("x")))
    assert await emit(world, data=b"2") == Kind.DEBOUNCED
    assert [(claim.id, claim.data) for claim in (await world.claim()).jobs] == [("x", b"2")]


# ---- running


async def running(world: World) -> Claim:
    await emit(world)
    world.advance(W)
    return await world.take()


async def test_while_it_runs_the_emission_is_its_follow_up_and_moved_likewise(world: World) -> None:
    await running(world)
    answer = await world.enqueue(emission("y", window=trailing(W, max_wait_ms=150)))
    job = await world.job("x")
    assert job.follow_up is not None
    assert answer.verdicts == [(Kind.FOLLOW_UP, "x", job.follow_up.serial)]
    assert told(answer) == [(Kind.FOLLOW_UP, "x")]
    assert the_fact(answer, Kind.FOLLOW_UP).detail == {"delay": W / 1000}
    assert job.follow_up.run_at == world.at(2 * W)
    for passed, due in ((40, W + 140), (40, W + 150), (40, W + 150)):
        world.advance(passed)
        assert await emit(world, "z", max_wait_ms=150, data=b"%d" % world.now) == Kind.FOLLOW_UP
        moved = (await world.job("x")).follow_up
        assert moved is not None
        assert (moved.serial, moved.run_at) == (job.follow_up.serial, world.at(due))


async def test_the_follow_up_that_took_its_place_has_the_window(world: World) -> None:
    claim = await running(world)
    await emit(world, "y", max_wait_ms=150)
    world.advance(40)
    await world.end(claim, completed())
    job = await world.job("x")
    assert (job.state, job.run_at) == (State.DELAYED, world.at(2 * W))
    assert job.serial != claim.serial
    world.advance(50)
    assert await emit(world, "z", max_wait_ms=150) == Kind.DEBOUNCED
    assert await run_at(world) == world.at(W + 150)


async def test_the_follow_up_has_the_window_also_where_a_later_emission_of_the_id_opened_none(world: World) -> None:
    claim = await running(world)
    await emit(world, "y")
    await world.add("x", data=b"2")
    await world.end(claim, completed())
    assert await world.states() == {"x": State.WAITING}
    assert await emit(world, "z") == Kind.DEBOUNCED


async def test_a_retry_counts_as_a_new_opening(world: World) -> None:
    await emit(world, max_wait_ms=150)
    world.advance(W)
    await world.end(await world.take(), retried(10_000))
    world.advance(900)
    assert await emit(world, "y", max_wait_ms=150) == Kind.DEBOUNCED
    assert await run_at(world) == world.at(1100)
    world.advance(90)
    await emit(world, "y", max_wait_ms=150)
    assert await run_at(world) == world.at(1150)


# ---- over


@pytest.mark.parametrize("end", [completed(), failed()], ids=lambda end: str(end.to))
async def test_after_its_end_the_next_opens_a_window_of_its_own(world: World, end: Any) -> None:
    await world.end(await running(world), end)
    assert await emit(world, "y") == Kind.EMITTED
    assert await run_at(world, "y") == world.at(2 * W)


async def test_cancelled_or_deleted_it_leaves_no_window(world: World) -> None:
    await emit(world, "x")
    await world.cancel("x")
    assert await emit(world, "y") == Kind.EMITTED
    await world.control(Delete(ref("y")))
    assert await emit(world, "z") == Kind.EMITTED


async def test_a_new_job_of_the_same_id_has_not_the_window_of_the_old(world: World) -> None:
    await emit(world, "x")
    await world.cancel("x")
    await world.add("x")
    assert await emit(world, "y") == Kind.EMITTED
    assert (await world.states())["y"] == State.DELAYED


async def test_a_cancel_that_drops_the_follow_up_leaves_no_window(world: World) -> None:
    claim = await running(world)
    await emit(world, "y")
    await world.cancel("x")
    await world.end(claim, completed())
    assert await emit(world, "z") == Kind.EMITTED
