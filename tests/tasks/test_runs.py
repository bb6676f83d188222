"""Runs of tasks over a TaskManager, in simulated time: what they are given, what becomes of them, and when."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from taskmanager import Retry, TaskManager
from taskmanager.tasks import ManagerDriver, TaskContext, create_task, delete_task, set_driver, task
from tests.tasks.worlds import at, driver_in_force, runs, steps, world

HOURLY = "0 * * * *"


def test_a_run_is_given_its_data_its_task_its_moment_a_store_your_context_and_emit() -> None:
    mailer = SimpleNamespace(sent=[])
    driver = driver_in_force(ctx={"mailer": mailer})
    driver.manager.register_handler(lambda job: None, "sent")
    seen: list[Any] = []

    def prepare(ctx: TaskContext) -> None:
        ctx.store["prepared"] = ctx.data["to"]

    @task(prepare=prepare)
    async def remind(ctx: TaskContext) -> dict[str, Any]:
        seen.append((ctx.timestamp, ctx.task.name, dict(ctx.store), ctx.job.attempt))
        ctx.mailer.sent.append(ctx["data"]["to"])
        await ctx.job.logger("reminded")
        await ctx.emit("sent", {"to": ctx.data["to"]})
        return {"to": ctx.data["to"]}

    with world(driver) as sim:
        one, two = (sim.run(create_task(name="remind", data={"to": to}, schedule=at(hours=1))) for to in ("Ann", "Bob"))
        sim.advance(hours=1.5)
        assert seen == [(at(hours=1), "remind", {"prepared": to}, 1) for to in ("Ann", "Bob")]
        assert mailer.sent == ["Ann", "Bob"]
        assert [found.result for found in (sim.job(one), sim.job(two)) if found] == [{"to": "Ann"}, {"to": "Bob"}]
        assert [line.message for line in sim.logs(one)] == ["reminded"]
        assert len(sim.attempts("sent")) == 2


@pytest.mark.parametrize("is_plain", [False, True])
def test_prepare_that_answers_False_skips_that_run_and_a_cron_goes_on(is_plain: bool) -> None:
    driver = driver_in_force()

    async def on_even_hours(ctx: TaskContext) -> bool:
        return ctx.timestamp.hour % 2 == 0

    def on_even_hours_too(ctx: TaskContext) -> bool:
        return ctx.timestamp.hour % 2 == 0

    done: list[int] = []
    prepare = on_even_hours_too if is_plain else on_even_hours
    task(name="tick", schedule=HOURLY, prepare=prepare, execute=lambda ctx: done.append(ctx.timestamp.hour))
    with world(driver) as sim:
        sim.advance(hours=1)
        skipped = sim.job("tick@2026-03-01T01:00:00Z")
        assert skipped is not None
        assert (skipped.state, skipped.result) == ("completed", None)
        sim.advance(hours=3)
        assert done == [2, 4]
        ends = [step for step in sim.timeline.only(event="tick") if step.kind in ("completed", "skipped")]
        assert [str(step.kind) for step in ends] == ["skipped", "completed", "skipped", "completed"]


def test_a_skipped_run_is_skipped_whatever_middleware_makes_of_its_result() -> None:
    driver = driver_in_force()

    @driver.manager.use
    async def wrapped(job: Any, ctx: Any, next: Any) -> Any:
        return {"result": await next()}

    task(name="idle", prepare=lambda ctx: False, execute=lambda ctx: 7)
    with world(driver) as sim:
        identifier = sim.run(create_task(name="idle"))
        sim.run_until_idle()
        assert steps(sim, "idle") == ["emitted", "started", "skipped"]
        job = sim.job(identifier)
        assert job is not None
        assert job.result == {"result": None}


@pytest.mark.parametrize("part", ["prepare", "execute"])
def test_what_prepare_or_execute_raises_fails_the_attempt_and_is_kept(part: str) -> None:
    driver = driver_in_force(processor={"retry": Retry(1, delay=5)})

    def broken(ctx: TaskContext) -> None:
        raise LookupError("no rates")

    words: dict[str, Any] = {"execute": lambda ctx: None} | {part: broken}
    task(name="rates", **words)
    with world(driver) as sim:
        identifier = sim.run(create_task(name="rates"))
        sim.run_until_idle()
        assert steps(sim, "rates") == ["emitted", "started", "retried", "due", "started", "failed"]
        job = sim.job(identifier)
        assert job is not None
        assert job.error is not None
        assert (job.error.type, job.error.message) == ("LookupError", "no rates")


def test_a_run_that_was_skipped_in_one_attempt_is_not_in_the_next() -> None:
    """A released run begins anew, and so does what `prepare` said of it."""
    driver = driver_in_force(processor={"retry": Retry(1, delay=5)})
    tries: list[int] = []

    def prepare(ctx: TaskContext) -> bool:
        tries.append(ctx.job.attempt)
        if len(tries) == 1:
            raise LookupError("not yet")
        return False

    task(name="idle", prepare=prepare, execute=lambda ctx: None)
    with world(driver) as sim:
        sim.run(create_task(name="idle"))
        sim.run_until_idle()
        assert steps(sim, "idle")[-2:] == ["started", "skipped"]
    assert tries == [1, 2]


def test_plain_functions_run_in_virtual_time_and_several_tasks_wait_side_by_side() -> None:
    driver = driver_in_force()
    task(name="plain", execute=lambda ctx: time.sleep(600))

    @task
    async def waits(ctx: TaskContext) -> None:
        await asyncio.sleep(600)

    with world(driver) as sim:
        for name in ("plain", "waits", "waits", "plain"):
            sim.run(create_task(name=name))
        sim.run_until_idle()
        assert sim.now == at(seconds=600)


def test_a_cron_of_a_task_keeps_its_zone_and_immediate_runs_once_where_it_is_new() -> None:
    driver = driver_in_force()
    words: dict[str, Any] = {"timezone": "Europe/Paris", "immediate": True, "execute": lambda ctx: None}
    task(name="rates", schedule="0 9 * * *", **words)
    with world(driver, workers=2) as sim:
        sim.advance(days=2)
        assert runs(sim, "rates") == ["01 00:00", "01 08:00", "02 08:00"]


def test_a_created_task_runs_now_at_its_date_or_by_its_cron() -> None:
    driver = driver_in_force()
    task(name="t", execute=lambda ctx: None)
    with world(driver) as sim:
        start = int(at().timestamp() * 1000)
        sim.run(create_task(name="t"))
        sim.run(create_task(name="t", schedule=at(days=-5)))  # past: now
        sim.run(create_task(name="t", schedule=start + 3_600_000))
        sim.run(create_task(name="t", schedule={"type": "date", "value": at(hours=2)}))
        sim.run(create_task(name="t", schedule="30 3-9/3 * * *", timezone="UTC", immediate=True))
        sim.advance(hours=7)
    assert runs(sim, "t") == ["01 00:00", "01 00:00", "01 00:00", "01 01:00", "01 02:00", "01 03:30", "01 06:30"]


def test_a_task_may_create_and_delete_tasks_and_what_it_creates_is_stored_before_it_ends() -> None:
    driver = driver_in_force()
    created: list[str] = []

    @task
    async def parent(ctx: TaskContext) -> None:
        created.append(await create_task(name="child", schedule=at(hours=5)))
        created.append(await create_task(name="child", schedule=ctx.timestamp + timedelta(hours=1)))
        await delete_task(created[0])

    task(name="child", execute=lambda ctx: None)
    with world(driver) as sim:
        sim.run(create_task(name="parent"))
        sim.advance(hours=6)
        assert runs(sim, "child") == ["01 01:00"]


def test_a_driver_over_a_manager_of_yours_shares_it_with_its_handlers() -> None:
    tm = TaskManager("memory://", concurrency=3)
    done: list[str] = []
    tm.register_handler(lambda job: done.append("handler"), "work")
    driver = ManagerDriver(tm, queue="tasks")
    set_driver(driver)

    @task(schedule=HOURLY)
    async def tick(ctx: TaskContext) -> None:
        done.append("task")
        await ctx.emit("work")

    with world(driver) as sim:
        sim.advance(hours=2)
        assert done == ["task", "handler"] * 2
        assert {step.queue for step in sim.attempts("tick")} == {"tasks"}


def test_the_queue_is_served_while_no_task_is_defined_so_a_run_of_an_unknown_one_fails_and_says_so() -> None:
    driver = driver_in_force(queue="tasks")
    with world(driver) as sim:
        identifier = sim.run(create_task(name="gone", schedule=at(hours=1)))
        sim.advance(hours=2)
        job = sim.job(identifier, "tasks")
        assert job is not None
        assert (job.state, job.error.type if job.error else None) == ("failed", "ConfigurationError")


def test_a_manager_that_was_told_its_queues_serves_no_other() -> None:
    driver = ManagerDriver(TaskManager("memory://", queues=["mail"]), queue="tasks")
    set_driver(driver)
    task(name="t", schedule=HOURLY, execute=lambda ctx: None)
    with world(driver) as sim:
        sim.advance(hours=2)
        assert len(sim.timeline) == 0


def test_a_context_from_a_lifespan_that_would_hide_a_fact_of_the_run_fails_the_run() -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def lifespan() -> Any:
        yield {"data": "mine"}

    driver = driver_in_force(lifespan=lifespan)
    task(name="t", execute=lambda ctx: None)
    with world(driver) as sim:
        identifier = sim.run(create_task(name="t"))
        sim.run_until_idle()
        job = sim.job(identifier)
        assert job is not None
        assert job.error is not None
        assert "ctx must not have its own 'data'" in job.error.message
