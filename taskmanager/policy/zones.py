"""The wall clocks of the world: what a zone's clock shows at an instant, and where it jumps.

A zone's clock is a sum: wall = instant + offset, all three in whole seconds (wall seconds count from 1970-01-01 00:00
on that wall). Between two changes of the offset it runs evenly, so a zone is a row of *spans*, and nobody who asks
has to think about gaps and overlaps more than once a span. `fold` is not used anywhere: comparing aware datetimes of
one zone ignores it, and integers have no such trap.

`high` is the key to both kinds of jump: one more than the highest reading the wall has shown before the span began.
At a gap the span begins above it (the readings between were never shown), at an overlap below it (they were shown
before). It is found by looking back three days, because no clock has been set back by more than one (Alaska, in
1867).

zoneinfo says what the offset is, not where it changes, so changes are searched for: a sample a day, then by halves.
Two changes of one zone have never come closer than three days (Freetown, in 1939); a test holds that against the data.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from taskmanager.errors import UsageError

__all__ = ["DAY", "Span", "span_at", "zone_named"]

DAY = 86_400
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)  # naive: what stands in it is UTC, by arithmetic alone
_BLOCK = 400 * DAY
_LOOK_BACK = 3 * DAY
# A datetime ends with the year 9999 on every wall, so the offset is asked no nearer to either end than two days.
_FIRST = (datetime(1, 1, 3) - _EPOCH) // _SECOND
_LAST = (datetime(9999, 12, 30) - _EPOCH) // _SECOND

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,3}", re.ASCII)
_NOT_ZONES = ("posix", "right", "posixrules", "localtime")
"""Files that lie beside the zones: copies, zones that count leap seconds, and what differs between machines."""


class Span(NamedTuple):
    """Instants from `start` up to but excluding `end`, at which wall = instant + `offset`. All in seconds.

    `high` is one more than the highest wall reading before `start`.
    """

    start: int
    end: int
    offset: int
    high: int


def zone_named(name: object) -> ZoneInfo:
    """The zone of an IANA name. Raises `UsageError` naming the `timezone` for anything else, paths above all.

    A name must be spelt as IANA spells it, on file systems too where another case would find the file.
    """
    if isinstance(name, str) and len(name) <= 100 and _NAME.fullmatch(name) and name.split("/")[0] not in _NOT_ZONES:
        spelt = _spellings().get(name.casefold(), name)
        if spelt != name:
            raise UsageError(f"timezone must be the IANA name of a time zone, got {name!r}; write {spelt!r}")
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # no such file, no zone in it, a directory
            pass
    raise UsageError(f"timezone must be the IANA name of a time zone, such as 'Europe/Paris' or 'UTC'; got {name!r}")


def span_at(zone: ZoneInfo, instant: int) -> Span:
    """The span that an instant lies in. A long one may come in pieces: then `high` is where it would be within it."""
    spans = _spans(zone, instant // _BLOCK)
    if len(spans) == 1:
        return spans[0]
    return next(span for span in spans if instant < span.end)


@functools.lru_cache(maxsize=4096)
def _spans(zone: ZoneInfo, block: int) -> tuple[Span, ...]:
    """The spans of one block of 400 days, cut at its borders."""
    start, end = block * _BLOCK, (block + 1) * _BLOCK
    at, offset = start - _LOOK_BACK, _offset(zone, start - _LOOK_BACK)
    high = at + offset
    spans = []
    for change, later in (*_changes(zone, at, end - 1), (end, 0)):
        if change > start:
            begin = max(at, start)
            spans.append(Span(begin, change, offset, high if at == begin else max(high, begin + offset)))
        high = max(high, change + offset)
        at, offset = change, later
    return tuple(spans)


def _changes(zone: ZoneInfo, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Each instant in (start, end] at which the offset becomes another, and that other."""
    at, offset = start, _offset(zone, start)
    while at < end:
        later = min(at + DAY, end)
        if _offset(zone, later) == offset:
            at = later
            continue
        while later - at > 1:
            middle = (at + later) // 2
            at, later = (middle, later) if _offset(zone, middle) == offset else (at, middle)
        at, offset = later, _offset(zone, later)
        yield at, offset


def _offset(zone: ZoneInfo, instant: int) -> int:
    utc = (_EPOCH + min(max(instant, _FIRST), _LAST) * _SECOND).replace(tzinfo=zone)
    return (zone.fromutc(utc) - utc) // _SECOND  # within one zone, subtraction is of what the walls show


@functools.cache
def _spellings() -> dict[str, str]:
    names = importlib.resources.files("tzdata").joinpath("zones").read_text("ascii").split()
    return {name.casefold(): name for name in names}
