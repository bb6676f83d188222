"""The operations of `TaskManager` as plain calls, and what a world can be asked about itself."""

from __future__ import annotations

import asyncio
import inspect
from datetime import UTC, datetime
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, JobFailed, Retry, RetryLater, TaskManager, UsageError
from taskmanager.job import State
from tests.worker.worlds import found

START = "2026-03-28T00:00Z"


def shop() -> TaskManager:
    tm = TaskManager("memory://")

    @tm.handler("charge", retry=Retry(max_retries=2, delay=10))
    async def charge(job: Job[Any]) -> str:
        await job.logger(f"charging {job.data.get('card')}")
        await asyncio.sleep(2)
        if job.data.get("card") == "empty" or (job.data.get("card") == "shy" and job.attempt == 1):
            raise ValueError("card declined")
        return "charged"

    @tm.handler("report", queue="reports", repeat="0 9 * * *")
    async def report(job: Job[Any]) -> None: ...

    return tm


def world(**options: Any) -> Simulation:
    return Simulation(shop(), start=START, **options)


def test_every_operation_of_the_task_manager_is_a_plain_call_of_the_same_name() -> None:
    setting_up = {
        "init", "instance", "reset", "handler", "register_handler", "use", "on", "get_context", "run"
    }  # fmt: skip
    named = {
        name
        for name, value in vars(TaskManager).items()
        if not name.startswith("_") and inspect.isfunction(value) and name not in setting_up
    }
    assert named >= {"emit", "emit_many", "get_job", "cancel", "purge", "schedules", "drain", "stop"}
    for name in named:
        assert not inspect.iscoroutinefunction(getattr(Simulation, name)), name


def test_an_operation_takes_no_time_and_runs_nothing_of_the_world() -> None:
    with world() as sim:
        handle = sim.emit("charge", {"card": "good"})
        assert handle.status == "emitted"
        assert found(sim.job(handle)).state == "waiting"
        assert sim.counts()["waiting"] == 1
        assert [str(step.kind) for step in sim.timeline] == ["emitted"]
        assert sim.now == datetime(2026, 3, 28, tzinfo=UTC)


def test_a_job_is_found_by_handle_or_by_id_and_queue() -> None:
    with world() as sim:
        handle = sim.emit("charge", {"card": "good"}, id="order-1", queue="slow")
        by_handle, by_id = found(sim.get_job(handle)), found(sim.job("order-1", "slow"))
        assert by_handle == by_id
        assert sim.job("order-1") is None


def test_emit_many_gives_its_handles_in_order() -> None:
    with world() as sim:
        handles = sim.emit_many([{"event": "charge", "data": {"card": n}, "id": str(n)} for n in range(3)])
        assert [handle.id for handle in handles] == ["0", "1", "2"]


def test_a_refusal_is_raised_by_the_plain_call_and_nothing_is_written() -> None:
    with world() as sim:
        with pytest.raises(UsageError, match="priority"):
            sim.emit("charge", priority=1000)
        with pytest.raises(UsageError):
            sim.cancel("x", "a queue with spaces")
        assert not sim.timeline


def test_emit_and_wait_lets_the_world_run() -> None:
    with world() as sim:
        assert sim.emit_and_wait("charge", {"card": "shy"}, timeout=60) == "charged"
        assert (sim.now - datetime(2026, 3, 28, tzinfo=UTC)).total_seconds() == 14
        with pytest.raises(JobFailed, match="card declined"):
            sim.emit_and_wait("charge", {"card": "empty"}, timeout=600)
        with pytest.raises(TimeoutError):
            sim.emit_and_wait("charge", {"card": "good"}, timeout=1)


def test_operations_on_a_job() -> None:
    with world() as sim:
        later = sim.emit("charge", {"card": "good"}, delay=3600)
        assert found(sim.promote(later)).state == "waiting"
        sim.run_until_idle()
        assert found(sim.job(later)).result == "charged"
        assert [line.message for line in sim.logs(later)] == ["charging good"]
        assert found(sim.delete_job(later)).id == later.id
        assert sim.job(later) is None
        dropped = sim.emit("charge", {"card": "x"}, delay=60)
        assert found(sim.cancel(dropped)).state == "cancelled"
        failed = sim.emit("charge", {"card": "empty"})
        sim.run_until_idle()
        assert found(sim.retry(failed)).state == "waiting"


def test_operations_on_a_queue() -> None:
    with world() as sim:
        sim.pause_queue()
        assert sim.is_queue_paused()
        sim.emit("charge", {"card": "empty"})
        sim.run_until_idle()
        assert sim.counts() == {state: int(state == "waiting") for state in State}
        sim.resume_queue()
        sim.run_until_idle()
        assert [job.state for job in sim.jobs(state="failed")] == ["failed"]
        assert sim.retry_all() == 1
        sim.run_until_idle()
        assert sim.purge("default", "failed") == 1
        assert sim.jobs() == []
        assert sim.queues() == ["default", "reports"]
        assert [(one.name, one.queue) for one in sim.schedules()] == [("report", "reports")]
        assert sim.unschedule("report", "reports")
        assert sim.schedules() == []


def test_stop_and_start_are_those_of_all_workers() -> None:
    with world(workers=3) as sim:
        sim.stop()
        assert [node.is_up for node in sim.nodes] == [False] * 3
        handle = sim.emit("charge", {"card": "good"})
        sim.advance(60)
        assert found(sim.job(handle)).state == "waiting"
        sim.start()
        sim.run_until_idle()
        assert found(sim.job(handle)).state == "completed"


# ---- what can be asked


