"""A lane: calls that take effect in the order in which they are made, answered over one connection."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions as redis_errors

from taskmanager.engines.redis.address import url_address
from taskmanager.engines.redis.connection import Lane
from tests.engines.redis.ground import started, until
from tests.servers import Server


@pytest.fixture
def lane(server: Server) -> Lane:
    return Lane(url_address(server.url, "db"))


async def test_each_call_gets_its_own_answer_whatever_the_others_get(lane: Lane) -> None:
    calls = [lane.ask("ECHO", str(number)) if number % 3 else lane.ask("NONSENSE") for number in range(30)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number % 3:
            assert answer == str(number).encode()
        else:
            assert isinstance(answer, redis_errors.ResponseError)
    await lane.close()


async def test_calls_take_effect_in_the_order_in_which_they_are_made(lane: Lane) -> None:
    pushed = await asyncio.gather(*(lane.ask("RPUSH", "list", number) for number in range(50)))
    assert pushed == list(range(1, 51))
    assert await lane.ask("LRANGE", "list", 0, -1) == [b"%d" % number for number in range(50)]
    await lane.close()


async def test_a_cancelled_call_takes_no_answer_from_those_behind_it(lane: Lane, server: Server) -> None:
    blocked = asyncio.ensure_future(lane.ask("BLPOP", "nothing", 0))
    await asyncio.sleep(0)
    behind = [asyncio.ensure_future(lane.ask("ECHO", str(number))) for number in range(3)]
    await until(lambda: "blpop" in server.ask("CLIENT", "LIST"))
    blocked.cancel()
    assert await asyncio.gather(*behind) == [b"0", b"1", b"2"]
    with pytest.raises(asyncio.CancelledError):
        await blocked
    await lane.close()


async def test_a_killed_connection_is_replaced_for_all_calls(lane: Lane, server: Server) -> None:
    assert await lane.ask("ECHO", "before") == b"before"
    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    answers: list[bytes] = await asyncio.gather(lane.ask("ECHO", "one"), lane.ask("ECHO", "two"))
    assert answers == [b"one", b"two"]
    await lane.close()


async def test_a_worker_never_holds_more_than_its_slots(server: Server) -> None:
    """Though it claims while it settles: what the server says of it, asked all the time."""
    most, done = 0, False
    line = "taskmanager:{default}:line:0"

    async def watch() -> None:
        nonlocal most
        while not done:
            pending = await asyncio.to_thread(server.ask, "XPENDING", line, "workers")
            most = max(most, pending[0])

    async with started(server.url, concurrency=4) as app:
        app.gate.set()
        await app.emit("first")
        await app.ended("first")
        watching = asyncio.ensure_future(watch())
        await app.emit(*(f"job-{number}" for number in range(2000)))
        await until(lambda: len(app.ran) == 2001)
        done = True
        await watching
    assert 1 <= most <= 4
