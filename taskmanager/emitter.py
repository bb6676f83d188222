"""The words `emit` and `emit_many`, in all the places where they can be said.

With a running event loop the emission is sent in the background and can be awaited. In a plain handler's thread the
call returns when it is stored. Anywhere else there is nothing to send it with, and the error says so. Inside a handler
the emission goes through the worker that runs it and is flushed before that job is settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from taskmanager.app import App
from taskmanager.client import Client
from taskmanager.compose import check_options, compose, compose_many
from taskmanager.errors import UsageError
from taskmanager.handles import Emitting, JobHandle
from taskmanager.worker.attempt import Attempt, current_attempt

R = TypeVar("R")


class Emitter:
    """Emits for one TaskManager; `client` gives the client in force when no handler is speaking."""

    def __init__(self, app: App, client: Callable[[], Client]) -> None:
        self._app = app
        self._client = client

    def emit(self, event: str, data: Any = None, **options: Any) -> Emitting[JobHandle]:
        """See `TaskManager.emit`."""
        check_options(options)
        queue, entry = compose(self._app, event, data, **options)
        return self._sent(lambda client: client.emit(queue, entry))

    def emit_awaited(self, event: str, data: Any = None, **options: Any) -> Emitting[JobHandle]:
        """The same, marked in the same write as a job whose outcome somebody waits for."""
        check_options(options)
        queue, entry = compose(self._app, event, data, **options, awaited=True)
        return self._sent(lambda client: client.emit(queue, entry))

    def emit_many(self, entries: Iterable[Any]) -> Emitting[list[JobHandle]]:
        """See `TaskManager.emit_many`."""
        if not isinstance(entries, Iterable):
            raise UsageError(f"emit_many takes a list of mappings, got {entries!r}")
        composed = compose_many(self._app, entries)
        return self._sent(lambda client: client.emit_many(composed))

    def _sent(self, send: Callable[[Client], Emitting[R]]) -> Emitting[R]:
        attempt = current_attempt.get()
        if attempt is not None and attempt.worker.app is not self._app:
            attempt = None  # a handler of another TaskManager speaks to this one from outside
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            # A thread cannot await, so what it gets is what awaiting would have given.
            return cast("Emitting[R]", self._sent_from_thread(attempt, send))
        if attempt is None:
            return send(self._client())
        emitting = send(attempt.worker.client)
        attempt.sent.append(emitting.future)
        return emitting

    def _sent_from_thread(self, attempt: Attempt | None, send: Callable[[Client], Emitting[R]]) -> R:
        if attempt is None:
            raise UsageError(
                "emit needs a running event loop, and none runs here; call it inside an async function, "
                "or in a handler, or run the program through asyncio.run; in a simulation call sim.emit"
            ) from None
        speaking = attempt

        async def sending() -> R:
            emitting = send(speaking.worker.client)
            speaking.sent.append(emitting.future)
            return await emitting

        return attempt.worker.runtime.block_on(attempt.loop, sending())
