"""`taskmanager run`, as somebody at a shell meets it: real processes, a real server, real signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskmanager import TaskManager
from tests.house.source import ROOT
from tests.processes import is_gone
from tests.servers import Server, Servers

APP = """
import asyncio, os, time
from contextlib import asynccontextmanager
from taskmanager import TaskManager
from taskmanager.commands import run
from taskmanager.worker import worker

run._THREADS_S = worker.CANCEL_PATIENCE_S = 0.2

tm = TaskManager(grace=0.2)
named = TaskManager(db="memory://")

def say(*words):
    with open("said", "a") as said:
        print(*words, file=said, flush=True)

@tm.handler("hello")
async def hello(job):
    say("hello", job.data["to"])

@tm.handler("die")
async def die(job):
    say("dies", job.attempt)
    if job.attempt == 1:
        os._exit(9)

@tm.handler("wait")
async def wait(job):
    say("waits", os.getpid())
    await asyncio.sleep(60)

@tm.handler("block")
async def block(job):
    say("blocks")
    while True:
        time.sleep(60)

@tm.handler("stubborn")
async def stubborn(job):
    say("begins")
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("does not hear")

@tm.handler("thread")
async def thread(job):
    say("begins")
    await asyncio.to_thread(time.sleep, 60)

@asynccontextmanager
async def cannot():
    raise ValueError("no database here")
    yield

broken = TaskManager(lifespan=cannot)

async def build():
    return tm
