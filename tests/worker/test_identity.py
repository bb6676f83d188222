"""Identity is (queue, id): of one id at most one job waits, whoever emits it and however often."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Job, TaskManager, new_id
from tests.worker.apps import everything, keeping, kinds


def test_an_emission_of_an_id_that_waits_is_a_duplicate_and_nothing_of_it_is_kept() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        first = sim.emit("send", {"n": 1}, id="mail")
        before = sim.job("mail")
        second = sim.emit("send", {"n": 2}, id="mail", priority=9, delay=60, attempts=7, timeout=1, expires=5)
        assert sim.job("mail") == before
    assert (first.status, second.status) == ("emitted", "duplicate")
    assert second.id == first.id


def test_an_emission_of_an_id_that_is_delayed_is_a_duplicate_too() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("send", {"n": 1}, id="mail", delay=60)
        before = sim.job("mail")
        assert sim.emit("send", {"n": 2}, id="mail").status == "duplicate"
        assert sim.job("mail") == before


def test_the_handle_of_a_duplicate_is_a_handle_of_the_job_that_waits() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("double")
    async def double(job: Job[Any]) -> int:
        return int(job.data["n"]) * 2

    async def main() -> list[int]:
        handles = [await tm.emit("double", {"n": n}, id="one") for n in (21, 50)]
        return [await handle.result(timeout=5) for handle in handles]

    with Simulation(tm) as sim:
        sim.pause_queue()
        task_results = sim.run(_resumed(tm, main()))
    assert task_results == [42, 42]


async def _resumed(tm: TaskManager, main: Any) -> Any:
    """Both are emitted before anything runs."""
    running = asyncio.ensure_future(main)
    await asyncio.sleep(1)
    await tm.resume_queue()
    return await running


def test_without_an_id_the_event_and_the_data_are_the_identity() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        first = sim.emit("send", {"a": 1, "b": [2]})
        assert sim.emit("send", {"b": [2], "a": 1}).status == "duplicate"
        assert sim.emit("send", {"a": 1, "b": [3]}).status == "emitted"
        assert sim.emit("post", {"a": 1, "b": [2]}).status == "emitted"
        assert sim.emit("send").status == "emitted"
        assert sim.emit("send", {}).status == "duplicate"
    assert first.id.startswith("send:")
    assert len(first.id) == len("send:") + 22


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_the_order_of_the_keys_makes_no_other_job(data: dict[str, Any]) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        first = sim.emit("send", data)
        again = sim.emit("send", dict(reversed(data.items())))
        assert (first.id, again.status) == (again.id, "duplicate")


def test_the_same_id_on_another_queue_is_another_job() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        assert sim.emit("send", {"n": 1}, id="x", queue="a").status == "emitted"
        assert sim.emit("send", {"n": 2}, id="x", queue="b").status == "emitted"
        records = [sim.job("x", "a"), sim.job("x", "b")]
    assert [record.data["n"] for record in records if record] == [1, 2]


def test_an_id_is_taken_verbatim() -> None:
    tm = TaskManager(db="memory://")
    ids = [" with spaces ", "{braces}", "ключ/\N{GRINNING FACE}", "x" * 500, "default"]
    with Simulation(tm, workers=0) as sim:
        for one in ids:
            assert sim.emit("send", id=one).id == one
        assert [record.id for record in reversed(sim.jobs())] == ids


def test_a_finished_job_gives_its_place_to_a_new_one_of_its_id() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send")
    with Simulation(tm) as sim:
        first = sim.emit("send", {"n": 1}, id="mail")
        sim.run_until_idle()
        second = sim.emit("send", {"n": 2}, id="mail")
        sim.run_until_idle()
        assert second.status == "emitted"
        assert sim.run(_refreshed(first)) is None
        assert len(sim.jobs()) == 1
    assert kept == [{"n": 1}, {"n": 2}]


async def _refreshed(handle: Any) -> Any:
    return await handle.refresh()


def test_a_new_id_makes_an_emission_that_runs_whatever_else_waits() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send")
    with Simulation(tm) as sim:
        statuses = [sim.emit("send", {"n": 1}, id=new_id()).status for _ in range(3)]
        sim.run_until_idle()
    assert statuses == ["emitted"] * 3
    assert kept == [{"n": 1}] * 3


# ---- replace


def test_replace_puts_data_time_and_options_in_the_place_of_those_that_wait() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send")
    with Simulation(tm) as sim:
        first = sim.emit("send", {"n": 1}, id="mail", delay=3600, priority=1)
        second = sim.emit("send", {"n": 2}, id="mail", delay=60, priority=5, attempts=2, replace=True)
        record = sim.job("mail")
        begun = sim.now
        sim.run_until_idle()
        assert (sim.now - begun).total_seconds() == 60
    assert (first.status, second.status) == ("emitted", "replaced")
    assert record is not None
    assert (record.data, record.priority, record.max_attempts) == ({"n": 2}, 5, 3)
    assert kept == [{"n": 2}]


def test_a_replaced_job_goes_to_the_end_of_its_priority() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send")
    with Simulation(tm) as sim:
        sim.pause_queue()
        for n in (1, 2, 3):
            sim.emit("send", {"n": n}, id=f"mail-{n}")
        sim.emit("send", {"n": "1, again"}, id="mail-1", replace=True)
        sim.resume_queue()
        sim.run_until_idle()
    assert kept == [{"n": 2}, {"n": 3}, {"n": "1, again"}]


def test_a_replaced_job_is_one_job_and_every_handle_of_it_sees_its_end() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("double")
    async def double(job: Job[Any]) -> int:
        return int(job.data["n"]) * 2

    async def main() -> list[int]:
        first = await tm.emit("double", {"n": 1}, id="one", delay=9)
        second = await tm.emit("double", {"n": 2}, id="one", delay=5, replace=True)
        return [await first.result(timeout=60), await second.result(timeout=60)]

    with Simulation(tm) as sim:
        assert sim.run(main()) == [4, 4]
        assert kinds(sim, "one") == ["emitted", "replaced", "due", "started", "completed"]


def test_replace_with_nothing_that_waits_is_an_ordinary_emission() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        assert sim.emit("send", id="mail", replace=True).status == "emitted"
        assert sim.emit("send", id="mail", replace=True).status == "replaced"
        assert len(sim.jobs()) == 1


def test_a_duplicate_writes_nothing_but_its_step() -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, workers=0) as sim:
        sim.emit("send", {"n": 1}, id="mail", delay=60)
        *stored, _ = everything(sim)
        for _ in range(3):
            sim.emit("send", {"n": 2}, id="mail")
        *after, _ = everything(sim)
        assert after == stored
        assert kinds(sim) == ["emitted", "duplicate", "duplicate", "duplicate"]
