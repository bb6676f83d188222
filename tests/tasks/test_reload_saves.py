"""Fifty saves in a row, while jobs run and a cron ticks each second: nothing is lost, failed or doubled."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from taskmanager.tasks import (
    ManagerDriver,
    MemoryDriver,
    RedisDriver,
    SQLiteDriver,
    create_task,
    load_tasks,
    set_driver,
    watching,
)
from tests.tasks.worlds import HEAD, Files, until

SAVES = 50
TEXT = """
import asyncio

async def count(ctx):
    await asyncio.sleep(0.005)
    ctx.ran.append((ctx.data["number"], {version}))

def tick(ctx):
    ctx.ticks.append(ctx.timestamp)

task(name="count", execute=count)
task(name="tick", schedule="* * * * * *", execute=tick)
task(name="hourly", schedule="{version} 0 * * *", execute=print)
"""


def save(path: Path, version: int) -> None:
    """In the ways of three editors in turn."""
    text = HEAD + TEXT.format(version=version)
    if version % 3 == 0:
        path.write_text(text)
    elif version % 3 == 1:
        path.with_name("a.tmp").write_text(text)
        os.replace(path.with_name("a.tmp"), path)
    else:
        with path.open("w") as file:
            for start in range(0, len(text), 100):
                file.write(text[start : start + 100])
                file.flush()


@pytest.mark.parametrize("url", ["memory", "sqlite", "redis"])
async def test_nothing_is_lost_or_doubled_over_fifty_saves(url: str, files: Files) -> None:
    ran: list[tuple[int, int]] = []
    ticks: list[datetime] = []
    ctx: dict[str, Any] = {"ran": ran, "ticks": ticks}
    driver = driver_over(url, ctx)
    set_driver(driver)
    save(files.folder / "a.py", 0)
    load_tasks()
    scheduled: list[Any] = []
    failed: list[Any] = []
    driver.manager.on("scheduled", scheduled.append)
    driver.manager.on("failed", failed.append)
    async with driver, watching(driver):
        for version in range(1, SAVES + 1):
            save(files.folder / "a.py", version)
            for job in range(5):
                await create_task(name="count", data={"number": 5 * version + job})
            # The next save comes when some of these have run, and at times when this one has been taken.
            await until(lambda version=version: len(ran) >= 5 * version - 2)  # type: ignore[misc]  # it takes none
            if version % 10 == 0:
                await until_last(ctx, version)
        await until(lambda: len(ticks) >= 3)
        await until_last(ctx, SAVES)
        [hourly] = [one.pattern for one in await driver.manager.schedules() if one.name == "hourly"]
        assert hourly == f"{SAVES} 0 * * *"
        await driver.manager.drain(20)
        assert len(ticks) == len(set(ticks)) == len(scheduled)
    assert failed == []
    numbers = Counter(number for number, _ in ran if number)
    assert numbers == Counter(range(5, 5 * SAVES + 5))


def driver_over(url: str, ctx: dict[str, Any]) -> ManagerDriver:
    if url == "sqlite":
        return SQLiteDriver("jobs.db", ctx=ctx)
    if url == "redis":
        return RedisDriver("fakeredis://", ctx=ctx)
    return MemoryDriver(ctx=ctx)


async def until_last(ctx: dict[str, Any], version: int) -> None:
    """Runs of the task are of that version now."""
    async with asyncio.timeout(20):
        while ctx["ran"][-1][1] != version:
            seen = len(ctx["ran"])
            await create_task(name="count", data={"number": 0})
            await until(lambda seen=seen: len(ctx["ran"]) > seen)  # type: ignore[misc]  # it takes none
