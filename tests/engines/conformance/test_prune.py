"""`prune`: finished jobs go by age and by count, and no later verdict changes with them."""

from __future__ import annotations

import pytest

from taskmanager.engine import AWAITED_MS, REPLAY_MS, Await, Journal, Limit, Unschedule
from taskmanager.job import Kind, State, Transition
from tests.engines.conformance.builders import (
    cancel_heard,
    completed,
    emission,
    emissions,
    failed,
    leading,
    plan,
    ref,
    told,
    trailing,
)
from tests.engines.conformance.world import World

AGE = 1000


async def ended(world: World, *ids: str, how: Transition | None = None, apart_ms: int = 10) -> None:
    """Jobs that ended one after the other, the first at once."""
    for id in ids:
        await world.run(how or completed(), id)
        world.advance(apart_ms)


async def left(world: World) -> list[str]:
    return sorted(await world.states())


# ---- by age


async def test_a_job_goes_when_it_reaches_its_age_and_not_before(world: World) -> None:
    await world.run(completed(), "x")
    limits = {State.COMPLETED: Limit(AGE, None)}
    world.advance(AGE - 0.001)
    assert (await world.prune(limits)).removed == 0
    world.advance(0.001)
    answer = await world.prune(limits)
    assert (answer.removed, answer.more, answer.facts) == (1, False, [])
    assert await left(world) == []


