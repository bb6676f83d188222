"""A process that serves until it is told to end: its signals, its event loop, and an end that comes.

* The first SIGINT or SIGTERM asks, a second hurries, and then both have their default effect: a third ends the process.
  They are heard between two instructions of the main thread, so also while a handler blocks the event loop.
* Whatever a handler does, the end comes: a task that swallows its cancellation is left behind, a thread that does not
  return is not waited for. Both have had their time when they come here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.runtime import new_event_loop
from taskmanager.worker.slots import SLOT
from taskmanager.worker.worker import CANCEL_PATIENCE_S, running_loop

__all__ = ["serve"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    alive: AbstractAsyncContextManager[Any],
    hurry: Callable[[], None],
    began: Callable[[], None],
    until: Callable[[], Awaitable[None]] | None = None,
    beside: AbstractAsyncContextManager[Any] | None = None,
) -> None:
    """Enters `alive`, says that it `began`, and leaves it at a signal or when `until` returns; a second one hurries.

    `beside` is entered after `alive`, and left before it.
    Raises `UsageError` inside a running event loop, and in a thread that hears no signals.
    """
    if running_loop() is not None:
        raise UsageError("run() starts an event loop of its own; inside a running one, use `async with tm:` or start()")
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("run() listens to signals, which only the main thread hears; elsewhere use `async with tm:`")
    loop, asked = new_event_loop(), asyncio.Event()

    def hear(times: int) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: it has ended by itself
            loop.call_soon_threadsafe(asked.set if times == 1 else hurry)

    # One of our own, because asyncio's is waited for at the end, however long its threads take.
    threads = ThreadPoolExecutor(thread_name_prefix="asyncio")
    loop.set_default_executor(threads)
    with _listening(hear):
        try:
            asyncio.set_event_loop(loop)
            loop.run_until_complete(_served(alive, beside or contextlib.nullcontext(), began, asked, until))
        finally:
            _close(loop)
            threads.shutdown(wait=False, cancel_futures=True)
            asyncio.set_event_loop(None)


@contextlib.contextmanager
def _listening(hear: Callable[[int], None]) -> Iterator[None]:
    """Tells `hear` of the first and of the second signal, in the main thread."""
    times = itertools.count(1)  # one signal may interrupt the handling of another

    def heard(*_: object) -> None:
        nth = next(times)
        if nth == 2:
            for one in _SIGNALS:
                signal.signal(one, signal.SIG_DFL)
        hear(nth)

    before = {one: signal.signal(one, heard) for one in _SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


async def _served(
    alive: AbstractAsyncContextManager[Any],
    beside: AbstractAsyncContextManager[Any],
    began: Callable[[], None],
    asked: asyncio.Event,
    until: Callable[[], Awaitable[None]] | None,
) -> None:
    async with alive, beside:
        began()
        ends: list[asyncio.Future[Any]] = [asyncio.ensure_future(asked.wait())]
        if until is not None:
            ends.append(asyncio.ensure_future(until()))
        try:
            ended, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ended:
                end.result()
        finally:
            for end in ends:
                end.cancel()


def _close(loop: asyncio.AbstractEventLoop) -> None:
    """Ends what is left as `asyncio.run` does, but waits for nobody for ever."""
    left: set[asyncio.Task[Any]] = set()

    async def end_all() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        # A slot that is still there was asked before, and its handler had its time.
        if waited_for := {task for task in tasks if task.get_name() != SLOT}:
            await asyncio.wait(waited_for, timeout=CANCEL_PATIENCE_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(loop.shutdown_asyncgens(), CANCEL_PATIENCE_S)
        left.update(task for task in tasks if not task.done())

    def tell(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("task") not in left:  # that those are destroyed while pending is no news
            loop.default_exception_handler(context)

    try:
        loop.run_until_complete(end_all())
    finally:
        loop.set_exception_handler(tell)
        loop.close()
