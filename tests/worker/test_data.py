"""What a handler sees of what was emitted: the decoded JSON, never the caller's objects."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError
from tests.worker.apps import everything, keeping


class Colour(Enum):
    RED = "red"


ACCEPTED: list[tuple[Any, Any]] = [
    # what is emitted, what its handler sees
    ({}, {}),
    (None, {}),
    ({"a": {"b": [1, 2.5, True, None, "text"]}}, {"a": {"b": [1, 2.5, True, None, "text"]}}),
    ([1, 2], [1, 2]),
    ("text", "text"),
    (0, 0),
    (False, False),
    ({"pair": (1, 2)}, {"pair": [1, 2]}),
    ({"at": datetime(2026, 3, 29, 1, tzinfo=UTC)}, {"at": "2026-03-29T01:00:00Z"}),
    (
        {"at": datetime(2026, 3, 29, 1, tzinfo=timezone(timedelta(hours=2)))},
        {"at": "2026-03-29T01:00:00+02:00"},
    ),
    ({"id": UUID(int=7)}, {"id": "00000000-0000-0000-0000-000000000007"}),
    ({"price": Decimal("1.10")}, {"price": "1.10"}),
    ({"colour": Colour.RED}, {"colour": "red"}),
    ({"": "an empty key", "ключ": "\N{GRINNING FACE}"}, {"": "an empty key", "ключ": "\N{GRINNING FACE}"}),
    ({"large": 2**63}, {"large": 2**63}),
]


@pytest.mark.parametrize(("given", "seen"), ACCEPTED, ids=[ascii(given)[:40] for given, _ in ACCEPTED])
def test_a_handler_sees_the_decoded_json_of_what_was_emitted(given: Any, seen: Any) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "look")
    with Simulation(tm) as sim:
        handle = sim.emit("look", given)
        sim.run_until_idle()
        record = sim.job(handle)
    assert kept == [seen]
    assert type(kept[0]) is type(seen)
    assert record is not None
    assert record.data == seen


REFUSED: list[tuple[Any, str]] = [
    # what is emitted, what the refusal says
    ({"x": math.nan}, "data.x: nan"),
    ({"x": [math.inf]}, "data.x[0]: inf"),
    ({"x": -math.inf}, "data.x: -inf"),
    ({1: "x"}, "key 1 is not text"),
    ({"x": {1, 2}}, "has no order"),
    ({"x": b"raw"}, "data.x: b'raw' is not JSON"),
    ({"at": datetime(2026, 1, 1)}, "naive datetime 2026-01-01T00:00:00"),
    ({"x": "\ud800"}, "lone surrogate"),
    ({"\udfff": 1}, "lone surrogate"),
    ({"x": Decimal("NaN")}, "NaN is not finite"),
    ({"x": object()}, "data.x: an object of type object is not JSON"),
    ({"x": print}, "is not JSON"),
    ("x" * (1 << 20), "max_data_bytes=1048576"),
]


@pytest.mark.parametrize(("given", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_data_that_is_not_json_is_refused_where_it_was_emitted_and_nothing_changes(given: Any, says: str) -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "look")
    with Simulation(tm, workers=0) as sim:
        sim.emit("look", {"before": 1})
        before = everything(sim)
        with pytest.raises(UsageError) as refusal:
            sim.emit("look", given)
        assert everything(sim) == before
    assert says in str(refusal.value)


def test_data_is_measured_against_this_managers_own_limit() -> None:
    tm = TaskManager(db="memory://", max_data_bytes=10)
    with Simulation(tm, workers=0) as sim:
        assert sim.emit("look", "x" * 8).status == "emitted"  # and two quotation marks
        with pytest.raises(UsageError, match="at most max_data_bytes=10 bytes of JSON, got 11"):
            sim.emit("look", "x" * 9)
        assert len(sim.jobs()) == 1


def test_data_changed_after_the_call_is_not_changed_in_the_job() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "look")

    async def main() -> None:
        data = {"items": [1]}
        emitting = tm.emit("look", data)
        data["items"].append(2)
        await emitting

    with Simulation(tm) as sim:
        sim.run(main())
        sim.run_until_idle()
    assert kept == [{"items": [1]}]


def test_a_retry_sees_the_data_as_it_was_emitted_whatever_the_first_run_did_to_it() -> None:
    tm = TaskManager(db="memory://")
    seen: list[list[int]] = []

    @tm.handler("spoil", attempts=1)
    async def spoil(job: Job[Any]) -> None:
        seen.append(list(job.data["items"]))
        job.data["items"].clear()
        if job.attempt == 1:
            raise RuntimeError("again")

    with Simulation(tm) as sim:
        sim.emit("spoil", {"items": [1, 2]})
        sim.run_until_idle()
    assert seen == [[1, 2], [1, 2]]


def test_two_workers_handlers_never_share_an_object() -> None:
    tm = TaskManager(db="memory://", concurrency=2)
    seen: list[Any] = []

    @tm.handler("share")
    async def share(job: Job[Any]) -> None:
        seen.append(job.data)

    shared = {"list": [1]}
    with Simulation(tm) as sim:
        sim.emit_many([{"event": "share", "data": shared, "id": "a"}, {"event": "share", "data": shared, "id": "b"}])
        sim.run_until_idle()
    assert seen[0] == seen[1] == shared
    assert seen[0]["list"] is not seen[1]["list"]
    assert seen[0]["list"] is not shared["list"]
