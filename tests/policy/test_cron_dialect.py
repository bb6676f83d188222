"""What a pattern and a time zone may say, and what is refused at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.clock import LATEST_MS, iso, moment_ms
from taskmanager.errors import UsageError
from taskmanager.policy import dialect
from taskmanager.policy.cron import Cron
from tests.policy import naive_cron

START = moment_ms(datetime(2026, 1, 1, tzinfo=UTC), "start")

ACCEPTED = [
    # (pattern, its first occurrences after 2026-01-01T00:00:00Z, a Thursday)
    ("* * * * *", ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]),
    ("*/20 * * * *", ["2026-01-01T00:20:00Z", "2026-01-01T00:40:00Z", "2026-01-01T01:00:00Z"]),
    ("*/90 * * * *", ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]),
    ("5,10-12,30-40/5 0 * * *", [f"2026-01-01T00:{minute:02}:00Z" for minute in (5, 10, 11, 12, 30, 35, 40)]),
    ("0 9 * * 1-5", ["2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"]),
    ("0 9 * * mon,Wed-FRI", ["2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z", "2026-01-05T09:00:00Z"]),
    ("0 0 1 feb-APR/2 *", ["2026-02-01T00:00:00Z", "2026-04-01T00:00:00Z", "2027-02-01T00:00:00Z"]),
    ("0 0 * * 7", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
    ("0 0 * * 0", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
    ("0 0 * * sun", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
    ("0 0 * * 7-7", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
    ("0 0 * * 6-7", ["2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-10T00:00:00Z"]),
    ("0 0 * * 3-7/2", ["2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-07T00:00:00Z"]),
    ("0 0 * * */7,0-5", ["2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z", "2026-01-05T00:00:00Z"]),
    ("0 0 * * 1-7,*/7", [f"2026-01-{day:02}T00:00:00Z" for day in range(2, 9)]),
    ("5-5 5-5 * * *", ["2026-01-01T05:05:00Z", "2026-01-02T05:05:00Z"]),
    ("5-5/3 5 1-1/9 5-5 *", ["2026-05-01T05:05:00Z", "2027-05-01T05:05:00Z"]),
    ("00 09 01 01 *", ["2026-01-01T09:00:00Z", "2027-01-01T09:00:00Z"]),
    ("0 0 L * *", ["2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"]),
    ("0 0 l 2 *", ["2026-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"]),
    ("0 0 15,L 4 *", ["2026-04-15T00:00:00Z", "2026-04-30T00:00:00Z"]),
    ("0 0 29 2 *", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
    # Day-of-month and day-of-week: either, unless one begins with *.
    ("0 0 13 * 5", ["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"]),
    ("0 0 13 * */5", ["2026-02-13T00:00:00Z", "2026-03-13T00:00:00Z", "2026-09-13T00:00:00Z"]),
    ("0 0 */13 * 5", ["2026-02-27T00:00:00Z", "2026-03-27T00:00:00Z", "2026-05-01T00:00:00Z"]),
    ("0 0 1-31 * 5", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
    ("0 0 13,* * 5", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
    ("0 0 *,13 * 5", ["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z"]),
    ("0 0 31 2 1", ["2026-02-02T00:00:00Z", "2026-02-09T00:00:00Z"]),
    # Seconds first.
    ("30 * * * * *", ["2026-01-01T00:00:30Z", "2026-01-01T00:01:30Z"]),
    ("*/25 0 0 1 1 *", ["2026-01-01T00:00:25Z", "2026-01-01T00:00:50Z", "2027-01-01T00:00:00Z"]),
    ("59 59 23 31 12 *", ["2026-12-31T23:59:59Z", "2027-12-31T23:59:59Z"]),
    ("  0\t9  * * *\t", ["2026-01-01T09:00:00Z", "2026-01-02T09:00:00Z"]),
    ("@yearly", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
    ("@annually", ["2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"]),
    ("@monthly", ["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]),
    ("@weekly", ["2026-01-04T00:00:00Z", "2026-01-11T00:00:00Z"]),
    ("@daily", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
    ("@midnight", ["2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"]),
    ("@hourly", ["2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z"]),
    ("@minutely", ["2026-01-01T00:01:00Z", "2026-01-01T00:02:00Z"]),
]

REFUSED = [
    # the wrong number of fields, aliases that mean no time
    *("", " ", "*", "* * * *", "* * * * * * *", "0 0 12 * * ? 2026", "0 0 1 1 * 2026", "@reboot", "@every 5m", "@"),
    # other dialects
    *("H * * * *", "H/15 * * * *", "H(0-7) * * * *", "R * * * *", "r 0 * * *", "0 0 ? * *", "0 0 * * ?"),
    *("0 0 15W * *", "0 0 W15 * *", "0 0 LW * *", "0 0 * * 5#2", "0 0 * * mon#1", "0 0 * * 5L", "0 0 * * L5"),
    *("0 0 * * L", "0 0 L-3 * *", "0 0 1-L * *", "0 0 L/2 * *", "L * * * *", "0 0 1 L *", "0 0 LL * *"),
    # wrapped ranges
    *("50-10 * * * *", "0 22-5 * * *", "0 0 25-5 * *", "0 0 1 nov-feb *", "0 0 * * sat-sun", "0 0 * * 5-1"),
    *("0 0 * * 7-1", "59-0/5 * * * *"),
    # out of bounds
    *("60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 32 * *", "0 0 1 0 *", "0 0 1 13 *", "0 0 * * 8", "60 0 0 * * *"),
    *("50-64/30 * * * *", "0 0 0-5 * *", "-1 * * * *", "00005 * * * *", "0 0 1 1 0-8"),
    # steps: of nothing, and of a single number, which Debian refuses and others read in two ways
    *("*/0 * * * *", "1-5/0 * * * *", "5/15 * * * *", "0/5 * * * *", "0 0 * * 1/2", "*/ * * * *", "*/-5 * * * *"),
    *("*/5/2 * * * *", "*/1-5 * * * *", "*/x * * * *"),
    # malformed
    *(", * * * *", "1, * * * *", ",1 * * * *", "1,,2 * * * *", "1- * * * *", "-5 * * * *", "** * * * *", "*5 * * * *"),
    *("1.5 * * * *", "a * * * *", "mon * * * *", "0 0 1 mon *", "0 0 * * jan", "0 0 * * monday", "0 0 1 january *"),
    *("\u0661 * * * *", "1\u00a0* * * *", "0 0 * * *\n", "0 0\n* * *", "0 0 * * * # daily", "1 * * * * \x00"),
    # what never comes
    *("0 0 31 2 *", "0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 31 2 */2", "* * * 31 2 *", "0 0 30-31 feb *"),
]

BAD_ZONES: list[Any] = [
    *("", " ", "Mars/Olympus", "Europe", "Europe/", "/Europe/Paris", "europe/paris", "EUROPE/PARIS", "Europe/Paris "),
    *("../etc/passwd", "/etc/localtime", "Europe/../UTC", "Europe\\Paris", "C:\\UTC", "UTC\x00", "UTC\n", "a" * 5000),
    *("posix/UTC", "right/UTC", "posixrules", "localtime", "leapseconds", "tzdata.zi", "\udcff", "+01:00", "UTC+1"),
    *(None, 5, b"UTC", UTC, ["UTC"]),
]


@pytest.mark.parametrize(("pattern", "expected"), ACCEPTED)
def test_a_pattern_of_the_dialect_means_what_debian_says(pattern: str, expected: list[str]) -> None:
    found = []
    at: int | None = START
    for _ in expected:
        assert at is not None
        at = Cron.parse(pattern).next_after(at)
        assert at is not None
        found.append(iso(at))
    assert found == expected


@pytest.mark.parametrize("pattern", REFUSED)
def test_everything_else_is_refused_with_the_pattern_and_what_is_accepted(pattern: str) -> None:
    with pytest.raises(UsageError, match=r"^pattern must ") as refused:
        Cron.parse(pattern)
    assert repr(pattern) in str(refused.value)


@pytest.mark.parametrize("pattern", [None, 5, b"* * * * *", ["*"] * 5, timedelta(hours=1)])
def test_a_pattern_that_is_no_text_is_refused(pattern: object) -> None:
    with pytest.raises(UsageError, match=r"^pattern must be a text"):
        Cron.parse(pattern)


@pytest.mark.parametrize("timezone", BAD_ZONES)
def test_a_time_zone_that_iana_does_not_name_so_is_refused(timezone: object) -> None:
    with pytest.raises(UsageError, match=r"^timezone must be the IANA name") as refused:
        Cron.parse("* * * * *", timezone)
    assert repr(timezone) in str(refused.value)


@pytest.mark.parametrize(
    "timezone", ["UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "EST5EDT", "GMT0"]
)
def test_a_time_zone_of_any_iana_shape_is_accepted(timezone: str) -> None:
    assert Cron.parse("@daily", timezone).timezone == timezone


@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("0 0 ? * *", "write *"),
        ("H * * * *", "choose the number yourself"),
        ("0 0 15W * *", "working day"),
        ("0 0 * * 5#2", "n-th weekday"),
        ("5/15 * * * *", "5-59/15"),
        ("0 22-5 * * *", "22-23,0-5"),
        ("0 0 * * 5L", "L stands alone"),
        ("@reboot", "@minutely"),
        ("0 0 31 2 *", "none of its months has such a day"),
    ],
)
def test_a_refusal_of_another_dialect_says_what_to_write_instead(pattern: str, remedy: str) -> None:
    with pytest.raises(UsageError) as refused:
        Cron.parse(pattern)
    assert remedy in str(refused.value)


@given(st.sampled_from(range(6)), st.data())
def test_every_column_expands_to_the_numbers_it_names(position: int, data: st.DataObject) -> None:
    """Written because croniter reads `5-5` as a whole cycle and ranges up to a Sunday as wrapped."""
    field = dialect.FIELDS[position]
    number = st.integers(field.low, field.high)

    @st.composite
    def term(draw: st.DrawFn) -> str:
        first, last = sorted((draw(number), draw(number)))
        step = draw(st.integers(1, 70))
        return draw(st.sampled_from(["*", f"*/{step}", str(first), f"{first}-{last}", f"{first}-{last}/{step}"]))

    column = ",".join(data.draw(st.lists(term(), min_size=1, max_size=4)))
    columns = ["0", "0", "0", "1", "1", "0"]
    columns[position] = column
    fields = dialect.read(" ".join(columns))
    rows = (fields.seconds, fields.minutes, fields.hours, fields.days, fields.months, fields.weekdays)
    assert rows[position] == tuple(sorted(naive_cron.expand(column, position)))


@given(st.text(alphabet="0123456789*/-,LHRW?#@ jansunmo", max_size=30))
def test_no_text_does_anything_but_parse_or_raise_a_usage_error(text: str) -> None:
    try:
        cron = Cron.parse(text)
    except UsageError:
        return
    assert cron.next_after(START) is not None


def test_a_pattern_is_parsed_once_and_equal_crons_are_equal() -> None:
    assert Cron.parse("0 9 * * *", "Europe/Paris") is Cron.parse("0 9 * * *", "Europe/Paris")
    assert len({Cron.parse("0 9 * * *"), Cron.parse("0 9 * * *", "UTC"), Cron.parse("0 9 * * *", "Asia/Tokyo")}) == 2


def test_the_first_occurrence_is_strictly_after_the_moment_to_the_millisecond() -> None:
    cron = Cron.parse("* * * * * *")
    assert cron.next_after(START - 1) == START
    assert cron.next_after(START) == START + 1000
    assert cron.next_after(START + 999) == START + 1000
    assert cron.next_after(-1) == 0
    assert cron.next_after(-1001) == -1000


@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Europe/Berlin"])
@pytest.mark.parametrize("pattern", ["* * * * *", "59 59 23 21-31 12 *", "0 12 * * *"])
def test_no_occurrence_is_beyond_the_year_9999(pattern: str, timezone: str) -> None:
    cron = Cron.parse(pattern, timezone)
    late = moment_ms(datetime(9999, 12, 20, tzinfo=UTC), "late")
    found = list(cron.occurrences(late, LATEST_MS))
    assert found
    assert found[-1] <= LATEST_MS
    assert cron.next_after(found[-1]) is None
    assert cron.next_after(LATEST_MS) is None
    assert cron.next_after(LATEST_MS * 1000) is None
    assert cron.count(late, LATEST_MS * 2) == len(found)


def test_a_moment_before_the_year_1_is_followed_by_the_first_occurrence_of_time() -> None:
    assert Cron.parse("0 0 1 1 *").next_after(-(10**18)) == moment_ms(datetime(1, 1, 1, tzinfo=UTC), "first")
