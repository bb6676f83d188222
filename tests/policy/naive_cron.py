"""The oracle of the cron tests: SPEC's sentences, obeyed word by word and as slowly as they read.

It shares nothing with what it judges. The fields are expanded by hand, the clock is read from zoneinfo at every step,
and every matching reading that was shown is remembered. It walks instants, so its windows must be short.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_NAMES: tuple[str, ...] = ("jan feb mar apr may jun jul aug sep oct nov dec", "sun mon tue wed thu fri sat")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LEAD_IN = 26 * 3600
"""Walked before the window: the longest overlap there has been took a day."""


def wall(instant: int, zone: ZoneInfo) -> datetime:
    """What the zone's clock shows at an instant in seconds since the epoch."""
    return (_EPOCH + timedelta(seconds=instant)).astimezone(zone).replace(tzinfo=None)


def expand(column: str, position: int) -> set[int]:
    low, high = _BOUNDS[position]
    names = {name: number for number, name in enumerate(_NAMES[0].split(), 1)} if position == 4 else {}
    names |= {name: number for number, name in enumerate(_NAMES[1].split())} if position == 5 else {}

    def number(word: str) -> int:
        return names[word] if word in names else int(word)

    found = set()
    for term in column.lower().split(","):
        if term == "l":
            continue
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found |= set(range(number(first), number(last or first) + 1, int(step or 1)))
    return {number % 7 for number in found} if position == 5 else found


def matcher(pattern: str) -> tuple[Callable[[datetime], bool], bool]:
    """Whether a reading matches the pattern, and whether the pattern runs by real time."""
    columns = pattern.split()
    columns = columns if len(columns) == 6 else ["0", *columns]
    seconds, minutes, hours, days, months, weekdays = (expand(column, at) for at, column in enumerate(columns))
    last_day = "l" in columns[3].lower().split(",")
    both = columns[3].startswith("*") or columns[5].startswith("*")

    def matches(shown: datetime) -> bool:
        if shown.second not in seconds or shown.minute not in minutes or shown.hour not in hours:
            return False
        if shown.month not in months:
            return False
        day = shown.day in days or (last_day and (shown + timedelta(days=1)).day == 1)
        weekday = shown.isoweekday() % 7 in weekdays
        return (day and weekday) if both else (day or weekday)

    return matches, columns[1].startswith("*") or columns[2].startswith("*")


def occurrences(pattern: str, timezone: str, start: int, end: int, step: int, lead_in: int = LEAD_IN) -> list[int]:
    """The occurrences in [start, end), in seconds. `step`, 1 or 60, must divide the offsets."""
    zone = ZoneInfo(timezone)
    matches, by_real_time = matcher(pattern)
    found, shown = [], set()
    tick = timedelta(seconds=step)
    before = None
    remembered = 0 if by_real_time else lead_in
    for instant in range(start - remembered, end, step):
        now = wall(instant, zone)
        matched = matches(now)
        runs = matched and (by_real_time or now not in shown)
        if not by_real_time and before is not None:
            left_out = before + tick
            while left_out < now:
                runs = runs or (matches(left_out) and left_out not in shown)
                left_out += tick
        if matched:
            shown.add(now)
        before = now
        if runs and instant >= start:
            found.append(instant)
    return found
