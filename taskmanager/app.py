"""What a TaskManager is before anything runs: its settings, handlers, middleware and subscribers.

A client and a worker are made from it, one of each for real, several of each in a simulation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from taskmanager.registry import Registry
from taskmanager.settings import Settings
from taskmanager.telemetry import Observers

Next = Callable[[], Awaitable[Any]]
Middleware = Callable[[Any, Any, Next], Awaitable[Any]]


@dataclass(slots=True)
class App:
    """See the module's law."""

    settings: Settings
    registry: Registry = field(default_factory=Registry)
    middleware: list[Middleware] = field(default_factory=list)
    observers: Observers = field(default_factory=Observers)

    def served_queues(self) -> list[str]:
        """The queues its workers serve: those it was told to, else those of its handlers."""
        return list(self.settings.queues or self.registry.queues())
