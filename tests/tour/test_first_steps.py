"""The tour, part one: emit a job, handle it, and hear what came of it. Read from top to bottom."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from simulation import Simulation
from taskmanager import Job, TaskManager


def test_a_handler_runs_what_was_emitted() -> None:
    tm = TaskManager(db="memory://")
    outbox: list[str] = []

    @tm.handler("send-email")
    async def send_email(job: Job[Any]) -> None:
        outbox.append(job.data["to"])

    with Simulation(tm) as sim:
        sim.emit("send-email", {"to": "ann@example.com"})
        sim.run_until_idle()

    assert outbox == ["ann@example.com"]


def test_the_same_application_runs_for_real() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("double")
    async def double(job: Job[Any]) -> int:
        return 2 * int(job.data["n"])

    async def main() -> Any:
        async with tm:  # starts a worker, and stops it
            return await tm.emit_and_wait("double", {"n": 21}, timeout=5)

    assert asyncio.run(main()) == 42
    with Simulation(tm) as sim:
        assert sim.emit_and_wait("double", {"n": 21}, timeout=5) == 42


def test_a_handler_emits_more_jobs_through_its_context() -> None:
    tm = TaskManager(db="memory://", ctx={"greeting": "Welcome"})
    outbox: list[str] = []

    @tm.handler("sign-up")
    async def sign_up(job: Job[Any], ctx: Any) -> None:
        await ctx.emit("send-email", {"text": f"{ctx.greeting}, {job.data['name']}!"})

    @tm.handler("send-email")
    def send_email(job: Job[Any]) -> None:  # a plain function runs in a thread
        outbox.append(job.data["text"])

    with Simulation(tm) as sim:
        sim.emit("sign-up", {"name": "Ann"})
        sim.run_until_idle()

    assert outbox == ["Welcome, Ann!"]


@dataclass
class Transfer:
    account: str
    cents: int


def test_a_declared_type_is_checked_before_the_handler_runs() -> None:
    tm = TaskManager(db="memory://")
    booked: list[Transfer] = []

    @tm.handler("transfer")
    async def transfer(job: Job[Transfer]) -> None:
        booked.append(job.data)

    with Simulation(tm) as sim:
        sim.emit("transfer", {"account": "A-1", "cents": 500}, id="good")
        sim.emit("transfer", {"account": "A-1", "cents": "five"}, id="bad")
        sim.run_until_idle()
        bad = sim.job("bad")

    assert booked == [Transfer("A-1", 500)]
    assert bad is not None
    assert (bad.state, bad.reason) == ("failed", "data")


def test_emitting_twice_is_harmless() -> None:
    """The data is the identity: equal emissions are one job while it waits. Name an id, and that decides."""
    tm = TaskManager(db="memory://")

    with Simulation(tm, workers=0) as sim:
        assert sim.emit("invoice", {"order": 7}).status == "emitted"
        assert sim.emit("invoice", {"order": 7}).status == "duplicate"
        assert sim.emit("invoice", {"order": 8}).status == "emitted"
        assert sim.emit("invoice", {"note": "by hand"}, id="invoice-9").status == "emitted"
        assert sim.emit("invoice", {"note": "corrected"}, id="invoice-9", replace=True).status == "replaced"
        assert sim.counts()["waiting"] == 3


def test_emitted_while_it_runs_it_runs_once_more_afterwards() -> None:
    tm = TaskManager(db="memory://")
    synced: list[int] = []

    @tm.handler("sync")
    async def sync(job: Job[Any]) -> None:
        synced.append(job.data["version"])
        await asyncio.sleep(60)

    with Simulation(tm) as sim:
        for version in (1, 2, 3):
            sim.emit("sync", {"version": version}, id="sync")
            sim.advance(10)
        sim.run_until_idle()

    assert synced == [1, 3]  # 2 was overtaken while 1 was running
