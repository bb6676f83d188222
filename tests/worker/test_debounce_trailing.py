"""The trailing edge: the last emission of a key runs, one window after it came, at most `max_wait` after the first."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Debounce, Job, TaskManager
from tests.worker.apps import keeping, kinds


def trailing(window: float, **rest: Any) -> dict[str, Any]:
    return {"debounce": {"window": window, "edge": "trailing", **rest}}


def emitted_every(sim: Simulation, seconds: float, times: int, **options: Any) -> list[str]:
    """Emits `search` with n = 0, 1, ... and lets `seconds` pass after each; the statuses."""
    statuses = []
    for n in range(times):
        statuses.append(str(sim.emit("search", {"n": n}, **options).status))
        sim.advance(seconds)
    return statuses


def test_the_last_of_a_burst_runs_one_window_after_it_came() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    with Simulation(tm) as sim:
        begun = sim.now
        statuses = emitted_every(sim, 1, 5, id="s", **trailing(10))
        sim.run_until_idle()
        assert sim.now - begun == timedelta(seconds=14)  # the last came after 4 s
        assert len(sim.jobs()) == 1
    assert statuses == ["emitted", *["debounced"] * 4]
    assert kept == [{"n": 4}]


def test_with_max_wait_a_burst_that_does_not_end_runs_all_the_same() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    with Simulation(tm) as sim:
        begun = sim.now
        emitted_every(sim, 1, 60, id="s", **trailing(10, max_wait=20))
        sim.run_until_idle()
        waits = [(step.at - begun).total_seconds() for step in sim.attempts("search")]
    # The emission at the very moment of a run finds its job done, and opens the next window.
    assert [data["n"] for data in kept] == [19, 39, 59]
    assert waits == [20, 40, 60]


def test_without_max_wait_a_burst_puts_the_run_off_as_long_as_it_lasts() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    with Simulation(tm) as sim:
        emitted_every(sim, 1, 100, id="s", **trailing(10))
        assert kept == []
        sim.run_until_idle()
    assert kept == [{"n": 99}]


def test_every_emission_of_the_burst_has_a_handle_of_the_one_job() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("search")
    async def search(job: Job[Any]) -> int:
        return int(job.data["n"])

    async def main() -> list[int]:
        handles = [await tm.emit("search", {"n": n}, id="s", **trailing(5)) for n in range(3)]
        return [await handle.result(timeout=60) for handle in handles]

    with Simulation(tm) as sim:
        assert sim.run(main()) == [2, 2, 2]


def test_a_key_without_an_id_names_the_job() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    by_user = trailing(10, key=lambda data: str(data["user"]))
    with Simulation(tm) as sim:
        first = sim.emit("search", {"user": 1, "q": "a"}, **by_user)
        other = sim.emit("search", {"user": 2, "q": "b"}, **by_user)
        second = sim.emit("search", {"user": 1, "q": "abc"}, **by_user)
        sim.run_until_idle()
    assert first.id == second.id != other.id
    assert first.id.startswith("search:")
    assert len(first.id) == len("search:") + 22
    assert sorted(data["q"] for data in kept) == ["abc", "b"]


def test_a_later_emission_changes_data_and_options_but_not_the_id() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        window = trailing(10, key="k")
        first = sim.emit("search", {"n": 1}, id="one", **window)
        second = sim.emit("search", {"n": 2}, id="two", priority=7, attempts=4, **window)
        record = sim.job("one")
        assert sim.job("two") is None
    assert (first.id, second.id, second.status) == ("one", "one", "debounced")
    assert record is not None
    assert (record.data, record.priority, record.max_attempts) == ({"n": 2}, 7, 5)


def test_a_delay_is_a_lower_bound() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "search")
    with Simulation(tm) as sim:
        begun = sim.now
        sim.emit("search", {"n": 1}, id="s", delay=60, **trailing(10))
        sim.run_until_idle()
        assert sim.now - begun == timedelta(seconds=60)
        sim.emit("search", {"n": 2}, id="s", delay=3, **trailing(10))
        sim.run_until_idle()
        assert sim.now - begun == timedelta(seconds=70)


def test_an_emission_while_it_runs_is_a_follow_up_that_moves_likewise() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search", seconds=30)
    with Simulation(tm) as sim:
        sim.emit("search", {"n": 0}, id="s", **trailing(10))
        sim.advance(15)  # it has been running for 5 s
        statuses = emitted_every(sim, 4, 4, id="s", **trailing(10))
        sim.run_until_idle()
        starts = [step.at for step in sim.attempts("search")]
    assert statuses == ["follow_up"] * 4
    assert kept == [{"n": 0}, {"n": 3}]
    # The run ends 40 s after the start of it all; the last emission came after 27 s and is due at 37: at once.
    assert (starts[1] - starts[0]).total_seconds() == 30


def test_once_it_is_due_it_waits_in_its_place_and_only_its_content_changes() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    with Simulation(tm) as sim:
        sim.pause_queue()
        sim.emit("search", {"n": 0}, id="s", **trailing(10))
        sim.advance(20)
        sim.emit("search", {"n": "other"})
        assert sim.emit("search", {"n": 1}, id="s", **trailing(10)).status == "debounced"
        record = sim.job("s")
        sim.resume_queue()
        sim.run_until_idle()
    assert record is not None
    assert record.state == "waiting"
    assert [data["n"] for data in kept] == [1, "other"]


def test_cancelled_it_is_over_and_the_next_emission_makes_a_new_job() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    with Simulation(tm) as sim:
        sim.emit("search", {"n": 0}, id="s", **trailing(10))
        sim.cancel("s")
        assert sim.emit("search", {"n": 1}, id="s", **trailing(10)).status == "emitted"
        sim.run_until_idle()
        assert kinds(sim, "s") == ["emitted", "cancelled", "emitted", "due", "started", "completed"]
    assert kept == [{"n": 1}]


@pytest.mark.parametrize("max_wait", [10, 10.0, timedelta(seconds=10)])
def test_max_wait_may_be_as_short_as_the_window(max_wait: Any) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search")
    with Simulation(tm) as sim:
        emitted_every(sim, 4, 3, id="s", debounce=Debounce(10, "trailing", max_wait=max_wait))
        sim.run_until_idle()
    assert kept == [{"n": 2}]
