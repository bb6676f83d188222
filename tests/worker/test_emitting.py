"""Where and how `emit` may be said: awaited or not, in a handler or beside it, in a thread, and where it may not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import EngineUnavailable, TaskManager, UsageError
from tests.worker.apps import everything, keeping, kinds
from tests.worker.dead_queue import dead_queue as dead_queue


def test_an_emission_that_nobody_awaits_is_sent_all_the_same() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work")

    async def main() -> None:
        tm.emit("work", {"n": 1})
        await asyncio.sleep(0.001)

    with Simulation(tm) as sim:
        sim.run(main())
        sim.run_until_idle()
    assert kept == [{"n": 1}]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=25))
def test_emissions_to_one_queue_take_effect_in_the_order_of_the_calls(calls: list[tuple[str, bool]]) -> None:
    tm = TaskManager(db="memory://")

    async def main() -> None:
        for n, (queue, awaited) in enumerate(calls):
            emitting = tm.emit("work", {"n": n}, queue=queue)
            if awaited:
                await emitting

    with Simulation(tm, workers=0) as sim:
        sim.run(main())
        sim.advance(0)
        for queue in "ab":
            stored = [record.data["n"] for record in reversed(sim.jobs(queue))]
            assert stored == [n for n, (home, _) in enumerate(calls) if home == queue]


def test_a_refusal_is_raised_at_the_call_itself_awaited_or_not() -> None:
    tm = TaskManager(db="memory://")

    async def main() -> None:
        with pytest.raises(UsageError, match="event name"):
            tm.emit("no spaces please")
        with pytest.raises(UsageError, match="delay"):
            tm.emit_many([{"event": "work", "delay": -1}])

    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        sim.run(main())
        assert everything(sim) == before


def test_an_emission_can_be_awaited_twice() -> None:
    tm = TaskManager(db="memory://")

    async def main() -> list[Any]:
        emitting = tm.emit("work")
        return [await emitting, await emitting]

    with Simulation(tm, workers=0) as sim:
        first, second = sim.run(main())
        assert kinds(sim) == ["emitted"]
    assert (first.id, first.status) == (second.id, second.status)


def test_cancelling_who_awaits_does_not_take_the_emission_back() -> None:
    tm = TaskManager(db="memory://")

    async def emitting() -> None:
        await tm.emit("work")

    async def main() -> None:
        task = asyncio.ensure_future(emitting())
        await asyncio.sleep(0)
        task.cancel()
        await tm.emit("work", {"n": 2})

    with Simulation(tm, workers=0) as sim:
        sim.run(main())
        assert len(sim.jobs()) == 2


def test_without_an_event_loop_emitting_is_refused_in_words() -> None:
    tm = TaskManager(db="memory://")
    with pytest.raises(UsageError, match="emit needs a running event loop, and none runs here"):
        tm.emit("work")
    with pytest.raises(UsageError, match="emit needs a running event loop"):
        tm.emit_many([{"event": "work"}])


def test_outside_a_handler_what_could_not_be_sent_and_is_not_awaited_is_only_logged(
    dead_queue: str, caplog: pytest.LogCaptureFixture
) -> None:
    tm = TaskManager(db="memory://")

    async def main() -> None:
        tm.emit("child", queue="dead")
        await asyncio.sleep(60)

    with Simulation(tm, engine=dead_queue, workers=0) as sim, caplog.at_level(logging.ERROR, "taskmanager"):
        sim.run(main())
    assert "could not be sent" in caplog.text


def test_of_many_for_several_queues_who_awaits_hears_that_one_was_not_sent(dead_queue: str) -> None:
    tm = TaskManager(db="memory://")

    async def main() -> None:
        with pytest.raises(EngineUnavailable, match="perhaps stored"):
            await tm.emit_many([{"event": "child", "queue": queue} for queue in ("alive", "dead")])

    with Simulation(tm, engine=dead_queue, workers=0) as sim:
        sim.run(main())
        assert sim.counts("alive")["waiting"] == 1


# ---- leaving


def test_stop_sends_what_was_emitted_before_it() -> None:
    tm, looker = TaskManager(db="memory://flushed"), TaskManager(db="memory://flushed")

    async def main() -> int:
        for n in range(50):
            tm.emit("work", {"n": n})
        await tm.stop()
        counts = await looker.counts()
        await looker.purge("default", "waiting")
        await looker.stop()
        return counts["waiting"]

    assert asyncio.run(main()) == 50


def test_leaving_async_with_sends_what_was_emitted_within() -> None:
    tm, looker = TaskManager(db="memory://left"), TaskManager(db="memory://left")

    async def main() -> int:
        async with tm:
            tm.emit("work", {"n": 1})
            tm.emit("work", {"n": 2}, queue="other")
        found = len(await looker.jobs()) + len(await looker.jobs("other"))
        await looker.stop()
        return found

    assert asyncio.run(main()) == 2


# ---- which queue


def test_an_emission_without_a_queue_goes_to_default() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        assert sim.emit("work").queue == "default"


def test_an_event_with_one_handler_elsewhere_goes_where_its_handler_is() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work", queue="heavy")
    with Simulation(tm) as sim:
        handle = sim.emit("work", {"n": 1})
        sim.run_until_idle()
    assert handle.queue == "heavy"
    assert kept == [{"n": 1}]


def test_an_event_with_handlers_on_several_queues_goes_to_default() -> None:
    tm = TaskManager(db="memory://")
    for queue in ("a", "b"):
        keeping(tm, "work", queue=queue)
    with Simulation(tm, workers=0) as sim:
        assert sim.emit("work").queue == "default"
        assert sim.emit("work", queue="b").queue == "b"


def test_default_named_is_default_wherever_the_handler_is() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work", queue="heavy")
    with Simulation(tm, workers=0) as sim:
        assert sim.emit("work", queue="default").queue == "default"
