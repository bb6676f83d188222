"""`TaskManager.on`: what this TaskManager itself caused, told in the words of the timeline."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, RetryLater, Step, TaskManager, UsageError
from taskmanager.job import Kind
from tests.worker.worlds import app, kinds


def eventful() -> TaskManager:
    tm = app(lease=5, grace=1)

    @tm.handler("work", attempts=1, repeat={"pattern": "0 0 * * *", "overlap": "skip"})
    async def work(job: Job[Any]) -> None:
        await job.progress(0.5, "half")
        if job.data.get("fail"):
            raise ValueError("boom")
        if job.data.get("later") and job.attempt == 1:
            raise RetryLater(5)
        await asyncio.sleep(job.data.get("sleep", 0))

    return tm


def everything(sim: Simulation) -> None:
    """One step of each kind at least."""
    sim.emit("work", {"fail": True}, id="f")
    sim.emit("work", {"later": True}, id="l", delay=1)
    sim.emit("work", {}, id="l", delay=1)
    sim.emit("work", {"later": True}, id="l", delay=2, replace=True)
    sim.emit("work", {}, debounce=60, id="d")
    sim.emit("work", {}, debounce=60, id="d")
    sim.run_until_idle()
    sim.retry("f")
    sim.run_until_idle()
    sim.pause_queue()
    sim.resume_queue()
    sim.emit("work", {"sleep": 3600}, id="s")
    sim.advance(1)
    sim.emit("work", {}, id="s")
    sim.nodes[0].crash()
    sim.run(sim.nodes[0].boot())
    sim.run_until_idle()
    sim.emit("work", {"sleep": 50}, id="stalls")
    sim.advance(1)
    sim.nodes[0].crash()
    sim.run(sim.nodes[0].boot())
    sim.advance(10)
    sim.stop()
    sim.start()
    sim.run_until_idle()
    sim.emit("work", {}, id="c", delay=5)
    sim.cancel("c")
    sim.advance(days=1)


TOLD = sorted(set(Kind) - {Kind.SKIPPED})


def test_every_kind_of_step_is_told_as_the_timeline_has_it() -> None:
    tm = eventful()
    heard: list[Step] = []
    for kind in Kind:
        tm.on(kind, heard.append)
    with Simulation(tm) as sim:
        everything(sim)
        timeline = sim.timeline
    assert sorted({str(step.kind) for step in heard}) == TOLD
    assert sorted(map(str, heard)) == sorted(map(str, timeline))


def test_unsubscribing_ends_it_and_may_be_repeated() -> None:
    tm = eventful()
    heard: list[str] = []
    stop = tm.on("emitted", lambda step: heard.append(step.job_id or ""))
    tm.on("emitted", lambda step: None)
    with Simulation(tm) as sim:
        sim.emit("work", id="1")
        stop()
        stop()
        sim.emit("work", id="2")
    assert heard == ["1"]


def test_a_callback_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tm = eventful()
    heard: list[Any] = []

    def broken(step: Step) -> None:
        raise RuntimeError("broken callback")

    for kind in ("emitted", "started", "completed", "progress"):
        tm.on(kind, broken)
        tm.on(kind, heard.append)
    with Simulation(tm) as sim:
        sim.emit("work")
        sim.run_until_idle()
        assert sim.counts()["completed"] == 1
    assert [step.kind for step in heard] == ["emitted", "started", "progress", "completed"]
    assert caplog.text.count("a callback for") == 4


def test_an_async_callback_runs_beside_the_work_and_may_raise(caplog: pytest.LogCaptureFixture) -> None:
    tm = eventful()
    heard = []

    async def slow(step: Step) -> None:
        await asyncio.sleep(30)
        heard.append(step.kind)
        raise RuntimeError("broken callback")

    tm.on("started", slow)
    with Simulation(tm) as sim:
        sim.emit("work")
        sim.run_until_idle()
        assert heard == []
        sim.advance(30)
    assert heard == ["started"]
    assert "broken callback" in caplog.text


def test_a_callback_may_emit() -> None:
    tm = eventful()

    @tm.handler("told")
    async def told(job: Job[Any]) -> None: ...

    tm.on("failed", lambda step: tm.emit("told", {"of": step.job_id}))
    with Simulation(tm) as sim:
        sim.emit("work", {"fail": True}, id="f", attempts=0)
        sim.run_until_idle()
    assert len(sim.attempts("told")) == 1


def test_one_hears_only_what_it_caused_itself() -> None:
    one, two = eventful(), eventful()
    heard: list[Step] = []
    two.on("emitted", heard.append)
    with Simulation(one) as sim:
        sim.emit("work")
        assert "emitted" in kinds(sim)
    assert heard == []


@pytest.mark.parametrize(("kind", "callback"), [("finished", print), ("", print), ("completed", "print")])
def test_what_cannot_be_subscribed_is_refused(kind: Any, callback: Any) -> None:
    with pytest.raises(UsageError):
        eventful().on(kind, callback)
