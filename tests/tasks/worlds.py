"""What the tests of tasks share: a clean slate, and a driver in a simulated world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from simulation import Simulation
from taskmanager.tasks import ManagerDriver, MemoryDriver, set_driver

PATIENCE_S = 20.0
START = datetime(2026, 3, 1, tzinfo=UTC)
HEAD = "from taskmanager.tasks import task\n"


def at(**parts: float) -> datetime:
    """A moment so long after the start of the world."""
    return START + timedelta(**parts)


def driver_in_force(**options: Any) -> MemoryDriver:
    """A driver over a store of its own, which has just been set."""
    driver = MemoryDriver(**options)
    set_driver(driver)
    return driver


def world(driver: ManagerDriver, start: datetime = START, **options: Any) -> Simulation:
    return Simulation(driver.manager, start=start, **options)


def runs(sim: Simulation, event: str) -> list[str]:
    """When the runs of a task began: day, hour, minute."""
    return [f"{step.at:%d %H:%M}" for step in sim.attempts(event)]


def steps(sim: Simulation, event: str) -> list[str]:
    """What happened to a task's jobs, in bare words."""
    return [str(step.kind) for step in sim.timeline.only(event=event)]


async def until(claim: Callable[[], object]) -> None:
    """Waits for a thing; fails where it does not come."""
    async with asyncio.timeout(PATIENCE_S):
        while not claim():  # noqa: ASYNC110 - the thing is told by a worker, or by nobody
            await asyncio.sleep(0.002)


class Files:
    """A folder of task files, app/tasks of an application."""

    def __init__(self, root: Path, name: str = "app/tasks") -> None:
        self.folder = root / name
        self.folder.mkdir(parents=True)

    def write(self, name: str, *lines: str) -> None:
        (self.folder / name).write_text(HEAD + "\n".join(lines) + "\n")

    def define(self, name: str, *tasks: str, words: str = "") -> None:
        self.write(name, *(f"task(name={one!r}, execute=lambda ctx: {name!r}{words})" for one in tasks))

    def remove(self, name: str) -> None:
        (self.folder / name).unlink()
