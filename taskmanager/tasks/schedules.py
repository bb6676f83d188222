"""When a task runs: again and again by a cron pattern, or once at a date.

Users say it in many ways; drivers are told in two. A cron keeps its time zone, because its moments are on a wall
clock. A date is one moment, whatever words named it, so a time zone beside it would say nothing, and is refused: of two
people who read it each would believe something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from taskmanager.clock import LATEST_MS, datetime_of, moment_ms
from taskmanager.errors import UsageError
from taskmanager.policy.checks import check_names
from taskmanager.policy.cron import Cron

__all__ = ["CronSchedule", "DateSchedule", "TaskSchedule", "schedule_of"]

SECONDS_BELOW = 10**11
"""An epoch below this (in March 1973, as milliseconds) is taken for seconds, and refused."""

_FORMS = (
    "a cron pattern such as '0 9 * * 1-5', an aware datetime, milliseconds since the epoch, "
    "or {'type': 'cron' or 'date', 'value': ..., 'timezone': ...}"
)


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """At every occurrence of a valid cron pattern on the wall clock of an IANA time zone."""

    pattern: str
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True)
class DateSchedule:
    """Once. `at` is aware, UTC, of whole milliseconds."""

    at: datetime

    @property
    def at_ms(self) -> int:
        """The moment in milliseconds since the epoch."""
        return moment_ms(self.at, "at")


TaskSchedule = CronSchedule | DateSchedule


def schedule_of(schedule: object, timezone: object = None) -> TaskSchedule | None:
    """What a user's `schedule` and `timezone` mean; None for none.

    A cron is a text, a date an aware datetime or an integer of milliseconds since the epoch, and a mapping with `type`,
    `value` and, for a cron, `timezone` says either. The zone is an IANA name, UTC by default. Raises `UsageError`
    naming the part, what was seen, and what is accepted.
    """
    if isinstance(schedule, Mapping):
        return _spelt_out(schedule, timezone)
    if isinstance(schedule, str):
        return _cron(schedule, timezone)
    if timezone is not None:
        remedy = "leave it out" if schedule is None else "a date is one moment and says its own: datetime(..., tzinfo=)"
        raise UsageError(f"timezone belongs to a cron schedule, got {timezone!r} with schedule={schedule!r}; {remedy}")
    return None if schedule is None else _date(schedule)


def _spelt_out(schedule: Mapping[str, object], timezone: object) -> TaskSchedule:
    check_names(schedule, "schedule", ("type", "value", "timezone"))
    if "value" not in schedule:
        raise UsageError(f"schedule must have a 'value', got {dict(schedule)!r}")
    value, zone = schedule["value"], schedule.get("timezone")
    if zone is not None and timezone is not None and zone != timezone:
        raise UsageError(f"timezone is given twice: {timezone!r}, and {zone!r} in schedule; give it once")
    zone = timezone if zone is None else zone
    kind = schedule.get("type")
    if kind == "cron" and isinstance(value, str):
        return _cron(value, zone)
    if kind == "date" and not isinstance(value, (str, Mapping)):
        found = schedule_of(value, zone)
        if found is not None:
            return found
    accepted = {"cron": "a cron pattern", "date": "an aware datetime or milliseconds since the epoch"}
    if isinstance(kind, str) and kind in accepted:
        raise UsageError(f"schedule['value'] must be {accepted[kind]}, got {value!r}")
    raise UsageError(f"schedule['type'] must be 'cron' or 'date', got {kind!r}")


def _cron(pattern: str, timezone: object) -> CronSchedule:
    cron = Cron.parse(pattern, "UTC" if timezone is None else timezone)
    return CronSchedule(cron.pattern, cron.timezone)


def _date(value: object) -> DateSchedule:
    if isinstance(value, datetime):
        return DateSchedule(datetime_of(moment_ms(value, "schedule")))
    if not isinstance(value, int) or isinstance(value, bool):
        raise UsageError(f"schedule must be {_FORMS}; got {value!r}")
    if value < SECONDS_BELOW:
        raise UsageError(
            f"schedule must be milliseconds since the epoch, at least {SECONDS_BELOW}, got {value!r}; "
            "for seconds, multiply by 1000"
        )
    if value > LATEST_MS:
        raise UsageError(f"schedule must not be after the year 9999, got {value!r} milliseconds since the epoch")
    return DateSchedule(datetime_of(value))
