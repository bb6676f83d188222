"""The timers of a virtual loop, in one total order.

A timer is due at a whole microsecond, and equal deadlines go in the order in which they were set: asyncio's own heap
keeps no order among equals, and a float deadline drifts. Integers neither drift nor round, however long the simulation
(with a float clock and a resolution of 1e-9 a loop hangs after about 97 days: cpython #116342).

Cancelled timers stay in the heap until they surface or until they are more than half of it.

*Pulses.* A heartbeat or an idle poll repeats something that changes nothing while nothing else happens. A pulse has a
key, and the key has a grid: the moment it was first set plus whole periods; setting it again waits for the next point
of the grid. Pulses are *folded*:

1. Whatever may matter to a pulse stirs the world: a foreground timer that fires, an engine call that changed something,
   a jump. A background timer does not by itself: what comes of it is an engine call.
2. A pulse that has fired since the world was last stirred is foldable. One that has not, is not: so the first point of
   its grid after anything happened always fires. For a pulse that keeps nothing fresh only calls count, and where it
   has an owner only those of others: it looks for what its owner cannot know.
3. When the clock is about to move, let the horizon be the next ordinary timer, or just past the limit of the drive
   where that is sooner. A foldable pulse skips the points of its grid before the horizon, except the last one if it
   keeps something fresh. So a lease is fresh when the next thing happens, and 47 idle hours cost one beat.
4. When the world is stirred (before that last point, by what another pulse found, or ever, for a pulse that keeps
   nothing fresh), folded pulses go back to the first point of their grid after now. So they do, to be folded again,
   when a nearer horizon was set meanwhile.
5. Where there is no horizon at all, foldable pulses do not fire: nothing can come of it.
6. A pulse whose owner says that it is idle when the clock is about to move is left out, whatever was stirred, until
   that changes; it is asked again when the world has been stirred. So a job that begins and ends at one instant costs
   no beat.

Hence a rule for whoever uses a pulse: what comes due by the mere passing of time (a lease that runs out, a delay that
ends) needs a timer of its own. And a pulse that comes later than its period was folded or passed by a jump: a reader of
other workers' beats must let them beat first, as after any sleep of the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any

from simulation.handles import Grid, Pulse, Timer
from taskmanager.clock import LATEST_MS

__all__ = ["NEVER_US", "Timers"]

NEVER_US = LATEST_MS * 1000
"""A deadline beyond the year 9999 never comes."""
_FEW = 64


Entry = tuple[int, int, Timer]
PulseEntry = tuple[int, int, Pulse]


@dataclass(slots=True, eq=False)
class Timers:
    """A heap of (deadline in microseconds, number, timer). `offset_us` turns a deadline into the loop's `time()`."""

    offset_us: int
    heap: list[Entry] = field(default_factory=list)
    ahead: list[PulseEntry] = field(default_factory=list)
    parked: list[PulseEntry] = field(default_factory=list)
    stirs: int = 0
    calls: int = 0
    calls_of: dict[object, int] = field(default_factory=dict)
    fold: bool = True
    number: Callable[[], int] = field(default_factory=lambda: count(1).__next__)
    _dead: int = 0
    _minor: int = 0
    _grids: dict[Hashable, Grid] = field(default_factory=dict)
    _ahead_stirs: int = 0
    _ahead_horizon: int = 0
    _parked_stirs: int = 0

    def set(
        self, us: int, timer: Timer, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> None:
        """Fills in a bare timer and puts it in its place. One whose deadline never comes is not kept."""
        timer.us = us
        timer.timers = self
        timer._callback = callback
        timer._args = args
        timer._context = copy_context() if context is None else context
        timer._cancelled = False
        if us > NEVER_US:
            timer._scheduled = False
            return
        timer._scheduled = True
        if type(timer) is not Timer:
            self._minor += 1
        heappush(self.heap, (us, self.number(), timer))

    @property
    def foreground(self) -> int:
        """How many timers are left that are neither background nor pulses."""
        return len(self.heap) - self._dead - self._minor

    def bury(self, timer: Timer) -> None:
        """A timer in the heap was cancelled."""
        timer._scheduled = False
        self._dead += 1
        if type(timer) is not Timer:
            self._minor -= 1
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
        foreground = (us for us, _, timer in self.heap if timer._scheduled and type(timer) is Timer)
        return min(foreground, default=None)

    def pop_due(self, now_us: int, ready: Callable[[asyncio.Handle], None]) -> None:
        """Makes ready what is due, in order."""
        heap, stirred = self.heap, False
        while heap and heap[0][0] <= now_us:
            timer = heappop(heap)[2]
            if not timer._scheduled:
                self._dead -= 1
                continue
            timer._scheduled = False
            if type(timer) is Timer:
                stirred = True
            else:
                self._minor -= 1
                if type(timer) is Pulse:
                    timer.grid.seen = self.news_for(timer)
            ready(timer)
        if stirred:
            self.stirs += 1

    # ---- pulses

    def stir(self, source: object = None) -> None:
        """A call of `source` (None: somebody outside) changed something, or the clock jumped."""
        self.stirs += 1
        self.calls += 1
        if source is not None:
            self.calls_of[source] = self.calls_of.get(source, 0) + 1

    def news_for(self, pulse: Pulse) -> tuple[bool, int]:
        """How much has happened that may matter to a pulse; whether it is foldable depends on the difference."""
        return pulse.keeps_fresh, self.stirs if pulse.keeps_fresh else self.calls - self.calls_of.get(pulse.owner, 0)

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
        heap = self.heap
        if self.parked and self._parked_stirs != self.stirs:
            self.unpark(now_us)
        if heap and not self.ahead:
            us, _, timer = heap[0]
            if timer._scheduled and type(timer) is not Pulse:
                return us
        elif self._ahead_stirs != self.stirs or self._is_horizon_nearer():
            self.unfold(now_us)
        top_us = self.top_us()
        if top_us is None or type(heap[0][2]) is not Pulse:
            return top_us
        pulses = self._park_idle(self._take_pulses())
        horizon = self._horizon(pulses, limit_us)
        for entry in pulses:
            if (folded := self._folded(entry, horizon)) is not None:
                heappush(heap, folded)
        return None if horizon is None or not heap else heap[0][0]

    def _is_horizon_nearer(self) -> bool:
        """Whether a pulse that changed nothing has set a timer before the one that others were folded for."""
        top_us = self.top_us()
        return top_us is not None and type(self.heap[0][2]) is not Pulse and top_us < self._ahead_horizon

    def unfold(self, now_us: int) -> None:
        """Brings folded pulses back to the first point of their grid after now."""
        ahead = {number: pulse for _, number, pulse in self.ahead if pulse._scheduled}
        self.ahead.clear()
        if not ahead:
            return
        for pulse in ahead.values():
            pulse.us = pulse.grid.after(now_us)
        self.heap[:] = [(timer.us, number, timer) for _, number, timer in self.heap]
        heapify(self.heap)

    def _take_pulses(self) -> list[PulseEntry]:
        """The pulses before the next ordinary timer, taken out."""
        heap = self.heap
        pulses: list[PulseEntry] = []
        while heap:
            us, number, timer = heap[0]
            if not timer._scheduled:
                self._dead -= 1
            elif isinstance(timer, Pulse):
                pulses.append((us, number, timer))
            else:
                break
            heappop(heap)
        return pulses

    def _horizon(self, pulses: list[PulseEntry], limit_us: int | None) -> int | None:
        bounds = [self.heap[0][0]] if self.heap else []
        if limit_us is not None:
            bounds.append(limit_us + 1)
        if bounds:
            return min(bounds)
        fresh = [us for us, _, pulse in pulses if pulse.grid.seen != self.news_for(pulse)]
        return max(fresh) + 1 if fresh else None

    def _park(self, entry: PulseEntry) -> None:
        """Keeps a pulse that was taken out of the heap until the world is stirred."""
        entry[2]._scheduled = False
        self._minor -= 1
        self.parked.append(entry)
        self._parked_stirs = self.stirs

    def _park_idle(self, pulses: list[PulseEntry]) -> list[PulseEntry]:
        """Parks those whose owners have nothing to do, and gives the others."""
        if not self.fold:
            return pulses
        busy: list[PulseEntry] = []
        for entry in pulses:
            if (is_idle := entry[2].is_idle) is not None and is_idle():
                self._park(entry)
            else:
                busy.append(entry)
        return busy

    def unpark(self, now_us: int, *, idle_too: bool = False) -> None:
        """Brings back the parked pulses to which something has happened, and whose owners have something to do."""
        parked, self.parked = self.parked, []
        self._parked_stirs = self.stirs
        for entry in parked:
            pulse = entry[2]
            if pulse._cancelled:
                continue
            if pulse.is_idle is None:
                stays = pulse.grid.seen == self.news_for(pulse)
            else:
                stays = not idle_too and pulse.is_idle()
            if stays:
                self.parked.append(entry)
                continue
            pulse.us = pulse.grid.after(now_us)
            pulse._scheduled = True
            self._minor += 1
            heappush(self.heap, (pulse.us, entry[1], pulse))

    def _folded(self, entry: PulseEntry, horizon: int | None) -> PulseEntry | None:
        """Where a pulse goes before the horizon; None where it is parked until the world is stirred."""
        us, number, pulse = entry
        grid = pulse.grid
        if horizon is None or not self.fold or grid.seen != self.news_for(pulse):
            return entry
        if not pulse.keeps_fresh:
            self._park(entry)
            return None
        last = us + (horizon - 1 - us) // grid.period_us * grid.period_us
        if last <= us:
            return entry
        pulse.us = last
        folded = last, number, pulse
        self.ahead.append(folded)
        self._ahead_stirs = self.stirs
        self._ahead_horizon = horizon
        return folded
