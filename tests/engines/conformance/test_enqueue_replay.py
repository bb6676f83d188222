"""`enqueue` sent twice: one emission, one answer, whatever became of the job meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from taskmanager.engine import REPLAY_MS, Batch, Delete, Enqueued, Limit, Pause
from taskmanager.errors import InvariantError
from taskmanager.job import Emission, Kind, Plan, State
from tests.engines.conformance.builders import completed, emission, leading, plan, ref, told
from tests.engines.conformance.world import World


def again(answer: Enqueued) -> Enqueued:
    return replace(answer, replayed=True)


async def send_again(world: World, batch: Batch, first: Enqueued, *entries: Emission | Plan) -> None:
    """The same call gets the same answer, and the store stays as it is."""
    before = await world.picture()
    assert await world.enqueue(*entries, batch=batch) == again(first)
    assert await world.picture() == before


async def test_sent_twice_it_is_the_same_emission(world: World) -> None:
    batch = world.batch("enqueue")
    entries: list[Emission | Plan] = [emission("x"), emission("x"), emission("y", delay_ms=5), plan(immediate=True)]
    first = await world.enqueue(*entries, batch=batch)
    assert not first.replayed
    await send_again(world, batch, first, *entries)
    await send_again(world, batch, first, *entries)


async def test_sent_twice_it_makes_nothing_due_the_second_time(world: World) -> None:
    await world.add("x", delay_ms=5)
    batch = world.batch("enqueue")
    first = await world.enqueue(batch=batch)
    world.advance(5)
    await send_again(world, batch, first)
    assert told(await world.enqueue()) == [(Kind.DUE, "x")]


async def _ran(world: World) -> None:
    await world.end(await world.take(), completed())


async def _removed(world: World) -> None:
    await world.control(Delete(ref("x")))


async def _replaced(world: World) -> None:
    await world.add("x", data=b"2", replace=True)


async def _pruned(world: World) -> None:
    await _ran(world)
    assert (await world.prune({State.COMPLETED: Limit(0, 0)})).removed == 1


async def _followed(world: World) -> None:
    await world.take()
    await world.add("x", data=b"2")


MEANWHILE = [_ran, _removed, _replaced, _pruned, _followed]


@pytest.mark.parametrize("happens", MEANWHILE)
async def test_it_is_the_same_emission_whatever_became_of_the_job(
    world: World, happens: Callable[[World], Awaitable[None]]
) -> None:
    batch = Batch("other", 1)
    first = await world.enqueue(emission("x"), batch=batch)
    await happens(world)
    await send_again(world, batch, first, emission("x"))


async def test_a_window_is_opened_once(world: World) -> None:
    batch = Batch("other", 1)
    first = await world.enqueue(emission("x", window=leading(100)), batch=batch)
    world.advance(60)
    await send_again(world, batch, first, emission("x", window=leading(100)))
    world.advance(40)
    assert told(await world.enqueue(emission("y", window=leading(100)))) == [(Kind.EMITTED, "y")]


async def test_an_answer_is_kept_for_a_minute_also_through_a_prune(world: World) -> None:
    batch = Batch("other", 1)
    first = await world.enqueue(emission("x"), batch=batch)
    world.advance(REPLAY_MS - 1)
    await world.prune()
    await send_again(world, batch, first, emission("x"))


async def test_an_answer_is_dropped_after_its_minute(world: World) -> None:
    await world.enqueue(emission("x"), batch=Batch("other", 7))
    world.advance(REPLAY_MS + 1)
    await world.prune()
    answer = await world.enqueue(emission("x"), batch=Batch("other", 7))
    assert (answer.replayed, told(answer)) == (False, [(Kind.DUPLICATE, "x")])


async def test_only_the_last_call_can_be_sent_again(world: World) -> None:
    await world.enqueue(emission("x"), batch=Batch("other", 1))
    await world.enqueue(emission("y"), batch=Batch("other", 2))
    before = await world.picture()
    with pytest.raises(InvariantError):
        await world.enqueue(emission("z"), batch=Batch("other", 1))
    assert await world.picture() == before


async def test_numbers_may_leave_gaps(world: World) -> None:
    await world.enqueue(emission("x"), batch=Batch("other", 1))
    assert told(await world.enqueue(emission("y"), batch=Batch("other", 5))) == [(Kind.EMITTED, "y")]


async def test_callers_queues_and_verbs_count_apart(world: World) -> None:
    await world.enqueue(emission("x"), batch=Batch("one", 1))
    assert not (await world.enqueue(emission("y"), batch=Batch("two", 1))).replayed
    assert not (await world.enqueue(emission("z"), batch=Batch("one", 1), queue="elsewhere")).replayed
    assert not (await world.control(Pause(), batch=Batch("one", 1))).replayed
    assert not (await world.cancel("x", batch=Batch("one", 1))).replayed
    assert await world.states() == {"x": State.CANCELLED, "y": State.WAITING}
