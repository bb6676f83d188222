"""When a schedule runs: occurrences of a cron pattern on a zone's wall clock, and what catch-up makes of those missed.

All arithmetic is of instants, integer seconds in UTC; the wall clock is only looked at. Where it runs evenly an
occurrence is an instant at which the wall shows a match of the pattern, and nothing needs saying. Where it jumps
there are two kinds of pattern, as in Debian's cron(8):

* One whose minute or hour begins with `*` runs *by real time*: at every instant whose reading matches. Through an
  overlap it keeps its rhythm (`0 * * * *` runs in both hours called two), in a gap it misses what was never shown.
* Any other is *fixed*: each match runs once, **at the first instant at which the wall shows it or a later reading**.
  That one sentence is both rules. In a gap the first later reading is at its end, so all that falls into it runs there,
  as one occurrence, for an occurrence is its instant. In an overlap the first showing counts and the second does not.

Seconds take no part in choosing the kind. Within a span of even running (`zones.Span`) both kinds are rows of
matches, of which a fixed pattern leaves out those below `high`, so the next one is found, and any number counted,
without walking.

Beside the `Cron` there is `Once`, a date as a schedule of one occurrence, so that a date has a place that is kept, and
catch-up, like any schedule. Only tasks make one: the dialect, and so `repeat=`, does not know it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from taskmanager.clock import LATEST_MS, duration_ms, iso, moment_ms
from taskmanager.errors import UsageError
from taskmanager.policy import dialect
from taskmanager.policy.checks import check_names, check_whole
from taskmanager.policy.walltime import WallPattern
from taskmanager.policy.zones import Span, span_at, zone_named

__all__ = [
    *("CATCH_UP", "MOST", "OVERLAP"),
    *("Cron", "Decided", "Once", "Repeat", "RepeatOnce", "Timing", "catch_up", "timing_of"),
]

MOST = 1000
"""How many occurrences one advance of a schedule admits at most."""
_LATEST = LATEST_MS // 1000
_EARLIEST = -62_135_596_800  # the year 1: a datetime shows nothing before it


@dataclass(frozen=True, slots=True)
class Cron:
    """A pattern on the wall clock of a time zone. Two are equal when pattern and zone are spelt alike."""

    pattern: str
    timezone: str
    wall: WallPattern = field(repr=False, compare=False)
    zone: ZoneInfo = field(repr=False, compare=False)

    @staticmethod
    def parse(pattern: object, timezone: object = "UTC") -> Cron:
        """The cron of a pattern (see `policy.dialect`) and an IANA time zone; equal ones are parsed once.

        Raises `UsageError` naming `pattern` or `timezone`, also for a pattern that can never come.
        """
        if not isinstance(pattern, str):
            raise UsageError(f"pattern must be a text such as '0 9 * * 1-5', got {pattern!r}")
        if not isinstance(timezone, str):
            zone_named(timezone)  # which refuses it
        return _parsed(pattern, str(timezone))

    def next_after(self, ms: int) -> int | None:
        """The first occurrence strictly after a moment, both in ms since the epoch; None beyond the year 9999."""
        instant = self._first_from(ms // 1000 + 1)
        return None if instant is None else instant * 1000

    def occurrences(self, after_ms: int, until_ms: int) -> Iterator[int]:
        """The occurrences after one moment, up to and including another, in order, in ms since the epoch."""
        at = self.next_after(after_ms)
        while at is not None and at <= until_ms:
            yield at
            at = self.next_after(at)

    def count(self, after_ms: int, until_ms: int) -> int:
        """How many `occurrences` there are, without going through them."""
        return self._count(after_ms // 1000 + 1, until_ms // 1000 + 1)

    def newest(self, after_ms: int, until_ms: int, most: int) -> tuple[int, ...]:
        """The newest `most` of `occurrences`, oldest first; it looks only at these."""
        first, end = after_ms // 1000 + 1, until_ms // 1000 + 1
        if self._count(first, end) > most:
            first = self._start_of_newest(first, end, most)
        return tuple(self.occurrences((first - 1) * 1000, until_ms))

    def _start_of_newest(self, first: int, end: int, most: int) -> int:
        """The latest instant from which `most` occurrences are left before `end`; more than these lie after `first`."""
        width = 1
        while self._count(max(first, end - width), end) < most:
            width *= 2
        enough, scarce = max(first, end - width), end
        while scarce - enough > 1:
            middle = (enough + scarce) // 2
            enough, scarce = (middle, scarce) if self._count(middle, end) >= most else (enough, middle)
        return enough

    def _first_from(self, instant: int) -> int | None:
        instant = max(instant, _EARLIEST)
        while instant <= _LATEST:
            span = span_at(self.zone, instant)
            if instant == span.start and self._ends_a_gap(span):
                return instant
            reading = self.wall.first_from(self._lowest(span, instant))
            if reading is None:
                return None
            if reading - span.offset < span.end:
                return reading - span.offset if reading - span.offset <= _LATEST else None
            instant = span.end
        return None

    def _count(self, first: int, end: int) -> int:
        count, first, end = 0, max(first, _EARLIEST), min(end, _LATEST + 1)
        while first < end:
            span = span_at(self.zone, first)
            until = min(span.end, end)
            count += self.wall.count(self._lowest(span, first), until + span.offset)
            if first == span.start and self._ends_a_gap(span):
                count += not self.wall.count(first + span.offset, first + span.offset + 1)
            first = until
        return count

    def _lowest(self, span: Span, instant: int) -> int:
        """The lowest reading that may run in the span from that instant on."""
        reading = instant + span.offset
        return reading if self.wall.fields.by_real_time else max(reading, span.high)

    def _ends_a_gap(self, span: Span) -> bool:
        """Whether something fixed falls into the readings that were left out just before the span."""
        return not self.wall.fields.by_real_time and self.wall.count(span.high, span.start + span.offset) > 0


@functools.lru_cache(maxsize=4096)
def _parsed(pattern: str, timezone: str) -> Cron:
    zone = zone_named(timezone)
    wall = WallPattern.of(dialect.read(pattern))
    if not wall.comes:
        raise UsageError(f"pattern must name a day that comes, got {pattern!r}; none of its months has such a day")
    return Cron(pattern, zone.key, wall, zone)


@dataclass(frozen=True, slots=True)
class Once:
    """One occurrence: a moment in ms since the epoch. It answers what a `Cron` answers."""

    at: int

    @property
    def pattern(self) -> str:
        """How a store keeps it: `@at 2026-03-29T01:00:00Z`. Equal moments are spelt alike."""
        return f"{_AT}{iso(self.at)}"

    @staticmethod
    def parse(pattern: str) -> Once:
        """Of its `pattern`; `UsageError` for anything else."""
        try:
            match = _ONCE.fullmatch(pattern)
            return Once(moment_ms(datetime.fromisoformat(match[1] if match else ""), "pattern"))
        except ValueError:
            raise UsageError(f"pattern must be {_AT}2026-03-29T01:00:00Z or the like, got {pattern!r}") from None

    def next_after(self, ms: int) -> int | None:
        return self.at if self.at > ms else None

    def occurrences(self, after_ms: int, until_ms: int) -> Iterator[int]:
        yield from self.newest(after_ms, until_ms, MOST)

    def count(self, after_ms: int, until_ms: int) -> int:
        return len(self.newest(after_ms, until_ms, MOST))

    def newest(self, after_ms: int, until_ms: int, most: int) -> tuple[int, ...]:
        return (self.at,) if after_ms < self.at <= until_ms and most else ()


_AT = "@at "
_ONCE = re.compile(rf"{_AT}(\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{{3}})?Z)")
Timing = Cron | Once


def timing_of(pattern: str, timezone: str) -> Timing:
    """The timing that a stored schedule means. Raises `UsageError` for what none can."""
    return Once.parse(pattern) if pattern.startswith(_AT) else Cron.parse(pattern, timezone)


class Decided(NamedTuple):
    """What an advance of a schedule does, all in ms since the epoch.

    `due`: the occurrences to admit, oldest first, at most `MOST`. `place`: the newest occurrence decided. `next_at`:
    when to look again, `LATEST_MS` where no occurrence is left. `dropped`: how many were decided and are not in `due`.
    """

    due: tuple[int, ...]
    place: int
    next_at: int
    dropped: int


CATCH_UP: dict[str, Callable[[tuple[int, ...], int], tuple[int, ...]]] = {
    # mode: (the newest occurrences, the oldest moment that is not missed) -> those that run
    "latest": lambda newest, intact: newest[-1:],
    "all": lambda newest, intact: newest,
    "none": lambda newest, intact: tuple(at for at in newest if at >= intact),
}
"""What runs when occurrences were missed. The names are what `catch_up` of a schedule accepts."""
OVERLAP = ("allow", "skip")
"""What `overlap` of a schedule accepts."""


def catch_up(cron: Timing, place: int, now: int, mode: str, grace_ms: int) -> Decided:
    """Decides the occurrences after `place` up to `now`; one is missed when it is more than `grace_ms` old.

    None missed: each runs. Else `mode`, a name of `CATCH_UP`, says which. A clock that stepped back decides nothing and
    moves no place.
    """
    first = _next(cron, place)
    if first > now:
        return Decided((), place, first, 0)
    second = _next(cron, first)
    if second > now >= first >= now - grace_ms:
        return Decided((first,), first, second, 0)  # on time, as nearly always
    newest = cron.newest(place, now, MOST)
    oldest = next(cron.occurrences(place, now))
    intact = now - grace_ms
    due = newest if oldest >= intact else CATCH_UP[mode](newest, intact)
    return Decided(due, newest[-1], _next(cron, now), cron.count(place, now) - len(due))


@functools.lru_cache(maxsize=4096)  # the occurrence after this one is asked for again when it has come
def _next(cron: Timing, after_ms: int) -> int:
    at = cron.next_after(after_ms)
    return LATEST_MS if at is None else at


@dataclass(frozen=True, slots=True)
class Repeat:
    """A valid `repeat=`: a pattern, its zone, and what becomes of occurrences that were missed or meet a live one.

    Raises `UsageError` naming the part, what was seen, and what is accepted.
    """

    pattern: str
    timezone: str = "UTC"
    catch_up: str = "latest"
    misfire_grace_ms: int = 60_000
    immediate: bool = False
    overlap: str = "allow"

    def __post_init__(self) -> None:
        Cron.parse(self.pattern, self.timezone)
        _check_one_of(self.catch_up, "catch_up", tuple(CATCH_UP))
        check_whole(self.misfire_grace_ms, "misfire_grace_ms", 0, LATEST_MS)
        if not isinstance(self.immediate, bool):
            raise UsageError(f"immediate must be True or False, got {self.immediate!r}")
        _check_one_of(self.overlap, "overlap", OVERLAP)

    @staticmethod
    def of(value: object) -> Repeat:
        """A `Repeat` from itself, from a pattern alone, or from a mapping.

        The mapping needs `pattern` and takes `timezone`, `catch_up`, `misfire_grace` (seconds or a timedelta),
        `immediate` and `overlap`.
        """
        if isinstance(value, Repeat):
            return value
        if isinstance(value, str):
            return Repeat(value)
        if not isinstance(value, Mapping):
            raise UsageError(f"repeat must be a cron pattern or a mapping with a 'pattern', got {value!r}")
        check_names(value, "repeat", _NAMES)
        if "pattern" not in value:
            raise UsageError(f"repeat must have a 'pattern' such as '0 9 * * 1-5', got {dict(value)!r}")
        parts = dict(value)
        if "misfire_grace" in parts:
            parts["misfire_grace_ms"] = duration_ms(parts.pop("misfire_grace"), "misfire_grace")
        return Repeat(**parts)

    @property
    def cron(self) -> Cron:
        """The parsed pattern."""
        return Cron.parse(self.pattern, self.timezone)


class RepeatOnce(Repeat):
    """A `Repeat` whose pattern is a `Once`. There is no `repeat=` that says it; the floor of tasks makes it."""

    __slots__ = ()

    def __post_init__(self) -> None:
        Once.parse(self.pattern)


_NAMES = ("pattern", "timezone", "catch_up", "misfire_grace", "immediate", "overlap")


def _check_one_of(value: object, name: str, accepted: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in accepted:
        raise UsageError(f"{name} must be one of {', '.join(map(repr, accepted))}; got {value!r}")
