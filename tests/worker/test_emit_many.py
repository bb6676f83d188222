"""`emit_many`: all are validated before any is written; each queue's are stored in order, all or none a thousand."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError
from tests.worker.apps import everything, keeping


def numbered(count: int, **rest: Any) -> list[dict[str, Any]]:
    return [{"event": "work", "data": {"n": n}, **rest} for n in range(count)]


def test_each_entry_is_an_emission_with_the_words_of_emit() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        handles = sim.emit_many(
            [
                {"event": "work"},
                {"event": "work", "data": {}, "replace": True},
                {"event": "work", "data": {"n": 1}, "id": "one", "delay": 60, "priority": 4},
                {"event": "work", "id": "other", "queue": "q"},
                {"event": "work", "id": "every", "repeat": {"pattern": "@daily"}},
                {"event": "work", "id": "bounced", "debounce": 60},
                {"event": "work", "id": "bounced", "debounce": 60},
            ]
        )
        one = sim.job("one")
        assert [schedule.name for schedule in sim.schedules()] == ["every"]
    statuses = [handle.status for handle in handles]
    assert statuses == ["emitted", "replaced", "emitted", "emitted", "scheduled", "emitted", "debounced"]
    assert [handle.queue for handle in handles][3] == "q"
    assert one is not None
    assert (one.state, one.priority) == ("delayed", 4)


class Word(str):
    """Text of somebody's own kind."""


DATA: list[Any] = [None, {}, [], 0, "text", {1: 2}, {"n": math.nan}, "x" * 300_000]
SAID: list[tuple[Any, Any, Any]] = [
    *(("plain", id, {"n": 1}) for id in ("one", Word("two"), None, "", 7, "a\x00b", "x" * 501)),
    *(("plain", "three", data) for data in DATA),
    *((event, "four", {"n": 1}) for event in ("bounced", "away", "urgent", "unknown", Word("urgent"))),
    *((event, "five", {"n": 1}) for event in (None, "", "two words", 7, ("a",), ["a"])),
]


@pytest.mark.parametrize(("event", "id", "data"), SAID, ids=lambda value: repr(value)[:20])
@pytest.mark.parametrize("processor", [{}, {"debounce": 60}])
def test_an_entry_with_nothing_but_id_and_data_is_what_emit_makes_of_these(
    event: Any, id: Any, data: Any, processor: Any
) -> None:
    def told(emit: str) -> Any:
        tm = TaskManager(db="memory://", processor=processor)
        for name, terms in (
            ("plain", {}),
            ("bounced", {"debounce": 60}),
            ("away", {"queue": "q"}),
            ("urgent", {"priority": 5}),
        ):
            tm.handler(name, **terms)(print)
        with Simulation(tm, workers=0) as sim:
            try:
                if emit == "many":
                    handles = sim.emit_many([{"event": event, "id": id, "data": data}] * 2)
                else:
                    handles = [sim.emit(event, data, id=id) for _ in range(2)]
            except UsageError as refusal:
                return str(refusal)
            return [(handle.id, handle.queue, handle.status) for handle in handles], everything(sim)

    assert told("many") == told("one by one")


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_entry_that_is_refused_keeps_all_from_being_written(place: int) -> None:
    tm = TaskManager(db="memory://")
    entries = [*numbered(1), *numbered(1, queue="b")]
    entries.insert(place, {"event": "work", "delay": -1})
    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        with pytest.raises(UsageError, match="delay must not be negative, got -1"):
            sim.emit_many(entries)
        assert everything(sim) == before


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["work"], "must be a mapping with 'event'"),
        ([{"data": {}}], "must be a mapping with 'event'"),
        ([{"event": "work", "dely": 5}], "'dely' is none of them"),
        ([{"event": "work", "awaited": True}], "'awaited' is none of them"),
        ([{"event": "work", 1: 2}], "1 is none of them"),
        ({"event": "work"}, "must be a mapping with 'event'"),
        (None, "emit_many takes a list of mappings, got None"),
        (7, "emit_many takes a list of mappings, got 7"),
    ],
    ids=str,
)
def test_what_is_no_list_of_emissions_is_refused(entries: Any, says: str) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        with pytest.raises(UsageError) as refusal:
            sim.emit_many(entries)
        assert everything(sim) == before
    assert says in str(refusal.value)


def test_more_than_a_thousand_of_several_queues_are_stored_in_order_and_answered_in_order() -> None:
    tm = TaskManager(db="memory://")
    queues = ("a", "b", "c")
    entries = [{"event": "work", "id": f"j{n}", "data": {"n": n}, "queue": queues[n % 3]} for n in range(3600)]
    with Simulation(tm, workers=0) as sim:
        handles = sim.emit_many(entries)
        assert [(handle.id, handle.queue) for handle in handles] == [(one["id"], one["queue"]) for one in entries]
        for place, queue in enumerate(queues):
            assert sim.counts(queue)["waiting"] == 1200
            newest = sim.jobs(queue, limit=1000)
            rest = sim.jobs(queue, limit=1000, after=newest[-1])
            stored = [record.data["n"] for record in [*newest, *rest]]
            assert stored == list(range(3600))[place::3][::-1]


def test_nothing_to_emit_is_no_error() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        assert sim.emit_many([]) == []
        assert everything(sim) == before


def test_any_iterable_will_do() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        handles = sim.emit_many(entry for entry in numbered(3))
        assert [record.data["n"] for record in reversed(sim.jobs())] == [0, 1, 2]
    assert len(handles) == 3


def test_a_handler_emits_many_with_its_context() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work")

    @tm.handler("fan-out")
    async def fan_out(job: Job[Any], ctx: Any) -> list[str]:
        handles = await ctx.emit_many(numbered(5))
        ctx.emit_many([{"event": "work", "data": {"n": 5}}])  # not awaited, and yet sent
        return [handle.status for handle in handles]

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("fan-out", timeout=5) == ["emitted"] * 5
        sim.run_until_idle()
    assert kept == [{"n": n} for n in range(6)]


def test_one_call_un_awaited_is_sent_behind_what_was_emitted_before_it() -> None:
    tm = TaskManager(db="memory://")

    async def main() -> None:
        tm.emit("work", {"n": "first"})
        tm.emit_many(numbered(3))
        await tm.emit("work", {"n": "last"})

    with Simulation(tm, workers=0) as sim:
        sim.run(main())
        assert [record.data["n"] for record in reversed(sim.jobs())] == ["first", 0, 1, 2, "last"]


def test_two_batches_at_once_are_not_mixed() -> None:
    tm = TaskManager(db="memory://")

    async def main() -> None:
        one = tm.emit_many([{"event": "work", "data": {"n": n}} for n in range(800)])
        two = tm.emit_many([{"event": "work", "data": {"n": n}} for n in range(800, 1600)])
        await asyncio.gather(asyncio.ensure_future(_awaited(two)), asyncio.ensure_future(_awaited(one)))

    with Simulation(tm, workers=0) as sim:
        sim.run(main())
        newest = sim.jobs(limit=1000)
        rest = sim.jobs(limit=1000, after=newest[-1])
    assert [record.data["n"] for record in [*newest, *rest]] == list(range(1600))[::-1]


async def _awaited(emitting: Any) -> Any:
    return await emitting
