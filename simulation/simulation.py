"""`Simulation`: an application, unmodified, in a world whose time is a number.

The same manager, worker and policy code runs here; what is swapped is the event loop, the clock, the randomness, and
the wire to the engine. Between entry and exit of `with`, time, randomness and the application itself belong to the
simulation, in the whole process. Without `with` they do so only during its calls, and `close()` ends it.

Time moves only when nothing can run: `advance` and the `run_*` calls go from one moment to the next at which something
is due, and each thing happens at its own moment, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

from simulation.clocks import Takeover, VirtualClock, frozen_start
from simulation.errors import SimulationStuck
from simulation.goals import Census, can_still_change, place_of, take_census, waiting_handlers
from simulation.loop import Halt, VirtualLoop
from simulation.node import Node, NodeRuntime
from simulation.operations import Operations
from simulation.seat import SimulatedSeat
from simulation.story import explain
from simulation.summary import Summary
from simulation.timeline import Timeline
from simulation.wire import Exchange, Wire, at_the_controls
from taskmanager.client import Client
from taskmanager.clock import datetime_of, duration_ms, moment_ms
from taskmanager.connection import Connection
from taskmanager.engines import open_engine
from taskmanager.errors import UsageError
from taskmanager.job import Fact, Kind
from taskmanager.manager import TaskManager, give_back, lend
from taskmanager.settings import whole
from taskmanager.steps import Step

T = TypeVar("T")
DEFAULT_START = "2026-01-01T00:00Z"
"""Where a simulation starts that is not told otherwise (and is not frozen by freezegun)."""
MAX_STEPS = 1_000_000


class Simulation(Operations):
    """A simulated world around one application.

    `tm` is the application as it is, or a function that builds it, called once inside the world. `start` is an aware
    datetime or an ISO text with an offset; `seed` decides all randomness; `workers` how many workers run (0: none until
    `tm.start()`); `engine` the URL of the store; `max_steps` how many steps one call may take before `SimulationStuck`.
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
    ) -> None:
        whole(workers, "workers", 0, 1000)
        self._max_steps = whole(max_steps, "max_steps", 1, 10**12)
        self._facts: list[Fact] = []
        self._clock = VirtualClock(_start_us(start))
        self._loop = VirtualLoop(self._clock)
        self._takeover = Takeover(self._loop, seed)
        self._exchange = Exchange(self._loop, open_engine(engine, self._clock), self._facts)
        self._loop.calls = self._exchange
        self._controls = Wire(self._exchange)
        self._unseen: deque[int] = deque()
        self._inside = 0
        self._closed = False
        self._seed = seed
        self._nodes: list[Node] = []
        self._seat = SimulatedSeat(self)
        self._tm = self._built(tm)
        with self._world():
            app, emitter = lend(self._tm, self._seat)
            runtime = NodeRuntime(self._exchange, "outside", seed)
            connection = Connection(Wire(self._exchange), simulated=True)
            self._seat.furnish(Client(app, connection, runtime, "outside"), app, emitter)
            # Without workers there is one machine all the same, for an application that starts itself.
            names = [f"worker-{n + 1}" for n in range(max(workers, 1))]
            self._nodes += [Node(app, emitter, self._exchange, name, seed) for name in names]
            if workers:
                self._begin(self._seat.start())
            self._settle()

    # ---- entering and leaving

    def __enter__(self) -> Self:
        self._check_open()
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
        with self._world():
            self._closed = True
            self._exchange.close()
            self._loop.close()

    def _enter(self) -> None:
        if self._inside == 0:
            lend(self._tm, self._seat)
            self._takeover.__enter__()
        self._inside += 1

    def _leave(self) -> None:
        self._inside -= 1
        if self._inside == 0:
            self._takeover.__exit__(None, None, None)
            give_back(self._tm)

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
        return Summary.of(self._facts, self._dead_letters())

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
                self._pursue(lambda: len(self._facts) > before, None, "the next step", idle_ends=True)
            finally:
                self._exchange.is_stepping = False
            self._unseen.extend(range(before, len(self._facts)))
        return Step(self._facts[self._unseen.popleft()]) if self._unseen else None

    def advance(self, duration: timedelta | float | None = None, **parts: float) -> None:
        """Lets so much time pass (seconds, a timedelta, or its parts: `days=2`, `hours=1`); all that is due happens."""
        limit_us = self._clock.us + duration_ms(_duration(duration, parts), "duration") * 1000
        with self._driving():
            self._go_to(limit_us)

    def run_until(self, goal: datetime | Callable[[], object]) -> None:
        """Runs to a moment, or until `goal()` is true, asked after each step.

        Raises `SimulationStuck` where the goal is not reached and nothing is left but occurrences to come, or nothing
        that could still happen will reach it.
        """
        if not callable(goal):
            limit_us = moment_ms(goal, "goal") * 1000
            if limit_us < self._clock.us:
                raise UsageError(f"goal must not be before the simulation's now, {self.now.isoformat()}, got {goal!r}")
            with self._driving():
                self._go_to(limit_us)
            return
        reached = goal
        with self._driving():
            self._exchange.is_stepping = True
            try:
                self._pursue(lambda: bool(reached()), None, f"the goal {getattr(goal, '__name__', goal)!r}")
            finally:
                self._exchange.is_stepping = False

    def run_until_idle(self) -> None:
        """Runs until no job is active or delayed and none waits in a running queue that has a worker.

        Occurrences to come and paused queues do not count. Raises `SimulationStuck` where it will never be so.
        """
        with self._driving():
            self._pursue(lambda: False, None, "idleness", idle_ends=True)

    drain = run_until_idle

    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs an awaitable inside the world, in virtual time, and returns its result."""
        with self._driving():
            task = self._begin(_awaited(awaitable))
            try:
                self._pursue(task.done, None, "the end of the awaitable", waiter=task)
            finally:
                if not task.done():
                    task.cancel()
                    self._loop.settle()
            return task.result()

    def jump(self, duration: timedelta | float | None = None, **parts: float) -> None:
        """The machine sleeps: every worker is frozen while all clocks move by `duration`; what was passed fires after."""
        with self._driving():
            self._settle()
            self._loop.jump(duration_ms(_duration(duration, parts), "duration") * 1000)
            self._settle()

    # ---- how it is driven

    def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the person at the controls asks: answered at this instant, before the world goes on."""
        self._check_open()
        with self._world():
            context = copy_context()
            context.run(at_the_controls.set, True)
            self._exchange.is_asked = True
            try:
                task = self._loop.create_task(_called(call), context=context)
                self._loop.drive(task.done, self._clock.us)
                if not task.done():
                    raise UsageError("this needs time to pass; use sim.run(...) for it")
                return task.result()
            finally:
                self._exchange.is_asked = False

    @contextmanager
    def _driving(self) -> Iterator[None]:
        self._check_open()
        self._unseen.clear()
        with self._world():
            yield

    def _begin(self, coroutine: Coroutine[Any, Any, T]) -> Any:
        return self._loop.create_task(coroutine)

    def _settle(self) -> None:
        """Everything that happens at this very instant."""
        self._go_to(self._clock.us)

    def _go_to(self, limit_us: int) -> None:
        halt = self._loop.drive(None, limit_us)
        if halt is Halt.SPINNING:
            raise SimulationStuck(self._spinning())
        if halt is Halt.QUIET and self._clock.us < limit_us:
            self._clock.move_to(limit_us)

    def _pursue(
        self,
        reached: Callable[[], bool],
        limit_us: int | None,
        goal: str,
        *,
        idle_ends: bool = False,
        waiter: Any = None,
    ) -> None:
        """Moves from instant to instant until `reached`, or idle; what can never come about is said."""
        begun = len(self._facts)
        is_polled = self._exchange.is_stepping
        while True:
            halt = self._loop.drive(None if is_polled else reached, self._clock.us)
            if reached():
                return
            if halt is Halt.STOPPED:
                continue
            if halt is Halt.SPINNING:
                raise SimulationStuck(self._spinning())
            if len(self._facts) - begun > self._max_steps:
                raise SimulationStuck(f"{goal} was not reached within {self._max_steps:,} steps; see max_steps")
            census = self._census()
            if census.is_idle and self._seat.tell_idle():
                continue
            if census.is_idle and idle_ends:
                return
            self._check_not_stuck(census, goal, waiter)
            self._move_on(census)

    def _move_on(self, census: Census) -> None:
        """To the next instant at which anything is due."""
        here = self._clock.us
        due_us = None if census.due_at is None else max(census.due_at * 1000, here)
        halt = self._loop.drive(lambda: self._clock.us != here, due_us)
        if halt is Halt.QUIET and due_us is not None and self._clock.us < due_us:
            self._clock.move_to(due_us)

    def _check_not_stuck(self, census: Census, goal: str, waiter: Any) -> None:
        if self._loop.next_timer(foreground_only=True) is not None:
            return
        if census.is_idle:
            if any(not node.is_up for node in self._nodes):
                return
            told = ["nothing is left but occurrences to come, heartbeats and paused queues"]
        elif census.delayed or self.ask(lambda: can_still_change(self._controls, self._nodes)):
            return
        else:
            told = waiting_handlers(self._nodes) or ["jobs wait that no worker can take"]
        if waiter is not None:
            told.append(f"the awaitable waits {place_of(waiter)}")
        raise SimulationStuck(f"{goal} cannot be reached at {self.now.isoformat()}: " + "; ".join(told))

    def _census(self) -> Census:
        served = {queue for node in self._nodes for queue in node.queues()}
        return self.ask(lambda: take_census(self._controls, served))

    def _spinning(self) -> str:
        return (
            f"the world spins at {self.now.isoformat()}: callbacks run without end and none waits; "
            + "; ".join(waiting_handlers(self._nodes))
        )

    def _dead_letters(self) -> dict[str, int]:
        counted: dict[str, int] = {}
        for queue in self.queues():
            page = self.jobs(queue, "failed", limit=1000)
            while page:
                for job in page:
                    if job.dead_letter is not None:
                        counted[job.event] = counted.get(job.event, 0) + 1
                page = self.jobs(queue, "failed", limit=1000, after=page[-1])
        return counted


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


async def _called(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


def _start_us(start: datetime | str | None) -> int:
    if start is None:
        frozen = frozen_start()
        if frozen is not None:
            return frozen
        start = DEFAULT_START
    if isinstance(start, str):
        try:
            start = datetime.fromisoformat(start)
        except ValueError:
            raise UsageError(f"start must be an ISO date and time with an offset, got {start!r}") from None
    return moment_ms(start, "start") * 1000


def _duration(duration: timedelta | float | None, parts: dict[str, float]) -> timedelta | float:
    if duration is not None and parts:
        raise UsageError(f"give a duration or its parts, not both; got {duration!r} and {parts!r}")
    if duration is not None:
        return duration
    try:
        return timedelta(**parts)
    except (TypeError, OverflowError) as error:
        raise UsageError(f"the parts of a duration are those of timedelta (days, hours, ...): {error}") from None
