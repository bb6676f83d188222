"""What somebody deleted by hand: one job that is gone keeps no other from running, and its id is free again."""

from __future__ import annotations

import pytest

from taskmanager.engine import Batch, Purge, Settlement
from taskmanager.job import Emission, ErrorInfo, Kind, State, Transition
from tests.engines.redis.ground import EVENT, opened, started, until
from tests.servers import Server

JOB = "taskmanager:{default}:job:"
LEASE_MS = 50


async def test_a_waiting_job_whose_record_is_gone_holds_up_no_neighbour(every_server: Server) -> None:
    async with started(every_server.url, concurrency=2) as app:
        await app.tm.pause_queue()
        await app.emit("a", "b", "c")
        every_server.ask("DEL", f"{JOB}b")
        await app.tm.resume_queue()
        await app.ended("a")
        await app.ended("c")
        await app.tm.drain()
        assert sorted(app.ran) == ["a", "c"]
        assert [job.event for job in await app.tm.jobs()] == [EVENT, EVENT]
        await until(lambda: every_server.ask("XLEN", "taskmanager:{default}:line:0") == 0)


async def test_a_waiting_job_whose_record_is_gone_is_listed_and_purged_with_the_others(server: Server) -> None:
    async with opened(server.url) as engine:
        await engine.enqueue("default", [Emission("send", id) for id in "abc"], Batch("me", 1))
        server.ask("DEL", f"{JOB}b")
        assert [job.id for job in await engine.list("default", State.WAITING, 10, None)] == ["c", "a"]
        assert (await engine.control("default", Purge(State.WAITING), Batch("me", 1))).count == 3
        assert (await engine.claim("default", "me", (), 5, LEASE_MS, 2)).jobs == []
        assert server.ask("XLEN", "taskmanager:{default}:line:0") == 0


async def test_a_delayed_job_whose_record_is_gone_makes_nothing_due(server: Server) -> None:
    async with started(server.url) as app:
        await app.tm.emit(EVENT, id="gone", delay=0.05)
        await app.tm.emit(EVENT, id="there", delay=0.06)
        server.ask("DEL", f"{JOB}gone")
        await app.ended("there")
        assert server.ask("EXISTS", f"{JOB}gone") == 0
        await app.emit("gone")
        await app.ended("gone")
        assert app.ran == ["there", "gone"]


@pytest.mark.parametrize("end", ["completed", "completed with a result", "failed"])
async def test_a_running_job_whose_record_is_gone_leaves_nothing(server: Server, end: str) -> None:
    transition = {
        "completed": Transition(Kind.COMPLETED, State.COMPLETED, max_attempts=1),
        "completed with a result": Transition(Kind.COMPLETED, State.COMPLETED, max_attempts=1, result=b"1"),
        "failed": Transition(Kind.FAILED, State.FAILED, failures=1, error=ErrorInfo("ValueError", "boom")),
    }[end]
    async with opened(server.url) as engine:
        await engine.enqueue("default", [Emission("send", id) for id in ("gone", "there")], Batch("me", 1))
        claims = (await engine.claim("default", "me", (), 5, LEASE_MS, 2)).jobs
        server.ask("DEL", f"{JOB}gone")
        assert [job.id for job in await engine.list("default", State.ACTIVE, 10, None)] == ["there"]
        await engine.settle("default", "me", [Settlement(claim.number, transition) for claim in claims], Batch("me", 1))
        assert server.ask("EXISTS", f"{JOB}gone", "taskmanager:{default}:held:me") == 0
        assert [job.id for job in await engine.list("default", None, 10, None)] == ["there"]
        assert (await engine.count("default")).states[transition.to] == 1
        [again] = (await engine.enqueue("default", [Emission("send", "gone")], Batch("me", 2))).verdicts
        assert again.status is Kind.EMITTED
        assert [job.id for job in (await engine.claim("default", "me", (), 5, LEASE_MS, 2)).jobs] == ["gone"]


async def test_a_finished_job_whose_record_is_gone_is_pruned_with_the_others(server: Server) -> None:
    async with started(server.url) as app:
        await app.emit("a", "b", "c")
        await app.ended("c")
        await app.tm.drain()
        server.ask("DEL", f"{JOB}b")
        assert [job.id for job in await app.tm.jobs(state="completed")] == ["c", "a"]
        assert await app.tm.purge("default", "completed") == 3
        assert server.ask("XLEN", "taskmanager:{default}:finished:completed") == 0


async def test_a_job_whose_record_is_gone_keeps_no_other_from_being_reaped(server: Server) -> None:
    async with opened(server.url) as engine:
        await engine.enqueue("default", [Emission("send", id) for id in "abc"], Batch("me", 1))
        await engine.claim("default", "dead", (), 5, LEASE_MS, 2)
        server.ask("DEL", f"{JOB}b")
        taken: list[str] = []
        while not taken:
            taken += [claim.id for claim in (await engine.reap("default", "me", (), 5, LEASE_MS)).jobs]
        assert taken == ["a", "c"]
        assert server.ask("EXISTS", "taskmanager:{default}:held:dead") == 0


async def test_a_line_whose_group_is_gone_stops_no_worker(every_server: Server) -> None:
    async with started(every_server.url, concurrency=1) as app:
        app.gate.clear()
        await app.emit(*(f"job-{number}" for number in range(6)))
        await until(lambda: app.ran)
        every_server.ask("XGROUP", "DESTROY", "taskmanager:{default}:line:0", "workers")
        assert (await app.tm.counts())["active"] == 0
        app.gate.set()
        await until(lambda: set(app.ran) == {f"job-{number}" for number in range(6)})
        await app.tm.drain()
