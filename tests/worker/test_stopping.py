"""A graceful stop: no new claims, a grace for who runs, the rest is given back; and starting again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, Retry
from tests.worker.worlds import app, found, kinds, lose_replies, seconds, worker_of


def test_a_running_handler_gets_its_grace_and_completes() -> None:
    tm = app(grace=30)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(25)

    with Simulation(tm) as sim:
        sim.emit("work", id="1")
        sim.emit("work", id="2")
        sim.advance(1)
        sim.stop()
        assert (found(sim.job("1")).state, found(sim.job("2")).state) == ("completed", "waiting")
        assert (sim.now - sim.timeline[0].at).total_seconds() == 25
    assert kinds(sim, "2") == ["emitted"]


def test_what_outlives_the_grace_is_cancelled_and_released_and_no_retry_is_spent() -> None:
    tm = app(grace=30)
    cleaned = []

    @tm.handler("work", attempts=1)
    async def work(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            cleaned.append(job.attempt)
        raise ValueError("boom")

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        sim.stop()
        job = found(sim.job("w"))
        assert (job.state, job.attempt, cleaned) == ("waiting", 1, [1])
        assert seconds(sim, "released") == [31]
        sim.start()
        sim.run_until_idle()
        assert len(sim.attempts("work")) == 3
    assert kinds(sim, "w") == ["emitted", "started", "released", "started", "retried", "due", "started", "failed"]


def test_a_released_job_goes_to_the_end_of_its_priority_and_its_losses_stay() -> None:
    tm = app(grace=0)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(10)

    with Simulation(tm) as sim:
        sim.emit("work", id="1")
        sim.emit("work", id="2")
        sim.advance(1)
        sim.stop()
        sim.start()
        sim.run_until_idle()
        assert found(sim.job("1")).losses == 0
    assert [step.job_id for step in sim.attempts("work")] == ["1", "2", "1"]


def test_a_second_signal_releases_at_once() -> None:
    tm = app(grace=300)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(1000)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)

        async def stop_twice() -> None:
            stopping = asyncio.ensure_future(tm.stop())
            await asyncio.sleep(5)
            sim.nodes[0].hurry()
            await stopping

        sim.run(stop_twice())
        assert seconds(sim, "released") == [6]
        assert found(sim.job("w")).state == "waiting"


def test_a_handler_that_completes_while_it_is_being_released_is_released_and_runs_again() -> None:
    tm = app(grace=5)

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return f"attempt {job.attempt}"

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        sim.stop()
        assert found(sim.job("w")).state == "waiting"


def test_a_plain_handler_that_outlives_the_grace_is_left_and_its_lease_runs_out() -> None:
    tm = app(grace=10, lease=5)
    outlived = []

    @tm.handler("plain")
    def plain(job: Job[Any]) -> str:
        time.sleep(100)
        outlived.append((job.attempt, job.stopping))
        return f"attempt {job.attempt}"

    with Simulation(tm) as sim:
        sim.emit("plain", id="p")
        sim.advance(1)
        sim.stop()
        stopped = (sim.now - sim.timeline[0].at).total_seconds()
        assert 11 <= stopped <= 20
        assert found(sim.job("p")).state == "active"
        sim.start()
        sim.run_until_idle()
        job = found(sim.job("p"))
    assert outlived == [(1, True), (2, False)]
    assert (job.state, job.result, job.losses) == ("completed", "attempt 2", 1)
    assert stopped + 3 <= seconds(sim, "stalled")[0] <= stopped + 7


def test_a_plain_handler_that_looks_at_stopping_is_released_in_time() -> None:
    tm = app(grace=10)

    @tm.handler("plain")
    def plain(job: Job[Any]) -> None:
        while not job.stopping:
            time.sleep(0.5)

    with Simulation(tm) as sim:
        sim.emit("plain", id="p")
        sim.advance(1)
        sim.stop()
        assert found(sim.job("p")).state == "waiting"
        assert 11 <= seconds(sim, "released")[0] <= 12


def test_an_async_handler_that_will_not_end_is_left_too() -> None:
    tm = app(grace=1, lease=5)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        for _ in range(100):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(1)
        sim.stop()
        assert (sim.now - sim.timeline[0].at).total_seconds() <= 10
        assert found(sim.job("w")).state == "active"


def test_what_was_emitted_without_await_is_stored_before_the_stop_returns() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        for n in range(5):
            tm.emit("child", n, queue="other", id=str(n))

    with Simulation(tm) as sim:
        lose_replies(sim, sim.nodes[0], "enqueue", 1)
        sim.emit("work", id="w")

        async def emit_and_stop() -> None:
            tm.emit("late", id="late", queue="other")
            await tm.stop()

        sim.advance(0)
        sim.run(emit_and_stop())
        assert sim.counts("other")["waiting"] == 6
        assert found(sim.job("w")).state == "completed"


def test_a_decision_whose_answer_is_late_is_stored_before_the_stop_returns() -> None:
    tm = app(grace=0)

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(1)
        return "done"

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(0.5)
        lost = lose_replies(sim, sim.nodes[0], "settle", 2)

        async def stop_when_done() -> None:
            await asyncio.sleep(0.5)
            await tm.stop()

        sim.run(stop_when_done())
        assert found(sim.job("w")).result == "done"
    assert len(lost) == 2


def test_a_stop_ends_also_where_the_engine_no_longer_answers() -> None:
    tm = app(grace=0)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        lost = lose_replies(sim, sim.nodes[0], "settle", 10_000)
        sim.emit("work", id="w")
        sim.advance(1)
        asked = sim.now
        sim.stop()
        assert 30 <= (sim.now - asked).total_seconds() <= 40
        given_up = len(lost)
        sim.advance(60)
        assert len(lost) == given_up


def test_a_completed_run_whose_emissions_are_still_under_way_is_not_released() -> None:
    tm = app(grace=0)
    ran = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> str:
        ran.append(job.attempt)
        await asyncio.sleep(1)
        tm.emit("child", id="c", queue="other")
        return "done"

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(0.5)
        lose_replies(sim, sim.nodes[0], "enqueue", 3)
        sim.advance(0.501)
        sim.stop()
        assert found(sim.job("w")).state == "completed"
        assert found(sim.job("c", "other")).state == "waiting"
    assert ran == [1]


def test_jobs_that_wait_unstarted_for_their_handlers_cap_are_given_back_at_once() -> None:
    tm = app(grace=60, concurrency=3)

    @tm.handler("work", concurrency=1)
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(10)

    with Simulation(tm) as sim:
        for n in range(3):
            sim.emit("work", id=str(n))
        sim.advance(1)
        sim.stop()
        assert [found(sim.job(str(n))).state for n in range(3)] == ["completed", "waiting", "waiting"]
    assert len(sim.attempts("work")) == 1
    assert seconds(sim, "released") == [1, 1]


def test_start_and_stop_may_be_repeated_and_alternated() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        for n in range(5):
            sim.start()
            sim.start()
            sim.emit("work", id=f"{n} up")
            sim.run_until_idle()
            sim.stop()
            sim.stop()
            sim.emit("work", id=f"{n} down")
            assert found(sim.job(f"{n} down")).state == "waiting"
        sim.start()
        sim.run_until_idle()
        assert sim.counts()["completed"] == 10


def test_each_start_is_a_new_incarnation() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None: ...

    names = set()
    with Simulation(tm) as sim:
        for _ in range(3):
            names.add(worker_of(sim.nodes[0]).name)
            sim.stop()
            sim.start()
    assert len(names) == 3


def test_stopping_one_worker_leaves_its_neighbour_at_work() -> None:
    tm = app(grace=5)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(20)

    with Simulation(tm, workers=2) as sim:
        for n in range(2):
            sim.emit("work", id=str(n))
        sim.advance(1)
        sim.run(sim.nodes[0].stop())
        sim.run_until_idle()
        assert sim.counts()["completed"] == 2
    assert kinds(sim).count("released") == 1
    assert "stalled" not in kinds(sim)


def test_a_stop_during_a_retry_storm_leaves_every_job_accounted_for() -> None:
    tm = app(grace=1, concurrency=5, processor={"retry": Retry(50, delay=0.5, backoff="fixed")})

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(0.3)
        if job.attempt < 10:
            raise ValueError("boom")

    with Simulation(tm, workers=2) as sim:
        sim.emit_many([{"event": "work", "data": n} for n in range(20)])
        for _ in range(4):
            sim.advance(1.7)
            sim.stop()
            assert sim.counts()["active"] == 0
            sim.start()
        sim.run_until_idle()
        assert sim.counts()["completed"] == 20


@pytest.mark.parametrize("grace", [0, 5])
def test_a_stop_in_the_middle_of_a_claim_strands_nothing(grace: float) -> None:
    tm = app(grace=grace)

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        await asyncio.sleep(1)

    with Simulation(tm) as sim:

        async def emit_and_stop() -> None:
            await tm.emit("work", id="w")
            await tm.stop()

        lose_replies(sim, sim.nodes[0], "claim", 1)
        sim.run(emit_and_stop())
        assert found(sim.job("w")).state in {"waiting", "completed"}
        sim.start()
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.losses) == ("completed", 0)
