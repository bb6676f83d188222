"""The operations on jobs: they answer the job as it then is, repeat harmlessly, and refuse by naming the state."""

from __future__ import annotations

from typing import Any

import pytest

from simulation import Simulation
from taskmanager import TaskManager, UsageError
from tests.worker.apps import everything, failing, keeping, kinds

STATES = ("waiting", "delayed", "active", "completed", "failed", "cancelled")


def world_with(state: str) -> Simulation:
    """A world whose job `j` is in that state."""
    tm = TaskManager(db="memory://")
    if state == "failed":
        failing(tm, "work")
    else:
        keeping(tm, "work", seconds=0 if state == "completed" else 600)
    sim = Simulation(tm)
    if state in ("waiting", "cancelled"):
        sim.pause_queue()
    sim.emit("work", {"n": 1}, id="j", delay=3600 if state == "delayed" else None)
    sim.advance(1)
    if state == "cancelled":
        sim.cancel("j")
    return sim


MOVES: dict[tuple[str, str], str | None] = {
    # (operation, state): the state the job is in then, or None where the state does not allow it
    ("cancel", "waiting"): "cancelled",
    ("cancel", "delayed"): "cancelled",
    ("cancel", "active"): "active",
    ("cancel", "completed"): None,
    ("cancel", "failed"): None,
    ("cancel", "cancelled"): "cancelled",
    ("retry", "waiting"): None,
    ("retry", "delayed"): None,
    ("retry", "active"): None,
    ("retry", "completed"): None,
    ("retry", "failed"): "waiting",
    ("retry", "cancelled"): None,
    ("promote", "waiting"): "waiting",
    ("promote", "delayed"): "waiting",
    ("promote", "active"): None,
    ("promote", "completed"): None,
    ("promote", "failed"): None,
    ("promote", "cancelled"): None,
    ("delete_job", "waiting"): "cancelled",
    ("delete_job", "delayed"): "cancelled",
    ("delete_job", "active"): None,
    ("delete_job", "completed"): "completed",
    ("delete_job", "failed"): "failed",
    ("delete_job", "cancelled"): "cancelled",
}


@pytest.mark.parametrize(("operation", "state"), MOVES, ids="-".join)
def test_each_operation_answers_the_job_or_names_the_state_that_does_not_allow_it(operation: str, state: str) -> None:
    sim = world_with(state)
    with sim:
        before = everything(sim)
        then = MOVES[operation, state]
        call = getattr(sim, operation)
        if then is None:
            with pytest.raises(UsageError, match=f"job 'j' in queue 'default' is {state} and cannot be"):
                call("j")
            assert everything(sim) == before
        else:
            assert str(call("j").state) == then
            kept = sim.job("j")
            if operation == "delete_job":
                assert kept is None
            else:
                assert kept is not None


@pytest.mark.parametrize(
    ("operation", "state"),
    [
        ("cancel", "waiting"),
        ("cancel", "active"),
        ("retry", "failed"),
        ("promote", "delayed"),
        ("delete_job", "failed"),
    ],
    ids="-".join,
)
def test_repeating_an_operation_changes_nothing(operation: str, state: str) -> None:
    sim = world_with(state)
    with sim:
        sim.pause_queue()
        getattr(sim, operation)("j")
        before = everything(sim)
        getattr(sim, operation)("j")
        assert everything(sim) == before


@pytest.mark.parametrize("operation", ["cancel", "retry", "promote", "delete_job", "get_job"])
def test_of_a_job_that_is_not_there_the_answer_is_none(operation: str) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("work", id="j", queue="other")
        before = everything(sim)
        assert getattr(sim, operation)("j") is None
        assert getattr(sim, operation)("absent", "other") is None
        assert getattr(sim, operation)("j", queue="nowhere") is None
        assert everything(sim) == before


@pytest.mark.parametrize("operation", ["cancel", "promote", "delete_job", "get_job", "logs"])
def test_an_operation_takes_a_handle_whose_queue_it_knows(operation: str) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        handle = sim.emit("work", queue="other", delay=60)
        assert getattr(sim, operation)(handle) is not None


def test_a_cancelled_run_ends_within_a_beat_and_no_retry_is_spent() -> None:
    tm = TaskManager(db="memory://", lease=15)
    keeping(tm, "work", seconds=3600, attempts=5)
    with Simulation(tm) as sim:
        sim.emit("work", id="j")
        sim.advance(60)
        begun = sim.now
        sim.cancel("j")
        sim.run_until_idle()
        assert (sim.now - begun).total_seconds() <= 3
        record = sim.job("j")
    assert record is not None
    assert (record.state, record.attempt) == ("cancelled", 1)
    assert record.dead_letter is None


def test_a_retried_job_has_a_fresh_budget_and_a_new_place_in_the_line() -> None:
    tm = TaskManager(db="memory://")
    attempts = failing(tm, "work", attempts=1)
    with Simulation(tm) as sim:
        sim.emit("work", id="j")
        sim.run_until_idle()
        record = sim.retry("j")
        assert record is not None
        assert (record.state, record.error, record.reason, record.dead_letter) == ("waiting", None, None, None)
        sim.run_until_idle()
        assert "requeued" in kinds(sim, "j")
    assert attempts == [1, 2, 3, 4]  # attempt numbers go on; two failures are allowed again


def test_a_promoted_job_runs_now() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "work")
    with Simulation(tm) as sim:
        begun = sim.now
        sim.emit("work", id="j", delay=3600)
        sim.promote("j")
        sim.run_until_idle()
        assert sim.now == begun
        assert kinds(sim, "j") == ["emitted", "due", "started", "completed"]
    assert len(kept) == 1


def test_deleting_a_live_job_is_told_as_cancelled() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("work", id="j")
        sim.delete_job("j")
        assert kinds(sim, "j") == ["emitted", "cancelled"]
        detail = sim.timeline[-1].detail
    assert detail is not None
    assert detail["reason"] == "deleted"


def test_the_logs_of_a_job_are_its_lines() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("work", attempts=1)
    async def work(job: Any) -> None:
        job.logger(f"attempt {job.attempt}")
        await job.logger({"step": 1})
        if job.attempt == 1:
            raise RuntimeError("again")

    with Simulation(tm) as sim:
        handle = sim.emit("work", id="j")
        sim.run_until_idle()
        lines = [(line.attempt, line.message) for line in sim.logs("j")]
        assert sim.logs(handle) == sim.logs("j")
        assert sim.logs("absent") == []
    assert lines == [(1, "attempt 1"), (1, '{"step":1}'), (2, "attempt 2"), (2, '{"step":1}')]
