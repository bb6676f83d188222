"""What a `Task` accepts, what its context shows, and how one run goes."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from taskmanager.errors import UsageError
from taskmanager.tasks import CronSchedule, Task, TaskContext, TaskRequest, TaskRun, UnknownTask
from taskmanager.tasks.driver import check_driver
from taskmanager.tasks.running import carry_out, runner_of
from taskmanager.worker.context import Context

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def nothing(ctx: TaskContext) -> None:
    """Executes nothing."""


def context(task: Task | None = None, **fields: Any) -> TaskContext:
    return TaskContext(task or Task.of("t", nothing), {"n": 1}, NOON, **fields)


def test_a_task_with_a_schedule_asks_a_driver_to_keep_it_and_one_without_does_not() -> None:
    hourly = Task.of("rates", nothing, schedule="@hourly", timezone="Asia/Tokyo", immediate=True)
    assert hourly.request() == TaskRequest("rates", {}, CronSchedule("@hourly", "Asia/Tokyo"), True, static=True)
    assert Task.of("rates", nothing).request() is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "two words"}, "event name must be"),
        ({"name": None}, "event name must be"),
        ({"execute": None}, "execute must be a function"),
        ({"execute": lambda: None}, "execute must take one argument, ctx"),
        ({"execute": lambda a, b: None}, "execute must take one argument, ctx"),
        ({"prepare": "yes"}, "prepare must be a function"),
        ({"immediate": 1, "schedule": "@daily"}, "immediate must be True or False, got 1"),
        ({"immediate": True}, "immediate must come with a cron schedule, got it with no schedule"),
        ({"immediate": True, "schedule": NOON}, "got it with the date 2026-03-01"),
        ({"timezone": "UTC"}, "timezone belongs to a cron schedule"),
    ],
)
def test_what_no_task_can_be_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"name": "t", "execute": nothing}
    with pytest.raises(UsageError, match=message):
        Task.of(**(given | wrong))


# ---- its context


@pytest.mark.parametrize(
    "yours", [{"mailer": "m"}, SimpleNamespace(mailer="m"), Context({"mailer": "m"}, print, print)]
)
def test_your_context_is_found_by_name_beside_the_facts_of_the_run(yours: Any) -> None:
    ctx = context(context=yours, job="j")
    assert (ctx.data, ctx.task.name, ctx.timestamp, ctx.store, ctx.job) == ({"n": 1}, "t", NOON, {}, "j")
    assert (ctx.mailer, ctx["mailer"], ctx["data"], ctx.get("absent", 7)) == ("m", "m", {"n": 1}, 7)
    assert "mailer" in ctx
    assert "data" in ctx
    assert "absent" not in ctx
    with pytest.raises(AttributeError):
        _ = ctx.absent
    with pytest.raises(KeyError):
        _ = ctx["absent"]


@pytest.mark.parametrize("yours", [{}, SimpleNamespace()])
def test_names_written_are_your_contexts_and_those_of_the_run_cannot_be_replaced(yours: Any) -> None:
    ctx = context(context=yours)
    ctx.seen = 1
    ctx["more"] = 2
    assert (context(context=yours).seen, context(context=yours)["more"]) == (1, 2)
    with pytest.raises(UsageError, match=r"ctx\.data is this run's"):
        ctx.data = {}


@pytest.mark.parametrize("name", ["data", "task", "timestamp", "store", "job"])
def test_a_context_that_would_hide_a_fact_of_the_run_is_refused(name: str) -> None:
    for yours in ({name: 1}, SimpleNamespace(**{name: 1})):
        with pytest.raises(UsageError, match=f"ctx must not have its own '{name}'"):
            context(context=yours)


def test_without_a_task_manager_emit_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match=r"ctx\.emit needs a driver over a TaskManager"):
        context().emit("event")
    with pytest.raises(UsageError, match=r"ctx\.emit_many needs"):
        context().emit_many([])


# ---- one run


async def run(task: Task) -> tuple[bool, Any]:
    return await carry_out(task, context(task))


async def _async(ctx: TaskContext) -> Any:
    return ctx.store.get("seen", "nothing")


def _plain(ctx: TaskContext) -> Any:
    return ctx.store.get("seen", "nothing")


@pytest.mark.parametrize("execute", [_async, _plain, lambda ctx: _async(ctx)])
@pytest.mark.parametrize("answer", [True, None, 0, "no"])
async def test_prepare_and_execute_share_a_store_and_only_False_itself_declines(execute: Any, answer: Any) -> None:
    def prepare(ctx: TaskContext) -> Any:
        ctx.store["seen"] = 5
        return answer

    async def later(ctx: TaskContext) -> Any:
        return prepare(ctx)

    assert await run(Task.of("t", execute)) == (True, "nothing")
    assert await run(Task.of("t", execute, prepare=prepare)) == (True, 5)
    assert await run(Task.of("t", execute, prepare=later)) == (True, 5)


async def test_a_run_that_prepare_declines_executes_nothing() -> None:
    ran: list[object] = []
    assert await run(Task.of("t", ran.append, prepare=lambda ctx: False)) == (False, None)
    assert ran == []


async def test_plain_functions_do_not_hold_the_loop() -> None:
    threads: list[int] = []
    await run(Task.of("t", lambda ctx: threads.append(threading.get_ident())))
    assert threads != [threading.get_ident()]


async def test_the_runner_executes_declines_raises_what_the_task_raised_and_knows_what_it_does_not_know() -> None:
    seen: list[Any] = []

    def broken(ctx: TaskContext) -> None:
        raise LookupError("no rates")

    tasks = {
        "good": Task.of("good", lambda ctx: seen.append((ctx.data, ctx.timestamp, ctx.mailer, ctx.job))),
        "idle": Task.of("idle", nothing, prepare=lambda ctx: False),
        "broken": Task.of("broken", broken),
    }
    runner = runner_of(tasks.get, lambda: list(tasks))
    assert await runner(TaskRun("good", [1], NOON, {"mailer": "m"}, "j")) is True
    assert seen == [([1], NOON, "m", "j")]
    assert await runner(TaskRun("idle", {}, NOON)) is False
    with pytest.raises(LookupError):
        await runner(TaskRun("broken", {}, NOON))
    with pytest.raises(UnknownTask, match=r"'gone'.*good"):
        await runner(TaskRun("gone", {}, NOON))


# ---- drivers


class Toy:
    async def create(self, request: TaskRequest) -> str:
        return "1"

    async def delete(self, identifier: str) -> None: ...

    def set_task_runner(self, runner: object) -> None: ...


def test_a_driver_is_three_methods_and_what_lacks_one_is_told_which() -> None:
    toy = Toy()
    assert check_driver(toy) is toy
    with pytest.raises(UsageError, match=r"got the class Toy; call it: Toy\(\)"):
        check_driver(Toy)
    with pytest.raises(UsageError, match="which lacks create, set_task_runner"):
        check_driver(SimpleNamespace(delete=toy.delete))
    with pytest.raises(UsageError, match="got None, which lacks create, delete, set_task_runner"):
        check_driver(None)
