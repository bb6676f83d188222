"""An event loop whose time is virtual.

The law of the drive, in this order:

1. what is ready runs, first come first served;
2. while an engine call is in flight, real sockets are polled and the clock stands still;
3. what is due at this very moment becomes ready, in the order of `simulation.timers`;
4. the first pending engine call is handed to the store;
5. only when there is none of these does the clock move, to the next timer.

So nothing depends on how long anything really took, and a memory engine cannot be told from a real server: a call takes
effect at the same place in the order of things. Simulated threads need no rule of their own: a thread that may move is
a ready callback, a thread that sleeps is a timer (`simulation.threads`).

Sockets, pipes, subprocesses and signal handlers are refused (`simulation.refusals`), except in a context where
`real_io` is set. What is set when, and whose seconds count, is in `simulation.scheduling`.

The loop may be driven where another asyncio loop is running (a notebook, an async test): that one is set aside
meanwhile, with its current task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from enum import Enum
from threading import get_ident
from typing import Any, Protocol, TypeVar, TypeVarTuple

from simulation.clocks import VirtualClock
from simulation.scheduling import SchedulingLoop
from simulation.seated import seated
from simulation.tasks import Task, end_tasks
from simulation.threads import Threads
from simulation.world import SimulationBlocked, SimulationRefused, background, real_io

__all__ = ["Calls", "Halt", "SimulationBlocked", "SimulationRefused", "VirtualLoop", "background", "real_io"]

_BATCH = 10_000
_SETTLING = 10
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Halt(Enum):
    """Why a drive ended."""

    DONE = "done"
    """`until()` is true."""
    LIMIT = "limit"
    """Nothing is left to do before the limit, and the clock stands at it."""
    STOPPED = "stopped"
    """Somebody called `halt()`."""
    QUIET = "quiet"
    """Nothing is left that time could bring about."""
    REST = "rest"
    """`at_rest()` is true: nothing is left to do at this instant."""
    SPINNING = "spinning"
    """`spin_limit` callbacks ran at one instant: something loops without ever waiting."""


class Calls(Protocol):
    """The engine calls that wait for their turn: the wire's side of the loop."""

    def pending(self) -> bool:
        """A call waits to be handed to the store."""

    def dispatch(self) -> None:
        """Hands the first one to the store."""

    def in_flight(self) -> bool:
        """A call was handed over and its answer has not come."""


