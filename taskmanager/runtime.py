"""What a worker stands on: the parts of its surroundings that a simulation replaces, and nothing else.

The same manager, worker and policy code runs for real and in simulated time. What differs is gathered here: where
randomness comes from, who is told what happened, how a heartbeat is kept beside the event loop, and how a plain `def`
handler gets its thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import socket
import threading
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar

from taskmanager.clock import monotonic
from taskmanager.engine import Engine
from taskmanager.job import Fact

T = TypeVar("T")


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest loop there is here: uvloop's where it is installed."""
    if find_spec("uvloop") is not None:
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


class Pulse(Protocol):
    """See `Runtime.pulse`."""

    async def __call__(
        self,
        key: object,
        seconds: float,
        *,
        keeps_fresh: bool = True,
        only_others: bool = False,
        is_idle: Callable[[], bool] | None = None,
    ) -> None: ...


class Keep(Protocol):
    """A heartbeat that is being kept; `stop` ends it and returns when it has ended."""

    async def stop(self) -> None: ...


class Runtime(Protocol):
    """See the module's law."""

    rng: random.Random
    simulated: bool
    observes: bool
    """Whether `observe` listens."""

    def incarnation(self) -> str:
        """A new name for one start of one worker, never used before."""

    def observe(self, fact: Fact) -> None:
        """A worker reports what no engine call tells: that a handler started."""

    def engine_now(self, received_at: int, received_s: float) -> int:
        """The engine's time now (ms), from what it was when the monotonic clock read `received_s`."""

    async def pulse(
        self,
        key: object,
        seconds: float,
        *,
        keeps_fresh: bool = True,
        only_others: bool = False,
        is_idle: Callable[[], bool] | None = None,
    ) -> None:
        """Sleeps before a duty whose repetition changes nothing while nothing else happens.

        `keeps_fresh`: the duty keeps something from running out, so it may be repeated less often, but not left out.
        `only_others`: it looks for what others have done; what this worker does itself is no reason to repeat it.
        `is_idle`: while it says so, the duty would find nothing to do, and may be left out.
        """

    def was_frozen(self, since_s: float, longest_s: float) -> bool:
        """Whether this process stood still for longer than `longest_s` since the monotonic clock read `since_s`.

        Asked by somebody who reads the clock at least that often.
        """

    def spawn_duty(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Starts one of a worker's own tasks, whose waiting is not work that somebody waits for."""

    def keep(self, engine: Engine, beating: Callable[[Engine, Pulse], Coroutine[Any, Any, None]]) -> Keep:
        """Runs `beating`, over a connection of its own, so that a handler that blocks the loop does not stop it."""

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Runs a plain function beside the event loop, with the caller's context variables."""

    def block_on(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
        """Called in a plain handler's thread: the result of a coroutine run on the worker's loop."""


class RealRuntime:
    """The machine itself."""

    simulated = False
    observes = False

    def __init__(self) -> None:
        self.rng = random.Random()

    def incarnation(self) -> str:
        return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(6).hex()}"

    def observe(self, fact: Fact) -> None:
        """Nobody but the subscribers of `TaskManager.on` listens here."""

    def engine_now(self, received_at: int, received_s: float) -> int:
        return received_at + int((monotonic() - received_s) * 1000)

    async def pulse(
        self,
        key: object,
        seconds: float,
        *,
        keeps_fresh: bool = True,
        only_others: bool = False,
        is_idle: Callable[[], bool] | None = None,
    ) -> None:
        await asyncio.sleep(seconds)

    def was_frozen(self, since_s: float, longest_s: float) -> bool:
        return monotonic() - since_s > longest_s

    def spawn_duty(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(coroutine, name=name)

    def keep(self, engine: Engine, beating: Callable[[Engine, Pulse], Coroutine[Any, Any, None]]) -> Keep:
        return _KeeperThread(engine.fork(), beating, self.pulse)

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        # A daemon thread a run, not an executor: an executor's threads are joined when the process exits, and a
        # handler that hangs must not keep the process alive.
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def run() -> None:
            try:
                result = context.run(function, *args)
            except (StopIteration, GeneratorExit) as error:  # which no future can carry
                _resolve(loop, ended, ended.set_exception, RuntimeError(f"the handler raised {error!r}"))
            except BaseException as error:
                _resolve(loop, ended, ended.set_exception, error)
            else:
                _resolve(loop, ended, ended.set_result, result)

        threading.Thread(target=run, name="taskmanager-handler", daemon=True).start()
        return await ended

    def block_on(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


def _resolve(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], resolve: Callable[[Any], None], value: object
) -> None:
    def deliver() -> None:
        if not future.done():
            resolve(value)

    # The loop may be gone: then nobody waits for this handler any more.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(deliver)


class _KeeperThread:
    """A thread with an event loop of its own, which a blocked main loop cannot hold up."""

    def __init__(
        self, engine: Engine, beating: Callable[[Engine, Pulse], Coroutine[Any, Any, None]], pulse: Pulse
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(
            target=self._run, args=(engine, beating, pulse), name="taskmanager-heartbeat", daemon=True
        )
        self._thread.start()

    def _run(self, engine: Engine, beating: Callable[[Engine, Pulse], Coroutine[Any, Any, None]], pulse: Pulse) -> None:
        async def main() -> None:
            try:
                await beating(engine, pulse)
            finally:
                await engine.close()

        self._main = self._loop.create_task(main())
        try:
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(self._main)
        finally:
            self._loop.close()

    async def stop(self) -> None:
        # It may have ended by itself between the look and the call.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel)
        await asyncio.to_thread(self._thread.join)

    def _cancel(self) -> None:
        if self._main is not None:
            self._main.cancel()
