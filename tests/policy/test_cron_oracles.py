"""Random patterns, zones and years against two oracles: a naive walk over instants, and cronsim."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st

from taskmanager.errors import UsageError
from taskmanager.policy.cron import Cron
from tests.policy import naive_cron

HOUR, DAY = 3600, 86_400
# Half-hour shifts, gaps at midnight, left-out days, a shift of two hours, changes of standard time, odd offsets.
ZONES = [
    *("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "America/Sao_Paulo", "Asia/Beirut"),
    *("Africa/Casablanca", "Asia/Kathmandu", "America/St_Johns", "Antarctica/Troll", "Asia/Pyongyang", "Asia/Gaza"),
    *("America/Caracas", "America/Havana", "Europe/Dublin", "Pacific/Kwajalein", "UTC"),
]
ALL_ZONES = sorted(available_timezones() - {"Factory", "localtime"})
WHOLE_MINUTES_SINCE = calendar.timegm((1972, 2, 1, 0, 0, 0))
"""Monrovia was the last to give up an offset of odd seconds, which a walk by minutes would step over."""


@st.composite
def columns(draw: st.DrawFn, low: int, high: int, likely: str = "*") -> str:
    """One column: often dense, so that something happens in a short window."""
    number = st.integers(low, high)

    @st.composite
    def term(draw: st.DrawFn) -> str:
        first, last = sorted((draw(number), draw(number)))
        step = draw(st.integers(1, 9))
        shapes = [str(first), f"*/{step}"]
        if first < last:  # cronsim reads 5-5/2 as 5-59/2, Debian as 5
            shapes += [f"{first}-{last}", f"{first}-{last}/{step}"]
        return draw(st.sampled_from(shapes))

    return draw(st.just(likely) | st.lists(term(), min_size=1, max_size=3).map(",".join))


@st.composite
def patterns(draw: st.DrawFn, *, seconds: bool = False) -> str:
    """Five columns, or six. Days and months are mostly any, hours mostly those where clocks change."""
    hour = st.sampled_from(["2", "0", "0-3", "1,2,3", "*/2", "22-23", "2-4/2"]) | columns(0, 23)
    day = st.sampled_from(["*", "*", "*", "L", "1,L", "*/2"]) | columns(1, 31)
    minute = st.sampled_from(["0", "30", "*/30", "*/7", "15,45"]) | columns(0, 59)
    month = st.just("*") | columns(1, 12)
    five = [draw(minute), draw(hour), draw(day), draw(month), draw(columns(0, 7))]
    return " ".join([draw(columns(0, 59)), *five] if seconds else five)


def cron_of(pattern: str, timezone: str) -> Cron | None:
    try:
        return Cron.parse(pattern, timezone)
    except UsageError:  # a day that never comes; that nothing else is refused, the tests of the dialect say
        return None


def changes_near(timezone: str, year: int) -> list[int]:
    """The instants of a year, to the quarter of an hour, at which the zone's offset has changed; its middle else."""
    zone = ZoneInfo(timezone)
    start = calendar.timegm((year, 1, 1, 0, 0, 0))

    def offset(instant: int) -> int:
        return calendar.timegm(naive_cron.wall(instant, zone).timetuple()) - instant

    days = range(start, start + 366 * DAY, DAY)
    found = [
        next(at for at in range(day, day + DAY + 900, 900) if offset(at) != offset(day))
        for day in days
        if offset(day) != offset(day + DAY)
    ]
    return found or [start + 180 * DAY]


def agree(pattern: str, timezone: str, start: int, end: int, step: int) -> None:
    cron = cron_of(pattern, timezone)
    if cron is None:
        return
    expected = [at * 1000 for at in naive_cron.occurrences(pattern, timezone, start, end, step)]
    bounds = start * 1000 - 1, end * 1000 - 1
    assert list(cron.occurrences(*bounds)) == expected
    assert cron.count(*bounds) == len(expected)
    for most in (1, 7):
        assert cron.newest(*bounds, most) == tuple(expected[-most:])


@settings(deadline=None)
@given(patterns(), st.sampled_from(ZONES), st.integers(1975, 2060), st.data())
@example("0 2 * * *", "Europe/Berlin", 2026, None)
def test_five_fields_agree_with_a_walk_over_the_minutes_around_a_change(
    pattern: str, timezone: str, year: int, data: st.DataObject | None
) -> None:
    near = changes_near(timezone, year)
    change = near[0] if data is None else data.draw(st.sampled_from(near))
    change -= change % 60
    agree(pattern, timezone, change - 8 * HOUR, change + 30 * HOUR, step=60)