"""
PATIENCE_S = 20.0


class Ground:
    """A folder with an application, a store for it, and the commands started there."""

    def __init__(self, folder: Path, server: Server) -> None:
        (folder / "app.py").write_text(APP)
        self.folder, self.url = folder, server.url
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from taskmanager.cli import main; main()", "run", *words]
        environment = {key: value for key, value in os.environ.items() if key != "TASKMANAGER_URL"}
        process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True, env=environment)
        self.started.append(process)
        return process

    def serve(self, *words: str) -> subprocess.Popen[str]:
        return self.start("app.py:tm", "--db", self.url, *words)

    def emit(self, *events: str, **data: object) -> None:
        import asyncio

        async def emit() -> None:
            tm = TaskManager(db=self.url)
            await tm.emit_many([{"event": event, "data": data, "id": event} for event in events])
            await tm.stop()

        asyncio.run(emit())

    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)


@pytest.fixture
def ground(tmp_path: Path, servers: Servers) -> Iterator[Ground]:
    ground = Ground(tmp_path, servers.shared("valkey"))
    yield ground
    for process in ground.started:
        process.kill()
        process.communicate()


def test_a_burst_runs_what_is_there_and_ends(ground: Ground) -> None:
    ground.emit("hello", to="Ann")
    process = ground.serve("--burst")
    assert process.wait(PATIENCE_S) == 0
    assert ground.said() == ["hello Ann"]


def test_a_signal_ends_a_worker_after_its_grace_and_releases_what_runs(ground: Ground) -> None:
    ground.emit("wait")
    process = ground.serve()
    ground.until(lambda: len(ground.said()) == 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    again = ground.serve()
    ground.until(lambda: len(ground.said()) == 2)
    again.send_signal(signal.SIGINT)
    assert again.wait(PATIENCE_S) == 0


def test_several_processes_end_together_and_one_that_dies_is_replaced(ground: Ground) -> None:
    process = ground.serve("--processes", "2", "--quiet")
    ground.emit("die", "hello", to="Bob")
    ground.until(lambda: "hello Bob" in ground.said() and "dies 1" in ground.said())
    assert process.stderr is not None
    assert "ended with code 9; starting another" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def test_a_burst_of_several_processes_ends_when_nothing_is_left(ground: Ground) -> None:
    ground.emit("hello", to="Cid")
    assert ground.serve("--burst", "--processes", "2").wait(PATIENCE_S) == 0
    assert ground.said() == ["hello Cid"]


def test_where_the_parent_is_killed_its_processes_end(ground: Ground) -> None:
    ground.emit("wait")
    process = ground.serve("--processes", "2")
    ground.until(lambda: len(ground.said()) == 1)
    worker = int(ground.said()[0].split()[1])
    process.kill()
    ground.until(lambda: is_gone(worker))


def test_a_third_signal_ends_a_process_whose_handler_blocks_the_loop(ground: Ground) -> None:
    ground.emit("block")
    process = ground.serve()
    ground.until(lambda: ground.said() == ["blocks"])
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(one)
        time.sleep(0.05)  # the same signal twice at once is one
    assert process.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_signal_ends_a_process_whose_handler_swallows_its_cancellation(ground: Ground) -> None:
    ground.emit("stubborn")
    process = ground.serve()
    ground.until(lambda: ground.said() == ["begins"])
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "stopping: 1 running handler(s) get up to 0.2 s" in errors
    assert "does not end; it is left to its lease" in errors
    assert "Traceback" not in errors
    assert "destroyed" not in errors


def test_a_signal_ends_a_process_whose_handler_left_a_thread_behind(ground: Ground) -> None:
    ground.emit("thread")
    process = ground.serve()
    ground.until(lambda: ground.said() == ["begins"])
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert "threads that do not end are left behind: asyncio_0" in errors


@pytest.mark.parametrize("words", [(), ("--processes", "2"), ("--processes", "2", "--burst")])
def test_what_cannot_start_is_not_started_again_and_again(ground: Ground, words: tuple[str, ...]) -> None:
    process = ground.start("app.py:broken", "--db", ground.url, *words)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "ValueError: no database here" in errors
    assert "INFO serving" not in errors


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("missing.py:tm",), 2, "there is no file 'missing.py'"),
        (("app.py:hello",), 2, "app.py:hello must build a TaskManager when called without arguments"),
        (("app.py:asyncio.sleep",), 2, "must build a TaskManager"),
        (("app.py:dict",), 2, "app.py has no 'dict'"),
        (("app.py:named", "--db", "fakeredis://"), 2, "names its own store, memory://"),
        (("app.py:tm", "--db", "postgres://x"), 2, "got the scheme 'postgres'"),
        (("app.py:tm", "--db", "redis://me:secret@127.0.0.1:1"), 1, "redis://me:***@127.0.0.1:1"),
        (("app.py:tm", "--db", "postgres://x", "--processes", "2"), 2, "got the scheme 'postgres'"),
        (("app.py:tm", "--db", ""), 2, "--db must be a URL such as redis://localhost:6379/1, got ''"),
        (("app.py:named", "--processes", "2"), 2, "each of 2 processes would have jobs of its own"),
        (("app.py:tm", "--db", "sqlite://", "--processes", "2"), 2, "in the memory of a process, sqlite://"),
        (("app.py:tm", "--db", "sqlite:///:memory:", "-p", "2"), 2, "each of 2 processes"),
        (("app.py:tm", "--db", "fakeredis://", "-p", "2"), 2, "each of 2 processes"),
        (("app.py:build",), 2, "app.py:build must be a plain function that builds a TaskManager; it is an async one"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(ground: Ground, words: tuple[str, ...], code: int, says: str) -> None:
    process = ground.start(*words)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert says in errors
    assert "secret" not in errors
    assert "Traceback" not in errors
    assert "Warning" not in errors
    assert "INFO serving" not in errors


def test_the_readmes_command_serves_the_shop_from_a_file(ground: Ground) -> None:
    [command] = re.findall(r"^\$ \.venv/bin/taskmanager run (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    process = ground.start(f"{ROOT}/{command}")
    log = ground.folder / "tasks.db-wal"
    ground.until(lambda: log.exists() and log.stat().st_size > 0)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert f"serving {ROOT}/{command} on sqlite:///tasks.db" in errors
