"""`control`: an operator's word. What a state does not allow is refused and changes nothing (see test_replay too)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from taskmanager.engine import (
    AWAITED_MS,
    DUE_LIMIT,
    Await,
    Command,
    Delete,
    JobRef,
    Journal,
    Pause,
    Promote,
    Requeue,
    RequeueAll,
    Resume,
    Settlement,
    Unschedule,
)
from taskmanager.job import Kind, State
from tests.engines.conformance.builders import (
    QUEUE,
    cancel_heard,
    completed,
    emission,
    emissions,
    failed,
    plan,
    ref,
    retried,
    stalled,
    told,
)
from tests.engines.conformance.world import World


async def in_state(world: World, state: State) -> int:
    """Job `x` in that state; gives its serial."""
    serial = await world.add("x", delay_ms=50 if state == State.DELAYED else 0)
    if state not in (State.WAITING, State.DELAYED):
        claim = await world.take()
        ends = {State.COMPLETED: completed(), State.FAILED: failed(), State.CANCELLED: cancel_heard()}
        if state in ends:
            await world.end(claim, ends[state])
    assert await world.states() == {"x": state}
    return serial


# ---- what each state allows

CHANGES: dict[Callable[[JobRef], Command], set[State]] = {
    Promote: {State.DELAYED},
    Requeue: {State.FAILED},
    Delete: set(State) - {State.ACTIVE},
    Await: set(State),
}
UNCHANGED: dict[Callable[[JobRef], Command], set[State]] = {Promote: {State.WAITING}}
TABLE = [(command, state) for command in CHANGES for state in State]
NAMES = [f"{command.__name__}-{state}" for command, state in TABLE]


@pytest.mark.parametrize(("command", "state"), TABLE, ids=NAMES)
async def test_a_command_is_carried_out_where_the_state_allows_it_and_else_refused(
    world: World, command: Callable[[JobRef], Command], state: State
) -> None:
    await in_state(world, state)
    before = await world.picture()
    job = await world.job("x")
    answer = await world.control(command(ref("x")))
    assert answer.changed == (state in CHANGES[command])
    refused = state not in CHANGES[command] | UNCHANGED.get(command, set())
    assert answer.refused == (state if refused else None)
    assert answer.job is not None
    if not answer.changed:
        assert (answer.job, answer.facts) == (job, [])
        assert await world.picture() == before


@pytest.mark.parametrize("command", list(CHANGES), ids=lambda command: str(command.__name__))
async def test_of_an_unknown_job_there_is_none(world: World, command: Callable[[JobRef], Command]) -> None:
    serial = await in_state(world, State.DELAYED)
    before = await world.picture()
    for other in (ref("y"), ref("x", serial + 1000)):
        answer = await world.control(command(other))
        assert (answer.job, answer.refused, answer.changed, answer.facts) == (None, None, False, [])
    assert await world.picture() == before


@pytest.mark.parametrize("command", list(CHANGES), ids=lambda command: str(command.__name__))
async def test_a_serial_never_touches_a_later_job_of_the_id(world: World, command: Callable[[JobRef], Command]) -> None:
    old = await world.run(failed(), "x")
    await world.add("x", delay_ms=50)
    before = await world.picture()
    assert (await world.control(command(ref("x", old)))).job is None
    assert await world.picture() == before


# ---- promote


async def test_a_promoted_job_is_waiting_now_at_the_end_of_its_priority(world: World) -> None:
    await world.enqueue(emission("x", delay_ms=50), emission("y"))
    world.advance(5)
    tide = (await world.enqueue()).tide
    answer = await world.control(Promote(ref("x")))
    assert answer.facts == [(world.now, Kind.DUE, "q", "send", "x", None, None, None)]
    assert answer.job == await world.job("x")
    assert answer.job is not None
    assert (answer.job.state, answer.job.run_at, answer.due_at) == (State.WAITING, world.now, None)
    assert answer.tide > tide
    assert await world.line() == ["y", "x"]


async def test_a_job_whose_time_has_come_is_already_waiting_for_promote(world: World) -> None:
    await world.add("x", delay_ms=5)
    world.advance(5)
    answer = await world.control(Promote(ref("x")))
    assert answer.refused is None
    assert answer.job is not None
    assert answer.job.state == State.WAITING
    assert await world.line() == ["x"]


# ---- requeue


async def test_a_requeued_job_waits_again_with_a_fresh_budget(world: World) -> None:
    await world.enqueue(emission("x"), emission("y"))
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "a line"))
    await world.lose(stalled())
    y, claim = (await world.claim()).jobs
    await world.end(claim, failed("unwanted", "dlq"))
    await world.add("z")
    answer = await world.control(Requeue(ref("x")))
    job = await world.job("x")
    assert told(answer) == [(Kind.REQUEUED, "x")]
    assert answer.job == job
    assert (job.state, job.requeued, job.attempt, job.failures, job.losses) == (State.WAITING, True, 2, 0, 0)
    assert (job.error, job.reason, job.finished_at, job.dead_letter) == (None, None, None, None)
    assert len(job.attempts) == 2
    assert [line.message for line in await world.engine.logs("q", "x")] == ["a line"]
    assert await world.line() == ["z", "x"]
    assert y.id == "y"


async def test_a_requeued_job_is_repeated_without_change_until_it_runs(world: World) -> None:
    await world.run(failed(), "x")
    await world.control(Requeue(ref("x")))
    before = await world.picture()
    again = await world.control(Requeue(ref("x")))
    assert (again.changed, again.refused, again.facts) == (False, None, [])
    assert await world.picture() == before
    claim = await world.take()
    assert (claim.attempt, claim.failures) == (2, 0)
    assert (await world.control(Requeue(ref("x")))).refused == State.ACTIVE


async def test_requeue_all_takes_failed_jobs_of_one_event_or_all_oldest_end_first(world: World) -> None:
    await world.enqueue(*emissions(3), emission("other", event="other"), emission("fine"))
    claims = (await world.claim()).jobs
    for claim in reversed(claims):
        await world.end(claim, completed() if claim.id == "fine" else failed())
    one = await world.control(RequeueAll("other"))
    assert (one.count, one.changed, told(one)) == (1, True, [(Kind.REQUEUED, "other")])
    two = await world.control(RequeueAll(None, 2))
    assert (two.count, told(two)) == (2, [(Kind.REQUEUED, "j00002"), (Kind.REQUEUED, "j00001")])
    three = await world.control(RequeueAll(None))
    assert (three.count, told(three)) == (1, [(Kind.REQUEUED, "j00000")])
    assert (await world.control(RequeueAll(None))).count == 0
    assert await world.line() == ["other", "j00002", "j00001", "j00000"]


async def test_requeue_all_finds_an_event_behind_many_others(world: World) -> None:
    await world.enqueue(*emissions(DUE_LIMIT))
    await world.enqueue(emission("last", event="rare"))
    while claims := (await world.claim(200)).jobs:
        await world.settle(*(Settlement(claim.number, failed()) for claim in claims))
    answer = await world.control(RequeueAll("rare"))
    assert (answer.count, told(answer)) == (1, [(Kind.REQUEUED, "last")])
    assert (await world.control(RequeueAll("unknown"))).count == 0


async def test_a_requeued_occurrence_is_live_again(world: World) -> None:
    await world.enqueue(plan(immediate=True))
    await world.end(await world.take(), failed())
    assert (await world.schedule()).live == 0
    await world.control(Requeue(ref("nightly@immediate")))
    assert (await world.schedule()).live == 1


# ---- pause and resume


async def test_a_pause_is_told_and_holds_until_resume(world: World) -> None:
    await world.add("x")
    paused = await world.control(Pause())
    assert paused.facts == [(world.now, Kind.PAUSED, "q", None, None, None, None, None)]
    assert (paused.changed, (await world.engine.count("q")).paused) == (True, True)
    assert await world.line() == []
    resumed = await world.control(Resume())
    assert resumed.facts == [(world.now, Kind.RESUMED, "q", None, None, None, None, None)]
    assert (resumed.changed, (await world.engine.count("q")).paused) == (True, False)
    assert resumed.tide > paused.tide
    assert await world.line() == ["x"]


async def test_an_empty_queue_can_be_paused_and_is_then_a_queue(world: World) -> None:
    await world.control(Pause(), queue="quiet")
    assert list(await world.engine.queues()) == ["quiet"]
    await world.control(Resume(), queue="quiet")
    assert list(await world.engine.queues()) == []


async def test_a_pause_is_of_one_queue(world: World) -> None:
    await world.control(Pause(), queue="quiet")
    await world.add("x")
    assert await world.line() == ["x"]


async def test_who_runs_in_a_paused_queue_goes_on(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.control(Pause())
    assert (await world.extend()).lost == []
    assert await world.end(claim, retried()) == State.DELAYED


# ---- unschedule


async def test_unschedule_removes_the_schedule_and_leaves_its_jobs(world: World) -> None:
    await world.enqueue(plan(immediate=True), plan("weekly"))
    answer = await world.control(Unschedule("nightly"))
    assert (answer.count, answer.changed, answer.facts) == (1, True, [])
    assert [schedule.plan.name for schedule in (await world.engine.schedules("q")).schedules] == ["weekly"]
    assert await world.states() == {"nightly@immediate": State.WAITING}
    await world.end(await world.take(), completed())
    last = await world.control(Unschedule("weekly"))
    assert last.schedule_at is None


async def test_unschedule_of_an_unknown_name_counts_none(world: World) -> None:
    answer = await world.control(Unschedule("nightly"))
    assert (answer.count, answer.changed, answer.facts) == (0, False, [])


async def test_a_job_of_a_removed_schedule_still_counts_when_its_name_is_registered_again(world: World) -> None:
    """It is an earlier occurrence, and `overlap="skip"` is to see it."""
    await world.enqueue(plan(immediate=True))
    await world.control(Unschedule("nightly"))
    await world.enqueue(plan())
    assert (await world.schedule()).live == 1
    await world.end(await world.take(), completed())
    assert (await world.schedule()).live == 0


# ---- await


async def test_await_marks_the_job_and_its_outcome_is_kept(world: World) -> None:
    serial = await world.add("x")
    answer = await world.control(Await(ref("x", serial)))
    assert (answer.facts, answer.changed, answer.job) == ([], True, await world.job("x"))
    assert (await world.job("x")).awaited
    assert not (await world.control(Await(ref("x", serial)))).changed
    await world.end(await world.take(), completed(b"42"), transient={State.COMPLETED})
    world.advance(AWAITED_MS - 1)
    assert (await world.job("x", serial)).result == b"42"


async def test_a_follow_up_can_be_awaited_by_its_serial(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    follow_up = await world.add("x", data=b"2")
    answer = await world.control(Await(ref("x", follow_up)))
    assert answer.job is not None
    assert answer.job.serial == follow_up
    await world.end(claim, completed())
    await world.end(await world.take(), completed(b"2"), transient={State.COMPLETED})
    assert (await world.job("x", follow_up)).result == b"2"


async def test_an_outcome_that_outlived_its_job_can_still_be_awaited(world: World) -> None:
    serial = await world.add("x", awaited=True)
    await world.end(await world.take(), completed(b"42"), transient={State.COMPLETED})
    answer = await world.control(Await(ref("x", serial)))
    assert answer.job is not None
    assert answer.job.result == b"42"


async def test_who_awaits_a_job_that_has_ended_changes_nothing_else_of_it(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    world.advance(5)
    await world.settle(Settlement(claim.number, replace(completed(), max_attempts=1)))
    before = await world.job()
    assert len(before.attempts) == 1
    await world.control(Await(ref("x", claim.serial)))
    assert await world.job() == replace(before, awaited=True)
    kept = await world.engine.get(QUEUE, ref("x", claim.serial))
    assert kept is not None
    assert kept.attempts == before.attempts


@pytest.mark.parametrize("command", [Promote, Requeue, Delete, Await])
async def test_the_job_that_is_shown_has_its_follow_up(
    world: World, command: type[Promote | Requeue | Delete | Await]
) -> None:
    await world.enqueue(emission("x"))
    await world.claim()
    await world.enqueue(emission("x", data=b'{"later":1}', priority=3))
    answer = await world.control(command(ref("x")))
    assert answer.job == await world.engine.get(QUEUE, ref("x"))
    assert answer.job is not None
    assert answer.job.follow_up is not None
    assert answer.job.follow_up.content.data == b'{"later":1}'
