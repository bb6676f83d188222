"""`advance`: of several workers that decide the next occurrences, one writes them, all in one step."""

from __future__ import annotations

from typing import Any

import pytest

from taskmanager.clock import LATEST_MS
from taskmanager.engine import Unschedule
from taskmanager.job import Emission, Kind, RunOptions, State, StoredSchedule, Transition
from tests.engines.conformance.builders import cancel_heard, completed, emission, failed, plan, retried, the_fact, told
from tests.engines.conformance.world import World

HOUR = 3_600_000


def occurrence(moment: int, **fields: object) -> Emission:
    return emission(f"nightly@{moment}", event="report", run_at=moment, **fields)


async def registered(world: World, **fields: Any) -> StoredSchedule:
    await world.enqueue(plan(**fields))
    return await world.schedule()


async def fire(world: World, **fields: object) -> list[tuple[Kind, str | None]]:
    """One hour later, the occurrence of that moment."""
    world.advance(HOUR)
    answer = await world.advance_schedule(
        await world.schedule(), occurrence(world.now, **fields), next_at=world.now + HOUR
    )
    assert answer.moved
    return told(answer)


async def test_the_place_moves_and_the_occurrences_are_admitted(world: World) -> None:
    options = RunOptions(retry_count=2)
    schedule = await registered(world)
    world.advance(2 * HOUR)
    one = occurrence(world.at(HOUR), data=b"7", priority=3, options=options, expires_at=world.at(9 * HOUR))
    two = occurrence(world.at(2 * HOUR))
    answer = await world.advance_schedule(schedule, one, two, place=world.at(2 * HOUR), next_at=world.at(3 * HOUR))
    assert answer.moved
    assert told(answer) == [(Kind.SCHEDULED, one.id), (Kind.SCHEDULED, two.id)]
    assert answer.facts[0] == (world.now, Kind.SCHEDULED, "q", "report", one.id, None, None, None)
    assert answer.schedule_at == world.at(3 * HOUR)
    job = await world.job(one.id)
    assert (job.state, job.schedule) == (State.WAITING, "nightly")
    assert (job.run_at, job.created_at) == (world.at(HOUR), world.now)
    assert (job.data, job.priority, job.options, job.expires_at) == (b"7", 3, options, world.at(9 * HOUR))
    moved = await world.schedule()
    assert (moved.place, moved.next_at, moved.live, moved.dropped) == (world.at(2 * HOUR), world.at(3 * HOUR), 2, 0)
    assert moved.revision > schedule.revision


async def test_an_occurrence_that_is_still_to_come_is_delayed(world: World) -> None:
    """The clock has stepped back since a worker decided it."""
    schedule = await registered(world)
    later = occurrence(world.at(2500))
    answer = await world.advance_schedule(schedule, later, place=world.at(2500), next_at=world.at(HOUR), dropped=4)
    assert the_fact(answer, Kind.SCHEDULED).detail == {"delay": 2.5, "dropped": 4}
    assert await world.states() == {later.id: State.DELAYED}


async def test_with_no_occurrence_only_the_place_moves(world: World) -> None:
    schedule = await registered(world)
    answer = await world.advance_schedule(schedule, place=world.at(0), next_at=world.at(HOUR))
    assert (answer.moved, answer.facts, answer.schedule_at) == (True, [], world.at(HOUR))
    assert await world.states() == {}


async def test_who_comes_second_writes_nothing(world: World) -> None:
    schedule = await registered(world)
    world.advance(HOUR)
    assert (await world.advance_schedule(schedule, occurrence(world.now), next_at=world.at(2 * HOUR))).moved
    before = await world.picture()
    answer = await world.advance_schedule(schedule, occurrence(world.now), place=1, next_at=2, dropped=3)
    assert (answer.moved, answer.facts, answer.schedule_at) == (False, [], world.at(2 * HOUR))
    assert await world.picture() == before


async def test_a_schedule_registered_again_meanwhile_is_not_advanced(world: World) -> None:
    schedule = await registered(world)
    await world.enqueue(plan(data=b"2"))
    before = await world.picture()
    assert not (await world.advance_schedule(schedule, occurrence(world.now), next_at=1)).moved
    assert await world.picture() == before


@pytest.mark.parametrize("again", [False, True])
async def test_a_schedule_that_was_removed_meanwhile_is_not_advanced(world: World, again: bool) -> None:
    schedule = await registered(world)
    await world.control(Unschedule("nightly"))
    if again:
        await world.enqueue(plan())
    before = await world.picture()
    answer = await world.advance_schedule(schedule, occurrence(world.now), next_at=1)
    assert (answer.moved, answer.facts) == (False, [])
    assert await world.picture() == before


async def test_a_schedule_that_never_comes_again_is_told_as_the_end_of_time(world: World) -> None:
    schedule = await registered(world)
    assert (await world.advance_schedule(schedule, next_at=LATEST_MS)).schedule_at == LATEST_MS


async def test_of_several_schedules_the_next_is_told_and_first_the_undecided(world: World) -> None:
    await world.enqueue(plan("a"), plan("b"), plan("c"))
    a, b, c = [await world.schedule(name) for name in "abc"]
    assert (await world.advance_schedule(a, next_at=world.at(30))).schedule_at == 0
    assert (await world.advance_schedule(b, next_at=world.at(20))).schedule_at == 0
    assert (await world.advance_schedule(c, next_at=world.at(40))).schedule_at == world.at(20)


async def test_occurrences_go_through_identity(world: World) -> None:
    schedule = await registered(world)
    first = occurrence(world.now)
    running = occurrence(world.now - 1)
    await world.add(running.id, priority=9)
    await world.take()
    await world.add(first.id, data=b"mine")
    answer = await world.advance_schedule(schedule, running, first, next_at=world.at(HOUR))
    assert told(answer) == [(Kind.FOLLOW_UP, running.id), (Kind.DUPLICATE, first.id)]
    assert (await world.job(first.id)).data == b"mine"


