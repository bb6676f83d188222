"""Several processes looked after by one: what the parent does when they begin, fail, die and are told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import is_gone

PATIENCE_S = 20.0
HEAD = """
import os, signal, sys, time
from taskmanager.commands import processes

processes._ORPHAN_S = 0.1

def say(*words):
    with open("said", "a") as said:
        print(*words, file=said, flush=True)

def listen(*signals):
    def heard(*_):
        say("asked")
        sys.exit(0)
    signal.signal(signal.SIGTERM, heard)
"""
TAIL = """
if __name__ == "__main__":
    until_done = "burst" in sys.argv
    sys.exit(processes.supervise(work, (), int(sys.argv[1]), until_done=until_done))
"""


class Ground:
    """A folder with a script that supervises its `work`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def start(self, work: str, *words: str) -> subprocess.Popen[str]:
        (self.folder / "script.py").write_text(HEAD + textwrap.dedent(work) + TAIL)
        process = subprocess.Popen(
            [sys.executable, "script.py", *words], cwd=self.folder, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def said(self) -> list[str]:
        path = self.folder / "said"
        return path.read_text().splitlines() if path.exists() else []

    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.said() if line.startswith("begun")]

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    ground = Ground(tmp_path)
    yield ground
    for pid in ground.pids():
        if not is_gone(pid):
            os.kill(pid, signal.SIGKILL)
    for process in ground.started:
        process.kill()
        process.communicate()


def errors_of(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=PATIENCE_S)[1]


SERVES = """
def work(began):
    listen()
    began(0.0)
    say("begun", os.getpid())
    while True:
        time.sleep(60)
"""
DEAF = """
def work(began):
    signal.signal(signal.SIGTERM, lambda *_: say("asked"))
    began(0.0)
    say("begun", os.getpid())
    while True:
        time.sleep(60)
"""


def test_a_signal_that_arrives_while_a_child_is_started_reaches_that_child_too(ground: Ground) -> None:
    process = ground.start(
        SERVES
        + """
class Signalled(processes.SpawnProcess):
    count = 0
    def start(self):
        Signalled.count += 1
        if Signalled.count == 2:
            while not os.path.exists("said"):
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
        super().start()

import multiprocessing.context
multiprocessing.context.SpawnContext.Process = Signalled
""",
        "3",
    )
    assert errors_of(process) == ""
    assert process.returncode == 0
    assert len(ground.pids()) <= 2


def test_where_none_can_begin_the_parent_gives_up_with_the_exit_code(ground: Ground) -> None:
    process = ground.start("def work(began): return 7", "2")
    assert "ended with code 7 before it served; giving up" in errors_of(process)
    assert process.returncode == 7


def test_a_burst_that_cannot_begin_everywhere_ends_and_says_so(ground: Ground) -> None:
    process = ground.start(
        """
        def work(began):
            try:
                os.mkdir("first")
            except FileExistsError:
                while not os.path.exists("said"):
                    time.sleep(0.01)
                return 5
            listen()
            began(0.0)
            say("begun", os.getpid())
            time.sleep(60)
        """,
        *("2", "burst"),
    )
    assert "ended with code 5 before it served; giving up" in errors_of(process)
    assert process.returncode == 5
    assert ground.said()[1:] == ["asked"]


def test_one_that_cannot_begin_beside_others_that_serve_is_tried_again(ground: Ground) -> None:
    process = ground.start(
        """
        def work(began):
            for nth in ("first", "second", "third"):
                try:
                    os.mkdir(nth)
                    break
                except FileExistsError:
                    pass
            if nth == "second":
                while not os.path.exists("said"):
                    time.sleep(0.01)
                return 1
            listen()
            began(0.0)
            say("begun", os.getpid())
            while True:
                time.sleep(60)
        """,
        "2",
    )
    ground.until(lambda: len(ground.pids()) == 2)
    process.send_signal(signal.SIGTERM)
    assert "ended with code 1; starting another" in errors_of(process)
    assert process.returncode == 0


def test_one_that_ends_while_it_serves_is_replaced_whatever_its_exit_code_says(ground: Ground) -> None:
    process = ground.start(
        """
        def work(began):
            listen()
            began(0.0)
            say("begun", os.getpid())
            if not os.path.exists("died"):
                os.mkdir("died")
                os._exit(2)
            while True:
                time.sleep(60)
        """,
        "1",
    )
    ground.until(lambda: len(ground.pids()) == 2)
    process.send_signal(signal.SIGINT)
    assert "ended with code 2; starting another" in errors_of(process)
    assert process.returncode == 0


def test_a_third_signal_ends_parent_and_children_as_it_ends_a_single_process(ground: Ground) -> None:
    process = ground.start(DEAF, "2")
    ground.until(lambda: len(ground.pids()) == 2)
    for times in (1, 2):
        process.send_signal(signal.SIGINT)
        ground.until(lambda: ground.said().count("asked") == 2 * times)  # noqa: B023 - looked at before the next
    process.send_signal(signal.SIGINT)
    assert errors_of(process) == ""
    assert process.returncode == -signal.SIGINT
    assert all(map(is_gone, ground.pids()))


def test_an_orphan_that_does_not_hear_ends_by_itself(ground: Ground) -> None:
    process = ground.start(DEAF, "2")
    ground.until(lambda: len(ground.pids()) == 2)
    process.kill()
    ground.until(lambda: all(map(is_gone, ground.pids())))
    assert ground.said().count("asked") == 2
