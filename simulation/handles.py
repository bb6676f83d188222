"""What a virtual loop keeps instead of asyncio's handles: the same to their users, and as light as can be.

Two handles are made for each sleep, so they are made bare and filled in where they are made: a constructor's call would
cost as much again.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.timers import Timers

__all__ = ["Grid", "Minor", "Pulse", "Ready", "Timer", "bare", "release"]

bare = object.__new__
"""Makes a handle without calling its constructor."""


class Plain:
    """What a handle's repr asks a loop (from 3.13 on): whether it is in debug mode."""

    def get_debug(self) -> bool:
        return False


PLAIN: Any = Plain()


class Ready(asyncio.Handle):
    """A callback whose turn has come. As light as can be: two handles are made for each sleep."""

    __slots__ = ()
    _loop = PLAIN
    _repr = None
    _source_traceback = None

    _callback: Any
    _args: Any
    _context: Context

    def __init__(self) -> None:
        """Made bare, and filled in by the loop's `call_soon`: a constructor's call would cost as much again."""

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = None  # as asyncio does: break cycles early


class Timer(asyncio.TimerHandle):
    """A callback with a deadline, `us` in microseconds since the epoch. Made bare, as `Ready` is."""

    __slots__ = ("timers", "us")
    _loop = PLAIN
    _repr = None
    _source_traceback = None
    _callback: Any
    _args: Any
    _context: Context
    _scheduled: bool
    us: int
    timers: Timers

    def __init__(self) -> None:
        """Filled in by `Timers.set`."""

    def when(self) -> float:
        return (self.us + self.timers.offset_us) / 1_000_000

    _when = property(when)  # what asyncio's own comparisons and repr read

    def cancel(self) -> None:
        if self._cancelled:
            return
        self._cancelled = True
        self._callback = self._args = None
        if self._scheduled:
            self.timers.bury(self)

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Minor(Timer):
    """A background timer."""

    __slots__ = ()


class Pulse(Minor):
    """A timer on a grid. `keeps_fresh` says that its last beat before anything happens must not be left out.

    `owner`, where there is one, is who needs no telling of its own calls: the pulse looks for what others have done.
    `is_idle`, where there is one, says that a beat now would find nothing to do.
    """

    __slots__ = ("grid", "is_idle", "keeps_fresh", "owner")
    grid: Grid
    keeps_fresh: bool
    owner: object
    is_idle: Callable[[], bool] | None


@dataclass(slots=True, eq=False)
class Grid:
    """Where a pulse fires: `anchor_us` plus whole periods. `seen` is what had stirred when it last fired."""

    anchor_us: int
    period_us: int
    seen: tuple[bool, int] | None = None

    def after(self, us: int) -> int:
        """The first point after a moment."""
        return us + self.period_us - (us - self.anchor_us) % self.period_us


def release(waiter: Future[None]) -> None:
    """What a pulse does when it fires."""
    if not waiter.done():
        waiter.set_result(None)
