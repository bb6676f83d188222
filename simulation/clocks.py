"""The clock of a simulation, and the takeover that makes a whole process live in it.

A `VirtualClock` is a number that its loop moves. A `Takeover`, while entered, makes everybody read that number:

* `time.time`, `datetime.now` and their kin, everywhere in the process, through time-machine (or through freezegun,
  where a test is frozen already). The local time zone is UTC meanwhile, as it is under freezegun: a timeline must not
  depend on where the machine stands.
* `time.monotonic` and `time.sleep` in the threads of the simulation; other threads keep the real ones, so a watchdog or
  a debugger goes on. asyncio's other loops keep the real ones too, or they would wait for ever.
* `random`, `os.urandom` and what draws from it (`simulation.randomness`).

`time.perf_counter` stays real. Leaving puts back every function that was there on entering, also when the body raises.
Takeovers nest, and one may be entered, left and entered again: its clock and its randomness go on where they were.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from simulation import frozen, patches
from simulation.frozen import frozen_start, thawed
from simulation.randomness import Randomness
from simulation.world import takeovers
from taskmanager.clock import datetime_of

if TYPE_CHECKING:
    from simulation.loop import VirtualLoop

with thawed():
    import time_machine

__all__ = ["MONOTONIC_START_US", "Takeover", "VirtualClock", "frozen_start"]

MONOTONIC_START_US = 1_000_000_000_000
"""What the monotonic clock shows when a simulation starts (in microseconds): a machine that has been up for 11 days.

Code that compares with an initial 0 (`if monotonic() - self.last > 60`) must take the branch it takes in production.
"""


class VirtualClock:
    """The time of a simulation, in microseconds since the epoch. It stands still unless moved, and never steps back."""

    def __init__(self, start_us: int) -> None:
        self.start_us = start_us
        self.us = start_us
        self.offset_us = MONOTONIC_START_US - start_us
        self.follower: Callable[[int], None] | None = None

    def now_us(self) -> int:
        return self.us

    @property
    def elapsed_us(self) -> int:
        """Microseconds since the start."""
        return self.us - self.start_us

    @property
    def monotonic_us(self) -> int:
        """What `time.monotonic` and `loop.time` show, in microseconds."""
        return self.us + self.offset_us

    def move_to(self, us: int) -> None:
        """Moves the clock on. Raises `ValueError` for a moment that is over."""
        if us < self.us:
            raise ValueError(f"the clock stands at {self.us} and cannot go back to {us}")
        self.us = us
        if self.follower is not None:
            self.follower(us)


class Takeover:
    """While entered, the process lives in the clock of `loop`, and its randomness comes from `seed`.

    `thread` is the thread that entered last; it and the loop's own threads are the simulation's.
    """

    def __init__(self, loop: VirtualLoop, seed: object = 0) -> None:
        self.loop = loop
        self.clock = loop.clock
        self.randomness = Randomness(seed)
        self.thread = 0
        self._depth = 0
        self._travel: Any = None
        self._traveller: Any = None
        self._shown_us = 0

    def __enter__(self) -> Takeover:
        self._depth += 1
        if self._depth == 1:
            self.thread = get_ident()
            self._hold_time()
            self.randomness.enter()
            takeovers.append(self)
            if len(takeovers) == 1:
                patches.apply()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            if len(takeovers) == 1:
                patches.undo()
            takeovers.remove(self)
            self.randomness.leave()
            self._let_go()

    @property
    def entered(self) -> bool:
        return self._depth > 0

    def _hold_time(self) -> None:
        freezer = frozen.innermost()
        if freezer is not None:
            frozen.move(freezer, self.clock.us)
            self.clock.follower = lambda us: frozen.move(freezer, us)
            return
        moment = datetime_of(0).astimezone(ZoneInfo("UTC")) + timedelta(microseconds=self.clock.us)
        self._travel = time_machine.travel(moment, tick=False)
        self._traveller = self._travel.start()
        self._shown_us = self.clock.us
        self.clock.follower = self._shift

    def _shift(self, us: int) -> None:
        self._traveller.shift(timedelta(0, 0, us - self._shown_us))
        self._shown_us = us

    def _let_go(self) -> None:
        self.clock.follower = None
        if self._travel is not None:
            self._travel.stop()
            self._travel = None