@settings(deadline=None)
@given(patterns(seconds=True), st.sampled_from(ZONES), st.integers(1975, 2060), st.data())
def test_six_fields_agree_with_a_walk_over_the_seconds_of_a_change(
    pattern: str, timezone: str, year: int, data: st.DataObject
) -> None:
    """A narrow window: a walk remembers what was shown a day before, and there are many seconds in a day."""
    change = data.draw(st.sampled_from(changes_near(timezone, year)))
    start = change + data.draw(st.sampled_from([-1800, -600, 0, 1800, 3600, 5400]))
    agree_by_seconds(pattern, timezone, start, start + 1200)


def agree_by_seconds(pattern: str, timezone: str, start: int, end: int) -> None:
    """As `agree`, with a walk that remembers two hours and a quarter: no zone here repeats more."""
    cron = cron_of(pattern, timezone)
    if cron is None:
        return
    expected = naive_cron.occurrences(pattern, timezone, start, end, 1, lead_in=135 * 60)
    assert [at // 1000 for at in cron.occurrences(start * 1000 - 1, end * 1000 - 1)] == expected
    assert cron.count(start * 1000 - 1, end * 1000 - 1) == len(expected)


@settings(deadline=None)
@given(
    patterns(seconds=True),
    st.sampled_from(["Europe/Amsterdam", "Africa/Monrovia", "Europe/Dublin", "America/New_York", "Asia/Kolkata"]),
    st.integers(1880, 1939),
    st.data(),
)
def test_offsets_of_odd_seconds_agree_with_a_walk_over_the_seconds(
    pattern: str, timezone: str, year: int, data: st.DataObject
) -> None:
    change = data.draw(st.sampled_from(changes_near(timezone, year)))
    start = change + data.draw(st.integers(-1200, 3600))
    agree_by_seconds(pattern, timezone, start, start + 1200)


@settings(deadline=None)
@given(patterns(), st.sampled_from(ALL_ZONES), st.integers(WHOLE_MINUTES_SINCE, 2**32))
def test_every_zone_agrees_with_a_walk_at_any_moment(pattern: str, timezone: str, instant: int) -> None:
    start = instant - instant % 60
    agree(pattern, timezone, start, start + 6 * HOUR, step=60)


WHOLE_HOURS = ["UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Los_Angeles", "Australia/Sydney"]


@settings(deadline=None)
@given(patterns(), st.sampled_from(WHOLE_HOURS), st.integers(0, 2**32))
def test_five_fields_agree_with_cronsim_where_zones_shift_by_whole_hours(
    pattern: str, timezone: str, instant: int
) -> None:
    """cronsim follows Debian's cron. Three things keep it from being asked about more, and are left to the walk:

    * it steps wall time by whole hours and days, so half hours and gaps at midnight lead it astray (hence the zones);
    * started within the second showing of an overlap it forgets which showing it was (hence the `fold`);
    * its six fields are by real time throughout, whereas here seconds do not decide the kind (hence five).
    """
    cron = cron_of(pattern, timezone)
    start = datetime.fromtimestamp(instant, UTC).astimezone(ZoneInfo(timezone))
    if cron is None or start.fold:
        return
    theirs = [int(at.timestamp()) * 1000 for at in islice(CronSim(pattern, start), 20)]
    assert list(cron.occurrences(instant * 1000, theirs[-1])) == theirs


@settings(deadline=None)
@given(patterns(), st.sampled_from(WHOLE_HOURS), st.integers(2000, 2037), st.data())
def test_five_fields_agree_with_cronsim_from_the_day_before_a_change(
    pattern: str, timezone: str, year: int, data: st.DataObject
) -> None:
    cron = cron_of(pattern, timezone)
    if cron is None:
        return
    instant = data.draw(st.sampled_from(changes_near(timezone, year))) - DAY
    theirs = CronSim(pattern, datetime.fromtimestamp(instant, UTC).astimezone(ZoneInfo(timezone)))
    expected = [int(at.timestamp()) * 1000 for at in islice(theirs, 100)]
    assert list(cron.occurrences(instant * 1000, expected[-1])) == expected
