"""The timers of a virtual loop, in one total order.

A timer is due at a whole microsecond, and equal deadlines go in the order in which they were set: asyncio's own heap
keeps no order among equals, and a float deadline drifts. Integers neither drift nor round, however long the simulation
(with a float clock and a resolution of 1e-9 a loop hangs after about 97 days: cpython #116342).

Cancelled timers stay in the heap until they surface or until they are more than half of it.

*Pulses.* A heartbeat or an idle poll repeats something that changes nothing while nothing else happens. A pulse has a
key, and the key has a grid: the moment it was first set plus whole periods; setting it again waits for the next point
of the grid. Pulses are *folded*:

1. Whatever is not a pulse stirs the world: each ordinary timer that fires, each engine call that is not a beat, a jump.
2. A pulse that has fired since the world was last stirred is foldable. One that has not, is not: so the first point of
   its grid after anything happened always fires.
3. When the clock is about to move, let the horizon be the next ordinary timer, or just past the limit of the drive
   where that is sooner. A foldable pulse skips the points of its grid before the horizon, except the last one. So what
   a beat keeps fresh is fresh when the next thing happens, and 47 idle hours cost one beat.
4. If the world is stirred before that last point (by what another pulse found), folded pulses go back to the first
   point of their grid after now.
5. Where there is no horizon at all, foldable pulses do not fire: nothing can come of it.

Hence a rule for whoever uses a pulse: what comes due by the mere passing of time (a lease that runs out, a delay that
ends) needs a timer of its own. And a pulse that comes later than its period was folded or passed by a jump: a reader of
other workers' beats must let them beat first, as after any sleep of the machine.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any

from taskmanager.clock import LATEST_MS

__all__ = ["NEVER_US", "Grid", "Ready", "Timer", "Timers"]

NEVER_US = LATEST_MS * 1000
"""A deadline beyond the year 9999 never comes."""
_FEW = 64


class Ready(asyncio.Handle):
    """A callback whose turn has come. As light as can be: two of these are made for each sleep."""

    __slots__ = ()
    _repr = None
    _source_traceback = None

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]  # as asyncio does: break cycles early


class Timer(asyncio.TimerHandle):
    """A callback with a deadline. `grid` is set for a pulse; `counted` says that it is foreground and still to come."""

    __slots__ = ("counted", "grid", "timers")
    _repr = None
    _source_traceback = None

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: Context | None,
        timers: Timers,
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._scheduled = False
        self.counted = False
        self.grid: Grid | None = None
        self.timers = timers

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        self._callback = self._args = None  # type: ignore[assignment]
        if self._scheduled:
            self.timers.bury(self)

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@dataclass(slots=True, eq=False)
class Grid:
    """Where a pulse fires: `anchor_us` plus whole periods. `seen` is the world's stir count when it last fired."""

    anchor_us: int
    period_us: int
    seen: int | None = None

    def after(self, us: int) -> int:
        """The first point after a moment."""
        return us + self.period_us - (us - self.anchor_us) % self.period_us


Entry = tuple[int, int, Timer]


