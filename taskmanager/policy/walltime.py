"""Which readings of a wall clock a pattern matches, as if no clock ever jumped.

A reading is an integer: seconds since 1970-01-01 00:00 as the wall shows it. No zone, no daylight saving and no instant
is known here. Two questions are answered, and neither by walking: the first match from a reading on, and how many there
are between two. Days go by the month, of which there are only as many kinds as there are months, first weekdays and
lengths; the matches of a day are the product of three sorted rows.
"""

from __future__ import annotations

import calendar
import functools
from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import MAXYEAR, date

from taskmanager.policy.dialect import Fields

__all__ = ["WallPattern"]

_DAY = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_DAY = date.min.toordinal() - _EPOCH_DAY
_LAST_DAY = date.max.toordinal() - _EPOCH_DAY
_month = functools.lru_cache(maxsize=1024)(calendar.monthrange)
_LENGTHS = {2: (28, 29), 4: (30,), 6: (30,), 9: (30,), 11: (30,)}


@dataclass(frozen=True, slots=True)
class WallPattern:
    """The matches of a pattern's fields over wall seconds, up to the end of the year 9999."""

    fields: Fields
    is_daily: bool = field(repr=False, compare=False)
    months: dict[tuple[int, int, int], tuple[int, ...]] = field(repr=False, compare=False)
    first_time: int = field(repr=False, compare=False)
    times: int = field(repr=False, compare=False)

    @staticmethod
    def of(fields: Fields) -> WallPattern:
        months = {
            (month, first_weekday, length): _days(fields, first_weekday, length) if month in fields.months else ()
            for month in range(1, 13)
            for first_weekday in range(7)
            for length in _LENGTHS.get(month, (31,))
        }
        return WallPattern(
            fields=fields,
            is_daily=all(len(days) == length for (_, _, length), days in months.items()),
            months=months,
            first_time=fields.hours[0] * 3600 + fields.minutes[0] * 60 + fields.seconds[0],
            times=len(fields.hours) * len(fields.minutes) * len(fields.seconds),
        )

    @property
    def comes(self) -> bool:
        """Whether there is any match at all: the 31st of February never comes."""
        return any(self.months.values())

    def first_from(self, wall: int) -> int | None:
        """The first match at `wall` or later, None where the year 9999 ends before it."""
        number, second = divmod(max(wall, _FIRST_DAY * _DAY), _DAY)
        if number > _LAST_DAY:
            return None
        if self.is_daily or self._matches_day(date.fromordinal(number + _EPOCH_DAY)):
            time = self._time_from(second)
            if time is not None:
                return number * _DAY + time
        next_day = self._day_after(date.fromordinal(number + _EPOCH_DAY))
        return None if next_day is None else next_day * _DAY + self.first_time

    def count(self, start: int, end: int) -> int:
        """How many matches there are from `start` up to but excluding `end`."""
        if start >= end:
            return 0
        first, first_second = divmod(start, _DAY)
        last, last_second = divmod(min(end, (_LAST_DAY + 1) * _DAY), _DAY)
        return (
            self._count_days(first, last) * self.times
            - self._matches_number(first) * self._times_before(first_second)
            + self._matches_number(last) * self._times_before(last_second)
        )

    def _days_of(self, year: int, month: int) -> tuple[int, ...]:
        first_weekday, length = _month(year, month)
        return self.months[month, (first_weekday + 1) % 7, length]

    def _matches_day(self, day: date) -> bool:
        return day.day in self._days_of(day.year, day.month)

    def _matches_number(self, number: int) -> bool:
        return _FIRST_DAY <= number <= _LAST_DAY and self._matches_day(date.fromordinal(number + _EPOCH_DAY))

    def _day_after(self, day: date) -> int | None:
        year, month, after = day.year, day.month, day.day
        while year <= MAXYEAR:
            days = self._days_of(year, month)
            if days and days[-1] > after:
                return date(year, month, days[bisect_left(days, after + 1)]).toordinal() - _EPOCH_DAY
            year, month, after = (year, month + 1, 0) if month < 12 else (year + 1, 1, 0)
        return None

    def _count_days(self, first: int, last: int) -> int:
        """Matching days from `first` up to but excluding `last`, both counted from the epoch."""
        count, number = 0, max(first, _FIRST_DAY)
        while number < last:
            day = date.fromordinal(number + _EPOCH_DAY)
            days = self._days_of(day.year, day.month)
            next_month = number - day.day + 1 + _month(day.year, day.month)[1]
            beyond = day.day + min(next_month, last) - number
            count += bisect_left(days, beyond) - bisect_left(days, day.day)
            number = next_month
        return count

    def _time_from(self, second: int) -> int | None:
        """The first match of a day at that second of it or later."""
        hours, minutes, seconds = self.fields.hours, self.fields.minutes, self.fields.seconds
        hour, rest = divmod(second, 3600)
        minute, rest = divmod(rest, 60)
        if hour in hours:
            if minute in minutes and rest <= seconds[-1]:
                return second - rest + seconds[bisect_left(seconds, rest)]
            if minute < minutes[-1]:
                return hour * 3600 + minutes[bisect_left(minutes, minute + 1)] * 60 + seconds[0]
        if hour < hours[-1]:
            return hours[bisect_left(hours, hour + 1)] * 3600 + minutes[0] * 60 + seconds[0]
        return None

    def _times_before(self, second: int) -> int:
        """How many matches of a day lie before that second of it."""
        hours, minutes, seconds = self.fields.hours, self.fields.minutes, self.fields.seconds
        hour, rest = divmod(second, 3600)
        minute, rest = divmod(rest, 60)
        count = bisect_left(hours, hour) * len(minutes) * len(seconds)
        if hour in hours:
            count += bisect_left(minutes, minute) * len(seconds)
            if minute in minutes:
                count += bisect_left(seconds, rest)
        return count


def _days(fields: Fields, first_weekday: int, length: int) -> tuple[int, ...]:
    """The matching days of a month of that length whose first day is that weekday (0 is Sunday)."""
    either = any if not fields.both_days else all
    return tuple(
        day
        for day in range(1, length + 1)
        if either(
            (
                day in fields.days or (fields.last_day and day == length),
                (first_weekday + day - 1) % 7 in fields.weekdays,
            )
        )
    )
