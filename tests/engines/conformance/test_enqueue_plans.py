"""`enqueue` of a plan: a registration, which keeps or loses its place."""

from __future__ import annotations

from typing import Any

import pytest

from taskmanager.engine import Unschedule
from taskmanager.job import Kind, RunOptions, State
from tests.engines.conformance.builders import emission, plan, told
from tests.engines.conformance.world import World


async def test_a_plan_is_registered_and_writes_no_job(world: World) -> None:
    nightly = plan(data=b"7", priority=3, options=RunOptions(retry_count=1), overlap="skip", catch_up="all")
    answer = await world.enqueue(nightly)
    assert answer.verdicts == [(Kind.SCHEDULED, "nightly", None)]
    assert answer.facts == []
    assert answer.schedule_at == 0
    assert await world.states() == {}
    schedule = await world.schedule()
    assert schedule.plan == nightly
    assert (schedule.place, schedule.next_at) == (world.now, None)
    assert (schedule.dropped, schedule.live) == (0, 0)
    assert list(await world.engine.queues()) == ["q"]


async def test_plans_and_emissions_share_a_call_but_not_their_names(world: World) -> None:
    answer = await world.enqueue(emission("nightly"), plan("nightly"), emission("b"))
    assert [verdict.status for verdict in answer.verdicts] == [Kind.EMITTED, Kind.SCHEDULED, Kind.EMITTED]
    assert told(answer) == [(Kind.EMITTED, "nightly"), (Kind.EMITTED, "b")]


async def test_registered_again_it_keeps_its_place_and_takes_the_rest(world: World) -> None:
    await world.enqueue(plan())
    world.advance(100)
    await world.advance_schedule(await world.schedule(), next_at=world.at(500), dropped=4)
    old = await world.schedule()
    world.advance(100)
    later = plan(event="other", data=b"2", priority=1, overlap="skip", expires_ms=5, misfire_grace_ms=1)
    answer = await world.enqueue(later)
    new = await world.schedule()
    assert new.plan == later
    assert (new.place, new.next_at, new.dropped) == (world.at(100), world.at(500), 4)
    assert new.revision > old.revision
    assert answer.schedule_at == world.at(500)


async def test_an_origin_is_kept_and_belongs_to_the_last_registration(world: World) -> None:
    await world.enqueue(plan(origin="tasks:app/tasks"))
    assert (await world.schedule()).plan.origin == "tasks:app/tasks"
    await world.advance_schedule(await world.schedule(), next_at=world.at(500))
    assert (await world.schedule()).plan.origin == "tasks:app/tasks"
    await world.enqueue(plan(origin='tasks:ütöpiä "2"'))
    assert (await world.schedule()).plan.origin == 'tasks:ütöpiä "2"'
    await world.enqueue(plan())
    assert (await world.schedule()).plan.origin is None


async def test_a_pattern_is_the_callers_word_and_a_date_in_its_place_is_kept_like_it(world: World) -> None:
    date = plan(pattern="@at 2026-03-29T01:00:00Z")
    await world.enqueue(date)
    await world.advance_schedule(await world.schedule(), place=world.at(5), next_at=world.at(500))
    await world.enqueue(date)
    again = await world.schedule()
    assert (again.plan, again.place, again.next_at) == (date, world.at(5), world.at(500))
    await world.enqueue(plan(pattern="@at 2026-03-29T01:00:00.001Z"))
    changed = await world.schedule()
    assert (changed.place, changed.next_at) == (world.now, None)


@pytest.mark.parametrize("change", [{"pattern": "5 * * * *"}, {"timezone": "Europe/Paris"}], ids=str)
async def test_another_pattern_or_timezone_starts_anew(world: World, change: dict[str, Any]) -> None:
    await world.enqueue(plan())
    world.advance(100)
    await world.advance_schedule(await world.schedule(), next_at=world.at(500), dropped=4)
    world.advance(100)
    answer = await world.enqueue(plan(**change))
    schedule = await world.schedule()
    assert (schedule.place, schedule.next_at, schedule.dropped) == (world.at(200), None, 0)
    assert answer.schedule_at == 0


async def test_no_revision_is_ever_given_twice(world: World) -> None:
    revisions = []
    for name in ("nightly", "nightly", "weekly", "nightly"):
        await world.enqueue(plan(name))
        revisions.append((await world.schedule(name)).revision)
    await world.control(Unschedule("nightly"))
    await world.enqueue(plan())
    revisions.append((await world.schedule()).revision)
    await world.advance_schedule(await world.schedule(), next_at=world.at(500))
    revisions.append((await world.schedule()).revision)
    assert len(set(revisions)) == len(revisions)
    assert revisions[-3:] == sorted(revisions[-3:])


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"not_before_ms": 300}, 299),
        ({"not_before_at": 1_700_000_000_000 + 300}, 299),
        ({"not_before_at": 1_700_000_000_000 - 300}, 0),
        ({"not_before_at": 1_700_000_000_000}, 0),
    ],
    ids=str,
)
async def test_not_before_moves_the_place_of_a_new_schedule_to_just_before(
    world: World, given: dict[str, Any], place: int
) -> None:
    await world.enqueue(plan(**given))
    assert (await world.schedule()).place == world.at(place)


async def test_not_before_leaves_a_schedule_that_keeps_its_place(world: World) -> None:
    await world.enqueue(plan())
    world.advance(10)
    await world.enqueue(plan(not_before_ms=300))
    assert (await world.schedule()).place == world.at(0)


# ---- immediate


async def test_immediate_adds_one_run_of_a_new_name(world: World) -> None:
    options = RunOptions(retry_count=1)
    answer = await world.enqueue(plan(immediate=True, data=b"7", priority=3, options=options, expires_ms=9))
    job = await world.job("nightly@immediate")
    assert answer.verdicts == [(Kind.SCHEDULED, "nightly", None)]
    assert told(answer) == [(Kind.SCHEDULED, "nightly@immediate")]
    assert (job.state, job.schedule, job.event, job.data) == (State.WAITING, "nightly", "report", b"7")
    assert (job.priority, job.options, job.run_at, job.expires_at) == (3, options, world.now, world.at(9))
    assert (await world.schedule()).live == 1


async def test_immediate_runs_again_only_where_the_pattern_changed(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    await world.cancel("nightly@immediate")
    assert told(await world.enqueue(plan(immediate=True))) == []
    assert told(await world.enqueue(plan(immediate=True, timezone="Europe/Paris"))) == []
    changed = plan(immediate=True, timezone="Europe/Paris", pattern="1 * * * *")
    assert told(await world.enqueue(changed)) == [(Kind.SCHEDULED, "nightly@immediate")]


async def test_immediate_runs_for_a_name_that_was_unscheduled_meanwhile(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    await world.cancel("nightly@immediate")
    await world.control(Unschedule("nightly"))
    assert told(await world.enqueue(plan(immediate=True))) == [(Kind.SCHEDULED, "nightly@immediate")]


async def test_immediate_goes_through_identity(world: World) -> None:
    await world.enqueue(plan(immediate=True, pattern="1 * * * *"))
    waiting = await world.enqueue(plan(immediate=True, pattern="2 * * * *"))
    assert told(waiting) == [(Kind.DUPLICATE, "nightly@immediate")]
    await world.take()
    running = await world.enqueue(plan(immediate=True, pattern="3 * * * *"))
    assert told(running) == [(Kind.FOLLOW_UP, "nightly@immediate")]
    assert running.verdicts == [(Kind.SCHEDULED, "nightly", None)]
