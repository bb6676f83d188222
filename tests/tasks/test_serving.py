"""`taskmanager run` and `simulate` with a driver as the application, as somebody at a shell meets them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

APP = """
import asyncio
from datetime import UTC, datetime
from taskmanager.tasks import SQLiteDriver, TaskRun, load_tasks, set_driver, task

def say(*words):
    with open("said", "a") as said:
        print(*words, file=said, flush=True)

class Bell:
    def set_task_runner(self, runner): self.runner = runner
    async def create(self, request):
        say("create", request.name)
        return request.name
    async def delete(self, identifier): ...
    async def start(self):
        say("start", await self.runner(TaskRun("ring", {}, datetime.now(UTC))))
    def stop(self): say("stop")

class Plain:
    set_task_runner = Bell.set_task_runner
    create, delete = Bell.create, Bell.delete

bell, plain = Bell(), Plain()
driver = SQLiteDriver()

def built():
    return driver

def built_bell():
    return bell

set_driver(plain)
task(name="idle", schedule="@daily", execute=say)
set_driver(bell)
task(name="ring", schedule="@daily", execute=lambda ctx: say("rings"))
set_driver(driver)
load_tasks()
"""
FILE = """
from taskmanager.tasks import task
from app import say

task(name="tick", schedule="0 * * * *", immediate=True, execute=lambda ctx: say("ticks"))
"""
PATIENCE_S = 20.0


class Ground:
    """A folder with an application, and the commands started there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "app" / "tasks").mkdir(parents=True)
        (folder / "app.py").write_text(APP)
        (folder / "app" / "tasks" / "tick.py").write_text(FILE)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from taskmanager.cli import main; main()", *words]
        environment = {key: value for key, value in os.environ.items() if key != "TASKMANAGER_URL"}
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.started.append(process)
        return process

    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    for process in ground.started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", ["driver", "built"])
def test_a_driver_over_a_manager_is_served_as_its_manager(ground: Ground, name: str) -> None:
    process = ground.start("run", f"app.py:{name}", "--burst")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "serving app.py:" in errors
    assert "sqlite:///tasks.db" in errors
    assert ground.said() == ["ticks"]


@pytest.mark.parametrize("name", ["driver", "built"])
def test_a_driver_over_a_manager_is_simulated(ground: Ground, name: str) -> None:
    process = ground.start("simulate", f"app.py:{name}", "--hours", "5", "--quiet")
    out, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert "tick" in out
    assert ground.said() == ["ticks"] * 6


@pytest.mark.parametrize("name", ["bell", "built_bell"])
def test_a_driver_of_ones_own_is_told_of_its_tasks_started_and_stopped(ground: Ground, name: str) -> None:
    process = ground.start("run", f"app.py:{name}")
    ground.until(lambda: len(ground.said()) == 3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0
    assert ground.said() == ["create ring", "rings", "start True", "stop"]


def test_a_driver_need_not_have_a_start(ground: Ground) -> None:
    process = ground.start("run", "app.py:plain")
    ground.until(lambda: ground.said() == ["create idle"])
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run", "app.py:bell", "--burst"), "app.py:bell is a driver without a TaskManager"),
        (("run", "app.py:bell", "--db", "memory://"), "leave out --db"),
        (("run", "app.py:driver", "--db", "memory://"), "names its own store, sqlite:///tasks.db"),
        (("simulate", "app.py:bell"), "app.py:bell is a driver without a TaskManager"),
        (("simulate", "app.py:nothing"), "it has the TaskManager 'driver'"),
    ],
)
def test_what_cannot_be_done_with_a_driver_is_said_in_a_line(ground: Ground, words: tuple[str, ...], says: str) -> None:
    process = ground.start(*words)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert says in errors
    assert "Traceback" not in errors
