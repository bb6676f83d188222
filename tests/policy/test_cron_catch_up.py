"""What an advance decides about the occurrences it finds, and what `repeat=` accepts."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.clock import LATEST_MS, moment_ms
from taskmanager.errors import UsageError
from taskmanager.policy import cron as cron_module
from taskmanager.policy.cron import CATCH_UP, MOST, Cron, Decided, Repeat, catch_up
from taskmanager.policy.zones import Span, span_at

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = moment_ms(datetime(2026, 6, 1, 12, tzinfo=UTC), "now")
HOURLY = Cron.parse("0 * * * *", "Europe/Berlin")


def naive(cron: Cron, place: int, now: int, mode: str, grace_ms: int) -> Decided:
    """SPEC's paragraph on catch-up, over the whole list of occurrences."""
    decided = list(cron.occurrences(place, now))
    missed = [at for at in decided if now - at > grace_ms]
    if not missed:
        runs = decided
    elif mode == "latest":
        runs = [decided[-1]]
    elif mode == "all":
        runs = decided[-1000:]
    else:
        runs = [at for at in decided if at not in set(missed)]
    runs = runs[-1000:]
    place = decided[-1] if decided else place
    next_at = cron.next_after(max(place, now))
    return Decided(tuple(runs), place, LATEST_MS if next_at is None else next_at, len(decided) - len(runs))


