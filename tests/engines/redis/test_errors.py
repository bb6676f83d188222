"""What cannot work is said at `start()`, in words that name the fault and the remedy, and never a secret."""

from __future__ import annotations

import asyncio
import re

import pytest
import redis.asyncio

import taskmanager.engines.redis.connection
from taskmanager import EngineUnavailable, TaskManager, UsageError
from tests.engines.redis.conftest import Private
from tests.engines.redis.fake_server import answering, old_redis, serving
from tests.engines.redis.ground import App, started
from tests.servers import HOST, Server

AT_ONCE_S = 5.0
SECRET = "swordfish"


async def refusal(url: object, **options: object) -> Exception:
    """What `start()` raises; it must raise soon, leave nothing behind, and do the same when it is asked again."""
    said: list[Exception] = []
    for _ in range(2):
        with pytest.raises((UsageError, EngineUnavailable)) as raised:  # noqa: PT012 - either call may refuse
            async with asyncio.timeout(AT_ONCE_S):
                tm = TaskManager(url, **options)  # type: ignore[arg-type]  # a test's own options
                try:
                    await tm.start()
                finally:
                    await tm.stop()
        said.append(raised.value)
    assert type(said[0]) is type(said[1])
    return said[0]


# ---- the URL


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("redis://localhost:port/0", "port"),
        ("redis://localhost:99999/0", "99999"),
        ("redis://localhost:6379/first", "first"),
        ("redis://localhost:6379/-1", "-1"),
        ("redis://localhost:6379/0?colour=red", "colour"),
        ("redis:/localhost", "redis://"),
        ("redsi://localhost", "redsi"),
        ("unix://", "path of the socket"),
    ],
)
async def test_a_url_that_cannot_be_is_a_usage_error_that_names_what_is_wrong(url: str, word: str) -> None:
    refused = await refusal(url)
    assert isinstance(refused, UsageError)
    assert word in str(refused)


async def test_a_database_that_the_server_does_not_have_is_a_usage_error(server: Server) -> None:
    refused = await refusal(server.url.removesuffix("/0") + "/999")
    assert isinstance(refused, UsageError)
    assert "999" in str(refused)


# ---- nobody there, or somebody else


async def test_where_no_server_is_the_address_is_named(private: Private) -> None:
    server = private()
    server.halt()
    refused = await refusal(server.url)
    assert isinstance(refused, EngineUnavailable)
    assert f"{HOST}:{server.port}" in str(refused)


async def test_a_host_that_does_not_exist_is_named() -> None:
    refused = await refusal("redis://nowhere.invalid:6379/0")
    assert isinstance(refused, EngineUnavailable)
    assert "nowhere.invalid" in str(refused)


async def test_a_start_that_failed_succeeds_once_the_server_is_there(private: Private) -> None:
    server = private()
    server.halt()
    app = App(server.url)
    with pytest.raises(EngineUnavailable):
        await app.tm.start()
    server.restart()
    await app.tm.start()
    await app.emit("a")
    assert (await app.ended("a")).result == 1
    await app.tm.stop()


async def test_who_does_not_speak_the_protocol_is_refused() -> None:
    async with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        await refusal(url)


async def test_who_accepts_and_says_nothing_is_given_up(private: Private, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taskmanager.engines.redis.connection, "REPLY_S", 0.3)  # how long is not what is tried here
    server = private()
    server.pause()
    refused = await refusal(server.url)
    assert isinstance(refused, EngineUnavailable)
    assert f"{HOST}:{server.port}" in str(refused)


# ---- secrets


async def test_a_wrong_password_is_said_and_not_repeated(private: Private) -> None:
    server = private(password=SECRET)
    refused = await refusal(f"redis://:not-{SECRET}@{HOST}:{server.port}/0")
    assert re.search("password|WRONGPASS|AUTH", str(refused))
    assert SECRET not in str(refused)


async def test_a_missing_password_is_said(private: Private) -> None:
    server = private(password=SECRET)
    refused = await refusal(f"redis://{HOST}:{server.port}/0")
    assert re.search("password|NOAUTH", str(refused))


async def test_the_right_password_serves(private: Private) -> None:
    async with started(private(password=SECRET).url) as app:
        await app.emit("a")
        assert (await app.ended("a")).result == 1


async def test_an_address_with_a_password_is_named_without_it(private: Private) -> None:
    server = private(password=SECRET)
    server.halt()
    assert SECRET not in str(await refusal(server.url))


# ---- servers that will not do


@pytest.mark.parametrize("version", ["5.0.14", "6.0.16"])
async def test_a_version_under_6_2_is_a_usage_error_that_names_both(version: str) -> None:
    async with serving(old_redis(version)) as url:
        refused = await refusal(url)
    assert isinstance(refused, UsageError)
    assert version in str(refused)
    assert "6.2" in str(refused)


async def test_a_read_only_node_is_refused_and_named_so(private: Private) -> None:
    primary = private()
    replica = private(replicaof=(HOST, primary.port))
    assert re.search("read-?only|replica", str(await refusal(replica.url)), re.IGNORECASE)


async def test_a_cluster_node_without_slots_is_refused_and_named_so(private: Private) -> None:
    assert "cluster" in str(await refusal(private(cluster_enabled="yes").url)).lower()


# ---- the second connection


async def test_a_streamdb_on_another_server_is_a_usage_error(server: Server, private: Private) -> None:
    refused = await refusal(server.url, streamdb=private().url)
    assert isinstance(refused, UsageError)
    assert "streamdb" in str(refused)


async def test_a_streamdb_of_another_database_is_a_usage_error(server: Server) -> None:
    refused = await refusal(server.url, streamdb=server.url.removesuffix("/0") + "/1")
    assert isinstance(refused, UsageError)
    assert "streamdb" in str(refused)


async def test_a_streamdb_of_the_same_database_serves(server: Server) -> None:
    async with started(server.url, streamdb=server.url.replace(HOST, "localhost")) as app:
        await app.emit("a")
        assert (await app.ended("a")).result == 1


# ---- clients in place of URLs


@pytest.mark.parametrize("decodes", [False, True])
async def test_a_client_serves_in_place_of_a_url_whatever_it_does_with_texts(server: Server, decodes: bool) -> None:
    client = redis.asyncio.Redis.from_url(server.url, decode_responses=decodes)
    async with started(client) as app:
        await app.emit("a")
        assert (await app.ended("a")).result == 1
    assert await client.ping(), "the client is its maker's; stop() leaves it usable"
    await client.aclose()


async def test_what_is_neither_a_url_nor_a_client_is_a_usage_error() -> None:
    assert isinstance(await refusal(5), UsageError)


async def test_a_synchronous_client_is_a_usage_error_that_says_which_is_wanted(server: Server) -> None:
    with redis.Redis.from_url(server.url) as client:
        refused = await refusal(client)
    assert isinstance(refused, UsageError)
    assert "redis.asyncio" in str(refused)


async def test_a_client_that_asks_a_sentinel_is_a_usage_error() -> None:
    sentinel = redis.asyncio.Sentinel([(HOST, 26_379)])  # type: ignore[no-untyped-call]  # redis-py's own
    refused = await refusal(sentinel.master_for("primary"))
    assert isinstance(refused, UsageError)
    assert "sentinel" in str(refused)