async def test_age_counts_from_the_end(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    world.advance(10 * AGE)
    await world.end(claim, completed())
    world.advance(AGE - 1)
    assert (await world.prune({State.COMPLETED: Limit(AGE, None)})).removed == 0


async def test_next_at_is_when_the_next_reaches_its_age(world: World) -> None:
    await ended(world, "a", "b")
    limits = {State.COMPLETED: Limit(AGE, None), State.FAILED: Limit(2, None)}
    assert (await world.prune(limits)).next_at == world.at(AGE)
    world.advance(AGE - 20)
    answer = await world.prune(limits)
    assert (answer.removed, await left(world), answer.next_at) == (1, ["b"], world.at(AGE + 10))


async def test_where_nothing_will_outlive_its_age_there_is_no_next(world: World) -> None:
    await ended(world, "a")
    assert (await world.prune({State.COMPLETED: Limit(None, 5)})).next_at is None
    assert (await world.prune({})).next_at is None


# ---- by count


async def test_beyond_the_count_the_oldest_end_goes_first(world: World) -> None:
    await world.enqueue(*emissions(4))
    claims = (await world.claim()).jobs
    for claim in reversed(claims):
        await world.end(claim, completed())
        world.advance(1)
    answer = await world.prune({State.COMPLETED: Limit(None, 2)})
    assert (answer.removed, answer.more) == (2, False)
    assert await left(world) == ["j00000", "j00001"]


async def test_a_count_that_is_not_exceeded_removes_nothing(world: World) -> None:
    await ended(world, "a", "b")
    assert (await world.prune({State.COMPLETED: Limit(None, 2)})).removed == 0


async def test_age_and_count_both_hold(world: World) -> None:
    await ended(world, "a", "b", "c", "d", apart_ms=AGE // 2)
    assert (await world.prune({State.COMPLETED: Limit(AGE, 1)})).removed == 3
    assert await left(world) == ["d"]


async def test_each_state_has_its_own_limits(world: World) -> None:
    for number in range(2):
        await ended(world, f"completed{number}")
        await ended(world, f"failed{number}", how=failed())
        await ended(world, f"cancelled{number}", how=cancel_heard())
    await world.prune({State.COMPLETED: Limit(None, 0), State.FAILED: Limit(None, 1)})
    assert await left(world) == ["cancelled0", "cancelled1", "failed1"]
    await world.prune({State.CANCELLED: Limit(0, None)})
    assert await left(world) == ["failed1"]


async def test_live_jobs_are_never_pruned(world: World) -> None:
    await world.enqueue(emission("active", priority=1), emission("waiting"), emission("delayed", delay_ms=10 * AGE))
    await world.take()
    world.advance(2 * AGE)
    limits = {state: Limit(0, 0) for state in (State.COMPLETED, State.FAILED, State.CANCELLED)}
    assert (await world.prune(limits)).removed == 0
    assert await left(world) == ["active", "delayed", "waiting"]


async def test_a_batch_removes_at_most_the_limit(world: World) -> None:
    await ended(world, *"abcde")
    limits = {State.COMPLETED: Limit(None, 1)}
    first = await world.prune(limits, 3)
    assert (first.removed, first.more, await left(world)) == (3, True, ["d", "e"])
    second = await world.prune(limits, 3)
    assert (second.removed, second.more, await left(world)) == (1, False, ["e"])


async def test_the_limit_is_for_all_states_together(world: World) -> None:
    await ended(world, *"abc")
    await ended(world, *"xyz", how=failed())
    limits = {State.COMPLETED: Limit(None, 1), State.FAILED: Limit(None, 1)}
    assert ((await world.prune(limits, 3)).removed, len(await left(world))) == (3, 3)
    assert ((await world.prune(limits, 3)).removed, await left(world)) == (1, ["c", "z"])


async def test_sent_twice_it_changes_nothing_more(world: World) -> None:
    await ended(world, *"abc")
    limits = {State.COMPLETED: Limit(AGE, 2)}
    await world.prune(limits)
    before = await world.picture()
    assert (await world.prune(limits)).removed == 0
    assert await world.picture() == before


async def test_what_goes_goes_with_its_log_and_its_dead_letter(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "a line"))
    await world.end(claim, failed(dead_letter="dlq"))
    await world.prune({State.FAILED: Limit(None, 0)})
    assert await world.find("x") is None
    assert await world.find("x", claim.serial) is None
    assert list(await world.engine.logs("q", "x")) == []
    assert list(await world.engine.queues()) == []


async def test_queues_are_pruned_one_by_one(world: World) -> None:
    await world.enqueue(emission("x"), queue="other")
    await world.cancel("x", queue="other")
    assert (await world.prune({State.CANCELLED: Limit(0, 0)})).removed == 0
    assert await world.states("other") == {"x": State.CANCELLED}


# ---- lives of their own


async def test_an_awaited_outcome_outlives_its_job(world: World) -> None:
    serial = await world.run(completed(b"42"), "x", awaited=True)
    world.advance(AWAITED_MS - 1)
    assert (await world.prune({State.COMPLETED: Limit(0, 0)})).removed == 1
    assert await world.find("x") is None
    assert (await world.job("x", serial)).result == b"42"
    assert await world.find("y", serial) is None
    world.advance(2)
    await world.prune()
    assert await world.find("x", serial) is None


async def test_when_an_awaited_outcome_runs_out_the_janitor_is_to_come(world: World) -> None:
    await world.run(completed(), "x", awaited=True)
    answer = await world.prune({State.COMPLETED: Limit(0, 0)})
    assert answer.next_at is not None
    assert answer.next_at <= world.at(AWAITED_MS + 1)


async def test_an_outcome_that_is_awaited_late_is_kept_from_then(world: World) -> None:
    serial = await world.run(completed(b"42"), "x")
    world.advance(5 * AWAITED_MS)
    await world.control(Await(ref("x", serial)))
    await world.prune({State.COMPLETED: Limit(0, 0)})
    world.advance(AWAITED_MS - 1)
    await world.prune()
    assert (await world.job("x", serial)).result == b"42"


async def test_a_leading_window_outlives_the_job_that_opened_it(world: World) -> None:
    await world.run(completed(), "x", window=leading(AGE))
    world.advance(AGE - 1)
    await world.prune({State.COMPLETED: Limit(0, 0)})
    assert await left(world) == []
    assert told(await world.enqueue(emission("y", window=leading(AGE)))) == [(Kind.DEBOUNCED, "y")]
    world.advance(1)
    await world.prune()
    assert told(await world.enqueue(emission("y", window=leading(AGE)))) == [(Kind.EMITTED, "y")]


async def test_a_trailing_window_that_is_open_is_not_pruned(world: World) -> None:
    await world.add("x", window=trailing(AGE))
    world.advance(AGE - 1)
    await world.prune()
    assert told(await world.enqueue(emission("y", window=trailing(AGE)))) == [(Kind.DEBOUNCED, "x")]


async def test_a_window_of_a_pruned_job_stays_closed_where_it_was_closed(world: World) -> None:
    await world.run(failed(), "x", window=leading(AGE))
    await world.prune({State.FAILED: Limit(None, 0)})
    assert told(await world.enqueue(emission("y", window=leading(AGE)))) == [(Kind.EMITTED, "y")]


async def test_a_schedules_place_outlives_its_jobs(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    await world.end(await world.take(), completed())
    await world.advance_schedule(await world.schedule(), next_at=world.at(500))
    before = await world.schedule()
    world.advance(10 * AWAITED_MS)
    await world.prune({State.COMPLETED: Limit(0, 0)})
    assert await left(world) == []
    assert await world.schedule() == before
    assert told(await world.enqueue(plan(immediate=True))) == []


async def test_numbers_go_on_after_nothing_was_left_of_the_queue(world: World) -> None:
    async def numbers() -> tuple[int, int, int]:
        await world.enqueue(plan())
        revision = (await world.schedule()).revision
        await world.control(Unschedule("nightly"))
        serial = await world.add("x")
        claim = await world.take()
        await world.end(claim, completed(), transient={State.COMPLETED})
        return revision, serial, claim.number

    before = await numbers()
    world.advance(2 * REPLAY_MS)
    await world.prune()
    await world.prune()
    assert list(await world.engine.queues()) == []
    after = await numbers()
    assert all(new > old for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("pruned", [False, True])
async def test_the_next_emission_of_the_id_fares_the_same(world: World, pruned: bool) -> None:
    old = await world.run(completed(), "x")
    world.advance(1)
    if pruned:
        assert (await world.prune({State.COMPLETED: Limit(0, 0)})).removed == 1
    [verdict] = (await world.enqueue(emission("x"))).verdicts
    assert verdict.status == Kind.EMITTED
    assert verdict.serial is not None
    assert verdict.serial > old