@given(
    st.sampled_from(
        ["* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "*/10 * * * * *", "0 9 * * 1-5", "0 0 L * *"]
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
    st.integers(0, 2 * 365 * DAY),
    st.integers(0, 40 * HOUR) | st.integers(-HOUR, 3 * MINUTE),
    st.sampled_from(sorted(CATCH_UP)),
    st.sampled_from([0, 1, 999, 60_000, HOUR, DAY, 400 * DAY]),
)
def test_catch_up_decides_what_its_definition_says(
    pattern: str, timezone: str, offset: int, outage: int, mode: str, grace_ms: int
) -> None:
    cron = Cron.parse(pattern, timezone)
    place, now = NOW - offset, NOW - offset + outage
    assert catch_up(cron, place, now, mode, grace_ms) == naive(cron, place, now, mode, grace_ms)


@pytest.mark.parametrize("mode", sorted(CATCH_UP))
def test_an_occurrence_that_is_on_time_runs_in_every_mode(mode: str) -> None:
    assert catch_up(HOURLY, NOW - HOUR, NOW, mode, 0) == Decided((NOW,), NOW, NOW + HOUR, 0)


@pytest.mark.parametrize("mode", sorted(CATCH_UP))
def test_several_within_the_grace_all_run_in_every_mode(mode: str) -> None:
    due = (NOW - 2 * HOUR, NOW - HOUR, NOW)
    assert catch_up(HOURLY, NOW - 3 * HOUR, NOW, mode, 2 * HOUR) == Decided(due, NOW, NOW + HOUR, 0)


@pytest.mark.parametrize(
    ("mode", "due"),
    [
        ("latest", (NOW,)),
        ("all", (NOW - 2 * HOUR, NOW - HOUR, NOW)),
        ("none", (NOW - HOUR, NOW)),
    ],
)
def test_one_missed_among_them_lets_the_mode_decide(mode: str, due: tuple[int, ...]) -> None:
    decided = catch_up(HOURLY, NOW - 3 * HOUR, NOW, mode, 2 * HOUR - 1)
    assert decided == Decided(due, NOW, NOW + HOUR, 3 - len(due))


def test_latest_runs_the_newest_even_when_that_is_missed_too() -> None:
    now = NOW + 30 * MINUTE
    assert catch_up(HOURLY, NOW - 5 * HOUR, now, "latest", MINUTE) == Decided((NOW,), NOW, NOW + HOUR, 4)


def test_none_drops_everything_missed_and_still_moves_the_place() -> None:
    now = NOW + 30 * MINUTE
    assert catch_up(HOURLY, NOW - 5 * HOUR, now, "none", MINUTE) == Decided((), NOW, NOW + HOUR, 5)


@pytest.mark.parametrize("mode", sorted(CATCH_UP))
@pytest.mark.parametrize("back", [0, 1, 30 * MINUTE, 400 * DAY])
def test_nothing_to_decide_leaves_the_place_even_where_the_clock_stepped_back(mode: str, back: int) -> None:
    assert catch_up(HOURLY, NOW, NOW - back, mode, MINUTE) == Decided((), NOW, NOW + HOUR, 0)


def test_where_no_occurrence_is_left_the_next_is_the_end_of_time() -> None:
    cron = Cron.parse("59 59 23 31 12 *")
    last = moment_ms(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "last")
    assert catch_up(cron, last - DAY, last, "latest", MINUTE) == Decided((last,), last, LATEST_MS, 0)


@pytest.mark.parametrize(
    ("mode", "grace_ms", "due"), [("latest", MINUTE, 1), ("all", MINUTE, MOST), ("none", MINUTE, 2)]
)
def test_a_ten_year_outage_of_a_minutely_schedule_is_counted_without_walking_it(
    mode: str, grace_ms: int, due: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counting(*arguments: Any) -> Span:
        asked.append(arguments)
        return span_at(*arguments)

    monkeypatch.setattr(cron_module, "span_at", counting)
    outage = 3652 * 24 * 60
    decided = catch_up(Cron.parse("* * * * *", "Europe/Berlin"), NOW - outage * MINUTE, NOW, mode, grace_ms)
    assert decided.place == NOW
    assert len(decided.due) == due
    assert decided.dropped == outage - due
    assert len(asked) < 5 * MOST


@pytest.mark.parametrize("mode", ["all", "none"])
def test_no_advance_admits_more_than_a_thousand_however_long_the_grace(mode: str) -> None:
    decided = catch_up(Cron.parse("* * * * * *"), NOW - HOUR, NOW, mode, DAY)
    assert decided.due == tuple(range(NOW - 999_000, NOW + 1, 1000))
    assert decided.dropped == 2600


# ---- repeat=


def test_a_repeat_is_read_from_a_pattern_a_mapping_or_itself() -> None:
    full = Repeat.of(
        {
            "pattern": "0 9 * * 1-5",
            "timezone": "Europe/Paris",
            "catch_up": "all",
            "misfire_grace": 90,
            "immediate": True,
            "overlap": "skip",
        }
    )
    assert full == Repeat("0 9 * * 1-5", "Europe/Paris", "all", 90_000, True, "skip")
    assert Repeat.of("@daily") == Repeat.of({"pattern": "@daily"}) == Repeat("@daily", "UTC", "latest", 60_000)
    assert Repeat.of(full) is full
    assert full.cron is Cron.parse("0 9 * * 1-5", "Europe/Paris")


@pytest.mark.parametrize(
    ("grace", "grace_ms"), [(0, 0), (0.5, 500), (timedelta(minutes=5), 300_000), (0.0001, 1), (timedelta.max, None)]
)
def test_the_misfire_grace_is_a_duration(grace: object, grace_ms: int | None) -> None:
    parts = {"pattern": "@daily", "misfire_grace": grace}
    if grace_ms is None:
        with pytest.raises(UsageError, match="misfire_grace must end before"):
            Repeat.of(parts)
    else:
        assert Repeat.of(parts).misfire_grace_ms == grace_ms


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (None, "repeat must be"),
        (5, "repeat must be"),
        (timedelta(hours=1), "repeat must be"),
        (["@daily"], "repeat must be"),
        ({}, "repeat must have a 'pattern'"),
        ({"timezone": "UTC"}, "repeat must have a 'pattern'"),
        ({"pattern": "@daily", "every": 5}, "'every'"),
        ({"pattern": "@daily", "misfire_grace_ms": 5}, "'misfire_grace_ms'"),
        ({"pattern": "@daily", "tz": "UTC"}, "'tz'"),
        ({"pattern": "@daily", 5: 5}, "5"),
        ({"pattern": None}, "pattern must be a text"),
        ({"pattern": "nonsense"}, "pattern must be five fields"),
        ("nonsense", "pattern must be five fields"),
        ({"pattern": "@daily", "timezone": "Mars"}, "timezone must be the IANA name"),
        ({"pattern": "@daily", "timezone": None}, "timezone must be the IANA name"),
        ({"pattern": "@daily", "catch_up": "newest"}, "catch_up must be one of 'latest', 'all', 'none'"),
        ({"pattern": "@daily", "catch_up": True}, "catch_up must be one of"),
        ({"pattern": "@daily", "catch_up": ["all"]}, "catch_up must be one of"),
        ({"pattern": "@daily", "misfire_grace": -1}, "misfire_grace must not be negative"),
        ({"pattern": "@daily", "misfire_grace": "60"}, "misfire_grace must be a timedelta"),
        ({"pattern": "@daily", "misfire_grace": None}, "misfire_grace must be a timedelta"),
        ({"pattern": "@daily", "misfire_grace": float("nan")}, "misfire_grace must be a finite number"),
        ({"pattern": "@daily", "immediate": 1}, "immediate must be True or False"),
        ({"pattern": "@daily", "immediate": "no"}, "immediate must be True or False"),
        ({"pattern": "@daily", "overlap": "queue"}, "overlap must be one of 'allow', 'skip'"),
        ({"pattern": "@daily", "overlap": False}, "overlap must be one of"),
    ],
)
def test_a_wrong_repeat_is_refused_with_the_part_and_the_value(value: object, named: str) -> None:
    with pytest.raises(UsageError) as refused:
        Repeat.of(value)
    assert named in str(refused.value)


def test_a_repeat_made_directly_is_checked_as_well_and_does_not_change() -> None:
    with pytest.raises(UsageError, match="misfire_grace_ms must be a whole number"):
        Repeat("@daily", misfire_grace_ms=-1)
    with pytest.raises(UsageError, match="pattern must have"):
        Repeat("5/15 * * * *")
    repeat = Repeat("@daily")
    with pytest.raises(FrozenInstanceError):
        repeat.pattern = "@hourly"  # type: ignore[misc]  # that it cannot be set is the point
