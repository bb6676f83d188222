"""System B: tasks with a schedule of their own, kept by a driver."""

from taskmanager.tasks.definitions import Task, TaskContext
from taskmanager.tasks.driver import TaskDriver, TaskRequest, TaskRun, TaskRunner, UnknownTask
from taskmanager.tasks.schedules import CronSchedule, DateSchedule

__all__ = [
    "CronSchedule",
    "DateSchedule",
    "Task",
    "TaskContext",
    "TaskDriver",
    "TaskRequest",
    "TaskRun",
    "TaskRunner",
    "UnknownTask",
]