@dataclass(slots=True, eq=False)
class Timers:
    """A heap of (deadline in microseconds, number, timer)."""

    heap: list[Entry] = field(default_factory=list)
    foreground: int = 0
    stirs: int = 0
    fold: bool = True
    _dead: int = 0
    _number: int = 0
    _grids: dict[Hashable, Grid] = field(default_factory=dict)
    _ahead: list[Entry] = field(default_factory=list)
    _ahead_stirs: int = 0

    def push(self, us: int, timer: Timer, counted: bool) -> None:
        """A timer whose deadline never comes is not kept."""
        if us > NEVER_US:
            return
        self._number = number = self._number + 1
        timer._scheduled = True
        if counted:
            timer.counted = True
            self.foreground += 1
        heappush(self.heap, (us, number, timer))

    def bury(self, timer: Timer) -> None:
        """A timer in the heap was cancelled."""
        timer._scheduled = False
        self._dead += 1
        if timer.counted:
            timer.counted = False
            self.foreground -= 1
        if self._dead > _FEW and self._dead * 2 > len(self.heap):
            self.heap[:] = [entry for entry in self.heap if entry[2]._scheduled]
            heapify(self.heap)
            self._dead = 0

    def top_us(self) -> int | None:
        """The next deadline, folded or not; None where no timer is left."""
        heap = self.heap
        while heap:
            if heap[0][2]._scheduled:
                return heap[0][0]
            heappop(heap)
            self._dead -= 1
        return None

    def next_us(self, foreground_only: bool) -> int | None:
        """The next deadline of all timers, or of the foreground ones."""
        if not foreground_only:
            return self.top_us()
        return min((us for us, _, timer in self.heap if timer._scheduled and timer.counted), default=None)

    def pop_due(self, now_us: int, ready: Callable[[asyncio.Handle], None]) -> bool:
        """Makes ready what is due, in order; says whether anything was."""
        heap, fired, stirred = self.heap, False, False
        while heap and heap[0][0] <= now_us:
            timer = heappop(heap)[2]
            if not timer._scheduled:
                self._dead -= 1
                continue
            timer._scheduled = False
            if timer.counted:
                timer.counted = False
                self.foreground -= 1
            if timer.grid is not None:
                timer.grid.seen = self.stirs
            else:
                stirred = True
            ready(timer)
            fired = True
        if stirred:
            self.stirs += 1
        return fired

    # ---- pulses

    def grid(self, key: Hashable, period_us: int, now_us: int) -> Grid:
        """The grid of a key; another period starts another one, now."""
        grid = self._grids.get(key)
        if grid is None or grid.period_us != period_us:
            grid = self._grids[key] = Grid(now_us, period_us)
        return grid

    def forget(self, key: Hashable) -> None:
        """The key's next pulse starts a grid of its own."""
        self._grids.pop(key, None)

    def next_move(self, now_us: int, limit_us: int | None) -> int | None:
        """Where the clock goes next, pulses folded; None where nothing but foldable pulses is left and no limit."""
        if self._ahead and self._ahead_stirs != self.stirs:
            self.unfold(now_us)
        us = self.top_us()
        if us is None or self.heap[0][2].grid is None:
            return us
        pulses = self._take_pulses()
        horizon = self._horizon(pulses, limit_us)
        for us, number, timer in pulses:
            heappush(self.heap, self._folded(us, number, timer, horizon))
        return None if horizon is None else self.heap[0][0]

    def unfold(self, now_us: int) -> None:
        """Brings folded pulses back to the first point of their grid after now."""
        ahead = {id(timer) for _, _, timer in self._ahead if timer._scheduled}
        self._ahead.clear()
        if ahead:
            self.heap[:] = [
                (timer.grid.after(now_us), number, timer) if id(timer) in ahead and timer.grid else (us, number, timer)
                for us, number, timer in self.heap
            ]
            heapify(self.heap)

    def _take_pulses(self) -> list[Entry]:
        """The pulses before the next ordinary timer, taken out."""
        heap, pulses = self.heap, []
        while heap and (heap[0][2].grid is not None or not heap[0][2]._scheduled):
            entry = heappop(heap)
            if entry[2]._scheduled:
                pulses.append(entry)
            else:
                self._dead -= 1
        return pulses

    def _horizon(self, pulses: list[Entry], limit_us: int | None) -> int | None:
        bounds = [self.heap[0][0]] if self.heap else []
        if limit_us is not None:
            bounds.append(limit_us + 1)
        if bounds:
            return min(bounds)
        fresh = [us for us, _, timer in pulses if timer.grid is not None and timer.grid.seen != self.stirs]
        return max(fresh) + 1 if fresh else None

    def _folded(self, us: int, number: int, timer: Timer, horizon: int | None) -> Entry:
        grid = timer.grid
        if horizon is None or grid is None or not self.fold or grid.seen != self.stirs:
            return us, number, timer
        last = us + (horizon - 1 - us) // grid.period_us * grid.period_us
        if last <= us:
            return us, number, timer
        entry = last, number, timer
        self._ahead.append(entry)
        self._ahead_stirs = self.stirs
        return entry


def release(waiter: Future[None]) -> None:
    """What a pulse does when it fires."""
    if not waiter.done():
        waiter.set_result(None)
