"""What a run says while it runs: log lines and progress, from `async def` and plain handlers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, UsageError
from tests.worker.worlds import app, found


def lines(sim: Simulation, job_id: str = "w") -> list[str]:
    return [line.message for line in sim.logs(job_id)]


def test_a_line_has_its_time_and_attempt_and_is_kept_over_the_end() -> None:
    tm = app()

    @tm.handler("work", attempts=1)
    async def work(job: Job[Any]) -> None:
        await job.logger("begin")
        await asyncio.sleep(10)
        await job.logger("end")
        if job.attempt == 1:
            raise ValueError("boom")

    with Simulation(tm) as sim:
        start = sim.now
        sim.emit("work", id="w")
        sim.run_until_idle()
        logs = sim.logs("w")
    assert [((line.at - start).total_seconds(), line.attempt, line.message) for line in logs] == [
        (0, 1, "begin"),
        (10, 1, "end"),
        (11, 2, "begin"),
        (21, 2, "end"),
    ]


def test_what_was_logged_without_await_is_kept_in_order() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        for n in range(50):
            job.logger(str(n))

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert lines(sim) == [str(n) for n in range(50)]


def test_a_plain_handler_logs_and_reports_and_each_call_returns_when_it_is_stored() -> None:
    tm = app()

    @tm.handler("work")
    def work(job: Job[Any]) -> None:
        for n in range(3):
            job.logger(f"line {n}")
            job.progress(n / 4)
            time.sleep(1)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1.5)
        assert lines(sim) == ["line 0", "line 1"]
        sim.run_until_idle()
        assert lines(sim) == ["line 0", "line 1", "line 2"]
        progress = found(sim.job("w")).progress
    assert progress is not None
    assert progress.fraction == 0.5


def test_at_most_a_thousand_lines_are_kept_and_the_oldest_go_first() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        for n in range(1100):
            job.logger(str(n))

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert lines(sim) == [str(n) for n in range(100, 1100)]


@pytest.mark.parametrize(
    ("text", "kept"), [("x" * 9000, 8192), ("é" * 5000, 4096), ("€" * 4000, 2730), ("x" * 8192, 8192)]
)
def test_a_line_is_cut_at_8_kib_of_whole_characters(text: str, kept: int) -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await job.logger(text)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert lines(sim) == [text[:kept]]


@pytest.mark.parametrize(
    ("message", "line"),
    [({"a": [1, None]}, '{"a":[1,null]}'), (7, "7"), (None, "null"), (True, "true"), (["x"], '["x"]'), ("", "")],
)
def test_an_object_is_kept_as_json(message: Any, line: str) -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await job.logger(message)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert lines(sim) == [line]


@pytest.mark.parametrize("message", [object(), {1: 2}, float("nan"), b"bytes"])
def test_what_is_not_json_is_refused_at_the_call(message: Any) -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        job.logger(message)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert (job.state, job.error.type) == ("failed", "UsageError")


@pytest.mark.parametrize("say", [lambda job: job.logger("bad \ud800 text"), lambda job: job.progress(0.5, "\udfff")])
def test_lone_surrogates_are_refused_in_whatever_a_run_says(say: Callable[[Job[Any]], object]) -> None:
    tm = app()
    caught: list[str] = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        try:
            say(job)
        except UsageError as refused:
            caught.append(str(refused))

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
        assert (lines(sim), job.progress, job.state) == ([], None, "completed")
    assert re.match(r"(message|note) must be text without lone surrogates, got '.*\\ud", caught[0])


def test_progress_is_a_step_and_the_last_one_is_read_back() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await job.progress(0)
        await job.progress(0.25, "a quarter")
        await job.progress(1)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        progress = found(sim.job("w")).progress
    assert progress is not None
    assert (progress.fraction, progress.note) == (1.0, None)
    steps = [step.detail or {} for step in sim.timeline.only(kind="progress")]
    assert [step["fraction"] for step in steps] == [0, 0.25, 1]
    assert steps[1]["note"] == "a quarter"


@pytest.mark.parametrize(("fraction", "note"), [(1.1, None), (-0.1, None), ("half", None), (True, None), (0.5, 7)])
def test_progress_that_cannot_be_is_refused_at_the_call(fraction: Any, note: Any) -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        job.progress(fraction, note)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.error is not None
    assert job.error.type == "UsageError"
    assert job.progress is None
