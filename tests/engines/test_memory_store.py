"""What is the memory engine's own: its URLs, its shared stores and their marks, its streams, and what it forgets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import pytest

from taskmanager.engine import AWAITED_MS, REPLAY_MS, Await, Batch, Delete, JobRef, Requeue, Settlement
from taskmanager.engines import open_engine
from taskmanager.engines.memory import MemoryEngine
from taskmanager.engines.rules.records import check
from taskmanager.errors import InvariantError, UsageError
from taskmanager.job import Edge, Emission, ErrorInfo, Kind, Limit, State, Transition, Window

T = TypeVar("T")
LEASE_MS = 15_000
FAILED = Transition(Kind.FAILED, State.FAILED, failures=1, error=ErrorInfo("E", "e"), dead_letter="dlq")
COMPLETED = Transition(Kind.COMPLETED, State.COMPLETED)


class Clock:
    ms = 1_700_000_000_000

    def now_us(self) -> int:
        return self.ms * 1000


def run(verb: Coroutine[Any, Any, T]) -> T:
    """Drives a verb without any loop, and so proves that it does not suspend."""
    with pytest.raises(StopIteration) as ended:
        verb.send(None)
    return cast(T, ended.value.value)


class Caller:
    """One connection that numbers its calls."""

    def __init__(self, engine: MemoryEngine) -> None:
        self.engine = engine
        self.number = 0

    def batch(self) -> Batch:
        self.number += 1
        return Batch("caller", self.number)

    def emit(self, id: str, queue: str = "q", **fields: Any) -> int:
        [verdict] = run(self.engine.enqueue(queue, [Emission("send", id, **fields)], self.batch())).verdicts
        return verdict.serial or 0

    def take(self, worker: str = "w") -> int:
        [claim] = run(self.engine.claim("q", worker, (), 1, LEASE_MS, 2)).jobs
        return claim.number

    def end(self, claim: int, how: Transition) -> None:
        run(self.engine.settle("q", "w", [Settlement(claim, how)], self.batch()))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caller(clock: Clock) -> Caller:
    return Caller(MemoryEngine(clock))


# ---- URLs


def test_a_url_without_a_name_is_a_store_of_its_own_each_time() -> None:
    first, second = open_engine("memory://"), open_engine("memory://")
    run(first.enqueue("q", [Emission("send", "x")], Batch("caller", 1)))
    assert run(first.queues()) == ["q"]
    assert run(second.queues()) == []


def test_a_named_store_is_shared_in_the_process_and_outlives_its_connections() -> None:
    first = open_engine("memory://shared-by-test")
    run(first.enqueue("q", [Emission("send", "x")], Batch("caller", 1)))
    run(first.close())
    assert run(open_engine("MEMORY://shared-by-test").queues()) == ["q"]
    assert run(open_engine("memory://shared-by-Test").queues()) == []


@pytest.mark.parametrize(("url", "seen"), [("tasks.db", "'tasks.db'"), ("carrier://user:secret@pigeon", "'carrier'")])
def test_another_url_is_refused_by_what_was_seen_and_what_is_accepted(url: str, seen: str) -> None:
    with pytest.raises(UsageError) as refusal:
        open_engine(url)
    assert seen in str(refusal.value)
    assert "memory://name" in str(refusal.value)
    assert "secret" not in str(refusal.value)


# ---- marks


def test_the_first_write_marks_a_store_and_a_mere_opening_does_not(caller: Caller) -> None:
    run(caller.engine.open())
    simulation = caller.engine.fork()
    run(simulation.open(simulated=True))
    run(simulation.enqueue("q", [Emission("send", "x")], Batch("simulated", 1)))
    with pytest.raises(UsageError, match="is simulated and cannot be used as a real one"):
        caller.emit("y")
    assert run(simulation.get("q", JobRef("y"))) is None
    with pytest.raises(UsageError, match="memory://"):
        run(caller.engine.open())


def test_a_refusal_names_the_store() -> None:
    real = open_engine("memory://orders")
    run(real.enqueue("q", [], Batch("caller", 1)))
    with pytest.raises(UsageError, match="memory://orders is real"):
        run(open_engine("memory://orders").open(simulated=True))


# ---- the table of moves


def test_a_move_that_is_not_in_the_table_is_an_invariant_error() -> None:
    check(State.WAITING, Kind.STARTED, State.ACTIVE)
    with pytest.raises(InvariantError, match="no step started leads from completed to active"):
        check(State.COMPLETED, Kind.STARTED, State.ACTIVE)


def test_a_settlement_that_is_no_move_is_an_invariant_error(caller: Caller) -> None:
    caller.emit("x")
    with pytest.raises(InvariantError, match="leads from active to completed"):
        caller.end(caller.take(), Transition(Kind.RELEASED, State.COMPLETED))


# ---- dead letters


def test_a_dead_letter_lies_in_its_stream_until_its_job_goes(caller: Caller) -> None:
    serials = []
    for id in ("a", "b", "c"):
        serials.append(caller.emit(id))
        caller.end(caller.take(), FAILED)
    assert [(id, serial) for id, serial, _ in caller.engine.dead_letters("dlq")] == list(
        zip(("a", "b", "c"), serials, strict=True)
    )
    run(caller.engine.control("q", Requeue(JobRef("a")), caller.batch()))
    run(caller.engine.control("q", Delete(JobRef("b")), caller.batch()))
    assert [id for id, _, _ in caller.engine.dead_letters("dlq")] == ["c"]
    caller.emit("c")
    assert caller.engine.dead_letters("dlq") == []
    assert caller.engine.store.dead_letters == {}


# ---- what is forgotten


def test_a_queue_in_which_nothing_is_left_rests_and_gives_no_number_twice(caller: Caller, clock: Clock) -> None:
    serial = caller.emit("x")
    claim = caller.take()
    caller.end(claim, COMPLETED)
    clock.ms += REPLAY_MS
    run(caller.engine.prune("q", {State.COMPLETED: Limit(0, 0)}))
    assert caller.engine.store.queues == {}
    before = run(caller.engine.count("q"))
    assert sum(before.states.values()) == 0
    assert caller.emit("x") == serial + 1
    assert caller.take() == claim + 1


def test_queues_that_nobody_prunes_rest_as_others_come(caller: Caller, clock: Clock) -> None:
    for number in range(2000):
        name = f"q{number}"
        caller.emit("x", queue=name)
        run(caller.engine.control(name, Delete(JobRef("x")), caller.batch()))
        clock.ms += REPLAY_MS // 10
    assert len(caller.engine.store.queues) <= 100


def test_dead_entries_of_the_delayed_never_outnumber_the_live_ones(caller: Caller) -> None:
    for number in range(1000):
        caller.emit("x", delay_ms=1000 + number, replace=True)
        caller.emit(f"y{number}", delay_ms=5000)
    for number in range(1000):
        run(caller.engine.cancel("q", JobRef(f"y{number}"), caller.batch()))
    delays = caller.engine.store.queues["q"].delays
    assert len(delays) == 1
    assert len(delays.heap) <= 2 * len(delays) + 16


def test_what_is_kept_for_a_while_goes_with_time(caller: Caller, clock: Clock) -> None:
    for number in range(10):
        window = Window(f"k{number}", Edge.LEADING, 1000)
        serial = caller.emit(f"x{number}", window=window, awaited=True)
        run(caller.engine.control("q", Await(JobRef(f"x{number}", serial)), Batch(f"other{number}", 1)))
        caller.end(caller.take(), COMPLETED)
    queue = caller.engine.store.queues["q"]
    assert (len(queue.outcomes), len(queue.windows)) == (10, 10)
    assert (queue.leases, queue.windows_of) == ({}, {})
    clock.ms += max(AWAITED_MS, REPLAY_MS)
    run(caller.engine.prune("q", {State.COMPLETED: Limit(None, 3)}))
    assert (len(queue.jobs), len(queue.outcomes), len(queue.windows), len(queue.replays)) == (3, 0, 0, 0)


def test_a_job_with_another_window_at_each_replacement_keeps_those_that_are_open(caller: Caller, clock: Clock) -> None:
    for number in range(100):
        caller.emit("x", replace=True, window=Window(f"k{number}", Edge.LEADING, 1000))
        clock.ms += 500
        run(caller.engine.prune("q", {}))
    [keys] = caller.engine.store.queues["q"].windows_of.values()
    assert len(keys) <= 3


def test_waiters_are_told_of_a_queue_from_the_first_wait_on_and_then_of_how_it_stands(caller: Caller) -> None:
    caller.emit("a")
    waiters = caller.engine.store.waiters
    assert not waiters.knows("q")
    assert list(asyncio.run(caller.engine.wait({"q": 0}, None))) == ["q"]
    assert waiters.knows("q")
    caller.emit("b")
    assert list(asyncio.run(caller.engine.wait({"q": 1}, None))) == ["q"]
