"""clear: a simulated store is as if nothing had ever been written to it."""

from __future__ import annotations

from taskmanager.engine import Batch, JobRef, Pause
from taskmanager.job import State
from tests.engines.conformance.builders import emission, plan
from tests.engines.conformance.world import World


async def test_clear_leaves_nothing_of_what_was_stored(world: World) -> None:
    await world.enqueue(emission("a"), emission("b", delay_ms=1000), queue="q[1]*")
    await world.enqueue(emission("c"), plan("daily", "0 9 * * *"))
    await world.engine.control("default", Pause(), Batch("operator", 1))
    await world.engine.clear()
    assert list(await world.engine.queues()) == []
    assert await world.engine.get("default", JobRef("c")) is None
    assert await world.engine.list("q[1]*", None, 10, None) == []
    assert (await world.engine.schedules("default")).schedules == []
    count = await world.engine.count("default")
    assert (set(count.states.values()), count.paused, count.due_at, count.schedule_at) == ({0}, False, None, None)


async def test_a_cleared_store_knows_no_caller_and_takes_the_same_ids_anew(world: World) -> None:
    before = await world.enqueue(emission("a"))
    await world.engine.clear()
    after = await world.engine.enqueue("default", [emission("a")], Batch("fresh", 1))
    again = await world.engine.enqueue("default", [emission("a")], Batch("fresh", 2))
    assert [answer.verdicts[0].status for answer in (before, after, again)] == ["emitted", "emitted", "duplicate"]
    assert not after.replayed
    assert (await world.engine.count("default")).states[State.WAITING] == 1
