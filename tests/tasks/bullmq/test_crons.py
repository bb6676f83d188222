"""One pattern, read alike by Node's BullMQ, by ours, and by the policy of crons."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bullmq.job_scheduler import default_repeat_strategy  # type: ignore[import-untyped]  # bullmq ships no types
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.errors import UsageError
from taskmanager.policy.cron import Cron
from taskmanager.tasks import Task, TaskRequest
from taskmanager.tasks.bullmq.crons import next_run, stored_pattern
from tests.servers import Server
from tests.tasks.bullmq.node import NodeSide
from tests.tasks.bullmq.world import EACH_SECOND, Ran, driver

MARCH = int(datetime(2026, 3, 1, 12, 34, 56, tzinfo=UTC).timestamp() * 1000)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def ours(pattern: str, zone: str, start: int, count: int = 6) -> list[int]:
    found = [start]
    for _ in range(count):
        at = next_run(found[-1], {"pattern": stored_pattern(pattern), "tz": zone})
        assert at is not None
        found.append(at)
    return found[1:]


# ---- spelling


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("0 9 * * 1-5", "0 9 * * 1-5"),
        ("*/15 * * * *", "*/15 * * * *"),
        ("@minutely", "* * * * *"),
        ("@weekly", "0 0 * * 0"),
        ("38,21-25,22-24 0 * * *", "21-25,38 0 * * *"),
        ("0 0 * * 5-7", "0 0 * * 0,5-6"),
        ("0 0 * * sun,0,7", "0 0 * * 0"),
        ("0 0 L * *", "0 0 L * *"),
        ("0 0 L,31 * *", "0 0 31,L * *"),
        ("5-5 0 1 jan,mar *", "5 0 1 1,3 *"),
        ("30 0 0 * * *", "30 0 0 * * *"),
        ("0-59 0-23 1-31 1-12 0-6", "* * * * *"),
        ("0 0 */1 * 1", "0 0 * * 1"),
        ("0 0 *,3 * 1-5/2 ", "0 0 * * 1,3,5"),
        ("0 0 13 * 5", "0 0 13 * 5"),
    ],
)
def test_a_pattern_is_stored_as_both_libraries_read_it(written: str, stored: str) -> None:
    assert stored_pattern(written) == stored
    assert Cron.parse(written).next_after(MARCH) == Cron.parse(stored).next_after(MARCH)


@pytest.mark.parametrize("pattern", ["0 0 */2 * 1", "0 0 1 * */2", "30 0 0 */10 * 5,6"])
def test_a_day_that_must_match_twice_has_no_spelling(pattern: str) -> None:
    with pytest.raises(UsageError, match="either"):
        stored_pattern(pattern)


@pytest.mark.parametrize("pattern", ["0 0 * * 1#2", "0 0 15W * *", "H * * * *", "0 0 0 1 1 * 2027", "", "0 0 31 2 *"])
def test_what_our_dialect_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="pattern"):
        stored_pattern(pattern)


def _column(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    spans = st.tuples(number, number, st.integers(1, 5)).map(lambda one: (*sorted(one[:2]), one[2]))
    term = number.map(str) | spans.map(lambda one: f"{one[0]}-{one[1]}/{one[2]}")
    return st.just("*") | st.integers(1, 12).map("*/{}".format) | st.lists(term, min_size=1, max_size=3).map(",".join)


PATTERNS = st.tuples(_column(0, 59), _column(0, 23), _column(1, 31), _column(1, 12), _column(0, 7)).map(" ".join)


@given(PATTERNS)
def test_a_stored_pattern_means_what_was_written(pattern: str) -> None:
    try:
        stored = stored_pattern(pattern)
    except UsageError:
        return
    assert stored_pattern(stored) == stored
    written, read = Cron.parse(pattern), Cron.parse(stored)
    assert list(_some(written)) == list(_some(read))


def _some(cron: Cron) -> list[int | None]:
    first = cron.next_after(MARCH)
    return [first, None if first is None else cron.next_after(first)]


# ---- the same next times


SAME = (
    *("0 9 * * 1-5", "*/15 * * * *", "@minutely", "@monthly", "38,21-25,22-24 0 * * *", "0 0 * * 5-7", "0 0 L * *"),
    *("0 0 13 * 5", "5-5 0 1 jan,mar *", "*/10 * * * * *", "0 0 29 2 *", "0 0 * * sun,0,7", "15,45 1-3 * * *"),
    *("0 0 L,31 * *", "@yearly", "59 23 31 12 *", "0 */5 * * 2", "7 7-19/3 */9 * *"),
)
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago")


async def test_node_and_we_say_the_same_next_times(node: Callable[[], NodeSide]) -> None:
    starts = {"days without a change": MARCH, "the end of a year": ms("2027-12-30T23:59:59+00:00")}
    cases = [
        (pattern, zone, start)
        for pattern in SAME
        for zone in ZONES
        for start in starts.values()
        if zone in ("UTC", "Asia/Kolkata") or "* *" not in pattern or start == MARCH
    ]
    assert await _of_node(node, cases, 4) == {case: ours(*case, 4) for case in cases}


CHANGES = [
    # zone, a moment on the day before a change
    ("Europe/Paris", "2026-10-24T20:00:00+00:00"),
    ("America/New_York", "2026-11-01T02:00:00+00:00"),
    ("Europe/Paris", "2026-03-28T20:00:00+00:00"),
    ("America/New_York", "2026-03-08T03:00:00+00:00"),
    ("America/Santiago", "2026-04-04T23:00:00+00:00"),
]


async def test_node_and_we_agree_where_clocks_change_on_all_that_is_not_skipped_itself(
    node: Callable[[], NodeSide],
) -> None:
    patterns = ("0 9 * * 1-5", "59 23 * * *", "0 4 * * *", "*/15 * * * *", "0 * * * *", "30 0 * * *", "30 4 L * *")
    cases = [(pattern, zone, ms(start)) for pattern in patterns for zone, start in CHANGES]
    assert await _of_node(node, cases, 6) == {case: ours(*case) for case in cases}


async def test_what_the_change_skips_node_runs_an_hour_later_and_we_at_its_end(node: Callable[[], NodeSide]) -> None:
    """Written in the module's law; where it no longer holds, that is to be changed."""
    case = ("30 2 * * *", "Europe/Paris", ms("2026-03-28T20:00:00+00:00"))
    assert ours(*case, 1) == [ms("2026-03-29T03:00:00+02:00")]
    assert (await _of_node(node, [case], 1))[case] == [ms("2026-03-29T03:30:00+02:00")]


