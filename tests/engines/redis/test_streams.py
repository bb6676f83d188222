"""What an operator finds on the server: streams, a group and its consumers, hashes to read, and nothing left over."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from taskmanager import TaskManager
from taskmanager.engine import Await, Batch, Engine, JobRef, Settlement
from taskmanager.engines.redis.keys import KEYS, Layout
from taskmanager.job import Emission, Kind, Plan, State, Transition
from tests.engines.redis.ground import opened, started
from tests.house.source import ROOT
from tests.servers import Server

LEASE_MS = 15_000
QUEUE = "orders"
LINE = "taskmanager:{orders}:line:0"
COMPLETED = Transition(Kind.COMPLETED, State.COMPLETED, max_attempts=1)


def keys_of(server: Server) -> set[str]:
    return set(server.ask("KEYS", "*"))


def fields(server: Server, key: str) -> dict[str, str]:
    flat = server.ask("HGETALL", key)
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def emit(engine: Engine, *ids: str, number: int = 1, **options: Any) -> None:
    await engine.enqueue(QUEUE, [Emission("ship", id, **options) for id in ids], Batch("shop", number))


async def test_a_claim_is_a_pending_entry_of_the_workers_consumer_until_its_outcome_is_stored(server: Server) -> None:
    async with opened(server.url) as engine:
        await emit(engine, "a", "b", "c")
        first, second = (await engine.claim(QUEUE, "me", (), 2, LEASE_MS, 2)).jobs
        pending = server.ask("XPENDING", LINE, "workers", "-", "+", 10)
        assert [(entry, consumer) for entry, consumer, *_ in pending] == [("1-0", "me"), ("2-0", "me")]
        await engine.settle(QUEUE, "me", [Settlement(first.number, COMPLETED)], Batch("me", 1))
        assert [entry for entry, *_ in server.ask("XPENDING", LINE, "workers", "-", "+", 10)] == ["2-0"]
        assert [entry for entry, _ in server.ask("XRANGE", LINE, "-", "+")] == ["2-0", "3-0"]
        assert server.ask("HKEYS", "taskmanager:{orders}:held:me") == [str(second.number)]


async def test_what_ends_leaves_the_line_also_where_an_older_job_still_runs(every_server: Server) -> None:
    async with opened(every_server.url) as engine:
        await emit(engine, "a", "b", "c", "d")
        claims = (await engine.claim(QUEUE, "me", (), 3, LEASE_MS, 2)).jobs
        ended = [Settlement(claim.number, COMPLETED) for claim in claims[1:]]
        await engine.settle(QUEUE, "me", ended, Batch("me", 1))
        assert [entry for entry, _ in every_server.ask("XRANGE", LINE, "-", "+")] == ["1-0", "4-0"]
        await engine.settle(QUEUE, "me", [Settlement(claims[0].number, COMPLETED)], Batch("me", 2))
        assert [entry for entry, _ in every_server.ask("XRANGE", LINE, "-", "+")] == ["4-0"]
        assert (await engine.count(QUEUE)).states == dict.fromkeys(State, 0) | {State.WAITING: 1, State.COMPLETED: 3}


async def test_a_job_that_is_awaited_while_it_waits_is_started_from_its_record(every_server: Server) -> None:
    stale = "taskmanager:{orders}:stale"
    async with opened(every_server.url) as engine:
        await emit(engine, "a", "b")
        for number, id in enumerate(("a", "b"), 1):
            await engine.control(QUEUE, Await(JobRef(id)), Batch("who waits", number))
        assert sorted(every_server.ask("SMEMBERS", stale)) == ["a", "b"]
        await engine.cancel(QUEUE, JobRef("a"), Batch("me", 1))
        [claim] = (await engine.claim(QUEUE, "me", (), 5, LEASE_MS, 2)).jobs
        assert (claim.id, claim.attempt) == ("b", 1)
        assert every_server.ask("EXISTS", stale) == 0
        await engine.settle(QUEUE, "me", [Settlement(claim.number, COMPLETED)], Batch("me", 1), [State.COMPLETED])
        kept = await engine.get(QUEUE, JobRef("b", claim.serial))
        assert kept is not None
        assert kept.state is State.COMPLETED


async def test_a_consumer_that_owns_nothing_is_removed(every_server: Server) -> None:
    async with opened(every_server.url) as engine:
        await emit(engine, "a")
        [claim] = (await engine.claim(QUEUE, "me", (), 5, LEASE_MS, 2)).jobs
        await engine.claim(QUEUE, "idle", (), 5, LEASE_MS, 2)
        assert [flat[1] for flat in every_server.ask("XINFO", "CONSUMERS", LINE, "workers")] == ["me"]
        await engine.settle(QUEUE, "me", [Settlement(claim.number, COMPLETED)], Batch("me", 1))
        assert every_server.ask("XINFO", "CONSUMERS", LINE, "workers") == []


async def test_an_operator_can_read_a_job(server: Server) -> None:
    async with opened(server.url) as engine:
        await emit(engine, "a", data=b'{"to":"Ann"}', priority=3)
        job = fields(server, "taskmanager:{orders}:job:a")
        assert (job["state"], job["event"], job["data"], job["priority"]) == ("waiting", "ship", '{"to":"Ann"}', "3")
        await engine.claim(QUEUE, "me", (), 1, LEASE_MS, 2)
        job = fields(server, "taskmanager:{orders}:job:a")
        assert (job["state"], job["worker"], job["attempt"]) == ("active", "me", "1")


async def test_the_readme_shows_a_job_and_the_layout_as_they_are(server: Server) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    job, command = "taskmanager:{default}:job:welcome-7", "$ redis-cli hgetall 'taskmanager:{default}:job:welcome-7'\n"
    async with opened(server.url) as engine:
        entry = Emission("welcome", "welcome-7", b'{"to":"ann@example.com"}')
        await engine.enqueue("default", [entry], Batch("shop", 1))
        await engine.claim("default", "me", (), 1, LEASE_MS, 2)
    shown = readme.split(command)[1].split("\n$ ")[0].split("\n")
    assert server.ask("HGETALL", job)[: len(shown)] == shown
    for rest, what in KEYS.values():
        assert f"| `{rest}{'…' if rest.endswith(':') else ''}` | {what} |\n" in readme


async def test_all_keys_of_a_queue_share_a_hash_tag_and_are_in_the_layout(server: Server) -> None:
    async with opened(server.url) as engine:
        await emit(engine, "a", "b", "c", awaited=True)
        await emit(engine, "later", delay_ms=60_000, number=2)
        claims = (await engine.claim(QUEUE, "me", (), 2, LEASE_MS, 2)).jobs
        await emit(engine, "a", data=b"2", number=3)
        await engine.settle(QUEUE, "me", [Settlement(claims[1].number, COMPLETED)], Batch("me", 1))
    base = Layout("taskmanager").base(QUEUE)
    rests = [rest for rest, _ in KEYS.values()]
    for key in keys_of(server) - {"taskmanager:store", "taskmanager:queues"}:
        assert key.startswith(base)
        rest = key.removeprefix(base)
        assert rest in rests or any(known.endswith(":") and rest.startswith(known) for known in rests), key


async def test_with_a_retention_of_nothing_only_counters_and_last_calls_are_left(every_server: Server) -> None:
    nothing = dict.fromkeys(("completed", "failed", "cancelled"), 0)
    async with started(every_server.url, retention=nothing, concurrency=10) as app:
        await app.emit(*(f"job-{number}" for number in range(100)))
        await app.tm.drain(timeout=10)
    base = "taskmanager:{default}"
    left = keys_of(every_server) - {f"{base}:bell"}
    known = {f"{base}:meta", f"{base}:line:0", f"{base}:index", f"{base}:answers", f"{base}:calls"}
    assert left == known | {"taskmanager:store", "taskmanager:queues"}
    assert every_server.ask("XLEN", f"{base}:line:0") == every_server.ask("XLEN", f"{base}:index") == 0


async def test_several_applications_share_a_database_under_prefixes_of_their_own(server: Server) -> None:
    ours, theirs = (TaskManager(server.url, prefix=prefix) for prefix in ("ours", "theirs"))
    await ours.emit("ship", id="a")
    assert await theirs.get_job("a") is None
    assert await theirs.queues() == []
    await ours.stop()
    await theirs.stop()


async def test_a_dead_letter_without_a_place_does_not_keep_its_job_from_ending(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask("SET", "mine", "a text")
    async with started(server.url, processor={"dlq": {"stream_key": "mine"}}) as app:

        @app.tm.handler("fail")
        async def fail(job: Any) -> None:
            raise ValueError("boom")

        await app.tm.emit("fail", id="a")
        job = await app.ended("a")
        assert (job.state, job.dead_letter) == (State.FAILED, None)
    assert "'mine' is no stream" in caplog.text
    assert server.ask("GET", "mine") == "a text"


async def test_a_line_that_somebody_deleted_is_made_anew(every_server: Server) -> None:
    async with started(every_server.url) as app:
        await app.emit("a")
        await app.ended("a")
        every_server.ask("DEL", "taskmanager:{default}:line:0")
        await app.emit("b")
        await app.ended("b")


async def test_a_schedule_that_was_stored_before_there_were_origins_is_read_and_kept(server: Server) -> None:
    nightly = Plan("nightly", "ship", "0 3 * * *", "UTC", overlap="skip")
    async with opened(server.url) as engine:
        await engine.enqueue(QUEUE, [nightly], Batch("shop", 1))
        key = "taskmanager:{orders}:schedule:nightly"
        older = json.loads(fields(server, key)["plan"])[:-1]
        server.ask("HSET", key, "plan", json.dumps(older))
        [schedule] = (await engine.schedules(QUEUE)).schedules
        assert schedule.plan == nightly
        await engine.enqueue(QUEUE, [replace(nightly, origin="tasks:app/tasks")], Batch("shop", 2))
        [again] = (await engine.schedules(QUEUE)).schedules
        assert (again.plan.origin, again.place) == ("tasks:app/tasks", schedule.place)
