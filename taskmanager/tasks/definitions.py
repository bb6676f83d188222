"""What a task is, and what it is given to run with.

A `Task` is a value: made and checked when it is defined, never changed. Where it belongs is the board's to say.

A `TaskContext` is one run's view: the run's own facts under fixed names, and your context under all others. It is
shared by `prepare` and `execute`, and so is its `store`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.overlay import Overlay, has
from taskmanager.policy.admission import check_event
from taskmanager.registry import takes
from taskmanager.tasks.driver import TaskRequest
from taskmanager.tasks.schedules import CronSchedule, TaskSchedule, schedule_of
from taskmanager.worker.context import Context

__all__ = ["Task", "TaskContext", "check_task_context"]

Execute = Callable[["TaskContext"], Any]
"""`execute` or `prepare`: `async def` or plain `def`, which runs in a thread."""

_OF_A_RUN = ("data", "task", "timestamp", "store", "job")


@dataclass(frozen=True, slots=True)
class Task:
    """One definition: `execute(ctx)` runs, unless `prepare(ctx)` answers False; either may be plain or async.

    `schedule` is the task's own, or None where only `create_task` makes it run; `immediate` adds one run where its cron
    is new. `origin` is the folder that it was loaded from, or None.
    """

    name: str
    schedule: TaskSchedule | None
    immediate: bool
    prepare: Execute | None
    execute: Execute
    origin: str | None = None

    @staticmethod
    def of(
        name: object,
        execute: object,
        *,
        schedule: object = None,
        timezone: object = None,
        immediate: object = False,
        prepare: object = None,
        origin: str | None = None,
    ) -> Task:
        """A checked one; `UsageError` names the part, what was seen, and what is accepted."""
        when = schedule_of(schedule, timezone)
        return Task(
            check_event(name),
            when,
            check_immediate(immediate, when),
            None if prepare is None else _function(prepare, "prepare"),
            _function(execute, "execute"),
            origin,
        )

    def request(self) -> TaskRequest | None:
        """What a driver is to keep for the task's own schedule; None where it has none."""
        if self.schedule is None:
            return None
        return TaskRequest(self.name, {}, self.schedule, self.immediate, static=True)


def check_immediate(value: object, schedule: TaskSchedule | None) -> bool:
    """`immediate`, which belongs to crons: a date says itself when it runs, and without a schedule it is now."""
    if not isinstance(value, bool):
        raise UsageError(f"immediate must be True or False, got {value!r}")
    if value and not isinstance(schedule, CronSchedule):
        shown = "no schedule" if schedule is None else f"the date {schedule.at.isoformat()}"
        raise UsageError(f"immediate must come with a cron schedule, got it with {shown}; leave it out")
    return value


def _function(value: object, field: str) -> Execute:
    if not callable(value):
        raise UsageError(f"{field} must be a function (ctx), got {value!r}")
    if not takes(value, 1):
        raise UsageError(f"{field} must take one argument, ctx, got {value!r}")
    return value


class TaskContext(Overlay):
    """What `prepare` and `execute` get: `data`, `task`, `timestamp`, `store`, `job`, `emit`, and your context by name.

    `timestamp` is the aware moment at which the run was due. `store` is a fresh dict a run, for what `prepare` finds
    and `execute` needs. `job` is the `Job` (its `logger` and `progress` keep what they are told), or None under a
    driver that has none. `emit` emits a job of system A; where the driver has no TaskManager, it is a `UsageError`.
    """

    __slots__ = _OF_A_RUN

    own = (*_OF_A_RUN, *Context.own)
    stays = "is this run's and cannot be replaced; ctx.store takes what a run keeps"

    data: Any
    job: Any
    store: dict[str, Any]
    task: Task
    timestamp: datetime

    def __init__(self, task: Task, data: Any, timestamp: datetime, context: Any = None, job: Any = None) -> None:
        check_task_context(context)
        super().__init__(context, task=task, data=data, timestamp=timestamp, store={}, job=job)

    @property
    def emit(self) -> Callable[..., Any]:
        return self._word("emit")

    @property
    def emit_many(self) -> Callable[..., Any]:
        return self._word("emit_many")

    def _word(self, name: str) -> Callable[..., Any]:
        word: Callable[..., Any] | None = getattr(self._below, name, None)
        if word is None:
            raise UsageError(f"ctx.{name} needs a driver over a TaskManager, and this one has none; use create_task")
        return word

    def __repr__(self) -> str:
        return f"<ctx of task {self.task.name!r} at {self.timestamp.isoformat()}>"


def check_task_context(context: object) -> None:
    """Raises `UsageError` for a context with a name that a run has itself: one of the two would be hidden."""
    for name in _OF_A_RUN:
        if has(context, name):
            raise UsageError(f"ctx must not have its own {name!r}: a task finds the run's under that name; rename it")
