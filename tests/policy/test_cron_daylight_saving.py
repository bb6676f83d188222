"""Occurrences where clocks change: what each kind of pattern does in gaps and overlaps, zone by zone."""

from __future__ import annotations

import struct
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from taskmanager.clock import iso, moment_ms
from taskmanager.policy import zones
from taskmanager.policy.cron import Cron
from taskmanager.policy.zones import DAY, span_at, zone_named


def occurrences(pattern: str, timezone: str, after: str, until: str) -> list[str]:
    """After one moment up to and including another, both ISO 8601 in UTC; without the `Z`."""
    bounds = [moment_ms(datetime.fromisoformat(text).replace(tzinfo=UTC), "bound") for text in (after, until)]
    cron = Cron.parse(pattern, timezone)
    found = list(cron.occurrences(*bounds))
    assert cron.count(*bounds) == len(found)
    return [iso(at).removesuffix("Z") for at in found]


# ---- Europe/Berlin 2026: 29 March 02:00 -> 03:00 (01:00Z), 25 October 03:00 -> 02:00 (01:00Z)


def test_the_daily_run_that_falls_into_the_gap_runs_once_at_its_end() -> None:
    """taskiq skips it."""
    assert occurrences("30 2 * * *", "Europe/Berlin", "2026-03-27T12:00", "2026-03-30T12:00") == [
        "2026-03-28T01:30:00",
        "2026-03-29T01:00:00",
        "2026-03-30T00:30:00",
    ]


def test_the_daily_run_that_falls_into_the_overlap_runs_the_first_time_only() -> None:
    """taskiq and croniter run it twice."""
    assert occurrences("30 2 * * *", "Europe/Berlin", "2026-10-23T12:00", "2026-10-26T12:00") == [
        "2026-10-24T00:30:00",
        "2026-10-25T00:30:00",
        "2026-10-26T01:30:00",
    ]


def test_a_fixed_run_is_not_found_again_from_inside_the_second_showing() -> None:
    assert occurrences("30 2 * * *", "Europe/Berlin", "2026-10-25T01:05", "2026-10-26T12:00") == ["2026-10-26T01:30:00"]


@pytest.mark.parametrize("pattern", ["0 * * * *", "@hourly", "0 */1 * * *"])
@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_the_hourly_run_runs_in_each_real_hour(pattern: str, day: str, hours: int) -> None:
    """celery, arq, streaQ and rq lose one in autumn."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=zone_named("Europe/Berlin"))
    bounds = [moment_ms(at, "bound") for at in (midnight, midnight + timedelta(days=1))]
    found = list(Cron.parse(pattern, "Europe/Berlin").occurrences(*bounds))
    assert len(found) == hours
    assert {later - earlier for earlier, later in pairwise(found)} == {3_600_000}


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_every_half_hour_strictly_increases_by_half_hours_all_year(timezone: str) -> None:
    start = moment_ms(datetime(2026, 1, 1, tzinfo=UTC), "start")
    found = list(Cron.parse("*/30 * * * *", timezone).occurrences(start, start + 365 * DAY * 1000))
    assert {later - earlier for earlier, later in pairwise(found)} == {1_800_000}


def test_a_pattern_by_real_time_matches_what_the_wall_shows_and_nothing_else() -> None:
    assert occurrences("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00") == []
    assert occurrences("*/30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00") == [
        "2026-10-25T00:00:00",
        "2026-10-25T00:30:00",
        "2026-10-25T01:00:00",
        "2026-10-25T01:30:00",
    ]


def test_several_fixed_matches_in_one_gap_run_there_as_one() -> None:
    assert occurrences("0,20,40 1-3 * * *", "Europe/Berlin", "2026-03-29T00:30", "2026-03-29T02:00") == [
        "2026-03-29T00:40:00",
        "2026-03-29T01:00:00",  # 02:00, 02:20, 02:40 and 03:00
        "2026-03-29T01:20:00",
        "2026-03-29T01:40:00",
    ]


def test_an_hourly_run_with_a_list_of_hours_is_fixed() -> None:
    """As in Debian's cron: only a leading `*` makes a pattern run by real time."""
    assert occurrences("0 0-23 * * *", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T02:30") == [
        "2026-10-25T00:00:00",
        "2026-10-25T02:00:00",
    ]


