"""`forget`: a simulated store in which another world begins."""

from __future__ import annotations

from taskmanager.engine import Batch, JobRef, Pause
from taskmanager.job import State
from tests.engines.conformance.builders import QUEUE, emission, plan
from tests.engines.conformance.world import World


async def test_a_store_that_forgets_everything_has_nothing_of_what_was_stored(world: World) -> None:
    await world.enqueue(emission("a"), emission("b", delay_ms=1000), queue="q[1]*")
    await world.enqueue(emission("c"), plan("daily", "0 9 * * *"))
    await world.engine.control(QUEUE, Pause(), Batch("operator", 1))
    await world.engine.forget(everything=True)
    assert list(await world.engine.queues()) == []
    assert await world.engine.get(QUEUE, JobRef("c")) is None
    assert await world.engine.list("q[1]*", None, 10, None) == []
    assert (await world.engine.schedules(QUEUE)).schedules == []
    count = await world.engine.count(QUEUE)
    assert (set(count.states.values()), count.paused, count.due_at, count.schedule_at) == ({0}, False, None, None)


async def test_a_store_that_forgot_everything_knows_no_caller_and_takes_the_same_ids_anew(world: World) -> None:
    before = await world.enqueue(emission("a"))
    await world.engine.forget(everything=True)
    after = await world.engine.enqueue(QUEUE, [emission("a")], Batch("fresh", 1))
    again = await world.engine.enqueue(QUEUE, [emission("a")], Batch("fresh", 2))
    assert [answer.verdicts[0].status for answer in (before, after, again)] == ["emitted", "emitted", "duplicate"]
    assert not after.replayed
    assert (await world.engine.count(QUEUE)).states[State.WAITING] == 1


async def test_a_store_may_forget_whom_it_answered_and_keep_the_rest(world: World) -> None:
    await world.enqueue(emission("a"), plan("daily"), batch=Batch("caller", 7))
    await world.engine.forget(everything=False)
    after = await world.engine.enqueue(QUEUE, [emission("a"), emission("b")], Batch("caller", 1))
    assert [verdict.status for verdict in after.verdicts] == ["duplicate", "emitted"]
    assert not after.replayed
    assert [schedule.plan.name for schedule in (await world.engine.schedules(QUEUE)).schedules] == ["daily"]
