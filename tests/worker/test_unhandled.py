"""Events without a handler, and the dead letters of failed jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Discard, Job, Retry, TaskManager
from tests.worker.worlds import app, delays, found, kinds


def test_an_event_without_a_handler_fails_at_once_and_the_reason_names_the_queues_that_have_one() -> None:
    tm = app(processor={"retry": Retry(5)})

    @tm.handler("work", queue="a")
    @tm.handler("work", queue="b")
    @tm.handler("other")
    async def work(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        sim.emit("work", id="w", queue="default")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.attempt, job.dead_letter) == ("failed", 1, None)
    assert job.reason is not None
    assert "'a'" in job.reason
    assert "'b'" in job.reason
    assert job.error is not None
    assert job.error.type == "ConfigurationError"


def test_with_ignore_config_errors_off_it_takes_the_ordinary_path_of_retries_and_dead_letters() -> None:
    tm = app(processor={"retry": Retry(2), "ignore_config_errors": False})

    @tm.handler("other")
    async def other(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert delays(sim) == [1, 2]
    assert (job.state, job.attempt) == ("failed", 3)
    assert job.dead_letter is not None


def test_a_rolling_deploy_outlasts_the_workers_without_the_handler() -> None:
    tm = app(processor={"retry": Retry(10), "ignore_config_errors": False})

    @tm.handler("other")
    async def other(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(20)
        tm.register_handler(other, "work")
        sim.run_until_idle()
        assert found(sim.job("w")).state == "completed"


def test_a_handlers_own_lookup_error_is_not_taken_for_a_missing_handler() -> None:
    tm = app()

    @tm.handler("work", attempts=1)
    async def work(job: Job[Any]) -> None:
        raise LookupError("no handler for event 'work'")

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.attempt == 2
    assert job.dead_letter is not None


# ---- dead letters


def failing(**processor: Any) -> TaskManager:
    tm = app(processor=processor)

    @tm.handler("work", attempts=1)
    async def work(job: Job[Any]) -> None:
        raise ValueError(job.data["why"])

    return tm


def test_a_finally_failed_job_leaves_one_dead_letter_with_reason_time_and_attempts() -> None:
    with Simulation(failing()) as sim:
        sim.emit("work", {"why": "boom"}, id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
        assert job.dead_letter is not None
        assert (job.dead_letter.attempts, job.dead_letter.at) == (2, job.finished_at)
        assert job.dead_letter.reason == "ValueError"


def test_the_stream_key_is_taken_verbatim() -> None:
    with Simulation(failing(dlq={"stream_key": "my:dead letters"})) as sim:
        sim.emit("work", {"why": "boom"}, id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.dead_letter is not None
    assert job.dead_letter.stream == "my:dead letters"


def test_should_send_sees_job_error_and_attempts_and_may_refuse() -> None:
    asked = []

    def should_send(job: Job[Any], error: BaseException, attempts: int) -> bool:
        asked.append((job.id, type(error), str(error), attempts))
        return "keep" in str(error)

    with Simulation(failing(dlq={"should_send": should_send})) as sim:
        sim.emit("work", {"why": "keep"}, id="k")
        sim.emit("work", {"why": "drop"}, id="d")
        sim.run_until_idle()
        kept, dropped = found(sim.job("k")), found(sim.job("d"))
    assert kept.dead_letter is not None
    assert (dropped.state, dropped.dead_letter) == ("failed", None)
    assert sorted(asked) == [("d", ValueError, "drop", 2), ("k", ValueError, "keep", 2)]


def test_should_send_that_raises_is_logged_and_the_letter_sent(caplog: pytest.LogCaptureFixture) -> None:
    def should_send(job: Any, error: BaseException, attempts: int) -> bool:
        raise RuntimeError("cannot tell")

    with Simulation(failing(dlq={"should_send": should_send})) as sim:
        sim.emit("work", {"why": "boom"}, id="w")
        sim.run_until_idle()
        assert found(sim.job("w")).dead_letter is not None
    assert "should_send" in caplog.text


@pytest.mark.parametrize("why", ["discard", "timeout", "stalled"])
def test_every_way_to_fail_is_put_to_should_send(why: str) -> None:
    asked = []

    def should_send(job: Any, error: BaseException, attempts: int) -> bool:
        asked.append((type(error).__name__, attempts))
        return False

    tm = app(processor={"dlq": {"should_send": should_send}}, max_stalled=1, lease=5)

    @tm.handler("work", timeout=20)
    async def work(job: Job[Any]) -> None:
        if why == "discard":
            raise Discard("no")
        await asyncio.sleep(60)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(10)
        if why == "stalled":
            sim.nodes[0].crash()
            sim.run(sim.nodes[0].boot())
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.dead_letter) == ("failed", None)
    assert asked == [({"discard": "Discard", "timeout": "TimeoutError", "stalled": "LeaseLost"}[why], 1)]


def test_a_superseded_failure_leaves_no_dead_letter() -> None:
    tm = app()

    @tm.handler("work", attempts=3)
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(10)
        if job.data["fail"]:
            raise ValueError("boom")
        return "second"

    with Simulation(tm) as sim:
        first = sim.emit("work", {"fail": True}, id="w")
        sim.advance(1)
        second = sim.emit("work", {"fail": False}, id="w")
        assert second.status == "follow_up"
        sim.run_until_idle()
        assert sim.run(first.refresh()) is None
        assert found(sim.job("w")).result == "second"
    failed = sim.timeline.only(kind="failed")[0]
    assert failed.detail is not None
    assert failed.detail["reason"] == "superseded"
    assert kinds(sim) == ["emitted", "started", "follow_up", "failed", "started", "completed"]


def test_a_retried_dead_letter_loses_its_entry_and_gets_a_new_one_if_it_fails_again() -> None:
    with Simulation(failing()) as sim:
        sim.emit("work", {"why": "boom"}, id="w")
        sim.run_until_idle()
        assert found(sim.retry("w")).dead_letter is None
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.dead_letter is not None
    assert job.dead_letter.attempts == 4
