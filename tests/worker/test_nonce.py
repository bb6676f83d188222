"""Once: what is sent again because its answer was lost is the same call, and has one effect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import EngineUnavailable, TaskManager
from taskmanager.engine import Answer
from taskmanager.engines import SCHEMES, Options, open_engine
from tests.worker.apps import keeping, kinds


class Lossy:
    """An engine on a bad line: the first `losses` calls of some verbs take effect, and their answers are lost."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.verbs: tuple[str, ...] = ()
        self.losses = 0
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        return self._losing(verb) if name in self.verbs else verb

    def _losing(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            answer = await verb(*args, **kwargs)
            if self.losses > 0:
                self.losses -= 1
                raise EngineUnavailable("the reply was lost")
            # The timeline of a simulation leaves out what it has been told before; this one it never was.
            return replace(answer, replayed=False) if isinstance(answer, Answer) else answer

        return call


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Lossy:
    """The line behind `lossy://`; it loses nothing until it is told to."""
    lossy = Lossy(None)

    def opened(url: str, options: Options, field: str) -> Any:
        lossy._inner = open_engine("memory://", options.clock)
        return lossy

    monkeypatch.setitem(SCHEMES, "lossy", ("lossy://", opened))
    return lossy


def lose(line: Lossy, times: int, *verbs: str) -> None:
    line.verbs, line.losses, line.calls = verbs, times, 0


async def emitted(tm: TaskManager, *events: str, **options: Any) -> list[Any]:
    return [await tm.emit(event, **options) for event in events]


@pytest.mark.parametrize("losses", [1, 2, 7])
def test_an_emission_whose_answer_is_lost_is_one_job_with_the_first_answer(line: Lossy, losses: int) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send")
    with Simulation(tm, engine="lossy://") as sim:
        lose(line, losses, "enqueue")
        (handle,) = sim.run(emitted(tm, "send", id="mail"))
        sim.run_until_idle()
        assert line.calls == losses + 1
        assert kinds(sim) == ["emitted", "started", "completed"]
    assert handle.status == "emitted"
    assert kept == [{}]


def test_a_follow_up_whose_answer_is_lost_is_one_follow_up(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send", seconds=60)
    with Simulation(tm, engine="lossy://") as sim:
        sim.emit("send", {"n": 1}, id="mail")
        sim.advance(1)
        lose(line, 3, "enqueue")
        (handle,) = sim.run(emitted(tm, "send", id="mail"))
        sim.run_until_idle()
    assert handle.status == "follow_up"
    assert kept == [{"n": 1}, {}]


def test_an_emission_sent_again_after_its_job_has_run_is_still_the_same_emission(line: Lossy) -> None:
    tm = TaskManager(db="memory://", retention={"completed": 0})
    kept = keeping(tm, "send")
    with Simulation(tm, engine="lossy://") as sim:
        lose(line, 8, "enqueue")  # about 10 s of lost answers: the job is run and gone long before
        sim.pause_queue()

        async def main() -> Any:
            emitting = asyncio.ensure_future(emitted(tm, "send", id="mail"))
            await asyncio.sleep(0.001)
            await tm.resume_queue()  # what wakes the worker, as the lost answer would have
            await tm.drain()
            gone = await tm.get_job("mail")
            (handle,) = await emitting
            return gone, handle

        gone, handle = sim.run(main())
        sim.run_until_idle()
    assert gone is None
    assert handle.status == "emitted"
    assert kept == [{}]


def test_a_cancel_whose_answer_is_lost_cancels_once(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, engine="lossy://", workers=0) as sim:
        sim.emit("send", id="mail")
        lose(line, 2, "cancel")
        record = sim.run(tm.cancel("mail"))
        assert line.calls == 3
        assert kinds(sim) == ["emitted", "cancelled"]
    assert record is not None
    assert record.state == "cancelled"


def test_a_purge_whose_answer_is_lost_counts_what_it_deleted_once(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, engine="lossy://", workers=0) as sim:
        sim.emit_many([{"event": "send", "id": str(n)} for n in range(5)])
        lose(line, 1, "control")
        assert sim.run(tm.purge("default", "waiting")) == 5
        assert sim.counts()["waiting"] == 0


def test_a_retry_whose_answer_is_lost_runs_the_job_once_more(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    runs: list[int] = []

    tm.register_handler(_failing(runs), event="send")
    with Simulation(tm, engine="lossy://") as sim:
        sim.emit("send", id="mail")
        sim.run_until_idle()
        lose(line, 2, "control")
        record = sim.run(tm.retry("mail"))
        sim.run_until_idle()
    assert record is not None
    assert len(runs) == 2


def _failing(runs: list[int]) -> Any:
    async def fail(job: Any) -> None:
        runs.append(job.attempt)
        raise RuntimeError("broken")

    return fail


def test_after_thirty_seconds_without_an_answer_it_says_perhaps_stored(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, engine="lossy://", workers=0) as sim:
        lose(line, 1000, "enqueue")
        begun = sim.now
        with pytest.raises(EngineUnavailable, match=r"within 30 s .the reply was lost.; .* perhaps stored"):
            sim.run(emitted(tm, "send", id="mail"))
        waited = (sim.now - begun).total_seconds()
        assert sim.job("mail") is not None  # and this time it was
    assert 27 < waited <= 30


def test_emitting_again_after_perhaps_stored_is_harmless(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "send")
    with Simulation(tm, engine="lossy://") as sim:
        sim.pause_queue()
        lose(line, 1000, "enqueue")
        with pytest.raises(EngineUnavailable):
            sim.run(emitted(tm, "send", id="mail"))
        lose(line, 0)
        (again,) = sim.run(emitted(tm, "send", id="mail"))
        sim.resume_queue()
        sim.run_until_idle()
    assert again.status == "duplicate"
    assert kept == [{}]


def test_emissions_behind_a_lost_answer_keep_their_order(line: Lossy) -> None:
    tm = TaskManager(db="memory://")
    with Simulation(tm, engine="lossy://", workers=0) as sim:

        async def main() -> None:
            for n in range(20):
                tm.emit("send", {"n": n})
                await asyncio.sleep(0.01)
            await tm.emit("send", {"n": 20})

        lose(line, 5, "enqueue")
        sim.run(main())
        assert [record.data["n"] for record in reversed(sim.jobs())] == list(range(21))


def test_two_managers_that_make_equal_calls_are_two_callers() -> None:
    async def main() -> list[str]:
        statuses = []
        for id in ("one", "two"):
            tm = TaskManager(db="memory://two-callers")
            handle = await tm.emit("send", id=id)  # each one's first call to this queue
            statuses.append(str(handle.status))
            await tm.stop()
        return statuses

    assert asyncio.run(main()) == ["emitted", "emitted"]