def test_seconds_do_not_decide_the_kind() -> None:
    assert occurrences("*/20 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00") == [
        "2026-03-29T01:00:00"
    ]
    assert occurrences("*/20 30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00") == [
        "2026-10-25T00:30:00",
        "2026-10-25T00:30:20",
        "2026-10-25T00:30:40",
    ]
    assert occurrences("30 0 * * * *", "Europe/Berlin", "2026-10-24T23:30", "2026-10-25T02:00") == [
        "2026-10-25T00:00:30",
        "2026-10-25T01:00:30",
    ]


def test_the_last_readings_before_and_the_first_after_a_change_are_ordinary() -> None:
    assert occurrences("59 59 1 * * *", "Europe/Berlin", "2026-03-29T00:00", "2026-03-29T12:00") == [
        "2026-03-29T00:59:59"
    ]
    assert occurrences("0 3 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00") == ["2026-03-29T01:00:00"]
    assert occurrences("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00") == ["2026-10-25T02:00:00"]
    assert occurrences("59 59 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00") == [
        "2026-10-25T00:59:59"
    ]


# ---- zones with other habits


@pytest.mark.parametrize(
    ("why", "pattern", "timezone", "after", "until", "expected"),
    [
        (
            "a gap of half an hour: 4 October 2026, 02:00 -> 02:30",
            *("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00", "2026-10-04T12:00"),
            ["2026-10-03T15:30:00"],
        ),
        (
            "an overlap of half an hour: 5 April 2026, 02:00 -> 01:30",
            *("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00", "2026-04-05T00:00"),
            ["2026-04-04T14:45:00"],
        ),
        (
            "real time in an overlap of half an hour: 01:45 is shown twice",
            *("*/15 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00", "2026-04-05T00:00"),
            [f"2026-04-04T{time}:00" for time in ("14:00", "14:15", "14:30", "14:45", "15:00", "15:15")],
        ),
        (
            "a shift of two hours",
            *("30 1,2 * * *", "Antarctica/Troll", "2026-03-28T12:00", "2026-03-29T12:00"),
            ["2026-03-29T01:00:00"],
        ),
        (
            "midnight itself lies in the gap",
            *("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00", "2018-11-05T12:00"),
            ["2018-11-04T03:00:00", "2018-11-05T02:00:00"],
        ),
        (
            "midnight is shown twice: the day ends, begins again, and runs once",
            *("0 0 * * *", "America/Havana", "2026-10-31T12:00", "2026-11-02T12:00"),
            ["2026-11-01T04:00:00", "2026-11-02T05:00:00"],
        ),
        (
            "the date line moved: 30 December 2011 was left out, and its runs are due at its end, as one",
            *("0 9,21 30 * *", "Pacific/Apia", "2011-12-02T00:00", "2012-01-31T00:00"),
            ["2011-12-30T10:00:00", "2012-01-29T19:00:00", "2012-01-30T07:00:00"],
        ),
        (
            "by real time, the day that was left out is left out",
            *("0 * 30 12 *", "Pacific/Apia", "2011-01-01T00:00", "2012-01-31T00:00"),
            [],
        ),
        (
            "21 August 1993 was left out on Kwajalein",
            *("0 12 21 8 *", "Pacific/Kwajalein", "1993-01-01T00:00", "1994-01-01T00:00"),
            ["1993-08-21T12:00:00"],
        ),
        (
            "a day was shown twice: Alaska passed to the other side in October 1867",
            *("0 12 18,19 10 *", "America/Juneau", "1867-10-15T00:00", "1867-10-25T00:00"),
            ["1867-10-17T20:57:41", "1867-10-18T20:57:41"],
        ),
        (
            "an offset of odd seconds: Amsterdam was 00:19:32 ahead",
            *("0 12 * * *", "Europe/Amsterdam", "1925-01-10T00:00", "1925-01-11T00:00"),
            ["1925-01-10T11:40:28"],
        ),
        (
            "an offset of three quarters",
            *("0 0 * * *", "Asia/Kathmandu", "2026-01-01T00:00", "2026-01-02T00:00"),
            ["2026-01-01T18:15:00"],
        ),
        (
            "summer time that is the standard and winter time that is the exception",
            *("30 1 * * *", "Europe/Dublin", "2026-10-24T12:00", "2026-10-26T00:00"),
            ["2026-10-25T00:30:00"],
        ),
    ],
)
def test_zones_with_other_habits_follow_the_same_two_sentences(
    why: str, pattern: str, timezone: str, after: str, until: str, expected: list[str]
) -> None:
    assert occurrences(pattern, timezone, after, until) == expected, why


