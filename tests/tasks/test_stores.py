"""The three managed drivers for real: one program on each, and what a restart finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from taskmanager.job import FINISHED, State
from taskmanager.tasks import (
    ManagerDriver,
    MemoryDriver,
    RedisDriver,
    SQLiteDriver,
    TaskContext,
    create_task,
    delete_task,
    forget_tasks,
    load_tasks,
    set_driver,
    task,
)
from tests.servers import Servers, server_kinds
from tests.tasks.worlds import PATIENCE_S, until

Make = Callable[[], ManagerDriver]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[Make]:
    """Makes drivers over one store."""
    match request.param:
        case "memory":
            name = uuid4().hex
            yield lambda: MemoryDriver(name)
        case "sqlite":
            yield lambda: SQLiteDriver(tmp_path / "tasks.db")
        case _:
            url = servers.shared(server_kinds()[0]).url
            yield lambda: RedisDriver(url)


def defined(driver: ManagerDriver, said: list[Any], date: datetime) -> None:
    """The application, in a process of its own as far as tasks are concerned."""
    forget_tasks()
    set_driver(driver)

    @task(prepare=lambda ctx: ctx.data["to"] != "nobody")
    async def remind(ctx: TaskContext) -> str:
        said.append(ctx.data["to"])
        return f"told {ctx.data['to']}"

    task(name="launch", schedule=date, execute=lambda ctx: said.append(ctx.timestamp))
    task(name="yearly", schedule="@yearly", immediate=True, execute=lambda ctx: said.append("yearly"))


async def until_ended(driver: ManagerDriver, identifier: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (job := await driver.manager.get_job(identifier)) is None or job.state not in FINISHED:  # noqa: ASYNC110 - a worker says it
            await asyncio.sleep(0.005)


async def test_tasks_run_are_skipped_deleted_and_restarted_on_every_store(make: Make) -> None:
    said: list[Any] = []
    now = datetime.now(UTC).replace(microsecond=0)
    launch, later = now + timedelta(seconds=1), now + timedelta(days=1)

    driver = make()
    defined(driver, said, launch)
    skips: list[Any] = []
    driver.manager.on("skipped", skips.append)
    async with driver:
        reminder = await create_task(name="remind", data={"to": "Ann"}, schedule=now - timedelta(days=1))
        await create_task(name="remind", data={"to": "nobody"})
        kept = await create_task(name="remind", data={"to": "Bob"}, schedule=later)
        await delete_task(await create_task(name="remind", data={"to": "Cid"}, schedule=later))
        cron = await create_task(name="remind", data={"to": "Dan"}, schedule="0 0 1 1 *", immediate=True)
        await delete_task(cron)
        await until(lambda: launch in said and "Ann" in said and "yearly" in said and skips)
        assert [step.event for step in skips] == ["remind"]
        await until_ended(driver, reminder)
        found = await driver.manager.get_job(reminder)
        assert found is not None
        assert found.result == "told Ann"
        assert {one.name for one in await driver.manager.schedules()} == {"launch", "yearly"}

    before = sorted(map(str, said))
    again = make()
    defined(again, said, launch)
    async with again:  # neither the date nor the `immediate` run comes again, and what was to come is still there
        job = await again.manager.get_job(kept)
        assert job is not None
        assert (job.state, job.run_at) == (State.DELAYED, later)
        await again.manager.promote(kept)
        await until(lambda: "Bob" in said)
    assert sorted(map(str, said)) == sorted([*before, "Bob"])
    assert [said.count(one) for one in (launch, "yearly", "Ann", "nobody", "Cid")] == [1, 1, 1, 0, 0]


async def test_a_folder_is_followed_on_every_store(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "app" / "tasks"
    folder.mkdir(parents=True)
    line = "from taskmanager.tasks import task\ntask(name={0!r}, schedule='@yearly', execute=print)\n"
    (folder / "a.py").write_text(line.format("a"))
    (folder / "b.py").write_text(line.format("b"))
    driver = make()
    set_driver(driver)
    load_tasks()
    async with driver:
        assert [one.name for one in await driver.manager.schedules()] == ["a", "b"]
        (folder / "b.py").write_text(line.format("c"))
        await load_tasks()
        assert [one.name for one in await driver.manager.schedules()] == ["a", "c"]
    forget_tasks()
    (folder / "a.py").unlink()
    again = make()
    set_driver(again)
    load_tasks()
    async with again:
        assert [(one.name, one.origin) for one in await again.manager.schedules()] == [("c", "tasks:app/tasks")]


async def test_a_run_that_its_process_did_not_end_runs_again_in_the_next(tmp_path: Path) -> None:
    driver = SQLiteDriver(tmp_path / "tasks.db", grace=0)
    set_driver(driver)
    began = asyncio.Event()

    async def slow(ctx: TaskContext) -> None:
        began.set()
        await asyncio.Event().wait()

    task(name="slow", execute=slow)
    async with driver:
        identifier = await create_task(name="slow", data={"n": 1})
        await asyncio.wait_for(began.wait(), PATIENCE_S)
    forget_tasks()
    again = SQLiteDriver(tmp_path / "tasks.db")
    set_driver(again)
    ran: list[Any] = []
    task(name="slow", execute=lambda ctx: ran.append((ctx.data, ctx.job.id)))
    async with again:
        await until(lambda: ran)
    assert ran == [({"n": 1}, identifier)]
