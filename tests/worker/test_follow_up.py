"""Emitted again while it runs: one follow-up is recorded, which is the job of that id when the run ends, however."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Discard, Job, JobFailed, RetryLater, TaskManager
from tests.worker.apps import everything, keeping, kinds


def test_an_emission_while_the_job_runs_is_its_follow_up() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "sync", seconds=10)
    with Simulation(tm) as sim:
        first = sim.emit("sync", {"n": 1}, id="s")
        sim.advance(5)
        second = sim.emit("sync", {"n": 2}, id="s")
        record = sim.job("s")
        sim.run_until_idle()
    assert (first.status, second.status) == ("emitted", "follow_up")
    assert record is not None
    assert record.follow_up is not None
    assert (record.data, record.follow_up.data) == ({"n": 1}, {"n": 2})
    assert kept == [{"n": 1}, {"n": 2}]
    assert kinds(sim, "s") == ["emitted", "started", "follow_up", "completed", "started", "completed"]


def test_a_later_emission_replaces_what_was_recorded() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "sync", seconds=10)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        statuses = [sim.emit("sync", {"n": n}, id="s").status for n in (2, 3, 3)]
        sim.run_until_idle()
    assert statuses == ["follow_up", "follow_up", "duplicate"]
    assert kept == [{"n": 1}, {"n": 3}]


def test_a_follow_up_has_its_own_delay_and_options() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "sync", seconds=10)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s", attempts=9)
        sim.advance(5)
        sim.emit("sync", {"n": 2}, id="s", delay=60, attempts=2, priority=3)
        sim.advance(10)
        record = sim.job("s")
        starts = sim.attempts("sync")
        sim.run_until_idle()
        began = [step.at for step in sim.attempts("sync")]
    assert record is not None
    assert (record.state, record.priority, record.max_attempts) == ("delayed", 3, 3)
    assert len(starts) == 1
    assert (began[1] - began[0]).total_seconds() == 65


def test_the_follow_up_starts_with_a_fresh_budget() -> None:
    tm = TaskManager(db="memory://")
    runs: list[tuple[int, int]] = []

    @tm.handler("sync", attempts=1)
    async def sync(job: Job[Any]) -> None:
        runs.append((job.data["n"], job.attempt))
        await asyncio.sleep(1)
        raise RuntimeError("never")

    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(2.5)  # the first run has failed, the second one is running
        sim.emit("sync", {"n": 2}, id="s")
        sim.run_until_idle()
    assert runs == [(1, 1), (1, 2), (2, 1), (2, 2)]


async def _retried(job: Job[Any]) -> None:
    await asyncio.sleep(5)
    raise RuntimeError("again")


async def _postponed(job: Job[Any]) -> None:
    await asyncio.sleep(5)
    raise RetryLater(600)


async def _failed(job: Job[Any]) -> None:
    await asyncio.sleep(5)
    raise Discard("hopeless")


async def _completed(job: Job[Any]) -> None:
    await asyncio.sleep(5)


ENDS = [
    # how the run ends, the step the old job ends with, its reason
    (_completed, "completed", None),
    (_failed, "failed", "hopeless"),
    (_retried, "failed", "superseded"),
    (_postponed, "failed", "superseded"),
]


@pytest.mark.parametrize(("ends", "kind", "reason"), ENDS, ids=[end[0].__name__ for end in ENDS])
def test_however_the_run_ends_the_old_job_ends_with_it_and_the_follow_up_runs(
    ends: Any, kind: str, reason: str
) -> None:
    tm = TaskManager(db="memory://")
    ran: list[int] = []

    async def sync(job: Job[Any]) -> None:
        ran.append(job.data["n"])
        if job.data["n"] == 1:
            await ends(job)

    tm.register_handler(sync, event="sync", attempts=3, retry_delay=60)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.emit("sync", {"n": 2}, id="s")
        begun = sim.now
        sim.run_until_idle()
        assert (sim.now - begun).total_seconds() == 4  # at once, without waiting for the backoff
    ended = sim.timeline.only(kind=["completed", "failed", "retried"], job_id="s")[0]
    assert (ended.kind, (ended.detail or {}).get("reason")) == (kind, reason)
    assert ran == [1, 2]


def test_a_job_that_a_stop_would_have_released_is_superseded_by_its_follow_up() -> None:
    tm = TaskManager(db="memory://", grace=1)
    kept = keeping(tm, "sync", seconds=100)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.emit("sync", {"n": 2}, id="s")
        sim.stop()
        record = sim.job("s")
        assert kinds(sim, "s") == ["emitted", "started", "follow_up", "cancelled"]
        assert sim.timeline[-1].detail is not None
        assert sim.timeline[-1].detail["reason"] == "superseded"
        sim.start()
        sim.run_until_idle()
    assert record is not None
    assert (record.state, record.data, record.attempt) == ("waiting", {"n": 2}, 0)
    assert kept == [{"n": 1}, {"n": 2}]


def test_a_job_whose_worker_died_is_superseded_by_its_follow_up() -> None:
    tm = TaskManager(db="memory://", lease=15)
    kept = keeping(tm, "sync", seconds=30)
    with Simulation(tm, workers=2) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.emit("sync", {"n": 2}, id="s")
        dead = next(node for node in sim.nodes if node.worker is not None and node.worker.attempts())
        dead.crash()
        sim.run_until_idle()
        record = sim.job("s")
    assert kept == [{"n": 1}, {"n": 2}]
    assert kinds(sim, "s") == ["emitted", "started", "follow_up", "cancelled", "started", "completed"]
    assert record is not None
    assert (record.state, record.losses) == ("completed", 1)  # the count of lost leases goes on


def test_cancel_drops_the_follow_up_too() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "sync", seconds=100)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.emit("sync", {"n": 2}, id="s")
        record = sim.cancel("s")
        sim.run_until_idle()
        ended = sim.job("s")
    assert record is not None
    assert record.follow_up is None
    assert ended is not None
    assert ended.state == "cancelled"
    assert kept == [{"n": 1}]


def test_an_emission_after_the_cancel_is_a_follow_up_that_runs() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "sync", seconds=100)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.cancel("s")
        assert sim.emit("sync", {"n": 2}, id="s").status == "follow_up"
        sim.run_until_idle()
    assert kept == [{"n": 1}, {"n": 2}]
    assert kinds(sim, "s") == ["emitted", "started", "follow_up", "cancelled", "started", "completed"]


def test_the_handle_of_a_follow_up_cancels_the_follow_up_and_not_the_run() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "sync", seconds=10)

    async def main() -> list[Any]:
        first = await tm.emit("sync", {"n": 1}, id="s")
        await asyncio.sleep(1)
        second = await tm.emit("sync", {"n": 2}, id="s")
        cancelled = await second.cancel()
        with pytest.raises(JobFailed):
            await second.result(timeout=60)
        return [cancelled, await first.result(timeout=60)]

    with Simulation(tm) as sim:
        cancelled, result = sim.run(main())
    assert (cancelled.state, cancelled.data) == ("cancelled", {"n": 2})
    assert result is None
    assert kept == [{"n": 1}]


def test_each_handle_sees_the_run_of_its_own_emission() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("double")
    async def double(job: Job[Any]) -> int:
        await asyncio.sleep(5)
        return int(job.data["n"]) * 2

    async def main() -> list[int]:
        first = await tm.emit("double", {"n": 1}, id="d")
        await asyncio.sleep(1)
        second = await tm.emit("double", {"n": 2}, id="d")
        return list(await asyncio.gather(second.result(timeout=60), first.result(timeout=60)))

    with Simulation(tm) as sim:
        assert sim.run(main()) == [4, 2]


def test_a_follow_up_goes_to_the_end_of_its_priority() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "sync", seconds=10)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.emit("sync", {"n": 2}, id="s")
        for n in (3, 4):
            sim.emit("sync", {"n": n})
        sim.run_until_idle()
    assert [data["n"] for data in kept] == [1, 3, 4, 2]


def test_a_handler_that_emits_its_own_id_runs_again() -> None:
    tm = TaskManager(db="memory://")
    ran: list[int] = []

    @tm.handler("poll")
    async def poll(job: Job[Any], ctx: Any) -> None:
        ran.append(job.data["n"])
        if job.data["n"] < 3:
            await ctx.emit("poll", {"n": job.data["n"] + 1}, id=job.id, delay=60)

    with Simulation(tm) as sim:
        sim.emit("poll", {"n": 1}, id="p")
        begun = sim.now
        sim.run_until_idle()
        assert (sim.now - begun).total_seconds() == 120
        assert len(sim.jobs()) == 1
    assert ran == [1, 2, 3]


def test_a_duplicate_of_a_follow_up_changes_nothing() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "sync", seconds=10)
    with Simulation(tm) as sim:
        sim.emit("sync", {"n": 1}, id="s")
        sim.advance(1)
        sim.emit("sync", {"n": 2}, id="s", priority=3)
        *before, _ = everything(sim)
        assert sim.emit("sync", {"n": 2}, id="s", priority=3).status == "duplicate"
        *after, _ = everything(sim)
    assert after == before