class VirtualLoop(SchedulingLoop):
    """An asyncio event loop in virtual time; `drive` runs it.

    `calls` is the wire (None: there is no engine). `incidents` collects what callbacks and tasks raised and nobody
    took: the contexts given to `call_exception_handler`. `threads` holds the simulated threads. After `spin_limit`
    callbacks at one instant, with no engine call but beats, a drive gives up. `pilots` are the tasks that speak for
    whoever drives the world: they may do so from within, and are set aside meanwhile.
    """

    spin_limit = 5_000_000

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock)
        self.calls: Calls | None = None
        self.incidents: list[dict[str, Any]] = []
        self.threads = Threads(self)
        self.tasks_made = 0
        self.pilots: set[asyncio.Task[Any] | None] = set()
        self._kept: list[asyncio.Future[Any]] = []
        self._halted = False
        self._drives = 0
        self._until: Callable[[], bool] | None = None
        self._failure: BaseException | None = None

    # ---- the drive

    @property
    def may_be_driven(self) -> bool:
        """Whether nobody drives the loop, or who asks is a pilot of it."""
        if self._thread_id is None:
            return True
        return self._thread_id == get_ident() and asyncio.current_task(self) in self.pilots

    def drive(
        self,
        until: Callable[[], bool] | None = None,
        limit_us: int | None = None,
        *,
        at_rest: Callable[[], bool] | None = None,
    ) -> Halt:
        """Runs until `until()` is true, the clock has reached `limit_us`, `halt()` is called, or nothing is left.

        `limit_us` is a moment of the clock, in microseconds since the epoch; timers due at it still fire. `until` is
        asked at the start, whenever nothing is ready any more, and before each engine call and each move of the clock;
        `at_rest` only before the clock moves. Raises `RuntimeError` where the loop is being driven already, but for its
        `pilots`.
        """
        self._check_closed()
        if not self.may_be_driven:
            raise RuntimeError("the simulation is running already: this call came from inside it; use `await` there")
        halted, self._halted = self._halted, False
        outer, self._until = self._until, until
        self._timers.unfold(self.clock.us)
        self._drives += 1
        try:
            with seated(self):
                halt = self._drive(until, limit_us, at_rest)
        finally:
            self._drives -= 1
            self._until = outer
        self._halted = halted
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return halt

    @property
    def would_call_next(self) -> bool:
        """Whether an engine call made now would be the very next thing that happens.

        So it is where nothing is ready, or due now, and the drive goes on: it is neither halted nor where it was to go.
        """
        heap = self._timers.heap
        if self._drives == 0 or self._ready or self._halted or (heap and heap[0][0] <= self.clock.us):
            return False
        return self._until is None or not self._until()

    def _drive(
        self,
        until: Callable[[], bool] | None,
        limit_us: int | None,
        at_rest: Callable[[], bool] | None,
    ) -> Halt:
        ready, timers, heap, calls, clock = self._ready, self._timers, self._timers.heap, self.calls, self.clock
        run, pop_due, make_ready = self._run_batch, timers.pop_due, ready.append
        spun, stirs = 0, timers.stirs
        while True:
            if until is not None and until():
                return Halt.DONE
            if ready:
                spun += run()
                if self._halted:
                    return Halt.STOPPED
                if spun > self.spin_limit:
                    if stirs == timers.stirs:
                        return Halt.SPINNING
                    spun, stirs = 0, timers.stirs
            elif calls is not None and calls.in_flight():
                self._poll()
            elif heap and heap[0][0] <= clock.us:
                pop_due(heap[0][0], make_ready)  # moment by moment: a jump may have passed several
            elif calls is not None and calls.pending():
                calls.dispatch()
                if self._halted:
                    return Halt.STOPPED
            elif self.threads.selecting and self.threads.poll():
                pass
            else:
                if at_rest is not None and at_rest():
                    return Halt.REST
                us = timers.next_move(clock.us, limit_us)
                if limit_us is not None and (us is None or us > limit_us):
                    clock.move_to(max(limit_us, clock.us))
                    return Halt.LIMIT
                if us is None:
                    return Halt.QUIET
                clock.move_to(us)
                pop_due(us, make_ready)
                spun = 0

    def _run_batch(self) -> int:
        """Runs what is ready and what that makes ready, up to a bound; says how many callbacks it ran."""
        ready = self._ready
        popleft = ready.popleft
        for ran in range(_BATCH):
            if not ready:
                return ran
            handle = popleft()
            if handle._cancelled:
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler(
                    {"message": f"Exception in callback {handle!r}", "exception": error, "handle": handle}
                )
            if self._halted:
                return ran
        return _BATCH

    def settle(self) -> None:
        """Runs what is ready, and what that makes ready, as far as it goes without time or engine calls."""
        with seated(self):
            for _ in range(_SETTLING):
                if not self._ready:
                    break
                self._run_batch()

    def halt(self) -> None:
        """Ends the drive right after the current callback; what is ready stays so."""
        self._halted = True

    def fail(self, error: BaseException) -> None:
        """Ends the drive, which raises `error`."""
        self._failure = error
        self._halted = True

    def keep(self, waited_for: asyncio.Future[Any]) -> None:
        """Holds what nobody will bring, and thereby whoever waits for it, to the end of the world.

        The collector would sweep both away at a moment of chance, and run `finally` blocks then; and asyncio would
        complain of a task that was pending.
        """
        self._kept.append(waited_for)

    # ---- asyncio's own ways to run a loop

    def run_until_complete(self, future: Any) -> Any:
        """Drives the loop until the awaitable is done, and returns its result."""
        task = asyncio.ensure_future(future, loop=self)
        halt = self.drive(task.done)
        if halt is not Halt.DONE:
            task.cancel()
            raise RuntimeError(f"the loop came to a halt ({halt.value}) before the awaitable was done: {task!r}")
        return task.result()

    def run_forever(self) -> None:
        """Drives the loop until `stop()`, or until nothing is left."""
        self.drive()

    def stop(self) -> None:
        self.halt()

    def is_driven_by(self, ident: int) -> bool:
        """Whether that thread is driving this loop now."""
        return self._thread_id == ident

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        self._check_closed()
        if self._task_factory is not None:
            return super().create_task(coro, name=name, context=context)
        return Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Runs a plain function in a simulated thread; an executor only says how many may run at a time."""
        self._check_closed()
        if real_io.get():
            return super().run_in_executor(executor, func, *args)
        self._check_default_executor()
        return self.threads.run(executor or self._default_executor, func, *args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.incidents.append(context)
        if not self._closed:
            super().call_exception_handler(context)

    def close(self) -> None:
        """Cancels what is left, ends the threads, and frees the loop. Time does not move meanwhile."""
        if self._closed:
            return
        if self._thread_id is not None:
            raise RuntimeError("cannot close the loop while it is driven")
        self.threads.close()
        end_tasks(self)
        if self._asyncgens:
            self.create_task(self.shutdown_asyncgens())
            self.settle()
        for entry in self._timers.heap:
            entry[2].cancel()
        self._real_timers.clear()
        self._kept.clear()
        super().close()