# ---- what the search for changes rests on


def changes(name: str) -> list[tuple[int, int, int]]:
    """(instant, offset before, offset after) of each change that the zone's file lists (RFC 8536, version 2 on).

    It is the file that zoneinfo reads: the system's, where there is one.
    """
    ours = files("tzdata.zoneinfo").joinpath(*name.split("/"))
    theirs = (Path(root, name) for root in zoneinfo.TZPATH)
    data = next((path for path in theirs if path.is_file()), ours).read_bytes()
    at = 0
    for width in (4, 8):  # the first part has 32-bit instants and is repeated with 64-bit ones
        counts = struct.unpack(">6L", data[at + 20 : at + 44])
        utc, std, leap, instants, types, letters = counts
        at += 44
        if width == 4:
            at += instants * 5 + types * 6 + letters + leap * 8 + std + utc
    times = struct.unpack(f">{instants}q", data[at : at + instants * 8])
    kinds = data[at + instants * 8 : at + instants * 9]
    offsets = [struct.unpack_from(">l", data, at + instants * 9 + 6 * kind)[0] for kind in range(types)]
    found, before = [], offsets[0]
    for instant, kind in zip(times, kinds, strict=True):
        if offsets[kind] != before:
            found.append((instant, before, offsets[kind]))
        before = offsets[kind]
    return found


ZONES = files("tzdata").joinpath("zones").read_text("ascii").split()


def test_no_zone_changes_twice_within_two_days_nor_by_more_than_a_day() -> None:
    """The search samples once a day and looks back three; closer changes could cancel between samples."""
    for name in ZONES:
        listed = changes(name)
        assert all(later[0] - earlier[0] > 2 * DAY for earlier, later in pairwise(listed)), name
        assert all(abs(after - before) <= DAY for _, before, after in listed), name


def test_spans_begin_and_end_at_the_changes_of_the_zone_files() -> None:
    for name in ZONES:
        zone = zone_named(name)
        for instant, before, after in changes(name)[-60::17]:
            earlier, later = span_at(zone, instant - 1), span_at(zone, instant)
            assert (earlier.end, earlier.offset) == (instant, before), name
            assert (later.start, later.offset, later.high) == (instant, after, instant + before), name


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Time cut into half hours, so that gaps and overlaps lie across the cuts."""
    zones._spans.cache_clear()
    monkeypatch.setattr(zones, "_BLOCK", 1800)
    yield
    zones._spans.cache_clear()


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(
    ("pattern", "timezone", "after", "until", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-25T12:00", ["2026-10-25T00:30:00"]),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00", ["2026-03-29T01:00:00"]),
        ("0 12 18 10 *", "America/Juneau", "1867-10-17T00:00", "1867-10-20T12:00", ["1867-10-17T20:57:41"]),
        ("0 9,21 30 * *", "Pacific/Apia", "2011-12-29T00:00", "2012-01-02T00:00", ["2011-12-30T10:00:00"]),
        (
            "0 */6 * 10 *",
            "Europe/Berlin",
            "2026-10-25T04:00",
            "2026-10-25T17:00",
            ["2026-10-25T05:00:00", "2026-10-25T11:00:00", "2026-10-25T17:00:00"],
        ),
    ],
)
def test_where_time_is_cut_into_blocks_changes_no_occurrence(
    pattern: str, timezone: str, after: str, until: str, expected: list[str]
) -> None:
    assert occurrences(pattern, timezone, after, until) == expected
