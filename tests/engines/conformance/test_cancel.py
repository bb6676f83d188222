"""`cancel`: at once before a run, by a mark during it, and of one certain job where a serial is given."""

from __future__ import annotations

import pytest

from taskmanager.engine import AWAITED_MS, Journal
from taskmanager.job import Kind, State, Transition
from tests.engines.conformance.builders import completed, emission, failed, plan, the_fact, told
from tests.engines.conformance.world import World


@pytest.mark.parametrize("delay_ms", [0, 50])
async def test_before_it_runs_a_job_is_cancelled_at_once(world: World, delay_ms: int) -> None:
    await world.add("x", delay_ms=delay_ms)
    world.advance(5)
    answer = await world.cancel("x")
    job = await world.job("x")
    assert answer.facts == [(world.now, Kind.CANCELLED, "q", "send", "x", None, None, {"reason": "requested"})]
    assert (answer.job, answer.refused, answer.changed, answer.due_at) == (job, None, True, None)
    assert (job.state, job.reason, job.finished_at, job.dead_letter) == (State.CANCELLED, "requested", world.now, None)
    world.advance(50)
    assert await world.line() == []


async def test_a_running_job_is_marked_and_nothing_is_told(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    answer = await world.cancel("x")
    assert (answer.facts, answer.refused, answer.changed) == ([], None, True)
    assert answer.job is not None
    assert (answer.job.state, answer.job.cancel_requested) == (State.ACTIVE, True)
    assert (await world.extend()).cancelled == [claim.number]


async def test_cancelling_again_changes_nothing(world: World) -> None:
    await world.enqueue(emission("x"), emission("y", priority=-1))
    await world.take()
    for id in ("x", "y"):
        await world.cancel(id)
        before = await world.picture()
        answer = await world.cancel(id)
        assert (answer.facts, answer.refused, answer.changed) == ([], None, False)
        assert answer.job == await world.job(id)
        assert await world.picture() == before


@pytest.mark.parametrize("end", [completed(), failed()], ids=lambda end: str(end.to))
async def test_a_finished_job_refuses_and_is_as_it_was(world: World, end: Transition) -> None:
    await world.run(end, "x")
    before = await world.picture()
    answer = await world.cancel("x")
    assert (answer.refused, answer.changed, answer.facts) == (end.to, False, [])
    assert answer.job == await world.job("x")
    assert await world.picture() == before


async def test_of_an_unknown_job_there_is_none(world: World) -> None:
    serial = await world.add("x")
    before = await world.picture()
    for id, other in (("y", None), ("x", serial + 1000)):
        answer = await world.cancel(id, other)
        assert (answer.job, answer.refused, answer.changed, answer.facts) == (None, None, False, [])
    assert await world.picture() == before


async def test_a_serial_never_touches_a_later_job_of_the_id(world: World) -> None:
    old = await world.run(completed(), "x")
    await world.add("x")
    assert (await world.cancel("x", old)).job is None
    assert await world.states() == {"x": State.WAITING}


async def test_a_cancelled_job_can_be_transient(world: World) -> None:
    await world.add("x")
    answer = await world.cancel("x", transient={State.CANCELLED})
    assert answer.job is not None
    assert answer.job.state == State.CANCELLED
    assert await world.find("x") is None


async def test_a_transient_cancelled_job_that_is_awaited_leaves_its_outcome(world: World) -> None:
    serial = await world.add("x", awaited=True)
    await world.cancel("x", transient={State.CANCELLED})
    assert await world.find("x") is None
    world.advance(AWAITED_MS - 1)
    assert (await world.job("x", serial)).reason == "requested"


async def test_a_cancelled_job_keeps_its_log_and_history(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "a line"))
    await world.cancel("x")
    await world.end(claim, failed())
    assert [line.message for line in await world.engine.logs("q", "x")] == ["a line"]
    assert [info.outcome for info in (await world.job("x")).attempts] == [Kind.FAILED]


async def test_a_schedules_cancelled_job_is_no_longer_live(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    await world.cancel("nightly@immediate")
    assert (await world.schedule()).live == 0


async def test_a_job_whose_time_has_come_is_cancelled_like_any_waiting_one(world: World) -> None:
    await world.add("x", delay_ms=5)
    world.advance(5)
    assert told(await world.cancel("x")) == [(Kind.CANCELLED, "x")]
    assert (await world.claim()).jobs == []


# ---- follow-ups


async def test_a_running_jobs_follow_up_is_dropped(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    follow_up = await world.add("x", data=b"2")
    await world.cancel("x")
    assert (await world.job("x")).follow_up is None
    assert await world.find("x", follow_up) is None
    await world.end(claim, completed())
    assert await world.states() == {"x": State.COMPLETED}


async def test_of_a_job_marked_before_a_later_follow_up_is_dropped_too(world: World) -> None:
    await world.add("x")
    await world.take()
    await world.cancel("x")
    await world.add("x", data=b"2")
    answer = await world.cancel("x")
    assert answer.changed
    assert (await world.job("x")).follow_up is None
    assert not (await world.cancel("x")).changed


async def test_by_its_serial_only_the_follow_up_is_dropped(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    follow_up = await world.add("x", data=b"2", event="other")
    answer = await world.cancel("x", follow_up)
    assert told(answer) == [(Kind.CANCELLED, "x")]
    fact = the_fact(answer, Kind.CANCELLED)
    assert (fact.event, fact.detail) == ("other", {"reason": "requested"})
    assert answer.changed
    assert answer.job is not None
    assert (answer.job.serial, answer.job.state, answer.job.data) == (follow_up, State.CANCELLED, b"2")
    job = await world.job("x")
    assert (job.state, job.follow_up, job.cancel_requested) == (State.ACTIVE, None, False)
    await world.end(claim, completed())
    assert await world.states() == {"x": State.COMPLETED}


async def test_by_the_running_jobs_serial_the_job_is_marked_and_its_follow_up_dropped(world: World) -> None:
    serial = await world.add("x")
    await world.take()
    await world.add("x", data=b"2")
    await world.cancel("x", serial)
    job = await world.job("x")
    assert (job.cancel_requested, job.follow_up) == (True, None)


async def test_an_awaited_follow_up_that_is_dropped_leaves_its_outcome(world: World) -> None:
    """Whoever awaits it is told `cancelled`, not `gone`."""
    await world.add("x")
    await world.take()
    follow_up = await world.add("x", awaited=True)
    await world.cancel("x", follow_up)
    outcome = await world.job("x", follow_up)
    assert (outcome.state, outcome.reason) == (State.CANCELLED, "requested")
