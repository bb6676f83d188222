"""How a virtual loop keeps time: what is set when, and whose seconds count.

A delay is rounded to the microsecond and is at least one, so that time goes on however small the steps; deadlines are
whole microseconds of the virtual clock (`simulation.timers`). A timer set under `real_io` watches over a connection to
a real store: it counts real seconds, fires only while an answer is awaited, and never moves the virtual clock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from heapq import heappop, heappush
from threading import get_ident
from typing import Any, TypeVarTuple

from simulation.clocks import VirtualClock
from simulation.handles import Minor, Pulse, Ready, Timer, bare, release
from simulation.originals import originals
from simulation.refusals import RefusingLoop
from simulation.timers import NEVER_US, Timers
from simulation.world import SimulationBlocked, background, real_io, strands

__all__ = ["SchedulingLoop"]

Ts = TypeVarTuple("Ts")
_JUMPS_KEPT = 100


class SchedulingLoop(RefusingLoop):
    """A loop that knows what is due; `simulation.loop` runs it.

    `clock` is the virtual clock, `reply_timeout` how many real seconds a real store may be silent, `fold` whether
    pulses that change nothing are skipped.
    """

    reply_timeout = 60.0

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self.clock = clock
        self._timers = Timers(clock.offset_us)
        self.stir = self._timers.stir
        """Something happened that is not a pulse, by its source or somebody outside: the next beat of pulses counts."""
        self._real_timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._real_number = 0
        self._clock_resolution = 1e-6
        self._jumps: deque[tuple[float, float]] = deque(maxlen=_JUMPS_KEPT)

    # ---- time

    def time(self) -> float:
        clock = self.clock
        return (clock.us + clock.offset_us) / 1_000_000

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            self._check_closed()
        handle = bare(Ready)
        handle._callback = callback
        handle._args = args
        handle._context = copy_context() if context is None else context
        handle._cancelled = False
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = self.call_soon(callback, *args, context=context)
        ident = get_ident()
        if ident != self._thread_id and ident not in strands:
            self._write_to_self()
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if delay is None:
            raise TypeError("delay must not be None")
        if self._closed:
            self._check_closed()
        try:
            us = round(delay * 1_000_000)
        except OverflowError:
            us = NEVER_US if delay > 0 else 0
        if us <= 0:
            us = 1 if delay > 0 else 0  # a delay always ends later, or a loop of tiny delays would stop the clock
        if real_io.get():
            return self._real_timer(us, callback, args, context)
        timer: Timer = bare(Minor if background.get() else Timer)
        self._timers.set(self.clock.us + us, timer, callback, args, context)
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if when is None:
            raise TypeError("when cannot be None")
        if self._closed:
            self._check_closed()
        clock = self.clock
        try:
            us = max(round(when * 1_000_000) - clock.offset_us, clock.us)
        except OverflowError:
            us = NEVER_US + 1 if when > 0 else clock.us
        if real_io.get():
            return self._real_timer(us - clock.us, callback, args, context)
        timer: Timer = bare(Minor if background.get() else Timer)
        self._timers.set(us, timer, callback, args, context)
        return timer

    @property
    def has_work_to_come(self) -> bool:
        """Whether a foreground timer is left: somebody sleeps who is neither a heartbeat nor the janitor."""
        return self._timers.foreground > 0

    def next_timer(self, foreground_only: bool = False) -> int | None:
        """The next deadline in microseconds since the epoch, or None where no timer is left."""
        return self._timers.next_us(foreground_only)

    def jump(self, us: int) -> None:
        """Moves the clock by so many microseconds without firing anything.

        What was passed fires when the loop is driven next: each timer once, in the order of its moment.
        """
        self._timers.unfold(self.clock.us)
        self._timers.stir(None)
        self._timers.unpark(self.clock.us, idle_too=True)  # so that what was passed fires once, parked or not
        self.clock.move_to(self.clock.us + us)
        self._jumps.append((self.time(), us / 1_000_000))

    hold = jump
    """What `time.sleep` does in the loop's own thread: the world is held that long, and everything else is late."""

    def jumped_since(self, reading_s: float, longest_s: float) -> bool:
        """Whether the clock has jumped by more than `longest_s` since `time()` read `reading_s`."""
        return any(ended_s > reading_s and length_s > longest_s for ended_s, length_s in self._jumps)

    # ---- pulses

    async def pulse(
        self,
        key: Hashable,
        seconds: float,
        *,
        keeps_fresh: bool = True,
        owner: object = None,
        is_idle: Callable[[], bool] | None = None,
    ) -> None:
        """Waits for the next point of the key's grid; points that change nothing are skipped (`simulation.timers`)."""
        period_us = max(round(seconds * 1_000_000), 1)
        now_us = self.clock.us
        grid = self._timers.grid(key, period_us, now_us)
        waiter: asyncio.Future[None] = self.create_future()
        due_us = grid.after(now_us)
        timer = bare(Pulse)
        timer.grid = grid
        timer.keeps_fresh = keeps_fresh
        timer.owner = owner
        timer.is_idle = is_idle
        self._timers.set(due_us, timer, release, (waiter,), None)
        try:
            await waiter
        finally:
            timer.cancel()

    def forget(self, key: Hashable) -> None:
        """Ends a key's grid: its next pulse starts a new one."""
        self._timers.forget(key)

    @property
    def fold(self) -> bool:
        return self._timers.fold

    @fold.setter
    def fold(self, fold: bool) -> None:
        self._timers.fold = fold

    # ---- a real store

    @contextmanager
    def real_io(self) -> Iterator[None]:
        """Within, sockets, real threads and real seconds are allowed: for the simulation's own engine."""
        token = real_io.set(True)
        try:
            yield
        finally:
            real_io.reset(token)

    def _real_timer(
        self, us: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        deadline = originals.monotonic() + us / 1_000_000
        timer = asyncio.TimerHandle(deadline, callback, args, self, context)
        self._real_number += 1
        heappush(self._real_timers, (deadline, self._real_number, timer))
        return timer

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
