"""The words of tasks: `task` defines one, `create_task` lets it run, `delete_task` takes that back.

Whatever can be refused is refused here, before a driver is asked for anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, overload

from taskmanager.codec import decode, encode
from taskmanager.errors import UsageError
from taskmanager.policy.admission import check_event
from taskmanager.tasks.board import board_in_force, collecting, current_driver, put_up
from taskmanager.tasks.definitions import Execute, Task, check_immediate
from taskmanager.tasks.driver import TaskRequest
from taskmanager.tasks.managed import ManagerDriver
from taskmanager.tasks.schedules import schedule_of

__all__ = ["create_task", "delete_task", "task"]

log = logging.getLogger("taskmanager")

MAX_DATA_BYTES = 1 << 20
"""How much data a run may be given, as JSON, under a driver without a TaskManager."""


@overload
def task(execute: Execute, /) -> Task: ...


@overload
def task(
    *,
    execute: Execute,
    name: str | None = None,
    schedule: Any = None,
    timezone: str | None = None,
    immediate: bool = False,
    prepare: Execute | None = None,
) -> Task: ...


@overload
def task(
    *,
    name: str | None = None,
    schedule: Any = None,
    timezone: str | None = None,
    immediate: bool = False,
    prepare: Execute | None = None,
) -> Callable[[Execute], Task]: ...


def task(
    function: Execute | None = None,
    /,
    *,
    execute: Execute | None = None,
    name: str | None = None,
    schedule: Any = None,
    timezone: str | None = None,
    immediate: bool = False,
    prepare: Execute | None = None,
) -> Task | Callable[[Execute], Task]:
    """Defines a task: `execute(ctx)` runs by `schedule`, and whenever `create_task` says so.

    With `execute` it is a call; without, it decorates the function that executes, with or without parentheses. `name`
    defaults to the function's. `schedule` is a cron pattern (with `timezone`, UTC by default), an aware datetime,
    milliseconds since the epoch, or {"type": ..., "value": ..., "timezone": ...}. `immediate` adds one run where the
    cron is new to the store. `prepare(ctx)` may answer False to skip a run. Raises `UsageError` naming the part that
    cannot be, and for a second task of a name, which leaves the first as it is.
    """
    if function is not None and (execute is not None or not callable(function)):
        raise UsageError(f"task takes its words by name, task(name=..., execute=...), got {function!r} first")
    collector = collecting.get()

    def define(executes: Execute) -> Task:
        given = Task.of(
            _name_of(executes) if name is None else name,
            executes,
            schedule=schedule,
            timezone=timezone,
            immediate=immediate,
            prepare=prepare,
            origin=None if collector is None else collector.origin,
        )
        if collector is not None:
            collector.met(define)
            collector.collect(given)
        else:
            put_up(given)
        return given

    found = execute if function is None else function
    if found is not None:
        return define(found)
    # What is wrong with the other words is told where they are written.
    words = {"schedule": schedule, "timezone": timezone, "immediate": immediate, "prepare": prepare}
    Task.of("task" if name is None else name, id, **words)
    if collector is not None:
        collector.expect(define, name)
    return define


def _name_of(function: object) -> object:
    name = getattr(function, "__name__", None)
    if name is None or name == "<lambda>":
        raise UsageError(f"name must be given for {function!r}, which has none of its own")
    return name


async def create_task(
    *, name: str, data: Any = None, schedule: Any = None, timezone: str | None = None, immediate: bool = False
) -> str:
    """Lets the task `name` run with `data`: now, at a date, or by a cron. Answers an identifier for `delete_task`.

    Each call is a run, or a series of runs, of its own, also where another of that name is under way. `schedule` and
    `timezone` are as for `task`; a date that is past runs now; `immediate` adds one run of a cron at once. The task may
    be defined in another process; here a warning is logged. A plain `execute`, which cannot await, says `ctx.emit(name,
    data, id=new_id())` instead. Raises `UsageError`, before anything is written, for what
    cannot be, and `EngineUnavailable` where the store does not answer: perhaps stored.
    """
    name, when = check_event(name), schedule_of(schedule, timezone)
    check_immediate(immediate, when)
    driver = current_driver()
    most = driver.max_data_bytes if isinstance(driver, ManagerDriver) else MAX_DATA_BYTES
    plain = decode(encode({} if data is None else data, field="data", max_bytes=most))
    board = board_in_force()
    if name not in board.tasks:
        log.warning("create_task: no task %r is defined here; where none is when it is due, that run fails", name)
    return await board.hands.create(TaskRequest(name, plain, when, immediate))


async def delete_task(identifier: str) -> None:
    """Ends what `create_task` began under that identifier, and nothing else; where there is none, nothing happens.

    A run that has begun ends on its own. Raises `UsageError` for what is no text.
    """
    if not isinstance(identifier, str):
        raise UsageError(f"identifier must be the text that create_task answered, got {identifier!r}")
    await board_in_force().hands.delete(identifier)
