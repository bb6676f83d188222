"""One TaskManager in one event loop after another, as in a script of several `asyncio.run`: what an engine made for the
first is of no use to the next, and nobody is kept waiting for it.
"""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmanager import Job, TaskManager
from tests.servers import Servers, server_kinds

ENGINES = ("memory", "sqlite-file", "fakeredis", *server_kinds())
PATIENCE_S = 10


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> str:
    if request.param in server_kinds():
        server = servers.shared(request.param)
        server.empty()
        return server.url
    places = {"memory": "memory://", "sqlite-file": f"sqlite:///{tmp_path}/tasks.db", "fakeredis": "fakeredis://"}
    return places[request.param]


@pytest.fixture(autouse=True)
def _loops_that_end_with_open_connections() -> Iterator[None]:
    # Python warns of a connection that is open when its event loop ends; that nobody closed it is what is tested here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def application(url: str) -> TaskManager:
    tm = TaskManager(db=url)

    @tm.handler("double")
    async def double(job: Job[dict[str, int]]) -> int:
        return 2 * int(job.data["n"])

    return tm


def test_each_loop_may_emit_and_look(url: str) -> None:
    tm = application(url)

    async def emit(n: int) -> int:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(tm.emit("double", {"n": n, "place": place}) for place in range(3)))
            return (await tm.counts())["waiting"]

    assert [asyncio.run(emit(n)) for n in range(3)] == [3, 6, 9]


def test_a_worker_serves_in_each_loop_also_after_one_that_was_not_stopped(url: str) -> None:
    tm = application(url)

    async def emit() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await tm.emit("double", {"n": 0})

    async def work(n: int) -> int:
        async with asyncio.timeout(PATIENCE_S), tm:
            return int(await tm.emit_and_wait("double", {"n": n}, timeout=PATIENCE_S))

    asyncio.run(emit())
    assert asyncio.run(work(1)) == 2
    asyncio.run(emit())
    assert asyncio.run(work(2)) == 4


def test_a_loop_that_ends_while_something_is_being_sent_holds_up_no_later_one(url: str) -> None:
    tm = application(url)

    async def leave() -> None:
        tm.emit("double", {"n": 1})
        await asyncio.sleep(0)

    async def emit() -> str:
        async with asyncio.timeout(PATIENCE_S):
            return (await tm.emit("double", {"n": 2})).status

    asyncio.run(leave())
    assert asyncio.run(emit()) == "emitted"
