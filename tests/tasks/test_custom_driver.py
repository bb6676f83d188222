"""A driver of three methods, as somebody might write one over a list, and what it is told when."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskmanager.errors import UsageError
from taskmanager.tasks import (
    CronSchedule,
    DateSchedule,
    TaskContext,
    TaskRequest,
    TaskRun,
    TaskRunner,
    UnknownTask,
    create_task,
    delete_task,
    load_tasks,
    set_driver,
    task,
)
from tests.tasks.worlds import until

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class ListDriver:
    """Keeps requests in a dict, and runs one when a test says that it is due."""

    def __init__(self, *, refuses: str | None = None) -> None:
        self.kept: dict[str, TaskRequest] = {}
        self.calls: list[str] = []
        self.refuses = refuses
        self.runner: TaskRunner | None = None

    async def set_task_runner(self, runner: TaskRunner) -> None:
        await asyncio.sleep(0)
        self.calls.append("runner")
        self.runner = runner

    async def create(self, request: TaskRequest) -> str:
        assert self.runner is not None
        await asyncio.sleep(0)
        if request.name == self.refuses:
            raise OSError("no room")
        identifier = f"static-{request.name}" if request.static else str(len(self.calls))
        self.calls.append(f"create {identifier}")
        self.kept[identifier] = request
        return identifier

    async def delete(self, identifier: str) -> None:
        self.calls.append(f"delete {identifier}")
        self.kept.pop(identifier, None)

    async def due(self, identifier: str) -> bool:
        assert self.runner is not None
        request = self.kept[identifier]
        return await self.runner(TaskRun(request.name, request.data, NOON, {"mailer": "post"}))


async def execute(ctx: TaskContext) -> Any:
    """Executes nothing."""


async def test_it_is_told_of_a_request_and_what_is_due_runs() -> None:
    driver = ListDriver()
    await set_driver(driver)
    seen: list[Any] = []

    @task(prepare=lambda ctx: ctx.data["to"] != "nobody")
    def remind(ctx: TaskContext) -> None:
        seen.append((ctx.data, ctx.timestamp, ctx.mailer, ctx.job, ctx.task.name))
        if ctx.data["to"] == "Eve":
            raise LookupError("no such address")

    ann, nobody, eve = [
        await create_task(name="remind", data={"to": to}, schedule=NOON) for to in ("Ann", "nobody", "Eve")
    ]
    assert driver.kept[ann] == TaskRequest("remind", {"to": "Ann"}, DateSchedule(NOON))
    assert await driver.due(ann) is True
    assert await driver.due(nobody) is False
    with pytest.raises(LookupError):
        await driver.due(eve)
    assert seen[0] == ({"to": "Ann"}, NOON, "post", None, "remind")
    await delete_task(ann)
    await delete_task("unknown")
    assert list(driver.kept) == [nobody, eve]
    orphan = await create_task(name="gone")
    with pytest.raises(UnknownTask, match="a run of 'gone' is due"):
        await driver.due(orphan)


async def test_the_runner_comes_first_and_each_tasks_own_schedule_once_under_one_identifier() -> None:
    driver = ListDriver()
    task(name="early", schedule="@daily", timezone="Asia/Tokyo", immediate=True, execute=execute)
    task(name="silent", execute=execute)
    await set_driver(driver)
    assert driver.calls == ["runner", "create static-early"]
    assert driver.kept["static-early"] == TaskRequest("early", {}, CronSchedule("@daily", "Asia/Tokyo"), True, True)
    await set_driver(driver)
    await create_task(name="early")
    assert driver.calls == ["runner", "create static-early", "create 2"]


async def test_a_task_defined_while_the_loop_runs_is_told_in_the_background() -> None:
    driver = ListDriver()
    await set_driver(driver)
    task(name="late", schedule="@daily", execute=execute)
    await until(lambda: "static-late" in driver.kept)
    assert driver.calls == ["runner", "create static-late"]


def test_without_a_loop_it_is_told_with_the_first_word_that_is_awaited() -> None:
    driver = ListDriver()
    set_driver(driver)
    task(name="early", schedule="@daily", execute=execute)
    load_tasks()
    assert driver.calls == []
    asyncio.run(create_task(name="early"))
    assert driver.calls == ["runner", "create static-early", "create 2"]


async def test_a_folder_loaded_again_creates_replaces_and_deletes(tmp_path: Path) -> None:
    folder = tmp_path / "app" / "tasks"
    folder.mkdir(parents=True)

    def write(*tasks: tuple[str, str | None]) -> None:
        lines = [f"task(name={name!r}, schedule={schedule!r}, execute=print)" for name, schedule in tasks]
        (folder / "a.py").write_text("\n".join(["from taskmanager.tasks import task", *lines]))

    driver = ListDriver()
    set_driver(driver)
    write(("a", "@daily"), ("b", "@daily"), ("c", "@daily"), ("d", None))
    await load_tasks()
    driver.calls.clear()
    write(("a", "@daily"), ("b", "@hourly"), ("c", None))
    await load_tasks()
    assert driver.calls == ["create static-b", "delete static-c"]
    assert {name: str(one.schedule) for name, one in driver.kept.items()} == {
        "static-a": str(CronSchedule("@daily")),
        "static-b": str(CronSchedule("@hourly")),
    }


async def test_a_refusal_is_raised_logged_told_again_and_holds_up_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = ListDriver(refuses="bad")
    task(name="bad", schedule="@daily", execute=execute)
    task(name="good", schedule="@daily", execute=execute)
    with pytest.raises(OSError, match="no room"):
        await set_driver(driver)
    assert list(driver.kept) == ["static-good"]
    await create_task(name="good")  # the refusal was of another
    assert caplog.text.count("did not take the schedule of task 'bad'") == 2
    with pytest.raises(OSError, match="no room"):
        await create_task(name="bad")
    driver.refuses = None
    await load_tasks("missing")
    assert "static-bad" in driver.kept


async def test_a_refusal_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    driver = ListDriver(refuses="bad")
    await set_driver(driver)
    with caplog.at_level(logging.ERROR, "taskmanager"):
        task(name="bad", schedule="@daily", execute=execute)
        await until(lambda: "has not heard of its tasks: no room" in caplog.text)


async def test_where_the_runner_is_not_taken_nothing_is_created() -> None:
    class Closed(ListDriver):
        async def set_task_runner(self, runner: TaskRunner) -> None:
            raise ConnectionError("away")

    driver = Closed()
    with pytest.raises(ConnectionError):
        await set_driver(driver)
    with pytest.raises(ConnectionError):
        await create_task(name="t")
    assert driver.calls == []


async def test_bad_input_is_refused_before_the_driver_hears_of_it() -> None:
    driver = ListDriver()
    await set_driver(driver)
    with pytest.raises(UsageError, match="data must be at most"):
        await create_task(name="t", data="x" * (1 << 20))
    with pytest.raises(UsageError, match="for seconds"):
        await create_task(name="t", schedule=1_700_000_000)
    assert driver.calls == ["runner"]


def test_a_wrapped_managed_driver_is_told_to_be_subclassed() -> None:
    from taskmanager.tasks import MemoryDriver

    inner = MemoryDriver()

    class Wrapper:
        create, delete, set_task_runner = inner.create, inner.delete, inner.set_task_runner

    set_driver(Wrapper())
    with pytest.raises(UsageError, match="runs its tasks as handlers and takes no runner; subclass it"):
        asyncio.run(create_task(name="t"))
