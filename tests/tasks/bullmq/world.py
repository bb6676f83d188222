"""A Python side for the tests: a driver with some tasks, which notes what they ran, and looks into the queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from taskmanager.tasks import CronSchedule, DateSchedule, Task, TaskContext, TaskRequest
from taskmanager.tasks.bullmq import BullMQDriver
from taskmanager.tasks.running import runner_of
from tests.servers import Server

QUEUE = "bull:commandkit-tasks"
WITHIN_S = 20.0
EACH_SECOND = CronSchedule("* * * * * *")
NEVER_SOON = CronSchedule("0 0 1 1 *", "Europe/Paris")


class Ran:
    """What the tasks of a test were run with, in order."""

    def __init__(self) -> None:
        self.contexts: list[TaskContext] = []

    def __call__(self, ctx: TaskContext) -> None:
        self.contexts.append(ctx)

    @property
    def data(self) -> list[Any]:
        return [ctx.data for ctx in self.contexts]

    async def times(self, count: int) -> list[TaskContext]:
        """The contexts, once there are so many."""
        await until(lambda: len(self.contexts) >= count)
        return self.contexts


def driver(server: Server, *tasks: Task, **options: Any) -> BullMQDriver:
    """A driver of the server's queue that has these tasks; not started."""
    made = BullMQDriver(host="127.0.0.1", port=server.port, **options)
    by_name = {task.name: task for task in tasks}
    made.set_task_runner(runner_of(by_name.get, lambda: sorted(by_name)))
    return made


def at(delay: timedelta) -> DateSchedule:
    """A date from now, of whole milliseconds."""
    moment = datetime.now(UTC) + delay
    return DateSchedule(moment.replace(microsecond=moment.microsecond // 1000 * 1000))


def static(name: str, schedule: CronSchedule | DateSchedule, *, immediate: bool = False) -> TaskRequest:
    return TaskRequest(name, {}, schedule, immediate, static=True)


async def until(holds: Callable[[], object]) -> None:
    """Returns when something holds that is looked at again and again."""
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110  # it happens in another process, which sets no event here
            await asyncio.sleep(0.005)


class Queue:
    """The queue as it lies in Redis."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def ids(self, *states: str) -> list[str]:
        """The ids of the jobs in these of BullMQ's sets, by default of those that have not begun."""
        found: list[str] = []
        for state in states or ("delayed", "wait"):
            verb = "LRANGE" if state in ("wait", "active") else "ZRANGE"
            found += self.server.ask(verb, f"{QUEUE}:{state}", 0, -1)
        return found

    def job(self, job_id: str) -> dict[str, str]:
        told = self.server.ask("HGETALL", f"{QUEUE}:{job_id}")
        return dict(zip(told[::2], told[1::2], strict=True))

    def schedulers(self) -> dict[str, int]:
        """Each scheduler's id, and when it runs next."""
        told = self.server.ask("ZRANGE", f"{QUEUE}:repeat", 0, -1, "WITHSCORES")
        return {name: int(score) for name, score in zip(told[::2], told[1::2], strict=True)}

    async def ended(self, job_id: str) -> dict[str, Any]:
        """A job's fields, once it is over."""
        await until(lambda: "finishedOn" in self.job(job_id))
        fields = self.job(job_id)
        return {**fields, "returnvalue": json.loads(fields.get("returnvalue", "null"))}
