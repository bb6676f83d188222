"""Servers that restart, forget, refuse and fill up, under workers that are at work: each comes through by itself.

Each job has an id of its own and a handler that notes its runs, so "nothing is lost" and "nothing ran twice" are looked
up and not inferred.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

import taskmanager.engines.redis.connection
from taskmanager import Job, TaskManager, TaskManagerError
from taskmanager.errors import EngineFull
from tests.engines.redis.conftest import Private
from tests.engines.redis.ground import EVENT, PATIENCE_S, App, eventually, opened, quiet, started, until
from tests.engines.redis.proxy import Fate, Proxy
from tests.servers import HOST, Server, ServerRefused, server_kinds

RECOVERS_S = 5.0


def durable(private: Private) -> Server:
    """One that answers only when what it did is on disk."""
    return private(appendonly="yes", appendfsync="always")


class Load:
    """Emits jobs one after another, and keeps the ids of those that were acknowledged."""

    def __init__(self, tm: TaskManager) -> None:
        self.acknowledged: list[str] = []
        self._tm = tm
        self._over = False
        self._task = asyncio.create_task(self._emitting())

    async def _emitting(self) -> None:
        number = 0
        while not self._over:
            number += 1
            handle = await self._tm.emit(EVENT, id=f"job-{number}")
            self.acknowledged.append(handle.id)

    async def more(self, number: int) -> None:
        """Until so many more are acknowledged."""
        wanted = len(self.acknowledged) + number
        await until(lambda: len(self.acknowledged) >= wanted or self._task.done())
        assert not self._task.done(), self._task.exception()

    async def end(self) -> list[str]:
        self._over = True
        await self._task
        return self.acknowledged


async def under_load(server: Server, trouble: Callable[[], Awaitable[object]], *, url: str | None = None) -> None:
    """Two workers and one emitter before, during and after the trouble; what was acknowledged has run."""
    client = TaskManager(url or server.url)
    async with started(url or server.url, concurrency=3) as one, started(url or server.url, concurrency=3) as two:
        load = Load(client)
        await load.more(20)
        await trouble()
        await load.more(20)
        for job_id in await load.end():
            assert (await one.ended(job_id)).state == "completed"
        runs = one.ran + two.ran
        assert set(runs) >= set(load.acknowledged)
        assert len(runs) == len(set(runs))
    await client.stop()


# ---- the server goes and comes


async def test_a_killed_server_that_comes_back_with_its_log_has_lost_nothing_acknowledged(private: Private) -> None:
    server = durable(private)

    async def trouble() -> None:
        server.kill()
        await asyncio.to_thread(server.restart)

    await under_load(server, trouble)


async def test_a_server_that_is_still_loading_is_waited_for(private: Private, caplog: pytest.LogCaptureFixture) -> None:
    server = durable(private)
    # A server that loads looks at its clients once in 1,024 commands; each takes 0.2 ms here.
    server.ask("EVAL", "for i = 1, 3000 do redis.call('SET', 'filler:' .. i, 'x') end", 0)

    async def trouble() -> None:
        await asyncio.to_thread(server.restart, loaded=False, key_load_delay=200)

    await under_load(server, trouble)
    assert "loading the dataset in memory" in caplog.text


async def test_cut_connections_are_made_anew_and_nothing_runs_twice(server: Server) -> None:
    async def trouble() -> None:
        for _ in range(5):
            server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.sleep(0.02)

    await under_load(server, trouble)


async def test_a_wire_that_is_silent_for_a_while_and_goes_on_loses_nothing(server: Server) -> None:
    with Proxy(server.port) as wire:

        async def trouble() -> None:
            wire.freeze()
            await asyncio.sleep(0.3)
            wire.heal()

        await under_load(server, trouble, url=wire.url)


async def test_a_server_that_stands_still_for_longer_than_the_lease_costs_nobody_a_job(private: Private) -> None:
    server = private()
    lease = 0.5
    async with started(server.url, lease=lease) as one, started(server.url, lease=lease) as two:
        one.gate.clear()
        two.gate.clear()
        await one.emit("a", "b")
        await until(lambda: one.runs and two.runs)
        server.pause()
        await asyncio.sleep(2 * lease)
        server.resume()
        await asyncio.sleep(lease)  # in which whoever wanted to reap would have
        one.gate.set()
        two.gate.set()
        for job_id in "ab":
            job = await one.ended(job_id)
            assert (job.state, job.attempt, job.losses) == ("completed", 1, 0)


async def test_a_result_is_had_though_the_news_of_it_was_cut(server: Server) -> None:
    client = TaskManager(server.url)
    async with started(server.url) as app:
        app.gate.clear()
        handle = await client.emit(EVENT)
        result = asyncio.ensure_future(handle.result(timeout=PATIENCE_S))
        await until(lambda: app.runs and server.ask("CLIENT", "LIST", "TYPE", "pubsub"))
        assert server.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
        app.gate.set()
        assert await asyncio.wait_for(result, RECOVERS_S) == 1
    await client.stop()


async def test_an_idle_worker_stops_at_once_where_no_server_answers(
    private: Private, caplog: pytest.LogCaptureFixture
) -> None:
    server = private()
    app = App(server.url)
    await app.tm.start()
    await app.emit("a")
    await app.ended("a")
    server.kill()
    await until(lambda: "asking again" in caplog.text)
    await asyncio.wait_for(app.tm.stop(), RECOVERS_S)


# ---- the server forgets


async def comes_back(server: Server, forget: Callable[[], Awaitable[object]]) -> None:
    """A worker whose store is emptied under load runs what comes later, and its schedules come back."""
    client = TaskManager(server.url)
    app = App(server.url, concurrency=3)
    ticks: list[float] = []

    @app.tm.handler("tick", repeat="* * * * * *")
    async def tick(job: Job[Any]) -> None:
        ticks.append(monotonic())

    async with app.tm:
        load = Load(client)
        await load.more(20)
        await until(lambda: ticks)
        await forget()
        await load.more(20)
        await load.end()
        forgotten = monotonic()
        await client.emit(EVENT, id="later")
        await until(lambda: "later" in app.ran, within_s=RECOVERS_S)
        await until(lambda: ticks[-1] > forgotten + 0.1, within_s=RECOVERS_S)
        assert [schedule.name for schedule in await client.schedules()] == ["tick"]
        await app.tm.drain(timeout=RECOVERS_S)
    await client.stop()


async def test_workers_recover_from_a_server_that_restarts_empty(private: Private) -> None:
    server = private()
    await comes_back(server, lambda: asyncio.to_thread(server.restart, empty=True))


async def test_workers_recover_from_a_flushall_on_every_server(every_server: Server) -> None:
    await comes_back(every_server, lambda: asyncio.to_thread(every_server.ask, "FLUSHALL"))


async def test_a_store_that_is_emptied_and_filled_with_more_than_ever_is_known_to_be_another(server: Server) -> None:
    client = TaskManager(server.url)
    app = App(server.url, concurrency=1)
    app.tm.register_handler(lambda job: None, "tick", repeat="0 0 1 1 *")
    async with app.tm:
        await app.emit("before")
        await app.ended("before")
        await asyncio.to_thread(server.ask, "FLUSHALL")
        await client.emit_many([{"event": EVENT, "id": f"after-{number}"} for number in range(200)])
        await until(lambda: len(app.ran) > 200, within_s=RECOVERS_S)
        await eventually(client.schedules, within_s=RECOVERS_S)
        assert [schedule.name for schedule in await client.schedules()] == ["tick"]
    await client.stop()


async def test_idle_workers_recover_from_a_flushall(every_server: Server) -> None:
    """Nobody is writing: a worker that sleeps on what was removed hears of the next emission all the same."""
    client = TaskManager(every_server.url)
    with Proxy(every_server.port) as wire:
        async with started(wire.url) as app:
            await app.emit("before")
            await app.ended("before")
            await quiet(wire.commands.total)
            every_server.ask("FLUSHALL")
            await client.emit(EVENT, id="after")
            await until(lambda: "after" in app.ran, within_s=RECOVERS_S)
    await client.stop()


async def test_forgotten_scripts_are_sent_again(server: Server) -> None:
    async def trouble() -> None:
        for _ in range(3):
            server.ask("SCRIPT", "FLUSH")
            await asyncio.sleep(0.02)

    await under_load(server, trouble)


# ---- the server refuses


@pytest.mark.parametrize("kind", server_kinds())
async def test_a_server_that_is_a_replica_for_a_while_is_waited_for(
    private: Private, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    server = private(kind)

    async def trouble() -> None:
        server.ask("REPLICAOF", HOST, "1")
        await until(lambda: "read only replica" in caplog.text)
        server.ask("REPLICAOF", "NO", "ONE")

    await under_load(server, trouble)


async def test_a_busy_server_is_waited_for(private: Private, caplog: pytest.LogCaptureFixture) -> None:
    server = private(lua_time_limit=20)

    async def trouble() -> None:
        endless = asyncio.create_task(asyncio.to_thread(server.ask, "EVAL", "while true do end", 0))
        await until(lambda: "BUSY" in caplog.text)
        server.ask("SCRIPT", "KILL")
        with pytest.raises(ServerRefused):
            await endless

    await under_load(server, trouble)


@pytest.mark.parametrize("kind", server_kinds())
async def test_a_full_server_refuses_emissions_while_what_runs_keeps_its_lease_and_ends(
    private: Private, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    server = private(kind)
    lease = 0.5
    async with started(server.url, lease=lease) as app, started(server.url, lease=lease) as other:
        app.gate.clear()
        other.gate.clear()
        await app.emit("running", "too")
        await until(lambda: len(app.runs + other.runs) == 2)
        server.ask("CONFIG", "SET", "maxmemory", "1")
        client = TaskManager(server.url)
        with pytest.raises(EngineFull, match="maxmemory"):
            await asyncio.wait_for(client.emit(EVENT, id="refused"), 5.0)
        # Three leases long nobody takes a job from its holder; then the jobs end, on the full server.
        await asyncio.sleep(3 * lease)
        app.gate.set()
        other.gate.set()
        for job_id in ("running", "too"):
            job = await app.ended(job_id)
            assert (job.state, job.attempt, job.losses) == ("completed", 1, 0)
        assert "heartbeat failed" not in caplog.text
        assert await client.get_job("refused") is None
        server.ask("CONFIG", "SET", "maxmemory", "0")
        await client.emit(EVENT, id="welcome")
        await app.ended("welcome")
        await client.stop()


async def test_an_eviction_policy_that_could_drop_jobs_is_warned_of_by_the_name_of_the_setting(
    private: Private, caplog: pytest.LogCaptureFixture
) -> None:
    server = private(maxmemory="100mb", maxmemory_policy="allkeys-lru")
    async with started(server.url):
        pass
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [
        text for text in warnings if all(word in text for word in ("maxmemory-policy", "allkeys-lru", "noeviction"))
    ]
    caplog.clear()
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    async with started(server.url):
        pass
    assert "maxmemory-policy" not in caplog.text


# ---- while nobody answers


async def test_reconnecting_backs_off_with_jitter_says_so_and_neither_dies_nor_spins(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    down_s = 2.0
    with Proxy(server.port) as wire:
        async with started(wire.url, lease=1.0) as app:
            await app.emit("before")
            await app.ended("before")
            target, wire.target = wire.target, 1  # nobody listens there
            wire.cut()
            wire.connections = 0
            emitting = asyncio.ensure_future(app.emit("meanwhile"))
            await asyncio.sleep(down_s)
            attempts = wire.connections
            wire.target = target
            await emitting
            assert (await app.ended("meanwhile", within_s=RECOVERS_S)).state == "completed"
    # A fetcher, an emission, a heartbeat and a janitor, each some four to eight times in two seconds.
    assert 4 <= attempts <= 60
    pauses = [float(found) for found in re.findall(r"asking again in ([\d.]+) s", caplog.text)]
    assert len(pauses) >= 4
    assert len(set(pauses)) > len(pauses) // 2, "every pause is alike: no jitter"
    assert max(pauses) > 4 * min(pauses), "the pauses do not grow"


async def test_a_connection_that_died_unheard_is_given_up_and_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half open: the server's end is gone and nobody says so; a command that is never answered is not waited for."""
    monkeypatch.setattr(taskmanager.engines.redis.connection, "REPLY_S", 0.3)  # how long is not what is tried here
    with Proxy(server.port) as wire:
        async with opened(wire.url) as engine:
            await engine.count("default")
            wire.rule(Fate.SILENCE, times=1)
            with pytest.raises(TaskManagerError):
                async with asyncio.timeout(30):
                    await engine.count("default")
            assert await engine.count("default")
