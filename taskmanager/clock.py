"""The border between the world's time and ours, and the only file that reads a clock.

Inside, time is an integer: milliseconds since the epoch, UTC, in whatever an engine stores (`_ms`); microseconds where
a clock is read (`_us`). A `datetime` exists only at the border and is always aware. What a user gives is rounded to the
microsecond and then *up* to the millisecond, what a clock says is rounded *down*, so nothing is ever early.

Two clocks matter. The engine's clock says when things are due; a worker's `monotonic` only measures how long things
took, so skew between machines changes nothing. Both are read through the `time` module at each call, which is what lets
a simulation move them.
"""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from taskmanager.errors import UsageError

__all__ = ["LATEST_MS", "Clock", "SystemClock", "datetime_of", "duration_ms", "iso", "later", "moment_ms", "monotonic"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WALL_EPOCH = datetime(1970, 1, 1)  # the same without a zone, whose text would only be cut off again
_MICROSECOND = timedelta(microseconds=1)
LATEST_MS = (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
"""The last moment that is accepted anywhere: the end of the year 9999, in milliseconds since the epoch."""


def later(now_ms: int, delay_ms: int) -> int:
    """`delay_ms` after a moment, or the last moment there is, where that would be beyond it."""
    return min(now_ms + delay_ms, LATEST_MS)


class Clock(Protocol):
    """Says what time it is, in microseconds since the epoch, UTC."""

    def now_us(self) -> int: ...


class SystemClock:
    """The machine's wall clock."""

    def now_us(self) -> int:
        return (datetime.now(UTC) - _EPOCH) // _MICROSECOND  # exact, also where freezegun counts time in floats


def monotonic() -> float:
    """Seconds on a clock that never steps; only differences mean anything."""
    return time.monotonic()


def datetime_of(ms: int) -> datetime:
    """The aware UTC datetime of a moment in milliseconds since the epoch."""
    return _EPOCH + timedelta(milliseconds=ms)


def iso(ms: int) -> str:
    """A moment as ISO 8601 in UTC: `2026-03-29T01:00:00Z`, with milliseconds only where there are any."""
    seconds, rest = divmod(ms, 1000)
    utc = _WALL_EPOCH + timedelta(0, seconds, rest * 1000)
    return (utc.isoformat(timespec="milliseconds") if rest else utc.isoformat()) + "Z"


def duration_ms(value: object, field: str) -> int:
    """A user's duration, a `timedelta` or a number of seconds, in milliseconds rounded up.

    Raises `UsageError` naming `field` where it is negative, not finite, of another type, or longer than time lasts.
    """
    if isinstance(value, timedelta):
        micros = value // _MICROSECOND
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UsageError(f"{field} must be a finite number of seconds, got {value!r}")
        micros = (
            value * 1_000_000 if isinstance(value, int) else round(value * 1_000_000) if abs(value) < 1e15 else 10**21
        )
    else:
        raise UsageError(f"{field} must be a timedelta or a number of seconds, got {value!r}")
    if micros < 0:
        raise UsageError(f"{field} must not be negative, got {value!r}")
    ms = -(-micros // 1000)
    if ms > LATEST_MS:
        raise UsageError(f"{field} must end before the year 10000, got {value!r}")
    return ms


def moment_ms(value: object, field: str) -> int:
    """A user's moment, an aware `datetime`, in milliseconds since the epoch rounded up.

    Raises `UsageError` naming `field` for a naive datetime, another type, or a moment after the year 9999.
    """
    if not isinstance(value, datetime):
        raise UsageError(f"{field} must be an aware datetime, got {value!r}")
    if value.utcoffset() is None:
        raise UsageError(
            f"{field} must be an aware datetime, got the naive {value.isoformat()!r}; add a tzinfo, e.g. datetime.UTC"
        )
    ms = -(-((value - _EPOCH) // _MICROSECOND) // 1000)
    if ms > LATEST_MS:
        raise UsageError(f"{field} must not be after the year 9999, got {value.isoformat()!r}")
    return ms
