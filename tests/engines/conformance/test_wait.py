"""`wait` and `wait_ended`: they return no later than the work, the moment or the end they are for.

No clock runs and each wake is given. A wait may return early for no reason, so what can be proved is that it returns;
each is given up after some seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from taskmanager.engine import Answer, Delete, Pause, Promote, Requeue, Resume, Settlement
from taskmanager.job import State, Transition
from tests.engines.conformance.builders import (
    cancel_heard,
    completed,
    emission,
    failed,
    plan,
    ref,
    released,
    retried,
    stalled,
)
from tests.engines.conformance.world import World

T = TypeVar("T")
GIVE_UP_S = 5.0
LATER = 3_600_000


async def tide_of(world: World, queue: str = "q") -> int:
    answer: Answer = await world.enqueue(queue=queue)
    return answer.tide


async def returns(waiting: Awaitable[T]) -> T:
    async with asyncio.timeout(GIVE_UP_S):
        return await waiting


async def wakes(world: World, seen: dict[str, int], happens: Callable[[World], Awaitable[object]]) -> None:
    """A wait that has begun, for a time in which nothing is due, returns when that happens."""
    waiting = asyncio.ensure_future(world.engine.wait(seen, world.now + LATER // 4))
    await asyncio.sleep(0)
    await happens(world)
    await returns(waiting)


async def test_a_moment_that_has_passed_is_not_waited_for(world: World) -> None:
    seen = {"q": await tide_of(world)}
    await returns(world.engine.wait(seen, world.now))
    await returns(world.engine.wait(seen, world.now - LATER))
    await returns(world.engine.wait({}, world.now))


async def test_who_only_looks_hears_of_what_came_and_of_what_became_due_and_of_nothing_else(world: World) -> None:
    seen = {queue: await tide_of(world, queue) for queue in ("busy", "late", "later", "quiet")}
    await world.enqueue(emission("x"), queue="busy")
    await world.enqueue(emission("x", delay_ms=50), queue="late")
    await world.enqueue(emission("x", delay_ms=LATER), queue="later")
    world.advance(100)
    assert set(await returns(world.engine.wait(seen, 0))) == {"busy", "late"}


async def test_a_tide_that_has_risen_is_not_waited_for(world: World) -> None:
    seen = {"q": await tide_of(world)}
    await world.add("x")
    assert list(await returns(world.engine.wait(seen, world.now + LATER))) == ["q"]
    assert list(await returns(world.engine.wait(seen, None))) == ["q"]


async def test_of_several_queues_those_are_named_that_have_work(world: World) -> None:
    seen = {queue: await tide_of(world, queue) for queue in ("one", "two", "three")}
    await world.enqueue(emission("x"), queue="two")
    assert list(await returns(world.engine.wait(seen, None))) == ["two"]


async def test_something_due_already_is_not_waited_for(world: World) -> None:
    await world.add("x", delay_ms=5)
    seen = {"q": await tide_of(world)}
    world.advance(5)
    await returns(world.engine.wait(seen, world.now + LATER))


async def test_a_wait_ends_at_its_moment(world: World) -> None:
    seen = {"q": await tide_of(world)}
    waiting = asyncio.ensure_future(world.engine.wait(seen, world.now + 5))
    await asyncio.sleep(0)
    world.advance(5)
    await returns(waiting)


async def test_something_due_sooner_than_the_moment_ends_a_wait_in_time(world: World) -> None:
    async def emit_and_let_it_be_due(world: World) -> None:
        await world.add("x", delay_ms=5)
        world.advance(5)

    await wakes(world, {"q": await tide_of(world)}, emit_and_let_it_be_due)


async def test_a_wait_is_for_its_own_queues(world: World) -> None:
    """It may return early, but then it names no queue that has nothing new."""
    seen = {"q": await tide_of(world)}
    waiting = asyncio.ensure_future(world.engine.wait(seen, world.now + LATER))
    await asyncio.sleep(0)
    await world.enqueue(emission("x"), queue="other")
    await asyncio.sleep(0)
    await world.add("x")
    assert list(await returns(waiting)) in ([], ["q"])


# ---- what wakes


async def _emit(world: World) -> None:
    await world.add("new")


async def _promote(world: World) -> None:
    await world.control(Promote(ref("delayed")))


async def _requeue(world: World) -> None:
    await world.control(Requeue(ref("failed")))


async def _release(world: World) -> None:
    [number] = world.held("busy")
    await world.settle(Settlement(number, released()), worker="busy")


async def _lose(world: World) -> None:
    await world.lose(stalled(), "busy")


async def _follow(world: World) -> None:
    await world.add("active", data=b"2")
    [number] = world.held("busy")
    await world.settle(Settlement(number, completed()), worker="busy")


async def _fire(world: World) -> None:
    await world.advance_schedule(await world.schedule(), emission("occurrence", run_at=world.now), next_at=None)


async def _make_due(world: World) -> None:
    world.advance(LATER // 2)
    await world.enqueue()


async def _register(world: World) -> None:
    """Not a job, but a schedule whose next occurrence somebody has to compute."""
    await world.enqueue(plan("new"))


async def _resume(world: World) -> None:
    await world.control(Pause())
    await world.control(Resume())


WAKING = [_emit, _promote, _requeue, _release, _lose, _follow, _fire, _make_due, _register, _resume]


@pytest.mark.parametrize("happens", WAKING)
async def test_whatever_makes_a_job_claimable_ends_a_wait(
    world: World, happens: Callable[[World], Awaitable[object]]
) -> None:
    await world.run(failed(), "failed")
    await world.add("active")
    await world.take("busy")
    await world.enqueue(emission("delayed", delay_ms=LATER // 2), plan())
    await wakes(world, {"q": await tide_of(world)}, happens)


async def test_another_connections_emission_ends_a_wait(world: World) -> None:
    other = world.engine.fork()
    await other.open(simulated=True)
    try:

        async def emit_there(world: World) -> None:
            await other.enqueue("q", [emission("x")], world.batch("enqueue", "other"))

        await wakes(world, {"q": await tide_of(world)}, emit_there)
    finally:
        await other.close()


async def test_a_wait_can_be_given_up(world: World) -> None:
    seen = {"q": await tide_of(world)}
    waiting = asyncio.ensure_future(world.engine.wait(seen, world.now + LATER))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await wakes(world, seen, _emit)


# ---- the end of one job


async def ended(world: World, serial: int, happens: Callable[[], Awaitable[object]], id: str = "x") -> None:
    waiting = asyncio.ensure_future(world.engine.wait_ended("q", ref(id, serial), world.now + LATER))
    await asyncio.sleep(0)
    await happens()
    await returns(waiting)


@pytest.mark.parametrize("end", [completed(), failed(), cancel_heard()], ids=lambda end: str(end.to))
async def test_the_end_of_a_job_is_told_to_who_waits_for_it(world: World, end: Transition) -> None:
    serial = await world.add("x")
    claim = await world.take()
    await ended(world, serial, lambda: world.end(claim, end))
    await returns(world.engine.wait_ended("q", ref("x", serial), world.now + LATER))


async def test_a_job_that_goes_with_its_end_has_ended(world: World) -> None:
    serial = await world.add("x")
    claim = await world.take()
    await ended(world, serial, lambda: world.end(claim, completed(), transient={State.COMPLETED}))
    await returns(world.engine.wait_ended("q", ref("x", serial), world.now + LATER))


async def test_a_cancelled_or_deleted_job_has_ended(world: World) -> None:
    await ended(world, await world.add("x"), lambda: world.cancel("x"))
    await ended(world, await world.add("y"), lambda: world.control(Delete(ref("y"))), "y")


async def test_an_expired_job_has_ended(world: World) -> None:
    serial = await world.add("x", expires_ms=5)
    world.advance(6)
    await ended(world, serial, world.claim)


async def test_a_superseded_job_has_ended_and_its_follow_up_ends_later(world: World) -> None:
    serial = await world.add("x")
    claim = await world.take()
    follow_up = await world.add("x", data=b"2")
    await ended(world, serial, lambda: world.end(claim, retried()))
    again = await world.take()
    await ended(world, follow_up, lambda: world.end(again, completed()))


async def test_a_follow_up_that_is_dropped_has_ended(world: World) -> None:
    await world.add("x")
    await world.take()
    follow_up = await world.add("x", data=b"2")
    await ended(world, follow_up, lambda: world.cancel("x"))


async def test_the_end_of_a_job_that_is_not_there_is_not_waited_for(world: World) -> None:
    serial = await world.add("x")
    await returns(world.engine.wait_ended("q", ref("x", serial + 1), world.now + LATER))
    await returns(world.engine.wait_ended("q", ref("y", serial), world.now + LATER))
    await returns(world.engine.wait_ended("other", ref("x", serial), world.now + LATER))


async def test_the_end_is_waited_for_until_the_moment_given(world: World) -> None:
    serial = await world.add("x")
    await returns(world.engine.wait_ended("q", ref("x", serial), world.now))
    waiting = asyncio.ensure_future(world.engine.wait_ended("q", ref("x", serial), world.now + 5))
    await asyncio.sleep(0)
    world.advance(5)
    await returns(waiting)
    assert (await world.job("x")).state == State.WAITING
