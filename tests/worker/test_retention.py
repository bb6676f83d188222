"""How long finished jobs are kept: not at all, for a while, so many; and outcomes that somebody waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Job, JobFailed, TaskManager
from tests.worker.worlds import app, found


def keeping(**retention: Any) -> TaskManager:
    tm = app(retention=retention)

    @tm.handler("work")
    async def work(job: Job[Any]) -> Any:
        if job.data.get("fail"):
            raise ValueError("boom")
        await asyncio.sleep(job.data.get("sleep", 0))
        return job.data.get("n")

    return tm


@pytest.mark.parametrize("none", [0, (0, None), (None, 0), (0, 1000)])
def test_a_retention_of_nothing_removes_the_job_in_the_write_that_ends_it(none: Any) -> None:
    with Simulation(keeping(completed=none)) as sim:
        sim.emit("work", id="w")
        sim.emit("work", {"fail": True}, id="f")
        sim.run_until_idle()
        assert sim.job("w") is None
        assert found(sim.job("f")).state == "failed"
        assert sim.counts()["completed"] == 0


def test_cancelled_jobs_go_at_once_too_where_none_is_kept() -> None:
    with Simulation(keeping(cancelled=0)) as sim:
        sim.emit("work", id="w", delay=60)
        assert found(sim.cancel("w")).state == "cancelled"
        assert sim.job("w") is None


@given(st.integers(1, 600))
def test_a_job_is_kept_for_its_age_and_gone_a_minute_later(age: int) -> None:
    with Simulation(keeping(completed=(age, None))) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        sim.advance(age - 0.5)
        assert sim.job("w") is not None
        sim.advance(61)
        assert sim.job("w") is None


def test_of_a_number_of_jobs_the_newest_ends_are_kept() -> None:
    with Simulation(keeping(completed=(None, 3))) as sim:
        sim.emit_many([{"event": "work", "data": {"n": n}, "id": str(n)} for n in range(10)])
        sim.run_until_idle()
        assert sim.counts()["completed"] == 10
        sim.advance(61)
        assert [job.id for job in sim.jobs()] == ["9", "8", "7"]


def test_each_state_has_limits_of_its_own() -> None:
    with Simulation(keeping(completed=(10, None), failed=(1000, None))) as sim:
        sim.emit("work", id="c")
        sim.emit("work", {"fail": True}, id="f")
        sim.run_until_idle()
        sim.advance(100)
        assert [job.id for job in sim.jobs()] == ["f"]
        sim.advance(1000)
        assert sim.jobs() == []


def test_by_default_a_thousand_completed_jobs_are_kept_for_an_hour() -> None:
    with Simulation(keeping()) as sim:
        sim.emit_many([{"event": "work", "data": {"n": n}} for n in range(1100)])
        sim.run_until_idle()
        sim.advance(61)
        assert sim.counts()["completed"] == 1000
        sim.advance(3600)
        assert sim.counts()["completed"] == 0


def test_what_nobody_was_there_to_prune_goes_after_the_start() -> None:
    tm = keeping(completed=(100, None))
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        sim.stop()
        sim.advance(1000)
        assert sim.job("w") is not None
        sim.start()
        sim.advance(125)
        assert sim.job("w") is None


def test_an_awaited_outcome_is_kept_sixty_seconds_beyond_its_end() -> None:
    tm = keeping(completed=0)
    with Simulation(tm) as sim:
        assert sim.emit_and_wait("work", {"n": 7}, timeout=60) == 7

        async def wait_twice() -> list[Any]:
            handle = await tm.emit("work", {"n": 8, "sleep": 5})
            return [await handle.result(), await handle.result()]

        assert sim.run(wait_twice()) == [8, 8]


def test_what_is_gone_has_no_result() -> None:
    with Simulation(keeping(completed=0)) as sim:
        handle = sim.emit("work", {"n": 7})
        sim.run_until_idle()
        with pytest.raises(JobFailed) as gone:
            sim.run(handle.result())
        assert gone.value.reason == "gone"


def test_an_awaited_outcome_is_gone_after_its_minute() -> None:
    tm = keeping(completed=0)
    with Simulation(tm) as sim:

        async def emit() -> Any:
            handle = await tm.emit("work", {"n": 7})
            await handle.result()
            return handle

        handle = sim.run(emit())
        sim.advance(59)
        assert sim.run(handle.result()) == 7
        sim.advance(200)
        with pytest.raises(JobFailed, match="gone"):
            sim.run(handle.result())


def test_pruning_forgets_logs_and_dead_letters_with_the_job() -> None:
    tm = app(retention={"failed": (10, None)})

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await job.logger("line")
        raise ValueError("boom")

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert len(sim.logs("w")) == 1
        sim.advance(75)
        assert sim.job("w") is None
        assert sim.logs("w") == []
        sim.emit("work", id="w", delay=5)
        assert sim.logs("w") == []
