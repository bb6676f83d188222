"""One run of one task: ask `prepare`, then `execute`. Both are given the same context.

Under a TaskManager a plain function runs in the thread that its worker gives to plain handlers, so a simulation moves
its time; elsewhere in one of asyncio's.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from taskmanager.registry import is_async
from taskmanager.tasks.definitions import Execute, Task, TaskContext
from taskmanager.tasks.driver import TaskRun, TaskRunner, UnknownTask
from taskmanager.worker.attempt import current_attempt, in_own_thread

__all__ = ["carry_out", "runner_of"]


async def carry_out(task: Task, ctx: TaskContext) -> tuple[bool, Any]:
    """Whether it was executed, and what `execute` returned; False only where `prepare` answered False itself."""
    if task.prepare is not None and await _called(task.prepare, ctx) is False:
        return False, None
    return True, await _called(task.execute, ctx)


def runner_of(find: Callable[[str], Task | None], names: Callable[[], list[str]]) -> TaskRunner:
    """The runner for a driver whose tasks `find` finds when they are due."""

    async def run(run: TaskRun) -> bool:
        task = find(run.name)
        if task is None:
            raise UnknownTask(f"a run of {run.name!r} is due, and there is no such task here, only {names()}")
        ctx = TaskContext(task, run.data, run.timestamp, run.context, run.job)
        executed, _ = await carry_out(task, ctx)
        return executed

    return run


async def _called(function: Execute, ctx: TaskContext) -> Any:
    if is_async(function):
        return await function(ctx)
    if current_attempt.get() is not None:
        return await in_own_thread(function, ctx)
    value = await asyncio.to_thread(function, ctx)
    return await value if inspect.isawaitable(value) else value
