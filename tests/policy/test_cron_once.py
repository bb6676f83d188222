"""`Once`: a date as a schedule of one occurrence, which no `repeat=` can say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager import TaskManager
from taskmanager.clock import LATEST_MS, moment_ms
from taskmanager.errors import UsageError
from taskmanager.policy.cron import CATCH_UP, Cron, Decided, Once, Repeat, RepeatOnce, catch_up, timing_of

AT = moment_ms(datetime(2026, 3, 29, 1, tzinfo=UTC), "at")
NOON = Once(AT)
GRACE_MS = 60_000


def test_it_answers_what_a_cron_answers() -> None:
    assert (NOON.next_after(AT - 1), NOON.next_after(AT)) == (AT, None)
    for after, until, found in [(AT - 1, AT, (AT,)), (AT - 2, AT - 1, ()), (AT, AT + 9, ()), (AT - 9, AT + 9, (AT,))]:
        assert tuple(NOON.occurrences(after, until)) == NOON.newest(after, until, 5) == found
        assert NOON.count(after, until) == len(found)


@pytest.mark.parametrize("mode", CATCH_UP)
def test_a_place_before_it_runs_it_and_one_at_it_or_after_never_does(mode: str) -> None:
    assert catch_up(NOON, AT - 5, AT - 1, mode, GRACE_MS) == Decided((), AT - 5, AT, 0)
    assert catch_up(NOON, AT - 5, AT, mode, GRACE_MS) == Decided((AT,), AT, LATEST_MS, 0)
    assert catch_up(NOON, AT, AT + 5, mode, GRACE_MS) == Decided((), AT, LATEST_MS, 0)
    assert catch_up(NOON, AT + 5, AT + 6, mode, GRACE_MS) == Decided((), AT + 5, LATEST_MS, 0)


@pytest.mark.parametrize(("mode", "runs"), [("latest", (AT,)), ("all", (AT,)), ("none", ())])
def test_missed_it_runs_by_the_same_catch_up_as_a_cron(mode: str, runs: tuple[int, ...]) -> None:
    late = AT + GRACE_MS + 1
    assert catch_up(NOON, AT - 5, late, mode, GRACE_MS) == Decided(runs, AT, LATEST_MS, 1 - len(runs))


@given(st.integers(0, LATEST_MS))
def test_it_is_kept_as_a_pattern_and_read_back(ms: int) -> None:
    assert timing_of(Once(ms).pattern, "UTC") == Once(ms)


def test_it_is_spelt_like_the_ids_of_occurrences() -> None:
    assert (Once(AT).pattern, Once(AT + 5).pattern) == ("@at 2026-03-29T01:00:00Z", "@at 2026-03-29T01:00:00.005Z")
    assert timing_of("@daily", "UTC") == Cron.parse("@daily")


@pytest.mark.parametrize("pattern", ["@at", "@at ", "@at 2026-13-01T00:00:00Z", "@at 2026-03-29T01:00:00", "@at now"])
def test_what_is_no_moment_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern must be"):
        timing_of(pattern, "UTC")
    with pytest.raises(UsageError, match="pattern must be"):
        RepeatOnce(pattern)


@pytest.mark.parametrize("repeat", [NOON.pattern, {"pattern": NOON.pattern}])
def test_no_repeat_of_a_user_can_say_it(repeat: Any) -> None:
    with pytest.raises(UsageError, match="pattern must be five fields"):
        Repeat.of(repeat)
    with pytest.raises(UsageError, match="pattern must be five fields"):
        TaskManager("memory://").handler("e", repeat=repeat)(lambda job: None)
    assert Repeat.of(RepeatOnce(NOON.pattern)).pattern == NOON.pattern
