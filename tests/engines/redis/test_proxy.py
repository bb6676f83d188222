"""The wire that fails does what it was told to, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as Disconnected

from tests.engines.redis.proxy import Fate, Proxy
from tests.engines.redis.resp import frame_end, words_of
from tests.servers import HOST, Server

SHORT_S = 0.1


@pytest.fixture
def wire(server: Server) -> Iterator[Proxy]:
    with Proxy(server.port, seed=1) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def client(wire: Proxy, **options: Any) -> AsyncIterator[redis.asyncio.Redis]:
    opened = redis.asyncio.Redis.from_url(wire.url, retry=None, **options)
    try:
        yield opened
    finally:
        await opened.aclose()


async def test_what_passes_is_unchanged_and_counted(wire: Proxy) -> None:
    async with client(wire) as asked:
        await asked.ping()
        wire.clear()
        pipeline = asked.pipeline(transaction=False)
        for number in range(100):
            pipeline.set(str(number), b"\r\n$" * number * 100)
        await pipeline.execute()
        assert await asked.get("99") == b"\r\n$" * 9900
    assert wire.commands == {"SET": 100, "GET": 1}
    assert wire.received > 29_700


async def test_a_lost_reply_means_that_it_was_done(server: Server, wire: Proxy) -> None:
    rule = wire.rule(Fate.LOSE_REPLY, "SET", times=1)
    async with client(wire) as asked:
        with pytest.raises(Disconnected):
            await asked.set("a", 1)
        assert server.ask("GET", "a") == "1"
        await asked.set("a", 2)
    assert [command.words for command in rule.met] == [[b"SET", b"a", b"1"]]


@pytest.mark.parametrize("fate", [Fate.LOSE_REQUEST, Fate.RESET])
async def test_a_lost_request_means_that_it_was_not_done(server: Server, wire: Proxy, fate: Fate) -> None:
    wire.rule(fate, "SET", times=1)
    async with client(wire) as asked:
        with pytest.raises(Disconnected):
            await asked.set("a", 1)
        assert server.ask("GET", "a") is None
        await asked.set("a", 2)


async def test_a_reset_is_a_reset(wire: Proxy) -> None:
    wire.rule(Fate.RESET)
    with socket.create_connection((HOST, wire.port)) as connection:
        connection.sendall(b"*1\r\n$4\r\nPING\r\n")
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(connection.recv, 100)


async def test_silence_keeps_the_connection_and_says_nothing(server: Server, wire: Proxy) -> None:
    async with client(wire, socket_timeout=SHORT_S) as asked:
        await asked.ping()
        connections = wire.connections
        wire.rule(Fate.SILENCE, "SET", times=1)
        with pytest.raises(redis.exceptions.TimeoutError):
            await asked.set("a", 1)
        assert server.ask("GET", "a") == "1"
        assert wire.connections == connections


async def test_a_late_answer_comes_after_its_delay(wire: Proxy) -> None:
    async with client(wire) as asked:
        await asked.ping()
        wire.rule(Fate.DELAY, "GET", delay_s=SHORT_S)
        began = asyncio.get_running_loop().time()
        await asked.get("a")
        assert asyncio.get_running_loop().time() - began >= SHORT_S


async def test_a_frozen_wire_passes_nothing_until_it_is_healed(server: Server, wire: Proxy) -> None:
    async with client(wire) as asked:
        await asked.ping()
        wire.freeze()
        setting = asyncio.ensure_future(asked.set("a", 1))
        await asyncio.wait([setting], timeout=SHORT_S)
        assert not setting.done()
        assert server.ask("GET", "a") is None
        wire.heal()
        await setting
        assert server.ask("GET", "a") == "1"


async def test_a_wire_that_refuses_accepts_again_on_the_same_port(wire: Proxy) -> None:
    async with client(wire) as asked:
        await asked.ping()
        port = wire.port
        wire.refuse()
        with pytest.raises(Disconnected):
            await asked.ping()
        wire.accept()
        assert wire.port == port
        await asked.ping()


async def test_a_rule_finds_a_script_by_its_header_whether_sent_whole_or_by_its_hash(wire: Proxy) -> None:
    rule = wire.rule(Fate.LOSE_REPLY, "settle", times=2)
    async with client(wire) as asked:
        other = asked.register_script("-- claim: hands out\nreturn 2")
        assert await other() == 2
        with pytest.raises(Disconnected):
            await asked.eval("-- What comes first\n-- settle: ends\nreturn 1", 0)
        script = asked.register_script("-- What comes first\n-- settle: ends\nreturn 1")
        with pytest.raises(Disconnected):
            await script()
        assert await script() == 1
    assert [command.name for command in rule.met] == ["EVAL", "EVALSHA"]


async def test_half_the_replies_are_about_half_and_the_same_for_one_seed(server: Server) -> None:
    met = []
    for _ in range(2):
        with Proxy(server.port, seed=5) as wire:
            rule = wire.rule(Fate.LOSE_REPLY, "INCRBY", rate=0.5)
            async with client(wire) as asked:
                for _ in range(100):
                    with contextlib.suppress(Disconnected):
                        await asked.incr("a")
            met.append(len(rule.met))
    assert server.ask("GET", "a") == "200"
    assert met[0] == met[1]
    assert 30 < met[0] < 70


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        (b"+OK\r\n", 1),
        (b"$-1\r\n:5\r\n", 2),
        (b"$5\r\n+\r\n:1\r\n*0\r\n", 2),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n_\r\n", 2),
        (b"%1\r\n+a\r\n~1\r\n#t\r\n>1\r\n+x\r\n,1.5\r\n", 3),
        (b"|1\r\n+ttl\r\n:9\r\n$1\r\na\r\n-ERR no\r\n", 2),
    ],
)
def test_messages_end_where_the_protocol_says(message: bytes, parts: int) -> None:
    ends = [0]
    while ends[-1] < len(message):
        end = frame_end(message, ends[-1])
        assert end is not None
        assert all(frame_end(message[:cut], ends[-1]) is None for cut in range(ends[-1], end))
        ends.append(end)
    assert len(ends) == parts + 1


def test_the_words_of_a_request_are_taken_by_length() -> None:
    assert words_of(b"*3\r\n$3\r\nSET\r\n$2\r\n\r\n\r\n$0\r\n\r\n") == [b"SET", b"\r\n", b""]
