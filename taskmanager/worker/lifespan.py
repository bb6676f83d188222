"""What surrounds a started worker: the user's `lifespan`, or the plain `ctx`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.settings import Settings
from taskmanager.worker.context import check_context


@asynccontextmanager
async def entered(settings: Settings) -> AsyncIterator[Any]:
    """The ctx for one worker: what its lifespan yields, or, where there is none or it yields None, the one given."""
    if settings.lifespan is None:
        yield settings.ctx
        return
    manager = settings.lifespan()
    if not hasattr(manager, "__aenter__"):
        raise UsageError(f"lifespan must return an async context manager, got {manager!r}")
    async with manager as ctx:
        check_context(ctx)
        yield settings.ctx if ctx is None else ctx
