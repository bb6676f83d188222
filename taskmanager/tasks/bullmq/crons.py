"""One cron pattern, read alike by BullMQ's two libraries and by us.

The job of one occurrence adds the next when a worker takes it up, so whoever takes it says when the next one is: a Node
worker by cron-parser, ours by `policy.cron`. (bullmq for Python would ask croniter 2.0.7, which around a change of the
clocks names wrong hours, some moments twice, and in some zones the same moment for ever: `59 23 * * *` in Santiago on
2026-04-04. BullMQ lets a worker bring its own strategy, so ours does.)

The pattern that is stored is spelt so that both say the same: no alias, no number twice in a field (cron-parser refuses
`1-5,3`), weekdays from 0 to 6. What cannot be spelt so is refused: to BullMQ a day-of-month and a day-of-week both
given mean either, so a pattern of ours in which both must match has no spelling there.

What is left is where clocks change. cron-parser runs what is skipped an hour later (`30 2 * * *` at 03:30, ours at
03:00), leaves out a day whose midnight is skipped (Santiago, Cairo), and in a zone that changes by half an hour (Lord
Howe) it finds no next moment, and that schedule ends. These are Node's, and stay so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.policy.cron import Cron
from taskmanager.policy.dialect import ALIASES, DAY_OF_MONTH, DAY_OF_WEEK, FIELDS, SUNDAY, Field, read

__all__ = ["next_run", "stored_pattern"]

_STEPPED = re.compile(r"\*/\d+", re.ASCII)


def stored_pattern(pattern: str) -> str:
    """The pattern as both libraries read it, with as many fields as it has. `UsageError` where there is no such one."""
    Cron.parse(pattern)  # also refuses what can never come
    text = pattern.strip(" \t").lower()
    columns = re.split(r"[ \t]+", ALIASES.get(text, text))
    fields = read(pattern)
    numbers = (fields.seconds, fields.minutes, fields.hours, fields.days, fields.months, fields.weekdays)
    count = len(columns)
    spelt = [
        _spelt(column, values, field, fields.last_day)
        for column, values, field in zip(columns, numbers[-count:], FIELDS[-count:], strict=True)
    ]
    if fields.both_days and spelt[-3] != "*" and spelt[-1] != "*":
        raise UsageError(
            f"pattern must not ask of a day both its day-of-month and its day-of-week under BullMQ, got {pattern!r}: "
            "BullMQ runs on the days that match either; give one of them, and test for the other in the task's prepare"
        )
    return " ".join(spelt)


def next_run(now_ms: int, options: Mapping[str, Any]) -> int | None:
    """When a job scheduler runs next, strictly after now, in ms since the epoch: what BullMQ calls a repeat strategy.

    Patterns of Node's that are not of our dialect, or would mean something else in it, are left to BullMQ's own one.
    """
    from bullmq.job_scheduler import default_repeat_strategy  # type: ignore[import-untyped]  # bullmq ships no types

    if options.get("immediately"):
        return now_ms
    try:
        stored_pattern(options["pattern"])
        cron = Cron.parse(options["pattern"], options.get("tz") or "UTC")
    except UsageError:
        found: int | None = default_repeat_strategy(now_ms, options)
        return found
    return cron.next_after(now_ms)


def _spelt(column: str, numbers: Sequence[int], field: Field, last_day: bool) -> str:
    if field is DAY_OF_WEEK:
        numbers = sorted({number % SUNDAY for number in numbers})
    if len(numbers) == field.high - field.low + (field is not DAY_OF_WEEK):
        return "*"
    if _STEPPED.fullmatch(column):
        return column
    last = ("L",) if last_day and field is DAY_OF_MONTH else ()
    return ",".join((*_terms(numbers), *last))


def _terms(numbers: Sequence[int]) -> Iterator[str]:
    """Sorted numbers, those in a row as a range."""
    first = None
    for number in numbers:
        first = number if first is None else first
        if number + 1 not in numbers:
            yield str(number) if first == number else f"{first}-{number}"
            first = None
