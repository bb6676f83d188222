"""The `ctx` of a handler: the user's own object, read and written through, with `emit` beside its names."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError
from tests.worker.apps import keeping


class Services:
    """An object as an application has it: a class attribute, an instance attribute, a method."""

    region = "eu"

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, to: str) -> int:
        self.sent.append(to)
        return len(self.sent)


def run_once(tm: TaskManager, body: Any) -> None:
    """Runs `body(ctx)` in a handler, and fails where it fails."""

    async def once(job: Job[Any], ctx: Any) -> None:
        body(ctx)

    tm.register_handler(once, event="once")
    with Simulation(tm) as sim:
        sim.emit_and_wait("once", timeout=1)


def test_a_handler_reads_and_calls_what_the_users_object_has() -> None:
    services = Services()

    def body(ctx: Any) -> None:
        assert ctx.region == "eu"
        assert ctx["region"] == "eu"
        assert ctx.send("ann") == 1
        assert ctx.get("region") == "eu"
        assert ctx.get("absent", 7) == 7
        assert "sent" in ctx
        assert "absent" not in ctx

    run_once(TaskManager(db="memory://", ctx=services), body)
    assert services.sent == ["ann"]


def test_a_mapping_is_read_by_attribute_and_by_item() -> None:
    def body(ctx: Any) -> None:
        assert ctx.region == ctx["region"] == ctx.get("region") == "eu"
        assert "region" in ctx
        assert sorted(ctx) == ["emit", "emit_many", "region"]

    run_once(TaskManager(db="memory://", ctx={"region": "eu"}), body)


def test_what_a_handler_writes_is_written_to_the_users_mapping() -> None:
    own: dict[str, Any] = {"count": 0}

    def body(ctx: Any) -> None:
        ctx.count += 1
        ctx["seen"] = True
        ctx.gone = 1
        del ctx.gone

    run_once(TaskManager(db="memory://", ctx=own), body)
    assert own == {"count": 1, "seen": True}


def test_what_a_handler_writes_is_written_to_the_users_object() -> None:
    own = SimpleNamespace(count=0)

    def body(ctx: Any) -> None:
        ctx.count += 1
        ctx["seen"] = True

    run_once(TaskManager(db="memory://", ctx=own), body)
    assert own == SimpleNamespace(count=1, seen=True)


def test_without_a_context_there_is_emit_and_nothing_else() -> None:
    def body(ctx: Any) -> None:
        assert sorted(ctx) == ["emit", "emit_many"]
        ctx.note = 1  # a scratch pad of its own
        assert ctx.note == 1

    run_once(TaskManager(db="memory://"), body)


@pytest.mark.parametrize("own", [{"a": 1}, SimpleNamespace(a=1), None], ids=["mapping", "object", "none"])
def test_a_name_that_is_not_there_is_an_attribute_error_and_a_key_error(own: Any) -> None:
    def body(ctx: Any) -> None:
        with pytest.raises(AttributeError, match="absent"):
            _ = ctx.absent
        with pytest.raises(KeyError, match="absent"):
            _ = ctx["absent"]
        with pytest.raises(AttributeError, match="absent"):
            del ctx.absent

    run_once(TaskManager(db="memory://", ctx=own), body)


def test_emit_cannot_be_replaced_by_a_handler() -> None:
    own: dict[str, Any] = {}

    def body(ctx: Any) -> None:
        for spoil in (lambda: setattr(ctx, "emit", None), lambda: ctx.__setitem__("emit_many", None)):
            with pytest.raises(UsageError, match="cannot be replaced"):
                spoil()
        with pytest.raises(UsageError, match="cannot be replaced"):
            del ctx.emit

    run_once(TaskManager(db="memory://", ctx=own), body)
    assert own == {}


class Emits:
    def emit(self) -> None: ...


@pytest.mark.parametrize(
    "own",
    [{"emit": 1}, {"emit_many": 1}, Emits(), Emits, SimpleNamespace(emit=None)],
    ids=lambda own: type(own).__name__,
)
def test_a_context_with_an_emit_of_its_own_is_refused(own: Any) -> None:
    with pytest.raises(UsageError, match="ctx must not have its own 'emit"):
        TaskManager(db="memory://", ctx=own)


def test_a_lifespan_that_yields_a_context_with_an_emit_is_refused_at_the_start() -> None:
    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Any]:
        yield {"emit": 1}

    tm = TaskManager(db="memory://", lifespan=lifespan)
    with Simulation(tm, workers=0) as sim, pytest.raises(UsageError, match="ctx must not have its own 'emit'"):
        sim.start()


def test_what_a_lifespan_yields_is_the_context_and_it_is_left_at_the_stop() -> None:
    told: list[str] = []

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Any]:
        told.append("enter")
        yield {"pool": "a pool"}
        told.append("leave")

    tm = TaskManager(db="memory://", lifespan=lifespan)

    @tm.handler("look")
    async def look(job: Job[Any], ctx: Any) -> str:
        return str(ctx.pool)

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("look", timeout=1) == "a pool"
        assert told == ["enter"]
        sim.stop()
        assert told == ["enter", "leave"]
        sim.start()
        sim.stop()
    assert told == ["enter", "leave"] * 2


def test_get_context_is_what_handlers_get() -> None:
    own = {"region": "eu"}
    tm = TaskManager(db="memory://", ctx=own)
    kept = keeping(tm, "child")

    async def main() -> str:
        ctx = tm.get_context()
        ctx.seen = True
        handle = await ctx.emit("child", {"n": 1})
        return str(handle.status)

    with Simulation(tm) as sim:
        assert sim.run(main()) == "emitted"
        sim.run_until_idle()
    assert own == {"region": "eu", "seen": True}
    assert kept == [{"n": 1}]


def test_get_context_may_be_had_before_anything_is_started() -> None:
    ctx = TaskManager(db="memory://", ctx={"region": "eu"}).get_context()
    assert ctx.region == "eu"
    with pytest.raises(UsageError, match="running event loop"):
        ctx.emit("work")


def test_the_users_object_is_handed_to_every_handler_as_it_is() -> None:
    services = Services()
    tm = TaskManager(db="memory://", ctx=services)

    @tm.handler("send")
    def send(job: Job[Any], ctx: Any) -> None:
        ctx.send(job.data["to"])

    with Simulation(tm, workers=2) as sim:
        for to in ("ann", "bob", "cem"):
            sim.emit("send", {"to": to})
        sim.run_until_idle()
    assert sorted(services.sent) == ["ann", "bob", "cem"]
