"""The cron dialect: what a pattern may say, and what it says.

The accepted language is that of Debian's cron (crontab(5)), plus a seconds field in front, plus `L`, the last day of
the month, plus `@minutely`. It is written down once, as the table `FIELDS` and one expression for a term; whatever
does not match is refused with the reading that is. croniter expands the terms, but it reads more than this dialect,
and some things otherwise than Debian: to it `5-5` is a whole cycle, and `1-7/2` a wrapped range. So the gate is ours,
and croniter is handed only terms on which the two agree.

Two facts of the *text* outlive the expansion. Day-of-month and day-of-week mean "either", unless one of them begins
with `*`: then a day must match both. And a pattern whose minute or hour begins with `*` runs by real time when clocks
change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from croniter import croniter  # type: ignore[import-untyped]  # croniter ships no types

from taskmanager.errors import UsageError

__all__ = ["ALIASES", "FIELDS", "Field", "Fields", "read"]


class Field(NamedTuple):
    """One column of a pattern: its name in messages, its lowest and highest number, and the names of its numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS = (
    Field("second", 0, 59),
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day-of-month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day-of-week", 0, 7, WEEKDAYS),
)
DAY_OF_MONTH, DAY_OF_WEEK = FIELDS[3], FIELDS[5]
SUNDAY = 7

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@minutely": "* * * * *",
}

REMEDIES = (
    # (what a refused term of another dialect looks like, what to write instead)
    (re.compile(r"\?"), "write * for any day"),
    (re.compile(r"#"), "the n-th weekday of a month cannot be said; test for it in the handler"),
    (re.compile(r"^[hr]($|\(|/)"), "choose the number yourself; there is no hashed or random one"),
    (re.compile(r"^(\d+w|w\d+|lw)$"), "the nearest working day cannot be said; test for it in the handler"),
    (re.compile(r"(^|\d|-)l(\d|-|/|$)"), "L stands alone or in a list, as a day-of-month"),
    (re.compile(r"^\w+/"), "a step follows * or a range: write 5-59/15 for 5/15"),
    (re.compile(r"^\w+-\w+"), "a range ascends within these bounds: write 22-23,0-5 for 22-5"),
)

_WORD = r"\d{1,4}|[a-z]{3}"
_TERM = re.compile(rf"(?:(?P<star>\*)|(?P<first>{_WORD})(?:-(?P<last>{_WORD}))?)(?:/(?P<step>\d{{1,4}}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fields:
    """A pattern's numbers, sorted; Sunday is 0. `last_day` is `L`.

    `both_days`: a day must match day-of-month and day-of-week, not one of them. `by_real_time`: the pattern follows
    the instants, not the wall clock, where clocks change.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    last_day: bool
    both_days: bool
    by_real_time: bool


def read(pattern: str) -> Fields:
    """What a pattern says. Raises `UsageError` naming the `pattern`, the term refused, and what is accepted."""
    text = pattern.strip(" \t").lower()
    columns = re.split(r"[ \t]+", ALIASES.get(text, text))
    if len(columns) == 5:
        columns.insert(0, "0")
    if len(columns) != len(FIELDS):
        raise UsageError(
            "pattern must be five fields (minute hour day-of-month month day-of-week), six with seconds first, "
            f"or one of {' '.join(ALIASES)}; got {pattern!r}"
        )
    plain = [_plain_column(column, field, pattern) for column, field in zip(columns, FIELDS, strict=True)]
    minutes, hours, days, months, weekdays, seconds = croniter.expand(" ".join(plain), second_at_beginning=True)[0]
    return Fields(
        seconds=_numbers(seconds, FIELDS[0]),
        minutes=_numbers(minutes, FIELDS[1]),
        hours=_numbers(hours, FIELDS[2]),
        days=_numbers(days, DAY_OF_MONTH),
        months=_numbers(months, FIELDS[4]),
        weekdays=_numbers(weekdays, DAY_OF_WEEK),
        last_day="l" in days,
        both_days=columns[3].startswith("*") or columns[5].startswith("*"),
        by_real_time=columns[1].startswith("*") or columns[2].startswith("*"),
    )


def _plain_column(column: str, field: Field, pattern: str) -> str:
    return ",".join(_plain_term(term, field, pattern) for term in column.split(","))


def _plain_term(term: str, field: Field, pattern: str) -> str:
    """The term in numbers, and in shapes that croniter reads as Debian does; refused where it is no term of `field`."""
    if term == "l" and field is DAY_OF_MONTH:
        return term
    bounds = _bounds(term, field)
    if bounds is None:
        raise UsageError(_refusal(term, field, pattern))
    first, last, step = bounds
    if term == "*":
        return term
    if last == SUNDAY and field is DAY_OF_WEEK:
        # croniter's week ends on Saturday: it would read a range up to the Sunday after it as a wrapped one, and its
        # older versions count seven numbers that have 0 and 7 among them as the whole week.
        return ",".join(dict.fromkeys(str(day % SUNDAY) for day in range(first, last + 1, step)))
    if term.startswith("*"):
        return term
    return str(first) if first == last else f"{first}-{last}/{step}"


def _bounds(term: str, field: Field) -> tuple[int, int, int] | None:
    """First, last and step of a term, None where the dialect does not have it."""
    match = _TERM.fullmatch(term)
    if match is None:
        return None
    step = int(match["step"] or 1)
    if match["star"]:
        first, last = field.low, field.high
    elif match["step"] and not match["last"]:
        return None  # Debian refuses `5/15`, others read it as `5` or as `5-59/15`
    else:
        first = _number(match["first"], field)
        last = _number(match["last"] or match["first"], field)
    return (first, last, step) if field.low <= first <= last <= field.high and step else None


def _number(word: str, field: Field) -> int:
    if word.isdigit():
        return int(word)
    return field.low + field.names.index(word) if word in field.names else -1


def _numbers(expanded: list[int | str], field: Field) -> tuple[int, ...]:
    if "*" in expanded:
        return tuple(range(field.low, field.high + (field is not DAY_OF_WEEK)))
    return tuple(sorted(number for number in expanded if isinstance(number, int)))


def _refusal(term: str, field: Field, pattern: str) -> str:
    names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
    last = ", L for the last day" if field is DAY_OF_MONTH else ""
    remedy = next((f"; {words}" for shape, words in REMEDIES if shape.search(term)), "")
    return (
        f"pattern must have as its {field.name} * or numbers {field.low}-{field.high}{names}{last}, "
        f"with lists (1,2), ascending ranges (1-5) and steps (*/2, 1-5/2); got {term!r} in {pattern!r}{remedy}"
    )
