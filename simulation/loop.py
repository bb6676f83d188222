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

Sockets, pipes, subprocesses and signal handlers are refused (`simulation.refusals`), except in a context where `real_io`
is set; timers set there count real seconds, for they watch over a real connection, and fire only while it is polled.

The loop may be driven where another asyncio loop is running (a notebook, an async test): that one is set aside
meanwhile, with its current task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterator
from contextlib import contextmanager
from contextvars import Context
from enum import Enum
from heapq import heappop, heappush
from threading import get_ident
from typing import Any, Protocol, TypeVar, TypeVarTuple

from simulation.clocks import VirtualClock
from simulation.originals import originals
from simulation.refusals import RefusingLoop
from simulation.seat import seated
from simulation.tasks import Task, end_tasks
from simulation.threads import Threads
from simulation.timers import NEVER_US, Ready, Timer, Timers, release
from simulation.world import SimulationBlocked, SimulationRefused, background, real_io, strands

__all__ = ["Calls", "Halt", "SimulationBlocked", "SimulationRefused", "VirtualLoop", "background", "real_io"]

_SETTLING = 1000
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
    """Nothing is left that time could bring about (or only background timers, where that was asked)."""
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


class NoCalls:
    """A loop without an engine."""

    def pending(self) -> bool:
        return False

    def dispatch(self) -> None:
        raise AssertionError("there is no call to dispatch")

    def in_flight(self) -> bool:
        return False