async def test_an_occurrence_wakes_who_waits_for_work(world: World) -> None:
    schedule = await registered(world)
    tide = (await world.enqueue()).tide
    assert (await world.advance_schedule(schedule, occurrence(world.now), next_at=world.at(HOUR))).tide > tide


# ---- overlap


async def test_an_occurrence_is_skipped_while_an_earlier_one_is_live(world: World) -> None:
    await registered(world, overlap="skip")
    assert await fire(world) == [(Kind.SCHEDULED, f"nightly@{world.now}")]
    world.advance(HOUR)
    late = occurrence(world.now)
    answer = await world.advance_schedule(await world.schedule(), late, next_at=world.now + HOUR)
    assert (answer.moved, told(answer)) == (True, [(Kind.SKIPPED, late.id)])
    assert the_fact(answer, Kind.SKIPPED).event == "report"
    assert await world.find(late.id) is None
    schedule = await world.schedule()
    assert (schedule.place, schedule.next_at, schedule.live) == (world.now, world.now + HOUR, 1)


async def test_of_several_at_once_only_the_first_overlaps_nothing(world: World) -> None:
    schedule = await registered(world, overlap="skip")
    world.advance(2 * HOUR)
    one, two = occurrence(world.at(HOUR)), occurrence(world.at(2 * HOUR))
    answer = await world.advance_schedule(schedule, one, two, next_at=world.at(3 * HOUR))
    assert told(answer) == [(Kind.SCHEDULED, one.id), (Kind.SKIPPED, two.id)]


async def test_an_earlier_one_is_live_while_it_runs_and_while_it_waits_for_its_retry(world: World) -> None:
    await registered(world, overlap="skip")
    await fire(world)
    claim = await world.take()
    assert [kind for kind, _ in await fire(world)] == [Kind.SKIPPED]
    await world.end(claim, retried(10 * HOUR))
    assert [kind for kind, _ in await fire(world)] == [Kind.SKIPPED]


@pytest.mark.parametrize("end", [completed(), failed(), cancel_heard()], ids=lambda end: str(end.to))
async def test_once_the_earlier_one_is_finished_the_next_runs(world: World, end: Transition) -> None:
    await registered(world, overlap="skip")
    await fire(world)
    await world.end(await world.take(), end)
    assert (await world.schedule()).live == 0
    assert [kind for kind, _ in await fire(world)] == [Kind.SCHEDULED]


async def test_an_earlier_one_that_went_with_its_end_is_no_longer_live(world: World) -> None:
    await registered(world, overlap="skip")
    await fire(world)
    await world.end(await world.take(), completed(), transient={State.COMPLETED})
    assert (await world.schedule()).live == 0


async def test_an_earlier_one_that_expired_is_no_longer_live(world: World) -> None:
    await registered(world, overlap="skip")
    await fire(world, expires_at=world.at(HOUR) + 5)
    world.advance(6)
    assert [kind for kind, _ in told(await world.claim())] == [Kind.CANCELLED]
    assert (await world.schedule()).live == 0


async def test_the_immediate_run_counts_as_live(world: World) -> None:
    await registered(world, overlap="skip", immediate=True)
    assert [kind for kind, _ in await fire(world)] == [Kind.SKIPPED]


async def test_without_overlap_skip_each_occurrence_is_admitted(world: World) -> None:
    await registered(world)
    assert [kind for kind, _ in await fire(world)] == [Kind.SCHEDULED]
    assert [kind for kind, _ in await fire(world)] == [Kind.SCHEDULED]
    assert (await world.schedule()).live == 2


async def test_registered_again_the_live_ones_still_count(world: World) -> None:
    await registered(world, overlap="skip")
    await fire(world)
    await world.enqueue(plan(overlap="skip", data=b"2"))
    assert (await world.schedule()).live == 1
    await world.enqueue(plan(overlap="skip", pattern="5 * * * *"))
    assert (await world.schedule()).live == 1


# ---- dropped


async def test_how_many_were_dropped_is_told_by_the_next_occurrence_admitted(world: World) -> None:
    schedule = await registered(world)
    answer = await world.advance_schedule(
        schedule, occurrence(world.now - 1), occurrence(world.now), next_at=world.at(HOUR), dropped=4
    )
    assert [fact.detail for fact in answer.facts] == [{"dropped": 4}, None]
    assert (await world.schedule()).dropped == 0


async def test_what_was_dropped_adds_up_until_it_is_told(world: World) -> None:
    await world.advance_schedule(await registered(world), next_at=world.at(HOUR), dropped=4)
    await world.advance_schedule(await world.schedule(), next_at=world.at(HOUR), dropped=3)
    assert (await world.schedule()).dropped == 7
    answer = await world.advance_schedule(await world.schedule(), occurrence(world.now), next_at=1, dropped=2)
    assert the_fact(answer, Kind.SCHEDULED).detail == {"dropped": 9}
    answer = await world.advance_schedule(await world.schedule(), occurrence(world.now - HOUR), next_at=1)
    assert the_fact(answer, Kind.SCHEDULED).detail is None


async def test_a_skipped_occurrence_does_not_tell_what_was_dropped(world: World) -> None:
    await registered(world, overlap="skip", immediate=True)
    answer = await world.advance_schedule(await world.schedule(), occurrence(world.now), next_at=1, dropped=4)
    assert "dropped" not in (the_fact(answer, Kind.SKIPPED).detail or {})
    assert (await world.schedule()).dropped == 4
