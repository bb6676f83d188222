"""`TaskManager`: the façade. It decides nothing.

It holds an application (settings, handlers) and a *seat*: what it runs on. For real the seat is a client and, once
started, a worker over the engine of its URL; while a simulation has taken the application over, the seat is the
simulation's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from taskmanager.app import App, Middleware
from taskmanager.clock import duration_ms, monotonic
from taskmanager.emitter import Emitter
from taskmanager.errors import UsageError
from taskmanager.handles import Emitting, JobHandle
from taskmanager.inspector import Inspector
from taskmanager.policy.admission import Debounce, check_event
from taskmanager.policy.retry import Retry
from taskmanager.records import JobRecord, LogRecord, ScheduleRecord
from taskmanager.registry import Handler, Registration, takes
from taskmanager.seat import RealSeat, Seat
from taskmanager.serving import serve
from taskmanager.settings import Settings
from taskmanager.telemetry import Callback
from taskmanager.worker.attempt import current_attempt
from taskmanager.worker.context import Context, check_context

Duration = timedelta | float
H = TypeVar("H", bound=Handler)


class TaskManager:
    """Background jobs over interchangeable engines.

    `db` is a URL or, for Redis, a client; without it the environment's TASKMANAGER_URL, else `sqlite:///tasks.db`.
    `concurrency` is how many attempts run at the same time. `ctx` is handed to every handler; `lifespan`, an async
    context manager entered by each started worker, may make it instead. `processor` has `retry`, `debounce`, `dlq` and
    `ignore_config_errors`. `lease` is how long a worker's silence is taken for life, `grace` how long a stop waits for
    running handlers (both in seconds), `max_stalled` how many lost leases fail a job, `max_block` how long an event
    loop may stand still, `retention` how long and how many finished jobs are kept: {"completed": (seconds, jobs), ...}.
    """

    _singleton: ClassVar[TaskManager | None] = None
    _singleton_options: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        db: Any = None,
        ctx: Any = None,
        *,
        concurrency: int = 1,
        streamdb: Any = None,
        processor: Mapping[str, Any] | None = None,
        lifespan: Callable[..., Any] | None = None,
        queues: Iterable[str] | None = None,
        lease: Duration = 15.0,
        grace: Duration = 30.0,
        max_stalled: int = 3,
        max_block: Duration = 300.0,
        max_data_bytes: int = 1 << 20,
        retention: Mapping[str, Any] | None = None,
        prefix: str = "taskmanager",
    ) -> None:
        check_context(ctx)
        self._app = App(
            Settings.of(
                db=db,
                ctx=ctx,
                concurrency=concurrency,
                streamdb=streamdb,
                processor=processor,
                lifespan=lifespan,
                queues=queues,
                lease=lease,
                grace=grace,
                max_stalled=max_stalled,
                max_block=max_block,
                max_data_bytes=max_data_bytes,
                retention=retention,
                prefix=prefix,
            )
        )
        self._own_seat: Seat | None = None
        self._borrowed_seat: Seat | None = None
        self._emitter = Emitter(self._app, lambda: self._seat.client)

    # ---- the singleton

    @classmethod
    def init(cls, db: Any = None, ctx: Any = None, **options: Any) -> TaskManager:
        """The process' TaskManager: made by the first call, found by later ones with equal options.

        Raises `UsageError` where the options differ from the first call's.
        """
        wanted = {"db": db, "ctx": ctx, **options}
        found = TaskManager._singleton
        if found is None:
            found = TaskManager._singleton = cls(db, ctx, **options)
            TaskManager._singleton_options = wanted
        elif TaskManager._singleton_options != wanted and cls(db, ctx, **options)._app.settings != found._app.settings:
            before = TaskManager._singleton_options
            changed = sorted(key for key in {*before, *wanted} if before.get(key) != wanted.get(key))
            raise UsageError(
                f"TaskManager.init was called before with other options ({', '.join(changed)} differ); "
                "call it once, or `await TaskManager.reset()` first, or make independent ones with TaskManager(...)"
            )
        return found

    @classmethod
    def instance(cls) -> TaskManager:
        """The TaskManager that `init` made; `UsageError` where it has not been called."""
        if TaskManager._singleton is None:
            raise UsageError("there is no TaskManager yet; call TaskManager.init(...) first")
        return TaskManager._singleton

    @classmethod
    async def reset(cls) -> None:
        """Stops the TaskManager that `init` made, if there is one, and forgets it."""
        found, TaskManager._singleton, TaskManager._singleton_options = TaskManager._singleton, None, {}
        if found is not None:
            await found.stop()

    # ---- handlers

    def handler(
        self,
        event: str,
        *,
        queue: str = "default",
        retry_count: int | None = None,
        attempts: int | None = None,
        retry_delay: Duration | None = None,
        retry_delay_ms: int | None = None,
        retry: Retry | Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
        debounce: Debounce | Mapping[str, Any] | Duration | None = None,
        debounce_ms: int | None = None,
        priority: int | None = None,
        repeat: Mapping[str, Any] | str | None = None,
        concurrency: int | None = None,
    ) -> Callable[[H], H]:
        """Decorates the function that runs `event` on `queue`: `async def` or plain `def`, `(job, ctx)` or `(job)`.

        `retry_count` (or `attempts`) is the number of retries; `retry` a whole policy; `timeout` the seconds one run
        may take; `repeat` a schedule such as {"pattern": "0 9 * * 1-5", "timezone": "Europe/Paris"}; `concurrency` a
        cap for this handler on one worker. The last registration of (queue, event) wins. Raises `UsageError` for what
        cannot be.
        """
        check_event(event)  # at once: a decorator without its parentheses would never be heard of again

        def register(function: H) -> H:
            self.register_handler(
                function,
                event,
                queue=queue,
                retry_count=retry_count,
                attempts=attempts,
                retry_delay=retry_delay,
                retry_delay_ms=retry_delay_ms,
                retry=retry,
                timeout=timeout,
                debounce=debounce,
                debounce_ms=debounce_ms,
                priority=priority,
                repeat=repeat,
                concurrency=concurrency,
            )
            return function

        return register

    def register_handler(self, handler: H, event: str, *, queue: str = "default", **options: Any) -> H:
        """The same as `handler`, as a call."""
        self._app.registry.add(Registration.of(handler, event, queue, **options))
        return handler

    def use(self, middleware: Middleware) -> Middleware:
        """Runs `async def middleware(job, ctx, next)` around every handler, in the order of the calls.

        It goes on by `await next()`, once; not calling it completes the job without the handler. The handler's timeout
        covers both. What it returns, if anything, replaces the handler's result.
        """
        if not callable(middleware) or not takes(middleware, 3):
            raise UsageError(f"middleware must be an async function (job, ctx, next), got {middleware!r}")
        self._app.middleware.append(middleware)
        return middleware

    def on(self, kind: str, callback: Callback) -> Callable[[], None]:
        """Calls `callback(step)` for each step of that kind that this TaskManager itself causes; returns an
        unsubscribe.
        """
        return self._app.observers.add(kind, callback)

    def get_context(self) -> Context:
        """The ctx that handlers get, with `emit`."""
        return self._seat.context

    # ---- emitting

    def emit(self, event: str, data: Any = None, *, queue: str | None = None, **options: Any) -> Emitting[JobHandle]:
        """Emits one job (or, with `repeat`, registers a schedule); with or without `await`, which gives a `JobHandle`.

        Options: `queue` ("default", or the one queue that has a handler for the event), `id`, `priority` (-100 to 100,
        higher first), `delay` (seconds or timedelta) or `delay_until` (aware datetime), `retry_count`/`attempts`,
        `retry_delay`/`retry_delay_ms`, `repeat`, `debounce`/`debounce_ms`, `timeout`, `expires` (not started after that
        duration or moment), `replace`. Without `id` it is a hash of event and data, so equal emissions are one job
        while it waits. A refusal is a `UsageError` at the call itself; awaiting may raise `EngineUnavailable`: perhaps
        stored. In a plain `def` handler the call returns the handle when the job is stored.
        """
        return self._emitter.emit(event, data, queue=queue, **options)

    def emit_many(self, entries: Iterable[Mapping[str, Any]]) -> Emitting[list[JobHandle]]:
        """Emits [{"event": ..., "data": ..., <options of emit>}, ...]: all are validated before any is written.

        Each queue's are stored in order, all or none up to 1,000 at a time; the handles come in the order given.
        """
        return self._emitter.emit_many(entries)

    async def emit_and_wait(self, event: str, data: Any = None, *, timeout: Duration, **options: Any) -> Any:
        """Emits a job and returns its handler's result; raises `JobFailed`, or `TimeoutError` after `timeout` seconds.

        `timeout` bounds the wait, that for the store included, and not the run; the job goes on.
        """
        seconds = duration_ms(timeout, "timeout") / 1000
        began_s = monotonic()
        emitting = self._emitter.emit_awaited(event, data, **options)
        try:
            async with asyncio.timeout(seconds):
                handle = await emitting
        except TimeoutError:
            raise TimeoutError(f"event {event!r} was not emitted within {seconds:g} s; perhaps it will be") from None
        return await handle.result(max(0.0, seconds - (monotonic() - began_s)))

    # ---- operations on a job: by id and queue, or by handle

    async def get_job(self, job: str | JobHandle, queue: str = "default") -> JobRecord | None:
        return await self._inspector.get_job(job, queue)

    async def logs(self, job: str | JobHandle, queue: str = "default") -> list[LogRecord]:
        return await self._inspector.logs(job, queue)

    async def cancel(self, job: str | JobHandle, queue: str = "default") -> JobRecord | None:
        """Cancels a waiting or delayed job at once, a running one with its worker's next heartbeat."""
        return await self._inspector.cancel_job(job, queue)

    async def retry(self, job: str | JobHandle, queue: str = "default") -> JobRecord | None:
        """Runs a failed job again, with a fresh budget."""
        return await self._inspector.retry(job, queue)

    async def promote(self, job: str | JobHandle, queue: str = "default") -> JobRecord | None:
        """Runs a delayed job now."""
        return await self._inspector.promote(job, queue)

    async def delete_job(self, job: str | JobHandle, queue: str = "default") -> JobRecord | None:
        """Removes a job that is not active, and answers it as it was."""
        return await self._inspector.delete_job(job, queue)

    # ---- operations on a queue, and on all

    async def jobs(
        self,
        queue: str = "default",
        state: str | None = None,
        limit: int = 100,
        after: str | JobHandle | JobRecord | None = None,
    ) -> list[JobRecord]:
        """The queue's jobs, newest emission first; `after` continues below the last one of a page."""
        return await self._inspector.jobs(queue, state, limit, after)

    async def counts(self, queue: str = "default") -> dict[str, int]:
        """How many jobs are in each of the six states."""
        return await self._inspector.counts(queue)

    async def pause_queue(self, queue: str = "default") -> None:
        """Nothing of the queue is handed out until `resume_queue`; what runs goes on."""
        await self._inspector.pause_queue(queue)

    async def resume_queue(self, queue: str = "default") -> None:
        await self._inspector.resume_queue(queue)

    async def is_queue_paused(self, queue: str = "default") -> bool:
        return await self._inspector.is_queue_paused(queue)

    async def purge(self, queue: str, state: str) -> int:
        """Deletes the queue's jobs of a state (not `active`), 1,000 at a time; answers how many."""
        return await self._inspector.purge(queue, state)

    async def retry_all(self, queue: str = "default", event: str | None = None) -> int:
        """`retry` for all failed jobs (of one event); answers how many."""
        return await self._inspector.retry_all(queue, event)

    async def queues(self) -> list[str]:
        """All queues, also those that nobody serves."""
        return await self._inspector.queues()

    async def schedules(self) -> list[ScheduleRecord]:
        return await self._inspector.schedules()

    async def unschedule(self, name: str, queue: str = "default") -> bool:
        """Ends a schedule; False where there was none. Jobs it has admitted are ordinary jobs."""
        return await self._inspector.unschedule(name, queue)

    async def drain(self, timeout: Duration | None = None) -> None:
        """Returns when no job is active or delayed and none waits in a running queue that this TaskManager serves.

        Occurrences to come and paused queues do not count. Raises `TimeoutError` after `timeout` seconds.
        """
        await self._seat.drain(timeout)

    # ---- life

    async def start(self) -> None:
        """Starts a worker for this TaskManager's queues; a started one stays as it is."""
        await self._seat.start()

    async def stop(self) -> None:
        """Stops the worker gracefully (see `grace`), sends what was emitted, and closes the engine; may be repeated.

        Cancelled while it waits (`asyncio.wait_for`), it releases what still runs at once. A `UsageError` where one of
        its own handlers awaits it, for then each would wait for the other.
        """
        attempt = current_attempt.get()
        if attempt is not None and attempt.is_current and attempt.worker.app is self._app:
            raise UsageError(
                f"stop() waits for running handlers, and that of {attempt.claim.event!r} is one; "
                "do not await it there: asyncio.create_task(tm.stop())"
            )
        await self._seat.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def db(self) -> Any:
        """Where its jobs are, as it was named: the `db` given, else TASKMANAGER_URL, else `sqlite:///tasks.db`."""
        return self._app.settings.db

    def run(self, *, burst: bool = False) -> None:
        """Starts a worker and serves until SIGINT or SIGTERM; a second signal ends the grace, a third exits.

        With `burst` it also ends when it is idle, as `drain` understands it. The event loop is uvloop's where that is
        installed.
        """
        run(self, burst=burst)

    # ---- where it sits

    @property
    def _seat(self) -> Seat:
        if self._borrowed_seat is not None:
            return self._borrowed_seat
        if self._own_seat is None:
            self._own_seat = RealSeat(self._app, self._emitter)
        return self._own_seat

    @property
    def _inspector(self) -> Inspector:
        return self._seat.client.inspector


