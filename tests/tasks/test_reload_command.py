"""`taskmanager run APP --reload`, as somebody at a shell and an editor meets it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskmanager.tasks import SQLiteDriver
from tests.tasks.test_serving import PATIENCE_S, Ground

TICK = """
import os
from taskmanager.tasks import task
from app import say

say("loads {version} in", os.getpid())
task(name="tick", schedule="* * * * * *", execute=lambda ctx: say("ticks {version}"))
"""
NEW = """
from taskmanager.tasks import task
from app import say

task(name="new", schedule="0 0 1 1 *", immediate=True, execute=lambda ctx: say("new"))
"""
OWN = """
from app import Bell
from taskmanager.tasks import load_tasks, set_driver

own = Bell()
own.runner = None
set_driver(own)
load_tasks()
own.start = lambda: None
"""


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    save(ground, "tick.py", TICK.format(version=1))
    yield ground
    for process in ground.started:
        process.kill()
        process.communicate()


def save(ground: Ground, name: str, text: str) -> None:
    (ground.folder / "app" / "tasks" / name).write_text(text)


def loaded_in(ground: Ground, version: int) -> int:
    """In how many processes that version is loaded."""
    return len({line for line in ground.said() if line.startswith(f"loads {version} in ")})


def test_each_of_two_processes_reloads_what_is_saved_and_nothing_fails(ground: Ground) -> None:
    process = ground.start("run", "app.py:driver", "--reload", "--processes", "2")
    ground.until(lambda: "ticks 1" in ground.said() and loaded_in(ground, 1) == 2)
    save(ground, "tick.py", TICK.format(version=2))
    ground.until(lambda: loaded_in(ground, 2) == 2)
    ground.until(lambda: "ticks 2" in ground.said())
    save(ground, "new.py", NEW)
    ground.until(lambda: "new" in ground.said())
    save(ground, "tick.py", TICK.format(version=3) + "(")
    ground.until(lambda: ground.said()[-2:] == ["ticks 2"] * 2)
    assert store(ground)[1]["failed"] == 0
    (ground.folder / "app" / "tasks" / "tick.py").unlink()
    ground.until(lambda: store(ground)[0] == ["new"])
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert errors.count("reloaded app/tasks: tick changed") == 2
    assert errors.count("tick.py:8: SyntaxError: ") == 2
    assert "reloaded app/tasks: tick gone" in errors
    assert ground.said().count("new") == 1


def store(ground: Ground) -> tuple[list[str], dict[str, int]]:
    """The schedules in the store, and how many jobs are in each state."""

    async def found() -> tuple[list[str], dict[str, int]]:
        driver = SQLiteDriver(ground.folder / "tasks.db")
        try:
            return [one.name for one in await driver.manager.schedules()], await driver.manager.counts()
        finally:
            await driver.stop()

    return asyncio.run(found())


def test_a_driver_of_ones_own_hears_of_what_is_saved_and_a_changed_application_is_told(ground: Ground) -> None:
    (ground.folder / "own.py").write_text(OWN)
    process = ground.start("run", "own.py:own", "--reload")
    ground.until(lambda: "create tick" in ground.said())
    save(ground, "new.py", NEW)
    ground.until(lambda: "create new" in ground.said())
    (ground.folder / "own.py").write_text(f"{OWN}\nchanged = True\n")
    save(ground, "tick.py", TICK.format(version=2))
    ground.until(lambda: loaded_in(ground, 2) == 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, errors
    assert f"{ground.folder / 'own.py'} was changed: that takes a restart" in errors


@pytest.mark.parametrize("processes", ["1", "2"])
def test_without_a_loaded_folder_it_is_refused_in_a_line(ground: Ground, processes: str) -> None:
    process = ground.start("run", "app.py:bell", "--reload", "--processes", processes)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "taskmanager run: a reload watches the folders that load_tasks has loaded, and none has been" in errors
    assert "Traceback" not in errors


def test_without_watchfiles_it_says_what_to_install(ground: Ground) -> None:
    (ground.folder / "watchfiles.py").write_text("raise ImportError")
    process = ground.start("run", "app.py:driver", "--reload")
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "pip install 'taskmanager[reload]'" in errors
    assert "Traceback" not in errors
