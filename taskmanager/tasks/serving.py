"""A driver of one's own, served from the command line: told of its tasks, started, and stopped by a signal."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from taskmanager.serving import serve
from taskmanager.tasks.board import board_of
from taskmanager.tasks.driver import TaskDriver

__all__ = ["serve_driver"]


def serve_driver(
    driver: TaskDriver,
    began: Callable[[], None] = lambda: None,
    beside: AbstractAsyncContextManager[object] | None = None,
) -> None:
    """Starts it, says that it `began`, and serves until SIGINT or SIGTERM, then calls its `stop`; a third ends the
    process. `beside` lasts as long as it is served.
    """
    serve(_alive(driver), lambda: None, began, beside=beside)


@asynccontextmanager
async def _alive(driver: TaskDriver) -> AsyncIterator[None]:
    await board_of(driver).hands.settle()
    await _if_there(driver, "start")
    try:
        yield
    finally:
        await _if_there(driver, "stop")


async def _if_there(driver: TaskDriver, method: str) -> None:
    call = getattr(driver, method, None)
    answer = call() if callable(call) else None
    if inspect.isawaitable(answer):
        await answer
