"""What is given to a simulation as a moment or as a length of time."""

from __future__ import annotations

from datetime import datetime, timedelta

from simulation.clocks import frozen_start
from taskmanager.clock import LATEST_MS, duration_ms, moment_ms
from taskmanager.errors import UsageError

__all__ = ["DEFAULT_START", "moment_after", "start_us"]

DEFAULT_START = "2026-03-01T00:00Z"
"""Where a simulation starts that is not told otherwise (and is not frozen by freezegun).

A month from there crosses the night of 29 March 2026, in which Europe's clocks go forward.
"""


def start_us(start: datetime | str | None) -> int:
    """Where a simulation starts, in microseconds since the epoch; `UsageError` for what is no moment."""
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


def moment_after(us: int, duration: timedelta | float | None, parts: dict[str, float]) -> int:
    """The moment (microseconds since the epoch) so long after another; `UsageError` where it is after the year 9999."""
    span = length(duration, parts)
    ends_us = us + duration_ms(span, "duration") * 1000
    if ends_us > LATEST_MS * 1000:
        raise UsageError(f"duration must end before the year 10000, got {span!r}")
    return ends_us


def length(duration: timedelta | float | None, parts: dict[str, float]) -> timedelta | float:
    """A duration given whole or in its parts; `UsageError` for both, and for parts that no timedelta has."""
    if duration is not None and parts:
        raise UsageError(f"give a duration or its parts, not both; got {duration!r} and {parts!r}")
    if duration is not None:
        return duration
    if not parts:
        raise UsageError("a duration is missing: give seconds, a timedelta, or its parts (days=2, hours=1)")
    try:
        return timedelta(**parts)
    except (TypeError, OverflowError) as error:
        raise UsageError(f"the parts of a duration are those of timedelta (days, hours, ...): {error}") from None
