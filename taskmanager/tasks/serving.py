"""A driver of one's own, served from the command line: told of its tasks, started, and stopped by a signal."""

from __future__ import annotations

import asyncio
import inspect
import signal
from contextlib import AbstractAsyncContextManager, nullcontext

from taskmanager.runtime import new_event_loop
from taskmanager.tasks.board import board_of
from taskmanager.tasks.driver import TaskDriver

__all__ = ["serve_driver"]


def serve_driver(driver: TaskDriver, beside: AbstractAsyncContextManager[object] | None = None) -> None:
    """Serves until SIGINT or SIGTERM, then calls the driver's `stop`; a second signal has its ordinary effect.

    `beside` is entered when the driver has started.
    """
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_served(driver, nullcontext() if beside is None else beside))


async def _served(driver: TaskDriver, beside: AbstractAsyncContextManager[object]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def heard() -> None:
        stop.set()
        for one in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(one)

    for one in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(one, heard)
    await board_of(driver).hands.settle()
    await _if_there(driver, "start")
    try:
        async with beside:
            await stop.wait()
    finally:
        await _if_there(driver, "stop")


async def _if_there(driver: TaskDriver, method: str) -> None:
    call = getattr(driver, method, None)
    answer = call() if callable(call) else None
    if inspect.isawaitable(answer):
        await answer
