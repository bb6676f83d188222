"""System B: tasks in files or in code, each with a schedule of its own if it wants one, kept and run by a driver.

`task` defines one, `create_task` lets it run, `load_tasks` loads a folder of them, `set_driver` says where they are
kept. Over a `TaskManager` a task is a handler, so all that is promised of jobs holds of tasks, in a simulation too. A
driver of your own is three methods: see `TaskDriver`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from taskmanager.tasks.board import current_driver, forget_tasks, set_driver
from taskmanager.tasks.definitions import Task, TaskContext
from taskmanager.tasks.discovery import Loading, load_tasks
from taskmanager.tasks.driver import TaskDriver, TaskRequest, TaskRun, TaskRunner, UnknownTask
from taskmanager.tasks.managed import ManagerDriver, MemoryDriver, RedisDriver, SQLiteDriver
from taskmanager.tasks.reload import watching
from taskmanager.tasks.schedules import CronSchedule, DateSchedule
from taskmanager.tasks.words import create_task, delete_task, task

__all__ = [
    "CronSchedule",
    "DateSchedule",
    "Loading",
    "ManagerDriver",
    "MemoryDriver",
    "RedisDriver",
    "SQLiteDriver",
    "Task",
    "TaskContext",
    "TaskDriver",
    "TaskRequest",
    "TaskRun",
    "TaskRunner",
    "UnknownTask",
    "create_task",
    "current_driver",
    "delete_task",
    "forget_tasks",
    "load_tasks",
    "set_driver",
    "task",
    "watching",
]


def __getattr__(name: str) -> Any:
    if name == "BullMQDriver":  # only who names it needs its extra, and `import *` does not
        return import_module("taskmanager.tasks.bullmq").BullMQDriver
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