def test_croniter_as_bullmq_asks_it_stands_still_and_we_do_not() -> None:
    """Why our worker brings its own strategy: with BullMQ's this cron would never run again."""
    start, options = ms("2026-04-05T02:59:00+00:00"), {"pattern": "59 23 * * *", "tz": "America/Santiago"}
    assert default_repeat_strategy(start, options) <= start
    assert next_run(start, options) == ms("2026-04-05T23:59:00-04:00")


async def test_our_worker_and_our_registrations_ask_our_strategy(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def croniter(*_: object) -> None:
        raise AssertionError("bullmq's own strategy was asked")

    monkeypatch.setattr("bullmq.job_scheduler.default_repeat_strategy", croniter)
    ran = Ran()
    async with driver(server, Task.of("tick", ran)) as it:
        await it.create(TaskRequest("tick", {}, EACH_SECOND))
        await ran.times(2)


def test_bullmqs_own_strategy_reads_what_only_node_writes() -> None:
    def expected(pattern: str) -> Any:
        return default_repeat_strategy(MARCH, {"pattern": pattern, "tz": "UTC"})

    for pattern in ("0 0 * * 1#2", "0 0 */2 * 1"):
        assert next_run(MARCH, {"pattern": pattern, "tz": "UTC"}) == expected(pattern) > MARCH
    assert next_run(MARCH, {"pattern": "0 0 * * *", "immediately": True}) == MARCH
    assert next_run(MARCH, {"pattern": "0 0 * * *"}) == ms("2026-03-02T00:00:00+00:00")


async def _of_node(
    node: Callable[[], NodeSide], cases: list[tuple[str, str, int]], count: int
) -> dict[tuple[str, str, int], list[int]]:
    told = [
        {"pattern": stored_pattern(pattern), "tz": zone, "from": start, "count": count}
        for pattern, zone, start in cases
    ]
    async with node() as other:
        return dict(zip(cases, await other.tell("next", cases=told), strict=True))
