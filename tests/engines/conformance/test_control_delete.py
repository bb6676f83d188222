"""`control` that removes: `Delete` and `Purge`. A live job is thereby cancelled, an active one is never touched."""

from __future__ import annotations

import pytest

from taskmanager.engine import DUE_LIMIT, Delete, Purge
from taskmanager.job import Kind, State
from tests.engines.conformance.builders import completed, emission, emissions, plan, ref, told
from tests.engines.conformance.test_control import in_state
from tests.engines.conformance.world import World


@pytest.mark.parametrize("state", [State.WAITING, State.DELAYED])
async def test_deleting_a_live_job_cancels_and_removes_it(world: World, state: State) -> None:
    serial = await in_state(world, state)
    answer = await world.control(Delete(ref("x")))
    assert answer.facts == [(world.now, Kind.CANCELLED, "q", "send", "x", None, None, {"reason": "deleted"})]
    assert answer.job is not None
    assert (answer.job.serial, answer.job.state) == (serial, State.CANCELLED)
    assert await world.find("x") is None
    assert await world.find("x", serial) is None
    assert answer.due_at is None
    world.advance(50)
    assert await world.line() == []


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_deleting_a_finished_job_removes_it_silently(world: World, state: State) -> None:
    await in_state(world, state)
    job = await world.job("x")
    answer = await world.control(Delete(ref("x")))
    assert (answer.job, answer.facts) == (job, [])
    assert await world.states() == {}
    assert list(await world.engine.queues()) == []


async def test_an_awaited_job_that_is_deleted_leaves_its_outcome(world: World) -> None:
    serial = await world.add("x", awaited=True)
    await world.control(Delete(ref("x")))
    assert await world.find("x") is None
    outcome = await world.job("x", serial)
    assert (outcome.state, outcome.reason) == (State.CANCELLED, "deleted")


@pytest.mark.parametrize("state", [state for state in State if state != State.ACTIVE])
async def test_purge_removes_the_jobs_of_one_state(world: World, state: State) -> None:
    keep = State.WAITING if state != State.WAITING else State.DELAYED
    await in_state(world, state)
    await world.add("keep", delay_ms=5000 if keep == State.DELAYED else 0)
    answer = await world.control(Purge(state))
    live = state in (State.WAITING, State.DELAYED)
    assert (answer.count, answer.changed) == (1, True)
    assert told(answer) == ([(Kind.CANCELLED, "x")] if live else [])
    assert await world.states() == {"keep": keep}


async def test_purge_goes_in_batches_in_the_order_of_the_line(world: World) -> None:
    await world.enqueue(*emissions(5), emission("last", priority=-1), emission("first", priority=1))
    assert told(await world.control(Purge(State.WAITING, 1))) == [(Kind.CANCELLED, "first")]
    answer = await world.control(Purge(State.WAITING, 3))
    assert (answer.count, told(answer)) == (3, [(Kind.CANCELLED, one.id) for one in emissions(3)])
    assert (await world.control(Purge(State.WAITING))).count == 3
    assert (await world.control(Purge(State.WAITING))).count == 0


async def test_purge_takes_the_delayed_in_the_order_of_their_moments(world: World) -> None:
    await world.enqueue(*(emission(f"in {ms}", delay_ms=ms) for ms in (30, 10, 20)))
    answer = await world.control(Purge(State.DELAYED, 2))
    assert told(answer) == [(Kind.CANCELLED, "in 10"), (Kind.CANCELLED, "in 20")]


async def test_purge_takes_the_finished_in_the_order_of_their_ends(world: World) -> None:
    await world.enqueue(*emissions(3))
    for claim in reversed((await world.claim()).jobs):
        await world.end(claim, completed())
    assert (await world.control(Purge(State.COMPLETED, 2))).count == 2
    assert list(await world.states()) == ["j00000"]


async def test_one_purge_removes_at_most_the_limit(world: World) -> None:
    await world.enqueue(*emissions(DUE_LIMIT + 1))
    assert (await world.control(Purge(State.WAITING))).count == DUE_LIMIT
    assert len(await world.states()) == 1


async def test_purge_takes_an_overdue_job_as_waiting(world: World) -> None:
    await world.enqueue(emission("x", delay_ms=5), emission("y", delay_ms=50))
    world.advance(5)
    assert (await world.control(Purge(State.DELAYED))).count == 1
    assert await world.states() == {"x": State.WAITING}
    assert (await world.control(Purge(State.WAITING))).count == 1


async def test_purge_refuses_active_jobs(world: World) -> None:
    await in_state(world, State.ACTIVE)
    before = await world.picture()
    answer = await world.control(Purge(State.ACTIVE))
    assert (answer.refused, answer.count, answer.changed) == (State.ACTIVE, 0, False)
    assert await world.picture() == before


async def test_a_deleted_occurrence_is_no_longer_live(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    await world.control(Delete(ref("nightly@immediate")))
    assert (await world.schedule()).live == 0


async def test_deleting_by_its_serial_drops_a_recorded_follow_up_alone(world: World) -> None:
    await world.add("x")
    await world.take()
    follow_up = await world.add("x", data=b"2")
    answer = await world.control(Delete(ref("x", follow_up)))
    assert told(answer) == [(Kind.CANCELLED, "x")]
    assert answer.job is not None
    assert (answer.job.serial, answer.job.state, answer.job.reason) == (follow_up, State.CANCELLED, "deleted")
    job = await world.job("x")
    assert (job.state, job.follow_up, job.cancel_requested) == (State.ACTIVE, None, False)
