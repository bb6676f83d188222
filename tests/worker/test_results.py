"""Handles and results: they belong to one emission, and say how it ended, or why there is nothing to say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Discard, Job, JobFailed, TaskManager, UsageError
from tests.worker.apps import everything, failing, keeping


def doubling(seconds: float = 0, **options: Any) -> TaskManager:
    tm = TaskManager(db="memory://", **options)

    @tm.handler("double")
    async def double(job: Job[Any]) -> dict[str, int]:
        await asyncio.sleep(seconds)
        return {"twice": 2 * int(job.data["n"])}

    return tm


def test_emit_and_wait_gives_the_handlers_result() -> None:
    with Simulation(doubling(seconds=3600)) as sim:
        assert sim.emit_and_wait("double", {"n": 21}, timeout=7200) == {"twice": 42}


def test_a_handler_that_returns_nothing_has_the_result_none() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "quiet")
    with Simulation(tm) as sim:
        assert sim.emit_and_wait("quiet", timeout=1) is None


def test_a_result_is_json_like_data() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("pair")
    async def pair(job: Job[Any]) -> Any:
        return {"pair": (1, 2)}

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("pair", timeout=1) == {"pair": [1, 2]}


def test_a_timeout_bounds_the_wait_and_not_the_run() -> None:
    with Simulation(doubling(seconds=60)) as sim:
        begun = sim.now
        with pytest.raises(TimeoutError, match="still active after 10"):
            sim.emit_and_wait("double", {"n": 1}, id="d", timeout=10)
        assert (sim.now - begun).total_seconds() == pytest.approx(10, abs=0.002)
        sim.run_until_idle()
        record = sim.job("d")
    assert record is not None
    assert record.state == "completed"


def test_a_finished_result_can_be_had_without_waiting() -> None:
    tm = doubling()

    async def main() -> Any:
        handle = await tm.emit("double", {"n": 2})
        await tm.drain()
        return await handle.result(timeout=0)

    with Simulation(tm) as sim:
        assert sim.run(main()) == {"twice": 4}


def test_many_may_wait_for_one_job() -> None:
    tm = doubling(seconds=5)

    async def main() -> list[Any]:
        handle = await tm.emit("double", {"n": 2})
        return await asyncio.gather(*[handle.result(timeout=10) for _ in range(10)])

    with Simulation(tm) as sim:
        assert sim.run(main()) == [{"twice": 4}] * 10


def test_retries_are_waited_for() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("flaky", attempts=3, retry_delay=60)
    async def flaky(job: Job[Any]) -> int:
        if job.attempt < 3:
            raise RuntimeError("not yet")
        return job.attempt

    with Simulation(tm) as sim:
        assert sim.emit_and_wait("flaky", timeout=3600) == 3


def failed(sim: Simulation, coroutine: Any) -> JobFailed:
    with pytest.raises(JobFailed) as raised:
        sim.run(coroutine)
    return raised.value


def test_a_failed_job_raises_with_what_its_handler_raised() -> None:
    tm = TaskManager(db="memory://")
    failing(tm, "break", attempts=1)
    with Simulation(tm) as sim:
        error = failed(sim, tm.emit_and_wait("break", id="b", timeout=60))
    assert (error.reason, error.job_id, error.queue) == ("failed", "b", "default")
    assert (error.error_type, error.error_message) == ("RuntimeError", "it is broken")
    assert error.traceback is not None
    assert "raise RuntimeError" in error.traceback
    assert "RuntimeError: it is broken" in str(error)


def test_a_discarded_job_raises_with_the_handlers_reason() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("drop")
    async def drop(job: Job[Any]) -> None:
        raise Discard("no such user")

    with Simulation(tm) as sim:
        assert failed(sim, tm.emit_and_wait("drop", timeout=60)).reason == "no such user"


def test_a_cancelled_job_raises_with_that_reason() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work", seconds=3600)

    async def main() -> None:
        handle = await tm.emit("work", id="w")
        waiting = asyncio.ensure_future(handle.result(timeout=7200))
        await asyncio.sleep(60)
        record = await handle.cancel()
        assert record is not None
        assert record.state == "active"  # its worker hears of it within a beat
        await waiting

    with Simulation(tm) as sim:
        error = failed(sim, main())
    assert error.reason == "cancelled"


def test_a_job_whose_workers_died_too_often_raises_stalled() -> None:
    tm = TaskManager(db="memory://", max_stalled=1)
    keeping(tm, "work", seconds=3600)

    async def main() -> None:
        handle = await tm.emit("work", id="w")
        waiting = asyncio.ensure_future(handle.result(timeout=7200))
        await asyncio.sleep(60)
        busy = next(node for node in sim.nodes if node.worker is not None and node.worker.attempts())
        busy.crash()
        await waiting

    with Simulation(tm, workers=2) as sim:
        assert failed(sim, main()).reason == "stalled"


def test_what_is_no_longer_kept_raises_gone() -> None:
    tm = doubling(retention={"completed": 0})

    async def main() -> Any:
        handle = await tm.emit("double", {"n": 1})
        await tm.drain()
        return await handle.result(timeout=10)

    with Simulation(tm) as sim:
        assert failed(sim, main()).reason == "gone"


def test_an_awaited_outcome_is_kept_for_a_minute_whatever_the_retention() -> None:
    tm = doubling(seconds=5, retention={"completed": 0})

    async def main() -> list[Any]:
        handle = await tm.emit("double", {"n": 1}, id="d")
        with pytest.raises(TimeoutError):
            await handle.result(timeout=1)
        await asyncio.sleep(30)
        outcome = [await handle.result(timeout=1), await tm.get_job("d")]
        await asyncio.sleep(120)
        with pytest.raises(JobFailed) as gone:
            await handle.result(timeout=1)
        return [*outcome, gone.value.reason]

    with Simulation(tm) as sim:
        assert sim.run(main()) == [{"twice": 2}, None, "gone"]


def test_a_handle_never_touches_a_later_job_of_its_id() -> None:
    tm = doubling(seconds=10)

    async def main() -> None:
        first = await tm.emit("double", {"n": 1}, id="d")
        assert await first.result(timeout=60) == {"twice": 2}
        await asyncio.sleep(120)
        second = await tm.emit("double", {"n": 2}, id="d")
        assert await first.refresh() is None
        assert await first.cancel() is None
        for operation in (tm.cancel, tm.retry, tm.promote, tm.delete_job, tm.get_job):
            assert await operation(first) is None
        with pytest.raises(JobFailed, match="gone"):
            await first.result(timeout=1)
        assert await second.result(timeout=60) == {"twice": 4}

    with Simulation(tm) as sim:
        sim.run(main())


def test_refresh_answers_the_record_as_it_is_now() -> None:
    tm = doubling(seconds=10)

    async def main() -> list[str]:
        handle = await tm.emit("double", {"n": 1}, delay=5)
        states = []
        for _ in range(3):
            record = await handle.refresh()
            assert record is not None
            states.append(str(record.state))
            await asyncio.sleep(8)
        return states

    with Simulation(tm) as sim:
        assert sim.run(main()) == ["delayed", "active", "completed"]


def test_results_travel_between_two_managers_of_one_store() -> None:
    asking, working = TaskManager(db="memory://shared-results"), TaskManager(db="memory://shared-results")

    @working.handler("double")
    async def double(job: Job[Any]) -> int:
        return 2 * int(job.data["n"])

    async def main() -> Any:
        async with working:
            answer = await asking.emit_and_wait("double", {"n": 4}, timeout=10)
        await asking.stop()
        return answer

    assert asyncio.run(main()) == 8


def test_a_schedule_has_no_result() -> None:
    tm = doubling()

    async def main() -> None:
        handle = await tm.emit("double", {"n": 1}, repeat={"pattern": "@daily"})
        assert handle.status == "scheduled"
        with pytest.raises(UsageError, match="has no result"):
            await handle.result(timeout=1)

    with Simulation(tm) as sim:
        sim.run(main())


@pytest.mark.parametrize("timeout", [-1, float("nan"), "10", None])
def test_emit_and_wait_refuses_a_timeout_that_is_none_and_emits_nothing(timeout: Any) -> None:
    tm = doubling()
    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        with pytest.raises(UsageError, match="timeout must"):
            sim.run(tm.emit_and_wait("double", {"n": 1}, timeout=timeout))
        assert everything(sim) == before


def test_emit_and_wait_of_a_schedule_is_refused() -> None:
    tm = doubling()
    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        with pytest.raises(UsageError, match="repeat cannot be awaited"):
            sim.run(tm.emit_and_wait("double", {"n": 1}, repeat={"pattern": "@daily"}, timeout=5))
        assert everything(sim) == before


def test_a_handle_says_what_it_is() -> None:
    with Simulation(doubling(), workers=0) as sim:
        handle = sim.emit("double", {"n": 1}, id="d", queue="q")
    assert (handle.id, handle.queue, handle.status) == ("d", "q", "emitted")
    assert repr(handle) == "<JobHandle 'd' queue='q' emitted>"
