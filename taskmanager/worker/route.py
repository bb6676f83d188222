"""How one event of one queue is run here: its handler compiled with the middleware, its cap, and its terms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from taskmanager.app import App, Middleware
from taskmanager.errors import UsageError
from taskmanager.job import DEFAULT_OPTIONS, ErrorInfo, RunOptions
from taskmanager.policy.lifecycle import Terms
from taskmanager.policy.retry import in_force
from taskmanager.registry import Registration
from taskmanager.worker.attempt import in_own_thread
from taskmanager.worker.job import Job

log = logging.getLogger("taskmanager")

Call = Callable[[Any, Any], Awaitable[Any]]


class Route:
    """See the module's law. `registration` is None where this worker has no handler; then only the terms count.

    `before` is the route that this one replaces: where the cap is the same, runs of both are under one.
    """

    __slots__ = ("_app", "_layers", "_queue", "_registered", "_terms", "call", "decoder", "gate", "registration")

    def __init__(
        self,
        app: App,
        queue: str,
        registration: Registration | None,
        before: Route | None = None,
    ) -> None:
        self._app = app
        self._queue = queue
        self.registration = registration
        self.decoder = registration.decoder if registration else None
        self.gate = _gate(registration, before)
        self._registered = app.registry.registered
        self._layers = len(app.middleware)
        self.call: Call = _unhandled if registration is None else _compiled(registration, app.middleware)
        self._terms = self._terms_of(DEFAULT_OPTIONS)

    @property
    def is_current(self) -> bool:
        """Whether nothing was registered since, handler or middleware."""
        return self._registered == self._app.registry.registered and self._layers == len(self._app.middleware)

    def terms_for(self, options: RunOptions) -> Terms:
        return self._terms if options is DEFAULT_OPTIONS or options == DEFAULT_OPTIONS else self._terms_of(options)

    def timeout_for(self, options: RunOptions) -> int | None:
        """The timeout in milliseconds: the emission's, else the handler's, else none."""
        return options.timeout_ms or (self.registration.timeout_ms if self.registration else None)

    @property
    def asks_should_send(self) -> bool:
        return self._app.settings.dead_letters.should_send is not None

    def with_should_send(self, terms: Terms, job: Job[Any], error: BaseException) -> Terms:
        """The terms with the user's say about a dead letter for this very error."""
        should_send = self._app.settings.dead_letters.should_send
        assert should_send is not None

        def should(_: ErrorInfo, attempts: int) -> bool:
            try:
                return bool(should_send(job, error, attempts))
            except Exception:
                log.exception("should_send raised; the dead letter is sent")
                return True

        return replace(terms, should_dead_letter=should)

    def _terms_of(self, options: RunOptions) -> Terms:
        settings, registration = self._app.settings, self.registration
        retry = in_force(
            options,
            registration.retry if registration else None,
            registration.retry_count if registration else None,
            registration.retry_delay_ms if registration else None,
            settings.retry,
        )
        return Terms(
            retry,
            settings.max_stalled,
            settings.ignore_config_errors,
            settings.dead_letter_stream(self._queue),
        )


def _gate(registration: Registration | None, before: Route | None) -> asyncio.Semaphore | None:
    if registration is None or registration.concurrency is None:
        return None
    if before is not None and before.registration and before.registration.concurrency == registration.concurrency:
        return before.gate
    return asyncio.Semaphore(registration.concurrency)


async def _unhandled(job: Any, ctx: Any) -> Any:
    raise AssertionError("a route without a handler is never called")  # pragma: no cover


def _compiled(registration: Registration, middleware: list[Middleware]) -> Call:
    call = _handler(registration)
    for layer in reversed(middleware):
        call = _around(layer, call)
    return call


def _handler(registration: Registration) -> Call:
    function, takes_ctx = registration.function, registration.takes_ctx
    if registration.is_async:
        return function if takes_ctx else lambda job, ctx: function(job)
    if takes_ctx:
        return lambda job, ctx: in_own_thread(function, job, ctx)
    return lambda job, ctx: in_own_thread(function, job)


def _around(layer: Middleware, inner: Call) -> Call:
    async def call(job: Any, ctx: Any) -> Any:
        next = _Next(layer, inner, job, ctx)
        returned = await layer(job, ctx, next)
        # A middleware that only watches need not pass the result on.
        return next.result if returned is None else returned

    return call


class _Next:
    """What a middleware calls to go on, once."""

    __slots__ = ("_called", "_ctx", "_inner", "_job", "_layer", "result")

    def __init__(self, layer: Middleware, inner: Call, job: Any, ctx: Any) -> None:
        self._layer = layer
        self._inner = inner
        self._job = job
        self._ctx = ctx
        self._called = False
        self.result: Any = None

    async def __call__(self) -> Any:
        if self._called:
            raise UsageError(f"middleware {self._layer!r} called next twice in one run; call it once")
        self._called = True
        self.result = await self._inner(self._job, self._ctx)
        return self.result
