"""Drivers over a `TaskManager`: a task is a handler, its own schedule is that handler's, a created one is an emission.

So all that is promised of jobs holds of tasks, on every engine and in a simulation of `driver.manager`.

* A cron of a task, its own or a created one, runs with `overlap="skip"`: while a run is live its next occurrences are
  skipped, so a slow task never runs beside itself. Of occurrences that were missed the newest runs.
* A task's own date is a schedule of one occurrence. The store keeps its place, so no restart runs it again, and it runs
  once where it passed while nothing ran. A date that was past when it was registered does not run, and a warning says
  so.
* An identifier is `task:<name>:<uuid>`. Nothing else is touched by `delete`: neither a task's own schedule nor a job of
  anybody else. Deleting takes effect before a run begins; one that runs ends, and is retried where it has retries.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote

from taskmanager.codec import new_id
from taskmanager.engine import DUE_LIMIT
from taskmanager.errors import UsageError
from taskmanager.job import State
from taskmanager.manager import TaskManager, app_of, seat_of
from taskmanager.policy.admission import check_id, check_queue
from taskmanager.policy.cron import Once, Repeat, RepeatOnce
from taskmanager.registry import Registration
from taskmanager.tasks.definitions import Task, TaskContext, check_task_context
from taskmanager.tasks.driver import TaskRequest
from taskmanager.tasks.running import carry_out
from taskmanager.tasks.schedules import CronSchedule, DateSchedule
from taskmanager.worker.attempt import current_attempt
from taskmanager.worker.context import Context
from taskmanager.worker.job import Job
from taskmanager.worker.origins import drop_gone

__all__ = ["ManagerDriver", "MemoryDriver", "RedisDriver", "SQLiteDriver"]

log = logging.getLogger("taskmanager")

CONCURRENCY = 10
"""Runs at the same time, where a driver makes its own TaskManager: tasks mostly wait."""

_IN_CODE = "tasks"
"""The origin of tasks that are in no loaded file: of those nobody knows whether they are all there are."""
_IDENTIFIER = re.compile(r"task:.+:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class ManagerDriver:
    """Keeps and runs tasks on one queue of a `TaskManager`, which may have handlers of its own beside them.

    Raises `UsageError` for a manager whose `ctx` has a name that a task's context has itself. A worker that is started
    afterwards serves `queue` even while no task is defined, unless the manager was told which queues to serve.
    Applications that share a store use queues, or prefixes, of their own.
    """

    def __init__(self, manager: TaskManager, *, queue: str = "default") -> None:
        if not isinstance(manager, TaskManager):
            raise UsageError(f"manager must be a TaskManager, got {manager!r}")
        self._app = app_of(manager)
        self._manager = manager
        self._queue = check_queue(queue)
        self._registrations: dict[str, Registration] = {}
        check_task_context(self._app.settings.ctx)
        self._app.registry.serve(self._queue)

    @property
    def manager(self) -> TaskManager:
        """The TaskManager that runs the tasks: for operations on their jobs, and for a simulation."""
        return self._manager

    @property
    def queue(self) -> str:
        return self._queue

    @property
    def max_data_bytes(self) -> int:
        """How much data a run may be given, as JSON."""
        return self._app.settings.max_data_bytes

    # ---- life

    async def start(self) -> None:
        """Starts a worker: see `TaskManager.start`."""
        await self._manager.start()

    async def stop(self) -> None:
        """Stops it gracefully: see `TaskManager.stop`."""
        await self._manager.stop()

    def run(self, *, burst: bool = False) -> None:
        """Serves until SIGINT or SIGTERM: see `TaskManager.run`."""
        self._manager.run(burst=burst)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- tasks that are defined

    def register(self, task: Task) -> None:
        """Makes the task a handler, and its schedule that handler's; one of its name that was a task is replaced.

        Raises `UsageError` where the queue has a handler of that name which is no task.
        """
        if (refusal := self.refusal(task.name)) is not None:
            raise UsageError(refusal)

        async def run(job: Job[Any], ctx: Context) -> Any:
            executed, result = await carry_out(task, TaskContext(task, job.data, job.run_at, ctx, job))
            attempt = current_attempt.get()
            assert attempt is not None
            attempt.skipped = not executed
            return result

        registration = Registration.of(run, task.name, self._queue, repeat=_repeat_of(task))
        self._registrations[task.name] = registration = replace(registration, origin=task.origin or _IN_CODE)
        self._app.registry.add(registration)

    def refusal(self, name: str) -> str | None:
        """Why no task of that name can be put up here, or None."""
        if self._app.registry.find(self._queue, name) is self._registrations.get(name):
            return None
        return (
            f"task {name!r} has the name of a handler of queue {self._queue!r}; rename one, "
            "or give the driver a queue of its own"
        )

    @property
    def seekers(self) -> list[Callable[[], None]]:
        """Who is asked for a task that is due and not defined."""
        return self._app.registry.seekers

    def unregister(self, name: str) -> None:
        """Takes a task back: a run of it that becomes due later fails, one that runs ends on its own."""
        if self._registrations.pop(name, None) is not None:
            self._app.registry.remove(self._queue, name)

    def own(self, origin: str, *, is_whole: bool) -> None:
        """Says whether the tasks of that origin are all defined, so that what else the store has of it is gone."""
        self._app.registry.own(self._queue, origin, owned=is_whole)

    @property
    def can_settle(self) -> bool:
        """Whether there is a store that has to hear of changes now; a start tells it by itself."""
        return seat_of(self._manager).is_started

    async def settle(self) -> None:
        """The store has heard of the tasks that were defined, and has dropped the schedules of those that are gone."""
        if self.can_settle:
            client = seat_of(self._manager).client
            await client.flush()
            await drop_gone(self._app.registry, client.inspector)

    # ---- what a driver does

    def set_task_runner(self, runner: object) -> NoReturn:
        """A handler needs no runner; see `register`."""
        raise UsageError(f"{self!r} runs its tasks as handlers and takes no runner; subclass it instead of wrapping it")

    async def create(self, request: TaskRequest) -> str:
        """Emits a job, or registers a schedule, under a new identifier. A date that is past runs now."""
        if request.static:
            raise UsageError(f"{self!r} keeps a task's own schedule with its handler; define it with task(...)")
        identifier = f"task:{request.name}:{new_id()}"
        options: dict[str, Any] = {}
        if isinstance(request.schedule, CronSchedule):
            options["repeat"] = _cron(request.schedule, request.immediate)
        elif isinstance(request.schedule, DateSchedule):
            options["delay_until"] = request.schedule.at
        await self._manager.emit(request.name, request.data, queue=self._queue, id=identifier, **options)
        return identifier

    async def delete(self, identifier: str) -> None:
        """Ends what `create` began under that identifier, and takes back what of it still waits."""
        try:
            known = _IDENTIFIER.fullmatch(check_id(identifier))
        except UsageError:
            known = None  # what cannot be an identifier is none that exists
        if known is None:
            return
        was_schedule = await self._manager.unschedule(identifier, self._queue)
        await self._take_back(identifier)
        if was_schedule:
            for state in (State.DELAYED, State.WAITING):  # in the order in which a job goes through them
                for job_id in await self._occurrences(identifier, state):
                    await self._take_back(job_id)

    async def _occurrences(self, schedule: str, state: State) -> list[str]:
        found: list[str] = []
        page = await self._manager.jobs(self._queue, state, limit=DUE_LIMIT)
        while page:
            found += [job.id for job in page if job.schedule == schedule]
            page = await self._manager.jobs(self._queue, state, limit=DUE_LIMIT, after=page[-1])
        return found

    async def _take_back(self, job_id: str) -> None:
        job = await self._manager.get_job(job_id, self._queue)
        if job is None or job.state not in (State.WAITING, State.DELAYED):
            return
        try:
            # Not `cancel`: where the run has begun meanwhile, that would end it.
            await self._manager.delete_job(job_id, self._queue)
        except UsageError:
            return

    def __repr__(self) -> str:
        return f"<{type(self).__name__} queue={self._queue!r}>"


class MemoryDriver(ManagerDriver):
    """Tasks in memory: one store each, or one a `name` in this process. Options are those of `TaskManager`."""

    def __init__(self, name: str | None = None, *, queue: str = "default", **options: Any) -> None:
        super().__init__(_manager(f"memory://{name or ''}", options), queue=queue)


class SQLiteDriver(ManagerDriver):
    """Tasks in an SQLite file, by its path (`:memory:` for none) or `sqlite:` URL. Options are `TaskManager`'s."""

    def __init__(self, path: str | os.PathLike[str] = "tasks.db", *, queue: str = "default", **options: Any) -> None:
        text = os.fspath(path)
        super().__init__(
            _manager(text if text.startswith("sqlite:") else f"sqlite:///{quote(text)}", options), queue=queue
        )


class RedisDriver(ManagerDriver):
    """Tasks on a Redis or Valkey server, by its URL or a `redis.asyncio` client. Options are those of `TaskManager`."""

    def __init__(self, db: Any = "redis://localhost:6379", *, queue: str = "default", **options: Any) -> None:
        super().__init__(_manager(db, options), queue=queue)


def _manager(db: Any, options: dict[str, Any]) -> TaskManager:
    return TaskManager(db, **({"concurrency": CONCURRENCY} | options))


def _repeat_of(task: Task) -> Repeat | None:
    match task.schedule:
        case CronSchedule():
            return _cron(task.schedule, task.immediate)
        case DateSchedule():
            return RepeatOnce(Once(task.schedule.at_ms).pattern)
        case None:
            return None


def _cron(schedule: CronSchedule, immediate: bool) -> Repeat:
    return Repeat(schedule.pattern, schedule.timezone, immediate=immediate, overlap="skip")