class VirtualLoop(RefusingLoop):
    """An asyncio event loop in virtual time; `drive` runs it.

    `calls` is the wire; `incidents` collects what callbacks and tasks raised and nobody took (the contexts given to
    `call_exception_handler`), `fold` switches the folding of pulses, `reply_timeout` is how many real seconds a real
    store may be silent. `time()` counts from the clock's start as `time.monotonic` does in this world.
    """

    reply_timeout = 60.0
    spin_limit = 5_000_000

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self.calls: Calls = NoCalls()
        self.incidents: list[dict[str, Any]] = []
        self.threads = Threads(self)
        self._timers = Timers()
        self._real_timers: list[tuple[float, int, Timer]] = []
        self._real_number = 0
        self._halted = False
        self._failure: BaseException | None = None
        self.tasks_made = 0
        self._clock_resolution = 1e-6

    # ---- time

    def time(self) -> float:
        return self.clock.monotonic_us / 1_000_000

    def call_soon(  # type: ignore[override]
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            self._check_closed()
        handle = Ready(callback, args, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = self.call_soon(callback, *args, context=context)
        ident = get_ident()
        if ident != self._thread_id and ident not in strands:
            self._write_to_self()
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if delay is None:
            raise TypeError("delay must not be None")
        if self._closed:
            self._check_closed()
        clock = self.clock
        try:
            us = round(delay * 1_000_000)
        except OverflowError:
            us = NEVER_US if delay > 0 else 0
        if us <= 0:
            us = 1 if delay > 0 else 0  # a delay always ends later, or a loop of tiny delays would stop the clock
        timer = Timer((clock.monotonic_us + us) / 1_000_000, callback, args, context, self._timers)
        if real_io.get():
            self._push_real(us, timer)
        else:
            self._timers.push(clock.us + us, timer, not background.get())
        return timer

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed:
            self._check_closed()
        clock = self.clock
        try:
            us = max(round(when * 1_000_000) - clock.monotonic_us, 0)
        except OverflowError:
            us = NEVER_US if when > 0 else 0
        timer = Timer(when, callback, args, context, self._timers)
        if real_io.get():
            self._push_real(us, timer)
        else:
            self._timers.push(clock.us + us, timer, not background.get())
        return timer

    def next_timer(self, foreground_only: bool = False) -> int | None:
        """The next deadline in microseconds since the epoch, or None where no timer is left."""
        return self._timers.next_us(foreground_only)

    def jump(self, us: int) -> None:
        """Moves the clock by so many microseconds without firing anything.

        What was passed fires when the loop is driven next: each timer once, in the order of its moment.
        """
        self._timers.unfold(self.clock.us)
        self._timers.stirs += 1
        self.clock.move_to(self.clock.us + us)

    hold = jump
    """What `time.sleep` does in the loop's own thread: the world is held that long, and everything else is late."""

    # ---- pulses

    async def pulse(self, key: Hashable, seconds: float) -> None:
        """Waits for the next point of the key's grid; points that change nothing are skipped (`simulation.timers`)."""
        period_us = max(round(seconds * 1_000_000), 1)
        now_us = self.clock.us
        grid = self._timers.grid(key, period_us, now_us)
        waiter: asyncio.Future[None] = self.create_future()
        due_us = grid.after(now_us)
        when = (self.clock.monotonic_us + due_us - now_us) / 1_000_000
        timer = Timer(when, release, (waiter,), None, self._timers)
        timer.grid = grid
        self._timers.push(due_us, timer, counted=False)
        try:
            await waiter
        finally:
            timer.cancel()

    def forget(self, key: Hashable) -> None:
        """Ends a key's grid: its next pulse starts a new one."""
        self._timers.forget(key)

    def stir(self) -> None:
        """Something happened that is not a pulse: the next beat of every pulse counts."""
        self._timers.stirs += 1

    @property
    def fold(self) -> bool:
        return self._timers.fold

    @fold.setter
    def fold(self, fold: bool) -> None:
        self._timers.fold = fold

    # ---- the drive

    def drive(
        self,
        until: Callable[[], bool] | None = None,
        limit_us: int | None = None,
        *,
        stop_when_only_background: bool = False,
    ) -> Halt:
        """Runs until `until()` is true, the clock has reached `limit_us`, `halt()` is called, or nothing is left.

        `limit_us` is a moment of the clock, in microseconds since the epoch; timers due at it still fire. `until` is asked
        at the start and after each batch of callbacks. Raises `RuntimeError` where the loop is being driven already.
        """
        self._check_closed()
        if self._thread_id is not None:
            raise RuntimeError("the simulation is running already: this call came from inside it; use `await` there")
        self._halted = False
        self._timers.unfold(self.clock.us)
        with seated(self):
            halt = self._drive(until, limit_us, stop_when_only_background)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        return halt

    def _drive(self, until: Callable[[], bool] | None, limit_us: int | None, only_background: bool) -> Halt:
        ready, timers, calls, clock = self._ready, self._timers, self.calls, self.clock
        run, pop_due, make_ready = self._run_batch, timers.pop_due, ready.append
        spun, stirs = 0, timers.stirs
        while True:
            if until is not None and until():
                return Halt.DONE
            if ready:
                spun += len(ready)
                if run():
                    return Halt.STOPPED
                if spun > self.spin_limit:
                    if stirs == timers.stirs:
                        return Halt.SPINNING
                    spun, stirs = 0, timers.stirs
            elif calls.in_flight():
                self._poll()
            elif pop_due(clock.us, make_ready):
                pass
            elif calls.pending():
                calls.dispatch()
                if self._halted:
                    return Halt.STOPPED
            elif self.threads.selecting and self.threads.poll():
                pass
            else:
                if only_background and not timers.foreground:
                    return Halt.QUIET
                us = timers.next_move(clock.us, limit_us)
                if limit_us is not None and (us is None or us > limit_us):
                    clock.move_to(max(limit_us, clock.us))
                    return Halt.LIMIT
                if us is None:
                    return Halt.QUIET
                clock.move_to(us)
                pop_due(us, make_ready)
                spun = 0

    def _run_batch(self) -> bool:
        """Runs what is ready now, not what that makes ready; True where it was halted."""
        ready = self._ready
        popleft = ready.popleft
        for _ in range(len(ready)):
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
                return True
        return False

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

    # ---- a real store

    @contextmanager
    def real_io(self) -> Iterator[None]:
        """Within, sockets, real threads and real seconds are allowed: for the simulation's own engine."""
        token = real_io.set(True)
        try:
            yield
        finally:
            real_io.reset(token)

    def _push_real(self, us: int, timer: Timer) -> None:
        self._real_number += 1
        heappush(self._real_timers, (originals.monotonic() + us / 1_000_000, self._real_number, timer))

    def _poll(self) -> None:
        """Waits for the real world to answer the call that is in flight."""
        silent_since = originals.monotonic()
        while not self._ready:
            now = originals.monotonic()
            if now - silent_since > self.reply_timeout:
                raise SimulationBlocked(f"an engine call got no answer for {self.reply_timeout:g} real seconds")
            timers = self._real_timers
            while timers and timers[0][0] <= now:
                timer = heappop(timers)[2]
                if not timer._cancelled:
                    self._ready.append(timer)
            wait = 0.0 if self._ready else min(1.0, timers[0][0] - now) if timers else 1.0
            self._process_events(self._selector.select(wait))

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

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        self._check_closed()
        if self._task_factory is not None:
            return super().create_task(coro, name=name, context=context)
        return Task(coro, loop=self, name=name, context=context)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
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
        super().close()

