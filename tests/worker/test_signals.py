"""`tm.run()` in a process of its own, and what the first, the second and the third signal do to it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from taskmanager import TaskManager, UsageError

SERVE = """
import asyncio, contextlib, sys
from taskmanager import TaskManager

@contextlib.asynccontextmanager
async def lifespan():
    tm.emit("work")
    yield
    print("left", flush=True)

how = sys.argv[1]
tm = TaskManager("memory://", grace=60, lifespan=lifespan)
for kind in ("completed", "released"):
    tm.on(kind, lambda step: print(step.kind, flush=True))

@tm.handler("work")
async def work(job):
    print("begun", flush=True)
    try:
        await asyncio.sleep(0.2 if how == "quick" else 60)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        if how == "stubborn":
            await asyncio.sleep(60)
        raise

tm.run()
print("returned", flush=True)
"""

Serve = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a process that serves one job, and waits until that job runs."""
    started: list[subprocess.Popen[str]] = []

    def start(how: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", SERVE, how], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert line(process) == "begun"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def rest(process: subprocess.Popen[str]) -> list[str]:
    """What it says until it ends, and its exit code."""
    said, _ = process.communicate(timeout=10)
    return [*said.split(), str(process.returncode)]


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_handler_end_and_run_returns(serve: Serve, first: signal.Signals) -> None:
    process = serve("quick")
    process.send_signal(first)
    assert rest(process) == ["completed", "left", "returned", "0"]


def test_a_second_signal_releases_at_once(serve: Serve) -> None:
    process = serve("slow")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert rest(process) == ["cancelled", "released", "left", "returned", "0"]


def test_a_third_signal_exits(serve: Serve) -> None:
    process = serve("stubborn")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    assert line(process) == "cancelled"
    process.send_signal(signal.SIGTERM)
    assert rest(process) == [str(-signal.SIGTERM)]


def test_run_inside_a_running_loop_says_what_to_use_instead() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="async with tm"):
            TaskManager("memory://").run()

    asyncio.run(main())
