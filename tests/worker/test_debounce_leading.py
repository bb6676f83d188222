"""The leading edge: the first emission of a key runs, others within its window are dropped."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Debounce, Job, JobFailed, TaskManager
from tests.worker.apps import failing, keeping, kinds


@pytest.mark.parametrize(
    "window",
    [
        {"debounce": 300},
        {"debounce": 300.0},
        {"debounce_ms": 300_000},
        {"debounce": timedelta(minutes=5)},
        {"debounce": Debounce(300)},
        {"debounce": {"window": 300}},
        {"debounce": {"window": timedelta(minutes=5), "edge": "leading", "key": None}},
    ],
    ids=str,
)
def test_every_spelling_of_a_window_is_the_same_window(window: dict[str, Any]) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "alert")
    with Simulation(tm) as sim:
        statuses = []
        for wait in (0, 299.999, 0.001):  # the window is [opening, opening + 300)
            sim.advance(wait)
            statuses.append(sim.emit("alert", {"to": "a"}, **window).status)
        sim.run_until_idle()
    assert statuses == ["emitted", "debounced", "emitted"]
    assert len(kept) == 2


def test_a_dropped_emission_makes_no_job_and_says_so_to_who_waits() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert")

    async def main() -> None:
        await tm.emit("alert", {"n": 1}, id="a", debounce=60)
        dropped = await tm.emit("alert", {"n": 2}, id="a", debounce=60)
        assert dropped.status == "debounced"
        assert await dropped.refresh() is None
        assert await dropped.cancel() is None
        with pytest.raises(JobFailed) as failed:
            await dropped.result(timeout=5)
        assert failed.value.reason == "debounced"
        with pytest.raises(JobFailed, match="debounced"):
            await tm.emit_and_wait("alert", {"n": 3}, id="a", debounce=60, timeout=5)

    with Simulation(tm) as sim:
        sim.run(main())
        record = sim.job("a")
    assert record is not None
    assert record.data == {"n": 1}


def test_the_key_defaults_to_the_id_so_other_data_is_another_window() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert")
    with Simulation(tm) as sim:
        assert sim.emit("alert", {"to": "a"}, debounce=60).status == "emitted"
        assert sim.emit("alert", {"to": "b"}, debounce=60).status == "emitted"
        sim.run_until_idle()
        assert sim.emit("alert", {"to": "a"}, debounce=60).status == "debounced"


def test_a_key_function_puts_together_what_belongs_together() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "alert")
    bounce = Debounce(60, key=lambda data: str(data["to"]))
    with Simulation(tm) as sim:
        statuses = [
            sim.emit("alert", {"to": to, "n": n}, debounce=bounce).status for n, to in enumerate(["a", "a", "b", "a"])
        ]
        sim.run_until_idle()
    assert statuses == ["emitted", "debounced", "emitted", "debounced"]
    assert [data["n"] for data in kept] == [0, 2]


def test_a_key_as_text_is_one_window_for_all_data() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        statuses = [sim.emit("alert", {"n": n}, debounce={"window": 60, "key": "all"}).status for n in range(3)]
    assert statuses == ["emitted", "debounced", "debounced"]


def test_a_window_belongs_to_queue_event_key_and_edge() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:

        def status(event: str, n: int, queue: str = "default", edge: str = "leading") -> str:
            bounce = {"window": 60, "key": "k", "edge": edge}
            return sim.emit(event, {"n": n}, queue=queue, debounce=bounce).status

        assert status("alert", 1) == "emitted"
        assert status("notify", 2) == "emitted"
        assert status("alert", 3, queue="other") == "emitted"
        assert status("alert", 4, edge="trailing") == "emitted"
        assert status("alert", 5) == "debounced"


def test_the_window_is_the_opening_emissions_whatever_the_next_one_asks() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert")
    with Simulation(tm) as sim:
        sim.emit("alert", id="a", debounce=100)
        sim.advance(50)
        assert sim.emit("alert", id="a", debounce=10).status == "debounced"
        sim.advance(50)
        assert sim.emit("alert", id="a", debounce=10).status == "emitted"
        sim.advance(10)
        assert sim.emit("alert", id="a", debounce=10).status == "emitted"


def test_a_duplicate_opens_no_window_and_a_follow_up_does() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert", seconds=10)
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit("alert", id="a")
        assert sim.emit("alert", id="a", debounce=60).status == "duplicate"
        assert sim.emit("alert", id="a", debounce=60).status == "duplicate"  # a window would have dropped it
        sim.resume_queue()
        sim.advance(1)
        assert sim.emit("alert", {"n": 2}, id="a", debounce=60).status == "follow_up"
        assert sim.emit("alert", {"n": 3}, id="a", debounce=60).status == "debounced"


def test_a_window_closes_early_where_its_own_job_fails() -> None:
    tm = TaskManager(db="memory://")
    failing(tm, "alert")
    with Simulation(tm) as sim:
        sim.emit("alert", id="a", debounce=3600)
        sim.run_until_idle()
        assert sim.emit("alert", id="a", debounce=3600).status == "emitted"


def test_a_window_closes_early_where_its_own_job_is_cancelled() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("alert", id="a", debounce=3600)
        assert sim.emit("alert", id="a", debounce=3600).status == "debounced"
        sim.cancel("a")
        assert sim.emit("alert", id="a", debounce=3600).status == "emitted"


def test_a_window_outlives_its_job_where_that_has_completed_and_is_gone() -> None:
    tm = TaskManager(db="memory://", retention={"completed": 0})
    keeping(tm, "alert")
    with Simulation(tm) as sim:
        sim.emit("alert", id="a", debounce=3600)
        sim.advance(1800)
        assert sim.jobs() == []
        assert sim.emit("alert", id="a", debounce=3600).status == "debounced"
        sim.advance(1800)
        assert sim.emit("alert", id="a", debounce=3600).status == "emitted"


def test_the_engine_holds_the_window_so_a_restart_does_not_open_it() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert")
    with Simulation(tm, workers=2) as sim:
        sim.emit("alert", id="a", debounce=3600)
        sim.advance(60)
        sim.stop()
        sim.start()
        assert sim.emit("alert", id="a", debounce=3600).status == "debounced"


def test_debounce_is_decided_before_identity() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("alert", {"n": 1}, id="a", debounce=60)
        assert sim.emit("alert", {"n": 2}, id="a", debounce=60, replace=True).status == "debounced"
        record = sim.job("a")
    assert record is not None
    assert record.data == {"n": 1}


def test_of_a_hundred_emitted_at_once_one_runs() -> None:
    tm = TaskManager(db="memory://", concurrency=10)
    kept = keeping(tm, "alert", debounce={"window": 60, "key": "all"})

    async def main() -> list[str]:
        handles = await asyncio.gather(*[asyncio.ensure_future(_emitted(tm, n)) for n in range(100)])
        return [handle.status for handle in handles]

    with Simulation(tm, workers=3) as sim:
        statuses = sim.run(main())
        sim.run_until_idle()
    assert statuses.count("emitted") == 1
    assert statuses.count("debounced") == 99
    assert len(kept) == 1


async def _emitted(tm: TaskManager, n: int) -> Any:
    return await tm.emit("alert", {"n": n})


def test_occurrences_of_a_schedule_are_not_debounced() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "tick", debounce=3600, repeat={"pattern": "* * * * *"})
    with Simulation(tm, start="2026-03-28T00:00Z") as sim:
        sim.advance(minutes=10)
        assert "debounced" not in kinds(sim)
    assert len(kept) == 10


def test_a_retry_is_not_an_emission_and_is_not_debounced() -> None:
    tm = TaskManager(db="memory://")
    attempts: list[int] = []

    @tm.handler("alert", attempts=2, debounce=3600)
    async def alert(job: Job[Any]) -> None:
        attempts.append(job.attempt)
        raise RuntimeError("again")

    with Simulation(tm) as sim:
        sim.emit("alert")
        sim.run_until_idle()
    assert attempts == [1, 2, 3]
