"""The tour, part three: what fails is tried again, what dies is taken over, what is hopeless is kept."""

from __future__ import annotations

import asyncio
from typing import Any

from simulation import Simulation
from taskmanager import Discard, Job, Retry, RetryLater, TaskManager


def test_a_failed_run_is_tried_again_and_waits_longer_each_time() -> None:
    tm = TaskManager(db="memory://")
    tries: list[int] = []

    @tm.handler("charge", retry=Retry(max_retries=3, delay=10))
    async def charge(job: Job[Any]) -> str:
        tries.append(job.attempt)
        if job.attempt < 4:
            raise ConnectionError("the bank is away")
        return "paid"

    with Simulation(tm) as sim:
        begun = sim.now
        assert sim.emit_and_wait("charge", timeout=3600) == "paid"
        assert (sim.now - begun).total_seconds() == 10 + 20 + 40

    assert tries == [1, 2, 3, 4]


def test_what_cannot_succeed_is_a_dead_letter_until_an_operator_retries_it() -> None:
    tm = TaskManager(db="memory://", ctx={"printer": "broken"})

    @tm.handler("print", attempts=1)
    async def print_page(job: Job[Any], ctx: Any) -> None:
        if ctx.printer == "broken":
            raise OSError("paper jam")

    with Simulation(tm) as sim:
        sim.emit("print", {"page": 1}, id="page")
        sim.run_until_idle()
        page = sim.job("page")
        assert page is not None
        assert page.state == "failed"
        assert str(page.error) == "OSError: paper jam"
        assert page.dead_letter is not None

        tm.get_context().printer = "repaired"
        sim.retry("page")
        sim.run_until_idle()
        page = sim.job("page")

    assert page is not None
    assert (page.state, page.dead_letter) == ("completed", None)


def test_a_handler_may_say_never_or_not_now() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("deliver")
    async def deliver(job: Job[Any]) -> str:
        if job.data["to"] == "nobody":
            raise Discard("no such address")
        if job.attempt == 1:
            raise RetryLater(3600)  # no retry is spent, and none was granted
        return "delivered"

    with Simulation(tm) as sim:
        sim.emit("deliver", {"to": "nobody"}, id="a")
        sim.emit("deliver", {"to": "ann"}, id="b")
        sim.run_until_idle()
        nobody, ann = sim.job("a"), sim.job("b")

    assert nobody is not None
    assert ann is not None
    assert (nobody.state, nobody.reason) == ("failed", "no such address")
    assert (ann.state, ann.attempt, ann.result) == ("completed", 2, "delivered")


def test_the_jobs_of_a_dead_worker_run_elsewhere() -> None:
    tm = TaskManager(db="memory://", lease=15)

    @tm.handler("encode")
    async def encode(job: Job[Any]) -> None:
        await asyncio.sleep(60)

    with Simulation(tm, workers=2) as sim:
        sim.emit("encode", id="film")
        sim.advance(30)
        dead = next(node for node in sim.nodes if node.is_busy)
        dead.crash()
        sim.run_until_idle()
        film = sim.job("film")
        story = [step.kind for step in sim.timeline]

    assert story == ["emitted", "started", "stalled", "started", "completed"]
    assert film is not None
    assert (film.attempt, film.losses) == (2, 1)


def test_a_deploy_loses_nothing_and_spends_no_retry() -> None:
    tm = TaskManager(db="memory://", grace=10)

    @tm.handler("encode")
    async def encode(job: Job[Any]) -> None:
        await asyncio.sleep(60)

    with Simulation(tm) as sim:
        sim.emit("encode", id="film")
        sim.advance(30)
        sim.stop()  # a deploy: running handlers get their grace, then are given back
        sim.start()
        sim.run_until_idle()
        film = sim.job("film")
        story = [step.kind for step in sim.timeline]

    assert story == ["emitted", "started", "released", "started", "completed"]
    assert film is not None
    assert film.state == "completed"


def test_a_story_can_be_asked_for() -> None:
    tm = TaskManager(db="memory://")

    @tm.handler("charge", attempts=1)
    async def charge(job: Job[Any]) -> None:
        if job.attempt == 1:
            raise ConnectionError("the bank is away")

    with Simulation(tm) as sim:
        sim.emit("charge", id="order-7")
        sim.run_until_idle()
        story = sim.explain("order-7")

    assert "ConnectionError: the bank is away" in story
    assert "completed" in story
