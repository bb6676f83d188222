"""What the log says of runs that go wrong, on the machine's own clock; in a simulation the timeline tells."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Discard, Job, RetryLater, TaskManager
from tests.worker.real_world import ended


def broken() -> TaskManager:
    tm = TaskManager("memory://")

    @tm.handler("work", retry={"max_retries": 1, "delay": 0.01, "backoff": "fixed"})
    async def work(job: Job[Any]) -> None:
        match job.data["how"]:
            case "raise":
                raise LookupError("no rates")
            case "discard":
                raise Discard("unwanted")
            case "later" if job.attempt == 1:
                raise RetryLater(0.01)

    return tm


def told(tm: TaskManager, caplog: pytest.LogCaptureFixture, event: str = "work", **data: str) -> list[Any]:
    async def main() -> None:
        async with tm:
            await tm.emit(event, data, id="x")
            await ended(tm, "x")

    with caplog.at_level(logging.WARNING, "taskmanager"):
        asyncio.run(main())
    return [(line.levelname, line.getMessage(), line.exc_info is not None) for line in caplog.records]


def test_a_handler_that_raises_is_told_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    job = "job 'x' (event 'work', queue 'default')"
    assert told(broken(), caplog, how="raise") == [
        ("WARNING", f"{job} raised in attempt 1 and runs again in 0.01 s", True),
        ("ERROR", f"{job} failed in attempt 2: LookupError: no rates", True),
    ]
    assert 'raise LookupError("no rates")' in caplog.text


def test_what_a_handler_decides_is_told_without_one(caplog: pytest.LogCaptureFixture) -> None:
    [(level, line, has_trace)] = told(broken(), caplog, how="discard")
    assert (level, has_trace) == ("ERROR", False)
    assert "failed in attempt 1" in line
    assert "unwanted" in line


def test_a_job_without_a_handler_is_told(caplog: pytest.LogCaptureFixture) -> None:
    tm = broken()
    [(level, line, has_trace)] = told(tm, caplog, event="nobody")
    assert (level, has_trace) == ("ERROR", False)
    assert "no handler for event 'nobody'" in line


@pytest.mark.parametrize("how", ["later", "return"])
def test_nothing_is_said_of_what_goes_well(caplog: pytest.LogCaptureFixture, how: str) -> None:
    assert told(broken(), caplog, how=how) == []


def test_a_simulation_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with Simulation(broken()) as sim, caplog.at_level(logging.WARNING, "taskmanager"):
        sim.emit("work", {"how": "raise"})
        sim.run_until_idle()
        assert sim.counts()["failed"] == 1
    assert caplog.records == []
