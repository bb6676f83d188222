"""Hot reload over a driver of three methods: it is told of what changed, and of nothing else, until it has heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from taskmanager.tasks import TaskRequest, load_tasks, set_driver, watching
from taskmanager.tasks import reload as reloading
from taskmanager.tasks.board import boards
from tests.tasks.test_custom_driver import ListDriver
from tests.tasks.worlds import Files, until

CRON = "task(name={0!r}, schedule='0 {1} * * *', execute=lambda ctx: ctx.mailer)"


@asynccontextmanager
async def served(driver: ListDriver) -> AsyncIterator[ListDriver]:
    await set_driver(driver)
    await load_tasks()
    async with watching(driver):
        driver.calls.clear()
        yield driver


async def test_it_is_told_of_the_schedules_that_changed_and_of_those_that_are_gone(files: Files) -> None:
    files.write("a.py", CRON.format("first", 1), CRON.format("second", 1))
    async with served(ListDriver()) as driver:
        before = boards()[-1].tasks["first"]
        files.write("a.py", CRON.format("first", 1), CRON.format("second", 2), CRON.format("third", 3))
        await until(lambda: len(driver.calls) == 2)
        assert driver.calls == ["create static-second", "create static-third"]
        assert boards()[-1].tasks["first"] is not before
        files.write("a.py", CRON.format("first", 1), CRON.format("renamed", 2))
        await until(lambda: list(driver.kept) == ["static-first", "static-renamed"])
        files.remove("a.py")
        await until(lambda: driver.kept == {})


async def test_one_that_was_away_is_told_again(
    files: Files, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reloading, "_FIRST_PAUSE_S", 0.01)
    caplog.set_level(logging.INFO, "taskmanager")
    driver = ListDriver()
    async with served(driver):
        driver.refuses = "first"
        files.write("a.py", CRON.format("first", 1))
        await until(lambda: "telling the driver of app/tasks again in 0.02 s (no room)" in caplog.text)
        driver.refuses = None
        await until(lambda: list(driver.kept) == ["static-first"])


async def test_a_run_of_a_task_that_was_saved_and_is_not_loaded_yet_finds_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*paths: object, **options: object) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield None

    monkeypatch.setattr("watchfiles.awatch", silent)
    files.write("a.py", CRON.format("first", 1))
    async with served(ListDriver()) as driver:
        driver.kept["elsewhere"] = TaskRequest("second", {})  # another process has loaded it
        files.write("b.py", CRON.format("second", 2))
        assert await driver.due("elsewhere") is True
        assert sorted(boards()[-1].tasks) == ["first", "second"]
