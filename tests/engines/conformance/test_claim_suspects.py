"""`claim` of jobs that were lost before: a worker holds one of them at a time."""

from __future__ import annotations

from taskmanager.engine import Settlement
from taskmanager.job import State
from tests.engines.conformance.builders import LEASE_MS, completed, emission, stalled
from tests.engines.conformance.world import World


async def lost(world: World, *ids: str, times: int = 2) -> None:
    """Makes jobs that were lost so many times, waiting in that order."""
    await world.enqueue(*(emission(id) for id in ids))
    for _ in range(times):
        await world.claim(len(ids), "victim")
        await world.lose(stalled(), "victim")
    assert [(await world.job(id)).losses for id in ids] == [times] * len(ids)


async def test_a_worker_holds_one_suspect_at_a_time(world: World) -> None:
    await lost(world, "bad", "worse")
    first = await world.claim(5)
    assert ([claim.id for claim in first.jobs], first.more) == (["bad"], False)
    assert (await world.claim(5)).jobs == []
    await world.end(first.jobs[0], completed())
    assert [claim.id for claim in (await world.claim(5)).jobs] == ["worse"]


async def test_others_behind_a_suspect_are_handed_out_meanwhile(world: World) -> None:
    await lost(world, "bad", "worse")
    await world.enqueue(emission("a"), emission("b"))
    assert await world.line() == ["bad", "a", "b"]


async def test_what_was_skipped_keeps_its_place(world: World) -> None:
    await lost(world, "bad", "worse")
    await world.enqueue(emission("a"), emission("b"))
    first, second = (await world.claim(2)).jobs
    assert (first.id, second.id) == ("bad", "a")
    await world.end(first, completed())
    assert await world.line() == ["worse", "b"]


async def test_a_second_worker_takes_the_second_suspect(world: World) -> None:
    await lost(world, "bad", "worse")
    assert await world.line("one") == ["bad"]
    assert await world.line("two") == ["worse"]


async def test_jobs_below_the_bound_are_no_suspects(world: World) -> None:
    await lost(world, "a", "b", times=1)
    assert await world.line() == ["a", "b"]


async def test_the_bound_is_the_callers(world: World) -> None:
    await lost(world, "a", "b", times=1)
    assert [claim.id for claim in (await world.claim(5, suspect_losses=1)).jobs] == ["a"]


async def test_a_suspect_that_is_an_orphan_counts_as_held(world: World) -> None:
    await lost(world, "bad", "worse")
    [claim] = (await world.claim(5)).jobs
    assert [job.number for job in (await world.claim(5, holds=())).jobs] == [claim.number]


async def test_a_reaped_suspect_in_hand_is_no_run_in_hand(world: World) -> None:
    """The reaper settles it and never runs it, so it can do no harm."""
    await lost(world, "bad", "worse")
    await world.claim(1, "victim")
    world.advance(LEASE_MS)
    assert [claim.id for claim in (await world.reap(worker="w")).jobs] == ["bad"]
    assert await world.line("w") == ["worse"]


async def test_settling_a_suspect_raises_the_tide_for_the_next(world: World) -> None:
    await lost(world, "bad", "worse")
    [claim] = (await world.claim(5)).jobs
    tide = (await world.enqueue()).tide
    answer = await world.settle(Settlement(claim.number, completed()))
    assert answer.verdicts == [State.COMPLETED]
    assert answer.tide > tide
