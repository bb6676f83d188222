"""The contract between tasks and whatever keeps them: three methods, and what they are told.

A driver keeps requests and says when one is due; it knows no task. What is due it hands to the runner as a `TaskRun`;
the runner finds the task, asks its `prepare`, and executes it. So a driver of one's own is three methods, over any
store or service. What a driver promises beyond that (that a run survives a crash, that two do not overlap) is its own.

It may also have `start()` and `stop()`, plain or async: `taskmanager run APP` calls them. A driver over a
`TaskManager` (`managed.ManagerDriver`) needs no runner, for there a task is a handler.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeGuard

from taskmanager.errors import UsageError
from taskmanager.tasks.schedules import TaskSchedule

__all__ = ["TaskDriver", "TaskRequest", "TaskRun", "TaskRunner", "UnknownTask", "check_driver", "is_driver"]

_METHODS = ("create", "delete", "set_task_runner")


class UnknownTask(UsageError):
    """A run is due of a task that is not defined here (any more): the driver is to tell it as failed."""


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What a driver is asked to keep: run the task `name` with `data`, now or by `schedule`.

    `data` is plain JSON. `immediate` adds one run at once; it comes with crons only. `static` marks a task's own
    schedule: its identifier is the same for the same name, and a later request of that name takes its place.
    """

    name: str
    data: Any
    schedule: TaskSchedule | None = None
    immediate: bool = False
    static: bool = False


@dataclass(frozen=True, slots=True)
class TaskRun:
    """What a driver hands to the runner when a task is due. `timestamp` is the aware moment at which it was.

    A driver may add `context`, whose names the task finds on its `ctx`, and `job`, any object that stands for the run.
    """

    name: str
    data: Any
    timestamp: datetime
    context: Any = None
    job: Any = None


TaskRunner = Callable[[TaskRun], Awaitable[bool]]
"""Executes a run: True, or False where the task's `prepare` declined. Raises what the task raised, or `UnknownTask`."""


class TaskDriver(Protocol):
    """See the module's law. Identifiers are texts that are the driver's own."""

    async def create(self, request: TaskRequest) -> str:
        """Keeps a request and answers its identifier: a new one at each call, unless it is `static`."""

    async def delete(self, identifier: str) -> None:
        """Forgets what has that identifier, and nothing else; where there is none, nothing happens."""

    def set_task_runner(self, runner: TaskRunner) -> Any:
        """Takes the runner. It may be async: it is awaited before the first `create`."""


def check_driver(driver: object) -> TaskDriver:
    """The driver, or a `UsageError` naming what it lacks."""
    accepted = f"driver must be an object with the methods {', '.join(_METHODS)}"
    if isinstance(driver, type):
        raise UsageError(f"{accepted}, got the class {driver.__name__}; call it: {driver.__name__}()")
    if missing := _missing(driver):
        raise UsageError(f"{accepted}, got {driver!r}, which lacks {', '.join(missing)}")
    return driver  # type: ignore[return-value]  # it has the methods


def is_driver(value: object) -> TypeGuard[TaskDriver]:
    """Whether it has the methods of one."""
    return not isinstance(value, type) and not _missing(value)


def _missing(driver: object) -> list[str]:
    return [name for name in _METHODS if not callable(getattr(driver, name, None))]
