"""`Simulation`: an application, unmodified, in a world whose time is a number.

The same manager, worker and policy code runs here; what is swapped is the event loop, the clock, the randomness, and
the wire to the engine. Between entry and exit of `with`, time, randomness and the application itself belong to the
simulation, in the whole process. Without `with` they do so only during its calls, and `close()` ends it.

Time moves only when nothing can run: `advance` and the `run_*` calls go from one moment to the next at which something
is due, and each thing happens at its own moment, in order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from datetime import datetime, timedelta
from itertools import count
from threading import get_ident
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from simulation.clocks import Takeover, VirtualClock
from simulation.collector import seldom
from simulation.loop import Halt, VirtualLoop
from simulation.moments import moment_after, start_us
from simulation.node import Node, NodeRuntime
from simulation.operations import Operations
from simulation.pursuit import Pursuit, never
from simulation.seat import SimulatedSeat
from simulation.story import explain
from simulation.summary import Summary
from simulation.timeline import Timeline
from simulation.wire import Exchange, Wire, at_the_controls
from simulation.world import takeovers
from taskmanager.client import Client
from taskmanager.clock import datetime_of, moment_ms
from taskmanager.connection import Connection
from taskmanager.engines import open_engine
from taskmanager.errors import UsageError
from taskmanager.handles import JobHandle
from taskmanager.job import Fact, Kind
from taskmanager.manager import TaskManager, give_back, lend
from taskmanager.records import JobRecord
from taskmanager.settings import whole
from taskmanager.steps import Step

T = TypeVar("T")
MAX_STEPS = 1_000_000

made: WeakValueDictionary[int, Simulation] = WeakValueDictionary()
"""The simulations that are about, by the order of their making: a failing test tells what happened in its own."""
_numbers = count(1)


class Simulation(Operations):
    """A simulated world around one application.

    `tm` is the application as it is, or a function that builds it, called once inside the world. `start` is an aware
    datetime or an ISO text with an offset; `seed` decides all randomness; `workers` how many workers run (0: none until
    `tm.start()`); `engine` the URL of the store; `max_steps` how many steps one call may take before `SimulationStuck`.
    A store in which an earlier simulation left something is gone on with, as after a restart, unless `fresh`: then that
    is removed first.
    """

    def __init__(
        self,
        tm: TaskManager | Callable[[], TaskManager],
        *,
        start: datetime | str | None = None,
        seed: int | str = 0,
        workers: int = 1,
        engine: str = "memory://",
        max_steps: int = MAX_STEPS,
        fresh: bool = False,
    ) -> None:
        _check_thread()
        whole(workers, "workers", 0, 1000)
        if isinstance(seed, bool) or not isinstance(seed, int | str):
            raise UsageError(f"seed must be an integer or a text, got {seed!r}")
        whole(max_steps, "max_steps", 1, 10**12)
        if not isinstance(fresh, bool):
            raise UsageError(f"fresh must be True or False, got {fresh!r}")
        self._facts: list[Fact] = []
        self._clock = VirtualClock(start_us(start))
        store = open_engine(engine, self._clock, "engine")
        self._loop = VirtualLoop(self._clock)
        self._takeover = Takeover(self._loop, seed)
        self._exchange = Exchange(self._loop, store, self._facts, is_fresh=fresh)
        self._loop.calls = self._exchange
        self._unseen: deque[int] = deque()
        self._inside = 0
        self._entered = ExitStack()
        self._closed = False
        self._seed = seed
        self._nodes: list[Node] = []
        self._seat = SimulatedSeat(self)
        self._pursuit = Pursuit(self._exchange, self._nodes, self._seat, self.ask, max_steps)
        made[next(_numbers)] = self
        try:
            self._tm = self._built(tm)
            self._populate(workers)
        except BaseException:
            with self._takeover:
                self._end()
            raise

    def _populate(self, workers: int) -> None:
        with self._world():
            app, emitter = lend(self._tm, self._seat)
            runtime = NodeRuntime(self._exchange, "outside", self._seed)
            connection = Connection(Wire(self._exchange), simulated=True)
            self._seat.furnish(Client(app, connection, runtime, "outside"), app, emitter)
            # Without workers there is one machine all the same, for an application that starts itself.
            names = [f"worker-{n + 1}" for n in range(max(workers, 1))]
            self._nodes += [Node(app, emitter, self._exchange, name, self._seed) for name in names]
            if workers:
                self._begin(self._seat.start()).add_done_callback(self._booted)
            self._pursuit.settle()

    def _booted(self, start: Any) -> None:
        """A start that failed, or a store that refused us, is told to whoever drives the world."""
        if not start.cancelled() and (error := start.exception()) is not None:
            self._loop.fail(error)

    # ---- entering and leaving

    def __enter__(self) -> Self:
        self._check_turn()
        self._enter()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            while self._inside:
                self._leave()

    def close(self) -> None:
        """Ends the world: what still runs is cancelled, and the application is as it was before."""
        if self._closed:
            return
        self._check_turn()
        if self._loop.is_driven_by(get_ident()):
            raise UsageError("this simulation is running; what it runs cannot close it")
        with self._world():
            self._end()

    def _end(self) -> None:
        self._closed = True
        for node in self._nodes:
            node.crash()  # also takes its worker off the application's list of those who hear of new handlers
        self._exchange.close()
        self._loop.close()

    def _enter(self) -> None:
        if self._inside == 0:
            with ExitStack() as stack:
                lend(self._tm, self._seat)
                stack.callback(give_back, self._tm)
                stack.enter_context(self._takeover)
                stack.enter_context(seldom())
                self._entered = stack.pop_all()
        self._inside += 1

    def _leave(self) -> None:
        self._inside -= 1
        if self._inside == 0:
            self._entered.close()

    @contextmanager
    def _world(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("this simulation is closed; make a new one")

    def _check_turn(self) -> None:
        """Whether whoever calls may drive this world now."""
        self._check_open()
        holder = takeovers[-1] if takeovers else None
        if holder is not None and holder is not self._takeover:
            if self._takeover.entered:
                raise UsageError("another simulation was entered inside this one and holds the process; leave it first")
            _check_thread()
        if not self._loop.may_be_driven:
            raise UsageError(
                "this simulation is running, and the call came from inside it (a handler, a task, a goal); "
                "use `await tm.emit(...)` and the like there, or call it from outside"
            )

    def _built(self, tm: TaskManager | Callable[[], TaskManager]) -> TaskManager:
        if not isinstance(tm, TaskManager):
            if not callable(tm):
                raise UsageError(f"tm must be a TaskManager or a function that builds one, got {tm!r}")
            with self._takeover:
                tm = tm()
            if not isinstance(tm, TaskManager):
                raise UsageError(f"the function given as tm must return a TaskManager, got {tm!r}")
        return tm

    # ---- what can be seen

    def __repr__(self) -> str:
        up, all_, steps = sum(node.is_up for node in self._nodes), len(self._nodes), len(self._facts)
        workers = f"{up} of {all_}" if up != all_ else f"{up}"
        return (
            f"<Simulation{' (closed)' if self._closed else ''} at {self.now.isoformat()}, seed={self._seed!r}, "
            f"{workers} worker{'s' * (all_ != 1)} up, {steps:,} step{'s' * (steps != 1)}>"
        )

    @property
    def now(self) -> datetime:
        """The world's time, aware, UTC."""
        return datetime_of(0) + timedelta(microseconds=self._clock.us)

    @property
    def timeline(self) -> Timeline:
        """Everything that has happened, in order."""
        return Timeline(self._facts)

    @property
    def summary(self) -> Summary:
        """Runs, retries, dead letters, waiting and run times per event."""
        return Summary.of(self._facts, self._exchange.dead_letters)

    @property
    def tm(self) -> TaskManager:
        """The application."""
        return self._tm

    @property
    def seed(self) -> int | str:
        return self._seed

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The machines of the world, in the order of their names."""
        return tuple(self._nodes)

    def attempts(self, event: str, queue: str | None = None) -> Timeline:
        """The `started` steps of an event: one a run."""
        return self.timeline.only(kind=Kind.STARTED, event=event, queue=queue)

    def explain(self, job_id: Any, queue: str | None = None) -> str:
        """One job's story, in words; by id or by handle."""
        if not isinstance(job_id, str):
            if not isinstance(job_id, JobHandle | JobRecord):
                raise UsageError(f"explain takes a job's id, handle or record, got {job_id!r}")
            queue, job_id = job_id.queue, job_id.id
        home = queue or next((fact.queue for fact in self._facts if fact.job_id == job_id), "default")
        return explain(job_id, self.timeline, self.get_job(job_id, home), queue=home)

    # ---- moving on

    def step(self) -> Step | None:
        """Exactly one step, or None when the world is idle; time moves to it if it must."""
        if self._unseen:
            return Step(self._facts[self._unseen.popleft()])
        with self._driving():
            before = len(self._facts)
            self._exchange.is_stepping = True
            try:
                self._pursuit.reach(lambda: len(self._facts) > before, "the next step", idle_ends=True)
            finally:
                self._exchange.is_stepping = False
            self._unseen.extend(range(before, len(self._facts)))
        return Step(self._facts[self._unseen.popleft()]) if self._unseen else None

    def advance(self, duration: timedelta | float | None = None, **parts: float) -> None:
        """Lets so much time pass (seconds, a timedelta, or its parts: `days=2`, `hours=1`); all that is due happens."""
        limit_us = moment_after(self._clock.us, duration, parts)
        with self._driving():
            self._pursuit.go_to(limit_us)

    def run_until(self, goal: datetime | Callable[[], object]) -> None:
        """Runs to a moment, or until `goal()` is true, asked now and after each step.

        Raises `SimulationStuck` where the goal is not reached and nothing is left but occurrences to come, or nothing
        that could still happen will reach it.
        """
        if not callable(goal):
            limit_us = moment_ms(goal, "goal") * 1000
            if limit_us < self._clock.us:
                raise UsageError(f"goal must not be before the simulation's now, {self.now.isoformat()}, got {goal!r}")
            with self._driving():
                self._pursuit.go_to(limit_us)
            return
        reached = goal
        if asyncio.iscoroutinefunction(reached):
            raise UsageError(f"goal must be a plain function or a moment, got the async {goal!r}")
        with self._driving():
            self._exchange.is_stepping = True
            try:
                self._pursuit.reach(lambda: bool(reached()), f"the goal {getattr(goal, '__name__', goal)!r}")
            finally:
                self._exchange.is_stepping = False

    def run_until_idle(self) -> None:
        """Runs until no job is active or delayed and none waits in a running queue that has a worker.

        Occurrences to come and paused queues do not count. Raises `SimulationStuck` where it will never be so.
        """
        with self._driving():
            self._pursuit.reach(never, "idleness", idle_ends=True)

    def drain(self, timeout: timedelta | float | None = None) -> None:
        """The same idle; raises `TimeoutError` where it is not reached within `timeout` seconds of virtual time."""
        if timeout is None:
            self.run_until_idle()
        else:
            self.run(self._tm.drain(timeout))

    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs an awaitable inside the world, in virtual time, and returns its result.

        What it runs may itself use the plain calls of this simulation, as handlers and other tasks may not.
        """
        if not isinstance(awaitable, Awaitable):
            remedy = "; call it: sim.run(main())" if callable(awaitable) else ""
            raise UsageError(f"run takes an awaitable, such as a coroutine or tm.emit(...), got {awaitable!r}{remedy}")
        try:
            self._check_turn()
        except UsageError:
            if asyncio.iscoroutine(awaitable):
                awaitable.close()  # refused: nobody will await it, and Python need not warn of that as well
            raise
        with self._driving():
            task = self._begin(_awaited(awaitable))
            self._loop.pilots.add(task)
            try:
                self._pursuit.reach(task.done, "the end of the awaitable", waiter=task)
            finally:
                if not task.done():
                    task.cancel()
                    self._loop.settle()
                self._loop.pilots.discard(task)
            result: T = task.result()
            return result

    def jump(self, duration: timedelta | float | None = None, **parts: float) -> None:
        """The machine sleeps: every worker is frozen while all clocks move on; what was passed fires after."""
        with self._driving():
            self._pursuit.settle()
            self._loop.jump(moment_after(self._clock.us, duration, parts) - self._clock.us)
            self._pursuit.settle()

    # ---- how it is driven

    def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the person at the controls asks: answered at this instant, before the world goes on."""
        self._check_turn()
        with self._world():
            context = copy_context()
            context.run(at_the_controls.set, True)
            self._exchange.is_asked = True
            try:
                task = self._loop.create_task(_called(call), context=context)
                # A step of the world halts the loop where steps are counted; the answer is still to come.
                while not task.done():
                    halt = self._loop.drive(task.done, self._clock.us)
                    if halt is not Halt.STOPPED and not task.done() and not self._exchange.let_pass():
                        raise UsageError("this needs time to pass; use sim.run(...) for it")
                return task.result()
            finally:
                self._exchange.is_asked = False

    @contextmanager
    def _driving(self) -> Iterator[None]:
        self._check_turn()
        self._unseen.clear()
        with self._world():
            yield

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        return self._loop.create_task(coroutine)


def _check_thread() -> None:
    if takeovers and takeovers[-1].thread != get_ident():
        raise UsageError(
            "a simulation of another thread holds the process, its time and its randomness; "
            "only one can do so at a time"
        )


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _called(call: Callable[[], Awaitable[T]]) -> T:
    return await call()
