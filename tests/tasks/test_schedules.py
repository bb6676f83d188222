"""What `schedule` and `timezone` mean, in every way in which they can be said, and what is refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskmanager.clock import LATEST_MS
from taskmanager.errors import UsageError
from taskmanager.tasks.schedules import CronSchedule, DateSchedule, schedule_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_MS = 1_772_366_400_000


@pytest.mark.parametrize(
    ("schedule", "zone", "meant"),
    [
        (None, None, None),
        ("0 9 * * *", None, CronSchedule("0 9 * * *", "UTC")),
        ("0 9 * * *", "Europe/Paris", CronSchedule("0 9 * * *", "Europe/Paris")),
        (NOON, None, DateSchedule(NOON)),
        (datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=2))), None, DateSchedule(NOON)),
        (NOON_MS, None, DateSchedule(NOON)),
        ({"type": "cron", "value": "@daily"}, None, CronSchedule("@daily", "UTC")),
        ({"type": "cron", "value": "@daily"}, "Asia/Tokyo", CronSchedule("@daily", "Asia/Tokyo")),
        ({"type": "cron", "value": "@daily", "timezone": "Asia/Tokyo"}, None, CronSchedule("@daily", "Asia/Tokyo")),
        (
            {"type": "cron", "value": "@daily", "timezone": "Asia/Tokyo"},
            "Asia/Tokyo",
            CronSchedule("@daily", "Asia/Tokyo"),
        ),
        ({"type": "date", "value": NOON}, None, DateSchedule(NOON)),
        ({"type": "date", "value": NOON_MS, "timezone": None}, None, DateSchedule(NOON)),
    ],
)
def test_a_schedule_is_understood_however_it_is_said(schedule: Any, zone: Any, meant: object) -> None:
    assert schedule_of(schedule, zone) == meant


def test_a_date_is_rounded_up_to_the_millisecond_so_that_nothing_is_early() -> None:
    when = schedule_of(NOON + timedelta(microseconds=1))
    assert isinstance(when, DateSchedule)
    assert when.at_ms == NOON_MS + 1
    assert when.at == NOON + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("schedule", "zone", "message"),
    [
        ("every day", None, "pattern must be five fields"),
        ("0 0 31 2 *", None, "names a day that comes|must name a day that comes"),
        ("@at 2026-03-01T12:00:00Z", None, "pattern must be five fields"),
        ("0 9 * * *", "Europe/Atlantis", "timezone must be"),
        ("0 9 * * *", 2, "timezone must be"),
        (datetime(2026, 3, 1), None, "schedule must be an aware datetime, got the naive"),
        (NOON_MS // 1000, None, "for seconds, multiply by 1000"),
        (-1, None, "for seconds, multiply by 1000"),
        (LATEST_MS + 1, None, "not be after the year 9999"),
        (float(NOON_MS), None, "schedule must be a cron pattern"),
        (True, None, "schedule must be a cron pattern"),
        (["0 9 * * *"], None, "schedule must be a cron pattern"),
        (None, "UTC", "timezone belongs to a cron schedule, got 'UTC' with schedule=None; leave it out"),
        (NOON, "UTC", "a date is one moment and says its own"),
        ({"type": "date", "value": NOON_MS, "timezone": "UTC"}, None, "timezone belongs to a cron schedule"),
        ({"type": "cron"}, None, "schedule must have a 'value'"),
        ({"value": "@daily"}, None, r"schedule\['type'\] must be 'cron' or 'date', got None"),
        ({"type": "at", "value": NOON}, None, r"schedule\['type'\] must be 'cron' or 'date', got 'at'"),
        ({"type": ["cron"], "value": NOON}, None, r"schedule\['type'\] must be 'cron' or 'date'"),
        ({"type": "cron", "value": NOON}, None, r"schedule\['value'\] must be a cron pattern"),
        ({"type": "date", "value": "2026-03-01"}, None, r"schedule\['value'\] must be an aware datetime"),
        ({"type": "date", "value": None}, None, r"schedule\['value'\] must be an aware datetime"),
        ({"type": "date", "value": {"type": "date"}}, None, r"schedule\['value'\] must be an aware datetime"),
        ({"type": "cron", "value": "@daily", "tz": "UTC"}, None, "schedule has no 'tz'"),
        ({"type": "cron", "value": "@daily", "timezone": "UTC"}, "Asia/Tokyo", "timezone is given twice"),
    ],
)
def test_what_no_schedule_can_be_is_refused_by_name(schedule: Any, zone: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        schedule_of(schedule, zone)
    assert re.search(message, str(refused.value))
