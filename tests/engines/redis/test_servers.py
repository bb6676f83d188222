"""The test servers do what their callers rely on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.engines.redis.conftest import FIRST, Private
from tests.servers import HOST, Server, ServerRefused, Servers, binary, server_kinds

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 5.0


def test_every_kind_answers_and_is_the_server_it_is_called(servers: Servers) -> None:
    for kind in server_kinds():
        server = servers.shared(kind)
        assert server.ask("SET", "a", "b") == "OK"
        assert servers.shared(kind) is server
        assert server.ask("GET", "a") is None
        assert ("valkey_version" in server.info("server")) == (kind == "valkey")
    if "redis-6.2" in server_kinds():
        assert servers.shared("redis-6.2").info("server")["redis_version"].startswith("6.2.")


def test_where_ci_is_said_the_machines_own_redis_is_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    assert server_kinds() == ["valkey", "redis-6.2"]
    monkeypatch.setenv("CI", "true")
    assert server_kinds() == ["redis", "valkey", "redis-6.2"]
    with pytest.raises(FileNotFoundError, match="redis-server is not on PATH"):
        Server("redis")


def test_a_restart_keeps_port_and_what_was_saved_and_an_empty_one_keeps_the_port_alone(private: Private) -> None:
    server = private(appendonly="yes", appendfsync="always")
    server.ask("SET", "a", "b")
    port, pid = server.port, server.pid
    server.restart()
    assert (server.port, server.ask("GET", "a")) == (port, "b")
    assert server.pid != pid
    server.kill()
    server.restart()
    assert server.ask("GET", "a") == "b"
    server.restart(empty=True)
    assert (server.port, server.ask("GET", "a")) == (port, None)


def test_a_paused_server_is_silent_until_it_is_resumed(private: Private) -> None:
    server = private()
    server.pause()
    with pytest.raises(TimeoutError):
        server.ask("PING", within_s=0.05)
    server.resume()
    assert server.ask("PING") == "PONG"


def test_a_password_is_asked_for(private: Private) -> None:
    server = private(password="secret")
    assert server.ask("PING") == "PONG"
    server.password = "wrong"
    with pytest.raises(ServerRefused, match="WRONGPASS"):
        server.ask("PING")


def test_stopping_ends_the_process_and_removes_its_folder() -> None:
    server = Server(FIRST)
    pid, folder = server.pid, server.folder
    server.stop()
    server.stop()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("how", ["alone", "with its group"])
def test_a_server_ends_with_the_process_that_started_it_even_if_that_is_killed(how: str) -> None:
    code = "from tests.servers import *; s = Server(server_kinds()[0]); print(s.port, s.folder, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        port, folder = parent.stdout.readline().split()
        assert _listens(int(port))
        if how == "alone":
            os.kill(parent.pid, signal.SIGKILL)
        else:
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    deadline = monotonic() + PATIENCE_S
    while Path(folder).exists() or _listens(int(port)):
        assert monotonic() < deadline
        sleep(0.01)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port)).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_missing_binary_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="install"):
        binary("redis")
