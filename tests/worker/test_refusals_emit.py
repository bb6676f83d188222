"""What `emit` refuses: the message names the field, the value seen and what is accepted; and nothing has changed."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Debounce, TaskManager, UsageError
from tests.worker.apps import everything, keeping

NAME = "must be 1-200 printable characters without white space or braces"
TEXT = "must be 1-500 characters without control characters or lone surrogates"
SECONDS = "must be a timedelta or a number of seconds"
LATE = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


class Refusal:
    """One call of `emit` that is refused: its event and options, and every piece that the message must have."""

    def __init__(self, *says: str, event: Any = "work", **options: Any) -> None:
        self.says = says
        self.event = event
        self.options = options

    def __repr__(self) -> str:
        return f"{self.event!r} {self.options}"[:80]


NAMES = [
    Refusal(f"event name {NAME}, got ''", event=""),
    Refusal(f"event name {NAME}, got 'two words'", event="two words"),
    Refusal(f"event name {NAME}, got 'a{{b}}'", event="a{b}"),
    Refusal(f"event name {NAME}, got 'line\\nbreak'", event="line\nbreak"),
    Refusal(f"event name {NAME}, got 'xxx", event="x" * 201),
    Refusal(f"event name {NAME}, got None", event=None),
    Refusal(f"event name {NAME}, got 7", event=7),
    Refusal(f"event name {NAME}, got b'work'", event=b"work"),
    Refusal(f"queue name {NAME}, got 'my queue'", queue="my queue"),
    Refusal(f"queue name {NAME}, got '{{q}}'", queue="{q}"),
    Refusal(f"queue name {NAME}, got ''", queue=""),
    Refusal(f"queue name {NAME}, got 7", queue=7),
    Refusal(f"id {TEXT}, got ''", id=""),
    Refusal(f"id {TEXT}, got 'a\\x00b'", id="a\x00b"),
    Refusal(f"id {TEXT}, got '\\ud800'", id="\ud800"),
    Refusal(f"id {TEXT}, got 'xxx", id="x" * 501),
    Refusal(f"id {TEXT}, got 7", id=7),
]

NUMBERS = [
    *(
        Refusal(f"priority must be a whole number from -100 to 100, got {value!r}", priority=value)
        for value in (101, -101, 1.0, True, "1", math.nan)
    ),
    *(
        Refusal(f"{field} must be a whole number from 0 to", f"got {value!r}", **{field: value})
        for field in ("retry_count", "attempts")
        for value in (-1, 1.5, True, "3", 2**31)
    ),
    Refusal("replace must be True or False, got 1", replace=1),
    Refusal("replace must be True or False, got None", replace=None),
]

DURATIONS = [
    *(
        Refusal(f"{field} {says}, got {value!r}", **{field: value})
        for field in ("delay", "expires", "timeout", "retry_delay")
        for value, says in (
            (-1, "must not be negative"),
            (-0.001, "must not be negative"),
            (timedelta(seconds=-1), "must not be negative"),
            (math.nan, "must be a finite number of seconds"),
            (math.inf, "must be a finite number of seconds"),
            (1e30, "must end before the year 10000"),
            ("60", SECONDS),
            (True, SECONDS),
            ([1], SECONDS),
        )
    ),
    # Shorter than all of time, and yet not over before the year 10000, counted from now.
    *(
        Refusal(f"{field} must end before the year 10000", "got 253000000000", **{field: 253 * 10**9})
        for field in ("delay", "expires")
    ),
    Refusal("timeout must be longer than 0 seconds, got 0", timeout=0),
    *(
        Refusal(f"{field} must be an integer number of milliseconds, got {value!r}", **{field: value})
        for field in ("retry_delay_ms", "debounce_ms")
        for value in (1.5, "5", True)
    ),
    Refusal("retry_delay_ms must not be negative", "-5", retry_delay_ms=-5),
    Refusal("debounce_ms must not be negative", "-5", debounce_ms=-5),
    Refusal("retry_delay_ms must end before the year 10000, got 1000000000000000", retry_delay_ms=10**15),
    Refusal("give retry_delay or retry_delay_ms, not both; got 1 and 1000", retry_delay=1, retry_delay_ms=1000),
    Refusal("give debounce or debounce_ms, not both; got 1 and 1000", debounce=1, debounce_ms=1000),
]

MOMENTS = [
    *(
        Refusal(f"{field} must be an aware datetime, got the naive '2027-01-01T00:00:00'", "tzinfo", **{field: value})
        for field, value in (("delay_until", datetime(2027, 1, 1)), ("expires", datetime(2027, 1, 1)))
    ),
    *(
        Refusal(f"{field} must not be after the year 9999, got '9999-12-31T23:59:59.999999+00:00'", **{field: LATE})
        for field in ("delay_until", "expires")
    ),
    *(
        Refusal(f"delay_until must be an aware datetime, got {value!r}", delay_until=value)
        for value in (60, "2027-01-01", timedelta(1))
    ),
    Refusal("give delay or delay_until, not both; got 5 and", delay=5, delay_until=datetime(2027, 1, 1, tzinfo=UTC)),
    Refusal("give delay or delay_until, not both; got 0 and", delay=0, delay_until=datetime(2027, 1, 1, tzinfo=UTC)),
]

DEBOUNCES = [
    Refusal("Debounce.window must not be negative, got -5", debounce=-5),
    Refusal("Debounce.window must be a finite number of seconds, got nan", debounce=math.nan),
    Refusal(f"Debounce.window {SECONDS}, got '5'", debounce="5"),
    Refusal("debounce must have a window, in seconds or a timedelta, got {}", debounce={}),
    Refusal("debounce has no 'windw'; it takes window, edge, key, max_wait", debounce={"windw": 5}),
    Refusal("Debounce.edge must be 'leading' or 'trailing', got 'late'", debounce={"window": 5, "edge": "late"}),
    Refusal("Debounce.key must be a function, got 7", debounce={"window": 5, "key": 7}),
    Refusal(f"Debounce.key {TEXT}, got ''", debounce={"window": 5, "key": ""}),
    Refusal(
        "Debounce.max_wait must be at least the window 10, got 9",
        debounce={"window": 10, "edge": "trailing", "max_wait": 9},
    ),
    Refusal(
        "Debounce.max_wait must be left out at the leading edge", "got 20", debounce={"window": 10, "max_wait": 20}
    ),
    Refusal("debounce cannot be given together with repeat", debounce=5, repeat="* * * * *"),
    Refusal("debounce cannot be given together with repeat", debounce_ms=5, repeat="* * * * *"),
]

REPEATS = [
    Refusal("repeat must be a cron pattern or a mapping with a 'pattern', got 7", repeat=7),
    Refusal("repeat must have a 'pattern' such as '0 9 * * 1-5', got {'timezone': 'UTC'}", repeat={"timezone": "UTC"}),
    Refusal("repeat has no 'cron'; it takes pattern, timezone", repeat={"pattern": "* * * * *", "cron": 1}),
    Refusal("pattern must be a text such as '0 9 * * 1-5', got 7", repeat={"pattern": 7}),
    *(
        Refusal("pattern", pattern, repeat={"pattern": pattern})
        for pattern in (
            "",
            "* * * *",
            "* * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "H * * * *",
            "R * * * *",
            "? * * * *",
            "* * 1W * *",
            "* * * * 1#2",
            "5-1 * * * *",
            "*/0 * * * *",
            "@reboot",
            "@yearley",
            "0 0 31 2 *",
            "0 0 30 feb *",
            "* * * * mon-",
            "1,,2 * * * *",
        )
    ),
    Refusal("timezone", "Mars/Olympus", repeat={"pattern": "@daily", "timezone": "Mars/Olympus"}),
    Refusal("timezone", "7", repeat={"pattern": "@daily", "timezone": 7}),
    Refusal(
        "catch_up must be one of 'latest', 'all', 'none'; got 'some'", repeat={"pattern": "@daily", "catch_up": "some"}
    ),
    Refusal("overlap must be one of 'allow', 'skip'; got 'queue'", repeat={"pattern": "@daily", "overlap": "queue"}),
    Refusal("misfire_grace must not be negative, got -1", repeat={"pattern": "@daily", "misfire_grace": -1}),
    Refusal("immediate must be True or False, got 1", repeat={"pattern": "@daily", "immediate": 1}),
    Refusal("expires must be a duration where repeat is given", repeat="@daily", expires=LATE - timedelta(days=1)),
]

OPTIONS = [
    Refusal("emit has no option 'dely'; it takes attempts, debounce,", "timeout", dely=5),
    Refusal("emit has no option 'awaited'", awaited=True),
    Refusal("emit has no option 'catch_up'", catch_up="all"),
]

ALL = [*NAMES, *NUMBERS, *DURATIONS, *MOMENTS, *DEBOUNCES, *REPEATS, *OPTIONS]


def app() -> TaskManager:
    tm = TaskManager(db="memory://")
    keeping(tm, "work")
    return tm


@pytest.mark.parametrize("refusal", ALL, ids=repr)
def test_emit_refuses_in_words_and_changes_nothing(refusal: Refusal) -> None:
    with Simulation(app(), workers=0) as sim:
        sim.emit("work", {"before": True})
        sim.emit("work", id="every", repeat={"pattern": "@daily"})
        before = everything(sim)
        with pytest.raises(UsageError) as raised:
            sim.emit(refusal.event, **refusal.options)
        assert everything(sim) == before
    for piece in refusal.says:
        assert piece in str(raised.value)


@pytest.mark.parametrize("refusal", ALL, ids=repr)
def test_emit_many_refuses_the_same_before_it_writes_anything(refusal: Refusal) -> None:
    entries = [{"event": "work", "id": "good"}, {"event": refusal.event, **refusal.options}]
    with Simulation(app(), workers=0) as sim:
        before = everything(sim)
        with pytest.raises(UsageError):
            sim.emit_many(entries)
        assert everything(sim) == before


def test_the_limits_themselves_are_accepted() -> None:
    with Simulation(app(), workers=0) as sim:
        sim.emit("x" * 200, queue="q" * 200, id="x" * 500)
        for n, priority in enumerate((-100, 100)):
            sim.emit("work", {"n": n}, priority=priority)
        sim.emit("work", id="never", delay_until=datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
        sim.emit("work", id="now", delay=0, expires=0, retry_count=0, retry_delay=0)
        sim.emit("work", id="past", delay_until=datetime(1969, 7, 20, tzinfo=UTC))
        sim.emit("work", id="wait", debounce=Debounce(5, "trailing", max_wait=5))
        assert sum(sim.counts().values()) == 6


def test_a_refusal_in_a_handler_is_raised_there() -> None:
    tm = app()
    caught: list[str] = []

    @tm.handler("outer")
    async def outer(job: Any, ctx: Any) -> None:
        for emit in (ctx.emit, tm.emit):
            try:
                emit("work", dely=5)
            except UsageError as error:
                caught.append(str(error))

    with Simulation(tm) as sim:
        sim.emit("outer")
        sim.run_until_idle()
    assert len(caught) == 2
