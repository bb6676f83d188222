"""A machine of the simulated world: it boots, crashes and stops, and runs one worker of the application at a time.

Each boot is a new incarnation with a wire and a client of its own. A crash cuts the wire first and cancels then, so
`finally` blocks run, as Python insists, but nothing they do leaves the node. Module globals and `ctx` stand for the
outside world, which a crash does not undo.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from simulation.loop import background
from simulation.tasks import Task, current_node, unfinished
from simulation.threads import block_on
from simulation.wire import Exchange, Wire
from taskmanager.client import Client
from taskmanager.connection import Connection
from taskmanager.engine import Engine
from taskmanager.job import Fact
from taskmanager.runtime import Keep, Pulse
from taskmanager.seat import make_context
from taskmanager.worker.lifespan import entered
from taskmanager.worker.worker import Worker

if TYPE_CHECKING:
    from taskmanager.app import App
    from taskmanager.emitter import Emitter

T = TypeVar("T")


class NodeRuntime:
    """`taskmanager.runtime.Runtime` in simulated time: randomness of its own, everything else the world's."""

    simulated = True
    observes = True

    def __init__(self, exchange: Exchange, name: str, seed: object) -> None:
        self.rng = random.Random(f"{seed}/{name}")
        self._exchange = exchange
        self._loop = exchange.loop
        self._name = name
        self._starts = 0

    def incarnation(self) -> str:
        self._starts += 1
        return self._name if self._starts == 1 else f"{self._name}.{self._starts}"

    def observe(self, fact: Fact) -> None:
        self._exchange.record((fact,))

    def engine_now(self, received_at: int, received_s: float) -> int:
        return self._loop.clock.us // 1000

    async def pulse(
        self,
        key: object,
        seconds: float,
        *,
        keeps_fresh: bool = True,
        only_others: bool = False,
        is_idle: Callable[[], bool] | None = None,
    ) -> None:
        owner = self if only_others else None
        await self._loop.pulse(key, seconds, keeps_fresh=keeps_fresh, owner=owner, is_idle=is_idle)

    def was_frozen(self, since_s: float, longest_s: float) -> bool:
        return self._loop.jumped_since(since_s, longest_s)

    def spawn_duty(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        context = copy_context()
        context.run(background.set, True)
        return self._loop.create_task(coroutine, name=name, context=context)

    def keep(self, engine: Engine, beating: Callable[[Engine, Pulse], Coroutine[Any, Any, None]]) -> Keep:
        return _KeeperTask(self.spawn_duty(beating(engine, self.pulse), "taskmanager-heartbeat"))

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await self._loop.threads.run(None, copy_context().run, function, *args)

    def block_on(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
        return block_on(coroutine)


class _KeeperTask:
    """A heartbeat in the world's own loop: nothing blocks that but the whole world."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))


class Node:
    """See the module's law. `name` is the machine's; `worker` the one that runs now, or None."""

    def __init__(self, app: App, emitter: Emitter, exchange: Exchange, name: str, seed: object) -> None:
        self.name = name
        self.worker: Worker | None = None
        self._app = app
        self._emitter = emitter
        self._exchange = exchange
        self._runtime = NodeRuntime(exchange, name, seed)
        self._wire: Wire | None = None
        self._alive = AsyncExitStack()
        self._boots = 0

    @property
    def is_up(self) -> bool:
        return self.worker is not None

    @property
    def is_busy(self) -> bool:
        """Whether its worker has a job in hand."""
        return self.worker is not None and self.worker.in_hand > 0

    def queues(self) -> list[str]:
        """The queues it serves while it is up."""
        return [] if self.worker is None else self.worker.queues()

    async def boot(self) -> None:
        """Enters the lifespan and starts a worker under a new incarnation; one that is up stays as it is."""
        if self.worker is not None:
            return
        self._boots += 1
        current_node.set(self)
        name = self._runtime.incarnation()
        wire = Wire(self._exchange, self._runtime)
        client = Client(self._app, Connection(wire, simulated=True), self._runtime, name)
        async with AsyncExitStack() as stack:
            ctx = await stack.enter_async_context(entered(self._app.settings))
            await client.connection.engine()  # a store that is away is told as it is, not as an emission without answer
            worker = Worker(self._app, client, self._runtime, name, make_context(ctx, self._emitter))
            self._wire, self.worker = wire, worker
            stack.push_async_callback(worker.stop)
            await worker.start(copy_context())
            self._alive = stack.pop_all()

    async def stop(self) -> None:
        """The graceful stop of its worker; one that is down stays so."""
        if self.worker is not None:
            try:
                await self._alive.aclose()
            finally:
                self.worker = None

    def hurry(self) -> None:
        if self.worker is not None:
            self.worker.hurry()

    def crash(self) -> None:
        """Cuts the wire and ends everything that runs here; nothing more is said to the engine."""
        worker, self.worker = self.worker, None
        if worker is None:
            return
        assert self._wire is not None
        self._wire.cut()
        worker.kill()
        self._alive = AsyncExitStack()
        loop = self._exchange.loop
        for task in unfinished(loop):
            if isinstance(task, Task) and task.node is self:
                task.cancel()
                loop.keep(task)  # it may wait in a `finally` for what nobody brings
        loop.threads.abandon(lambda origin: origin.get(current_node) is self)
        for key in (worker.keeper, worker.janitor):
            loop.forget(key)
