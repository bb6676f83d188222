"""What stays in the store, and who may be beside us in it."""

from __future__ import annotations

from pathlib import Path

from taskmanager import TaskManager
from tests.engines.redis.conftest import Private
from tests.engines.redis.ground import EVENT, App, started, until
from tests.servers import Server

COUNTERS = 12
"""Keys of a queue at rest: counters, empty streams, callers' last answers; none a job or a worker."""


async def test_jobs_and_workers_that_are_over_leave_next_to_nothing(every_server: Server) -> None:
    names = []
    for start in range(3):
        async with started(every_server.url, concurrency=10, retention={"completed": 0}) as app:
            await app.emit(*(f"{start}-{n}" for n in range(200)))
            await until(lambda: len(app.runs) == 200)
            await app.tm.drain(timeout=5)
        names += app.ran
    assert len(set(names)) == 600
    keys = every_server.ask("KEYS", "*")
    assert len(keys) <= COUNTERS, sorted(keys)
    streams = [key for key in keys if every_server.ask("TYPE", key) == "stream"]
    assert [key for key in streams if every_server.ask("XLEN", key)] == []
    groups = [group for key in streams for group in every_server.ask("XINFO", "GROUPS", key)]
    assert [group[group.index("consumers") + 1] for group in groups] == [0] * len(groups)
    assert sum(every_server.ask("MEMORY", "USAGE", key) for key in keys) < 20_000


async def test_finished_jobs_that_are_kept_leave_no_trace_of_their_runs(server: Server) -> None:
    async with started(server.url, concurrency=10) as app:
        await app.emit(*map(str, range(100)))
        await until(lambda: len(app.runs) == 100)
        await app.tm.drain(timeout=5)
    kept = [key for key in server.ask("KEYS", "*") if ":job:" not in key]
    assert len(kept) <= COUNTERS, sorted(kept)


async def test_two_prefixes_are_two_stores(server: Server) -> None:
    async with started(server.url, prefix="one") as one, started(server.url, prefix="two") as two:
        await one.emit("a")
        await two.emit("a", "b")
        await one.ended("a")
        await two.ended("a")
        await two.ended("b")
        assert one.ran == ["a"]
        assert await one.tm.get_job("b") is None
    assert {key.split(":")[0] for key in server.ask("KEYS", "*")} == {"one", "two"}


async def test_two_databases_are_two_stores(server: Server) -> None:
    async with started(server.url) as one, started(server.url.removesuffix("/0") + "/1") as two:
        await one.emit("a")
        await two.emit("b")
        await one.ended("a")
        await two.ended("b")
        assert (one.ran, two.ran) == (["a"], ["b"])


async def test_a_server_is_reached_by_its_socket_too(private: Private, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = private(unixsocket=path)
    client = TaskManager(server.url)
    app = App(f"unix://{path}?db=0")
    async with app.tm:
        await client.emit(EVENT, id="a")
        await app.ended("a")
    await client.stop()