def test_attempts_are_the_runs_of_an_event() -> None:
    with world() as sim:
        sim.emit("charge", {"card": "shy"})
        sim.emit("charge", {"card": "good"}, queue="elsewhere")
        sim.run_until_idle()
        assert [(step.attempt, step.at.second) for step in sim.attempts("charge")] == [(1, 0), (2, 12)]
        assert len(sim.attempts("charge", "elsewhere")) == 0
        assert len(sim.attempts("nothing")) == 0


def test_explain_tells_a_story_by_id_by_handle_and_by_record() -> None:
    with world() as sim:
        handle = sim.emit("charge", {"card": "shy"}, id="order-9", delay=3600)
        sim.run_until_idle()
        story = sim.explain(handle)
        assert story == sim.explain("order-9") == sim.explain(found(sim.job(handle)))
        for word in ("order-9", "1 h", "ValueError: card declined", "attempt 2", "worker-1"):
            assert word in story
        assert "order-9" in sim.explain("order-8")


def test_explain_finds_the_queue_of_an_id_and_takes_one_where_there_are_several() -> None:
    with world() as sim:
        sim.emit("charge", {"card": "good"}, id="order-9", queue="slow")
        sim.emit("charge", {"card": "good"}, id="order-9", delay=60)
        assert "waiting" in sim.explain("order-9")
        assert "delayed" in sim.explain("order-9", "default")


@pytest.mark.parametrize(("follows", "keeps"), [(False, True), (True, True), (False, False)])
def test_the_summary_counts_the_dead_letters_that_the_store_has(follows: bool, keeps: bool) -> None:
    """A follow-up takes the place of its job's record, and of the dead letter with it; so does a retention of 0."""
    tm = TaskManager("memory://", retention=None if keeps else {"failed": 0})

    @tm.handler("work")
    async def work(job: Job[Any], ctx: Any) -> None:
        if follows and job.data["n"] == 1:
            await ctx.emit("work", {"n": 2}, id="w")
        if job.data["n"] == 1:
            raise ValueError("always")

    with Simulation(tm) as sim:
        sim.emit("work", {"n": 1}, id="w")
        sim.run_until_idle()
        record = sim.job("w")
        has_letter = record is not None and record.dead_letter is not None
        assert has_letter == (keeps and not follows)
        assert (sim.summary["work"].failed, sim.summary["work"].dead_letters) == (1, int(has_letter))


def test_the_summary_counts_by_event() -> None:
    with world() as sim:
        for card in ("good", "shy", "empty"):
            sim.emit("charge", {"card": card})
        sim.run_until_idle()
        told = sim.summary["charge"]
        assert (told.emitted, told.runs, told.completed, told.retries, told.failed, told.dead_letters) == (
            3, 6, 2, 3, 1, 1
        )  # fmt: skip
        assert told.running is not None
        assert told.running.median == 2


def test_the_timeline_is_a_view_at_its_moment_and_survives_the_world() -> None:
    with world() as sim:
        sim.emit("charge", {"card": "good"})
        before = sim.timeline
        sim.run_until_idle()
        assert (len(before), len(sim.timeline)) == (1, 3)
    assert "charge" in str(sim.timeline)


def test_the_repr_says_where_the_world_stands() -> None:
    with world(seed=7, workers=2) as sim:
        assert repr(sim) == "<Simulation at 2026-03-28T00:00:00+00:00, seed=7, 2 workers up, 0 steps>"
        sim.nodes[0].crash()
        sim.emit("charge", {"card": "good"})
        assert repr(sim) == "<Simulation at 2026-03-28T00:00:00+00:00, seed=7, 1 of 2 workers up, 1 step>"
    assert repr(sim).startswith("<Simulation (closed) at 2026-03-28")


def test_drain_takes_a_timeout_in_virtual_time() -> None:
    with world() as sim:
        sim.emit("charge", {"card": "good"}, delay=60)
        with pytest.raises(TimeoutError):
            sim.drain(timeout=10)
        sim.drain(timeout=60)
        assert sim.counts()["completed"] == 1
        sim.emit("charge", {"card": "new"}, delay=60)
        sim.drain()
        assert sim.counts()["completed"] == 2


@pytest.mark.parametrize("what", [None, 5, b"x"])
def test_explain_refuses_what_names_no_job(what: Any) -> None:
    with world() as sim, pytest.raises(UsageError, match="id, handle or record"):
        sim.explain(what)


def test_run_until_refuses_an_async_goal() -> None:
    async def reached() -> bool:
        return False

    with world() as sim, pytest.raises(UsageError, match="plain function"):
        sim.run_until(reached)


def test_what_would_end_after_the_year_9999_ends_with_it_and_the_clock_does_not_pass_it() -> None:
    tm = TaskManager("memory://")

    @tm.handler("late")
    async def late(job: Job[Any]) -> None:
        raise RetryLater(1e9)

    with Simulation(tm, start="9999-12-31T23:59:00Z") as sim:
        sim.emit("late", id="x", delay=30)
        sim.emit("late", id="y", delay=3000)
        sim.advance(31)
        for name in ("x", "y"):
            assert (job := sim.job(name)) is not None
            assert (job.state, job.run_at.year, job.run_at.second) == ("delayed", 9999, 59)
        for move in (sim.advance, sim.jump):
            with pytest.raises(UsageError, match="must end before the year 10000"):
                move(100)
        assert sim.now.isoformat() == "9999-12-31T23:59:31+00:00"


@pytest.mark.parametrize("seed", [None, 1.5, [1], b"x", True])
def test_a_seed_is_an_integer_or_a_text(seed: Any) -> None:
    with pytest.raises(UsageError, match="fresh must be True or False, got 'yes'"):
        Simulation(TaskManager(db="memory://"), fresh="yes")  # type: ignore[arg-type]  # what a user may write
    with pytest.raises(UsageError, match="seed must be an integer or a text"):
        Simulation(TaskManager("memory://"), seed=seed)
