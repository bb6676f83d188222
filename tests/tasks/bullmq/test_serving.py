"""How a driver comes to serve: it knows its tasks before it takes a job, however it is started."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskmanager.errors import EngineUnavailable, UsageError
from taskmanager.tasks import BullMQDriver, MemoryDriver, TaskRequest, create_task, set_driver, task
from tests.servers import Server
from tests.tasks.bullmq.world import Queue, Ran, until

BOTH = "0 0 */2 * 1"
"""Day-of-month and day-of-week must both match: BullMQ cannot say that."""
APP = """
from taskmanager.tasks import BullMQDriver, set_driver, task

driver = BullMQDriver(port={port}, host="127.0.0.1")
set_driver(driver)
task(name="both", schedule="0 0 */2 * 1", execute=print)

@task(schedule="0 3 * * *", immediate=True)
def tick(ctx):
    open("ran", "a").close()

if __name__ == "__main__":
    driver.run()
"""


def of(server: Server) -> BullMQDriver:
    return BullMQDriver(host="127.0.0.1", port=server.port)


async def apart(make: Callable[[], object]) -> None:
    """What a module does before an event loop runs: here, where none is seen to run."""
    await asyncio.to_thread(make)


# ---- its tasks come before its first job


async def test_a_driver_set_before_any_loop_has_its_runner_and_its_schedules_when_it_starts(server: Server) -> None:
    ran, queue, ours = Ran(), Queue(server), of(server)

    def module() -> None:
        set_driver(ours)
        task(name="rates", schedule="0 3 * * *", execute=ran)
        task(name="hello", execute=ran)

    await apart(module)
    waiting = await ours.create(TaskRequest("hello", {"n": 1}))
    async with ours:
        assert list(queue.schedulers()) == ["rates@static"]
        assert (await queue.ended(waiting))["returnvalue"] is None
    assert (ran.data, queue.ids("failed")) == ([{"n": 1}], [])


async def test_a_driver_that_is_set_and_not_in_force_is_told_of_its_tasks_too(server: Server) -> None:
    queue, ours = Queue(server), of(server)

    def module() -> None:
        set_driver(ours)
        task(name="rates", schedule="0 3 * * *", execute=Ran())
        set_driver(MemoryDriver())

    await apart(module)
    async with ours:
        assert list(queue.schedulers()) == ["rates@static"]


async def test_a_job_that_waits_is_not_taken_before_there_is_a_runner_and_runs_then(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    ran, queue = Ran(), Queue(server)
    task(name="hello", execute=ran)
    async with of(server) as ours:
        waiting = await ours.create(TaskRequest("hello", {}))
        assert "takes no job yet; set_driver(driver)" in caplog.text
        assert queue.ids("wait") == [waiting]
        await set_driver(ours)
        await ran.times(1)
        assert (await queue.ended(waiting))["returnvalue"] is None


async def test_a_driver_that_never_was_set_stops_and_leaves_what_waits(server: Server) -> None:
    queue = Queue(server)
    async with of(server) as ours:
        waiting = await ours.create(TaskRequest("hello", {}))
    assert queue.ids() == [waiting]


async def test_a_start_that_fails_over_a_schedule_may_be_repeated(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, ours = Queue(server), of(server)

    def module() -> None:
        set_driver(ours)
        task(name="rates", schedule="0 3 * * *", execute=Ran())

    async def away(*_: object) -> str:
        raise EngineUnavailable("the line is dead")

    await apart(module)
    with monkeypatch.context() as broken:
        broken.setattr(BullMQDriver, "create", away)
        with pytest.raises(EngineUnavailable):
            await ours.start()
    async with ours:
        assert list(queue.schedulers()) == ["rates@static"]


# ---- a schedule that BullMQ cannot keep


async def test_a_schedule_that_bullmq_cannot_keep_is_logged_once_and_the_rest_is_served(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    ran, queue, ours = Ran(), Queue(server), of(server)

    def module() -> None:
        set_driver(ours)
        task(name="both", schedule=BOTH, execute=ran)
        task(name="rates", schedule="0 3 * * *", execute=ran)

    await apart(module)
    async with ours:
        await create_task(name="both", data={"n": 1})
        await ran.times(1)
        assert list(queue.schedulers()) == ["rates@static"]
        with pytest.raises(UsageError, match="either"):
            await create_task(name="both", schedule=BOTH)
    async with ours:
        pass
    (told,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert "task 'both': its schedule is refused" in told
    assert BOTH in told


# ---- as a process


@pytest.fixture
def started(server: Server, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    (tmp_path / "app.py").write_text(APP.format(port=server.port))

    def start(*words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "words",
    [("app.py",), ("-c", "from taskmanager.cli import main; main()", "run", "app.py:driver")],
    ids=["driver.run()", "taskmanager run"],
)
async def test_it_serves_until_a_signal_though_one_of_its_schedules_is_refused(
    server: Server, tmp_path: Path, started: Callable[..., subprocess.Popen[str]], words: tuple[str, ...]
) -> None:
    process = started(*words)
    await until((tmp_path / "ran").exists)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert errors.count("task 'both': its schedule is refused") == 1
    assert list(Queue(server).schedulers()) == ["tick@static"]


async def test_run_inside_a_running_loop_is_refused(server: Server) -> None:
    with pytest.raises(UsageError, match="event loop of its own"):
        of(server).run()
