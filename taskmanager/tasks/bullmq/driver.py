"""A driver of tasks over BullMQ, the job queue of the Node world, through its own package for Python.

Tasks are jobs of one queue, laid out as CommandKit lays them out: what is created here a Node worker runs, and what
Node adds is run here. Which tasks there are, this side knows by its runner; a job of any other name fails. Before it
has one it takes no job, for what waits in the queue may be a task that is about to be known.

The promises are BullMQ's. A run is at least once: where a worker dies, BullMQ's stalled check (`stalledInterval`, 30 s)
gives its job to another, and fails it when that happens twice. Delays are measured by the workers' clocks. The next
occurrence of a cron is added when the one before begins, so of those that fell due while no worker was there, one runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from taskmanager.clock import duration_ms
from taskmanager.errors import UsageError
from taskmanager.policy.admission import check_queue
from taskmanager.policy.checks import check_whole
from taskmanager.tasks.board import board_of, is_set
from taskmanager.tasks.bullmq.connection import Server
from taskmanager.tasks.definitions import check_task_context
from taskmanager.tasks.driver import TaskRequest, TaskRunner
from taskmanager.tasks.serving import serve_driver

if TYPE_CHECKING:
    from taskmanager.tasks.bullmq.registrations import Registrations
    from taskmanager.tasks.bullmq.runs import Runs

__all__ = ["BullMQDriver"]

_log = logging.getLogger("taskmanager")


class BullMQDriver:
    """Keeps tasks in a BullMQ queue, and runs those that are due: by `run()`, inside `async with`, or from `start()` to
    `stop()`.

    `connection` is a URL (`redis://user:password@host:6379/0`) or a mapping of redis-py's words; these may also be
    given by name: `BullMQDriver(host="redis", port=6379, password=...)`. By default it is localhost:6379. `queue` and
    `prefix` must be those of the Node side. `concurrency` is how many runs go on at the same time, `ctx` what a task
    finds on its own `ctx`, `grace` how many seconds `stop()` waits for runs before it gives their jobs back.

    Needs the package bullmq: `pip install 'taskmanager[bullmq]'`. `create` and `delete` work without `start`; `stop()`
    closes their connection too. Raises `UsageError` for what cannot be meant, and where the server does not let us in;
    `EngineUnavailable` where it does not answer, which for a `create` means: perhaps stored.
    """

    def __init__(
        self,
        connection: str | Mapping[str, Any] | None = None,
        *,
        queue: str = "commandkit-tasks",
        prefix: str = "bull",
        concurrency: int = 10,
        ctx: object = None,
        grace: float = 30.0,
        **words: Any,
    ) -> None:
        _check_installed()
        self.queue = _check_queue(queue)
        self.prefix = _check_prefix(prefix)
        self._concurrency = check_whole(concurrency, "concurrency", 1, 10_000)
        self._grace_s = duration_ms(grace, "grace") / 1000
        check_task_context(ctx)
        self._context = ctx
        self._server = Server(connection, words)
        self._runner: TaskRunner | None = None
        self._runs: Runs | None = None
        self._registrations: Registrations | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<BullMQDriver of queue {self.queue!r} on {self._server.name}>"

    # ---- the driver's three methods

    async def create(self, request: TaskRequest) -> str:
        """Keeps a request and answers its identifier: that of the BullMQ job, or of the job scheduler."""
        with self._server.in_our_words():
            return await self._registered().create(request)

    async def delete(self, identifier: str) -> None:
        """Forgets what has that identifier and has not begun; a run that has begun ends on its own."""
        with self._server.in_our_words():
            await self._registered().delete(identifier)

    def set_task_runner(self, runner: TaskRunner) -> None:
        """Takes the function that each due job is given to. A started driver takes its first job then."""
        self._runner = runner
        if self._runs is not None:
            self._runs.introduce(runner)

    # ---- life

    async def start(self) -> None:
        """Writes the schedules of the tasks it has, then starts a BullMQ worker; a started driver stays as it is.

        A driver that was never set knows no task: it warns, and takes no job until `set_driver` gives it its tasks.
        """
        if self._runs is not None:
            return
        await self._server.greet()
        try:
            if is_set(self):
                await board_of(self).hands.settle()
            self._runs = await self._begun()
        except BaseException:
            await self._close_registrations()
            raise
        if self._runner is None:
            _log.warning("%r takes no job yet; set_driver(driver) gives it its tasks", self)
        else:
            self._runs.introduce(self._runner)

    async def stop(self) -> None:
        """Takes no more jobs, waits for those that run (see `grace`), and closes all connections; may be repeated."""
        runs, self._runs = self._runs, None
        if runs is not None:
            await runs.end()
        await self._close_registrations()

    def run(self) -> None:
        """Serves until SIGINT or SIGTERM, then stops; `taskmanager run app.py:driver` does the same.

        Raises `UsageError` inside a running event loop, and in a thread that hears no signals.
        """
        serve_driver(self)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    # ---- within

    async def _begun(self) -> Runs:
        from taskmanager.tasks.bullmq.runs import Runs

        runs = Runs(self._context, self._grace_s)
        client = self._server.client(waits=True)
        try:
            with self._server.in_our_words():
                await runs.begin(self.queue, self.prefix, client, self._concurrency)
        except BaseException:
            await client.aclose()
            raise
        return runs

    async def _close_registrations(self) -> None:
        registrations, self._registrations = self._registrations, None
        if registrations is not None:
            await registrations.close()

    def _registered(self) -> Registrations:
        """What writes into the queue, made anew in a new event loop: connections belong to theirs."""
        from taskmanager.tasks.bullmq.registrations import Registrations

        loop = asyncio.get_running_loop()
        if self._registrations is None or self._loop is not loop:
            self._loop = loop
            self._registrations = Registrations(self.queue, self.prefix, self._server.client())
        return self._registrations


def _check_installed() -> None:
    try:
        import_module("bullmq")
    except ImportError as error:
        raise UsageError(
            f"BullMQDriver needs the package bullmq: pip install 'taskmanager[bullmq]' ({error})"
        ) from error


def _check_queue(value: object) -> str:
    name = check_queue(value)
    if ":" in name:
        raise UsageError(f"queue must have no colon under BullMQ, which parts its keys by it; got {value!r}")
    return name


def _check_prefix(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise UsageError(f"prefix must be a printable text, got {value!r}")
    return value
