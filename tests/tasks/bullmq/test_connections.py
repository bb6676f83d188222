"""What a driver says of a server that is not there, does not let it in, or cannot be meant."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from taskmanager.errors import EngineUnavailable, UsageError
from taskmanager.tasks import Task, TaskRequest
from taskmanager.tasks.bullmq import BullMQDriver
from tests.servers import Server, server_kinds
from tests.tasks.bullmq.world import Ran, driver


@pytest.fixture
def guarded() -> Iterator[Server]:
    own = Server(server_kinds()[0], password="s3cret")
    yield own
    own.stop()


async def test_where_no_server_is_start_and_create_are_unavailable_within_seconds(server: Server) -> None:
    ours = BullMQDriver(host="127.0.0.1", port=1)
    began = monotonic()
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:1"):
        await ours.start()
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:1"):
        await ours.create(TaskRequest("reminder", {}))
    assert monotonic() - began < 10
    await ours.stop()


@pytest.mark.parametrize("password", [None, "wr0ng"])
async def test_a_wrong_password_is_a_usage_error_which_does_not_repeat_it(
    guarded: Server, password: str | None
) -> None:
    ours = BullMQDriver(host="127.0.0.1", port=guarded.port, password=password)
    with pytest.raises(UsageError, match="username and password") as refused:
        await ours.start()
    assert "wr0ng" not in str(refused.value)
    await ours.stop()


@pytest.mark.parametrize("form", ["url", "mapping", "words"])
async def test_a_connection_is_a_url_a_mapping_or_words(guarded: Server, form: str) -> None:
    ran = Ran()
    words: dict[str, Any] = {"host": "127.0.0.1", "port": guarded.port, "password": "s3cret", "db": 2}
    url = f"redis://:s3cret@127.0.0.1:{guarded.port}/2"
    made = {
        "url": lambda: BullMQDriver(url, queue="mine", prefix="app"),
        "mapping": lambda: BullMQDriver(words, queue="mine", prefix="app"),
        "words": lambda: BullMQDriver(**words, queue="mine", prefix="app"),
    }[form]()
    assert "s3cret" not in repr(made)
    task = Task.of("reminder", ran)

    async def runner(run: Any) -> bool:
        ran(run)
        return bool(task.name == run.name)

    made.set_task_runner(runner)
    async with made:
        await made.create(TaskRequest("reminder", {"n": 1}))
        await ran.times(1)
    assert guarded.info("keyspace").keys() == {"db2"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("http://localhost",), "connection must be a URL"),
        (("redis://user:hidden@localhost/many",), "must be a number"),
        (({"hots": "localhost"},), "connection has no 'hots'"),
        ((6379,), "connection must be a URL"),
    ],
    ids=str,
)
def test_a_connection_that_cannot_be_meant_is_refused_without_its_password(
    arguments: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        BullMQDriver(*arguments)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "localhost", "connection": "redis://localhost"}, "given once"),
        ({"queue": "a:b"}, "no colon"),
        ({"queue": ""}, "queue name"),
        ({"prefix": ""}, "prefix"),
        ({"concurrency": 0}, "concurrency"),
        ({"grace": -1}, "grace"),
        ({"ctx": {"data": 1}}, "ctx"),
        ({"retry": 3}, "connection has no 'retry'"),
        ({"grace": "long"}, "grace"),
        ({"port": "x"}, "port must be a whole number from 1 to 65535, got 'x'"),
        ({"port": None}, "port"),
        ({"port": 70_000}, "port"),
        ({"connection": {"port": "x"}}, "port"),
        ({"db": "x"}, "db"),
        ({"host": 5}, "host must be a text"),
        ({"host": ""}, "host must be a text"),
        ({"password": 5}, "password must be a text or bytes, got a value of type int"),
        ({"socket_timeout": "5"}, "socket_timeout"),
        ({"ssl": "no"}, "ssl must be True or False"),
        ({"ssl": True, "ssl_cert_reqs": "some"}, "connection must be .* got ssl, ssl_cert_reqs: .*some"),
        ({"protocol": 4}, "protocol"),
        ({"connection": "redis://localhost?port=x"}, "connection must be .*'x'"),
        ({"connection": "redis://localhost?hots=x"}, "connection must be .*hots"),
    ],
    ids=str,
)
def test_options_are_refused_by_their_names(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        BullMQDriver(**options)


def test_words_that_redis_py_takes_none_for_may_be_none() -> None:
    words: dict[str, Any] = {"password": None, "username": None, "socket_timeout": None, "max_connections": None}
    assert "localhost:6379" in repr(BullMQDriver(**words))


def test_words_of_tls_may_be_those_of_the_standard_library() -> None:
    assert "localhost:6379" in repr(BullMQDriver(ssl=True, ssl_cert_reqs=ssl.CERT_NONE, ssl_check_hostname=False))


def test_without_its_package_the_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bullmq", None)  # what an import meets where there is none
    with pytest.raises(UsageError, match=r"pip install 'taskmanager\[bullmq\]'"):
        BullMQDriver()


async def test_another_programs_keys_are_told_apart(server: Server) -> None:
    ours = driver(server)
    server.ask("SET", "bull:commandkit-tasks:wait", "not a list")
    with pytest.raises(UsageError, match="another program"):
        await ours.create(TaskRequest("reminder", {}))
    await ours.stop()