def run(
    tm: TaskManager,
    *,
    burst: bool,
    began: Callable[[], None] = lambda: None,
    beside: AbstractAsyncContextManager[Any] | None = None,
) -> None:
    """`TaskManager.run`, which says when the store is open and the worker serves, with something beside it."""
    serve(tm, lambda: tm._seat.hurry(), began, tm.drain if burst else None, beside)


def app_of(tm: TaskManager) -> App:
    """The application behind it, for the floor above, which registers in words of its own."""
    return tm._app


def seat_of(tm: TaskManager) -> Seat:
    """What it runs on now."""
    return tm._seat


def lend(tm: TaskManager, seat: Seat) -> tuple[App, Emitter]:
    """Puts an application on another seat, as a simulation does, until `give_back`; its parts, for who serves it there.

    Raises `UsageError` where it sits on another borrowed seat, or its own is in use.
    """
    if tm._borrowed_seat is not None and tm._borrowed_seat is not seat:
        raise UsageError("this TaskManager is in a simulation already; leave that one (or close() it) first")
    if tm._own_seat is not None and tm._own_seat.is_started:
        raise UsageError("this TaskManager is started for real; stop() it before it is simulated")
    tm._borrowed_seat = seat
    return tm._app, tm._emitter


def give_back(tm: TaskManager) -> None:
    """Ends `lend`."""
    tm._borrowed_seat = None
