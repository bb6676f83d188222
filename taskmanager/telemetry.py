"""What happened, told to those who asked: the callbacks of `TaskManager.on`.

A callback belongs to its subscriber, not to us: one that raises is logged and harms nothing, and one that is a
coroutine function runs beside the work, never before it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.job import Fact, Kind
from taskmanager.steps import Step

log = logging.getLogger("taskmanager")

Callback = Callable[[Step], Any]


class Observers:
    """Who wants to hear of which kind of step."""

    def __init__(self) -> None:
        self.callbacks: dict[Kind, list[Callback]] = {}
        """Empty while nobody listens, which is looked at for each answer and each run."""
        self._running: set[asyncio.Future[Any]] = set()

    def add(self, kind: str, callback: Callback) -> Callable[[], None]:
        """Subscribes; what it returns unsubscribes (and may be called twice)."""
        if kind not in Kind.__members__.values():
            raise UsageError(f"kind must be one of {', '.join(Kind)}, got {kind!r}")
        if not callable(callback):
            raise UsageError(f"callback must be callable, got {callback!r}")
        kind = Kind(kind)
        subscribers = self.callbacks.setdefault(kind, [])
        subscribers.append(callback)

        def remove() -> None:
            if callback in subscribers:
                subscribers.remove(callback)
            if not subscribers and self.callbacks.get(kind) is subscribers:
                del self.callbacks[kind]

        return remove

    def tell(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            for callback in tuple(self.callbacks.get(fact.kind, ())):
                self._call(callback, Step(fact))

    def _call(self, callback: Callback, step: Step) -> None:
        try:
            returned = callback(step)
            if inspect.isawaitable(returned):
                task = asyncio.ensure_future(returned)
                self._running.add(task)
                task.add_done_callback(self._finished)
        except BaseException:  # also a SystemExit: it would end the duty that tells of the step
            log.exception("a callback for %r raised; the job is not affected", str(step.kind))

    def _finished(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a callback raised; the job is not affected", exc_info=error)
