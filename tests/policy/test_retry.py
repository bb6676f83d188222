"""The retry policy: what it refuses, how long it waits, what it wants, and whose word is in force."""

from __future__ import annotations

import functools
import logging
import math
import random
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.errors import UsageError
from taskmanager.job import DEFAULT_OPTIONS, RunOptions
from taskmanager.policy.retry import MAX_RETRIES, NO_RETRY, Retry, check_retry_count, in_force
from tests.names import plain


class Unlucky(random.Random):
    """Draws nothing: a policy that asks it has asked for randomness it has no use for."""

    def getrandbits(self, k: int, /) -> int:
        raise AssertionError("nothing is left to chance here")

    def random(self) -> float:
        raise AssertionError("nothing is left to chance here")


UNLUCKY = Unlucky()


async def _coroutine(*_: object) -> float:
    return 1.0


WRONG: list[dict[str, Any]] = [
    {"max_retries": -1},
    {"max_retries": True},
    {"max_retries": 1.0},
    {"max_retries": "3"},
    {"max_retries": None},
    {"max_retries": MAX_RETRIES + 1},
    {"delay": -1},
    {"delay": math.nan},
    {"delay": math.inf},
    {"delay": "1"},
    {"delay": None},
    {"delay": True},
    {"delay": timedelta(seconds=-1)},
    {"max_delay": -0.5},
    {"max_delay": math.nan},
    {"max_delay": 10**12},
    {"backoff": "linear"},
    {"backoff": "Exponential"},
    {"backoff": None},
    {"backoff": 2},
    {"backoff": _coroutine},
    {"backoff": functools.partial(_coroutine)},
    {"factor": 0.5},
    {"factor": 0},
    {"factor": math.nan},
    {"factor": math.inf},
    {"factor": "2"},
    {"factor": True},
    {"jitter": -0.1},
    {"jitter": 1.1},
    {"jitter": math.nan},
    {"jitter": None},
    {"retry_on": 5},
    {"retry_on": int},
    {"retry_on": (ValueError, int)},
    {"retry_on": (lambda error, attempt: True,)},
    {"retry_on": "ValueError"},
    {"retry_on": _coroutine},
]


@pytest.mark.parametrize("part", WRONG, ids=plain)
def test_a_part_out_of_range_is_refused_at_once_and_named_with_its_value(part: dict[str, Any]) -> None:
    [(name, value)] = part.items()
    with pytest.raises(UsageError) as refusal:
        Retry(**part)
    assert f"Retry.{name} must" in str(refusal.value)
    assert repr(value) in str(refusal.value)


def test_a_mapping_of_the_same_names_serves() -> None:
    given_parts = {"max_retries": 3, "delay": timedelta(seconds=2), "backoff": "fixed", "jitter": 0.5}
    assert Retry.of(given_parts) == Retry(3, timedelta(seconds=2), "fixed", jitter=0.5)
    policy = Retry(2)
    assert Retry.of(policy) is policy
    assert Retry.of({}) == Retry() == NO_RETRY


def test_a_name_that_nothing_would_read_is_refused() -> None:
    with pytest.raises(UsageError, match=r"retry has no 'retries'; it takes max_retries, delay"):
        Retry.of({"retries": 3})
    with pytest.raises(UsageError, match="retry has no 3"):
        Retry.of({3: 3})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="retry must be a Retry or a mapping"):
        Retry.of(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"Retry\.delay"):
        Retry.of({"delay": -1})


def test_exponential_waits_delay_times_factor_to_the_n_minus_one() -> None:
    policy = Retry(9, delay=0.5, factor=3, max_delay=60)
    assert [policy.backoff_ms(n, UNLUCKY) for n in (1, 2, 3, 4, 5, 6)] == [500, 1500, 4500, 13_500, 40_500, 60_000]


def test_a_fractional_factor_adds_no_millisecond_of_its_own() -> None:
    assert [Retry(9, factor=1.1).backoff_ms(n, UNLUCKY) for n in (1, 2, 3, 4)] == [1000, 1100, 1210, 1331]


@given(n=st.integers(1, 10**400), factor=st.one_of(st.integers(1, 10**400), st.floats(1, 1e308)))
def test_no_n_and_no_factor_overflow_the_bound(n: int, factor: float) -> None:
    wait = Retry(1, delay=1, factor=factor, max_delay=7).backoff_ms(n, UNLUCKY)
    assert 1000 <= wait <= 7000


@given(st.floats(1, 10), st.integers(1, 60), st.integers(0, 10**6))
def test_exponential_waits_never_get_shorter(factor: float, n: int, delay_ms: int) -> None:
    policy = Retry(1, delay=timedelta(milliseconds=delay_ms), factor=factor)
    assert policy.backoff_ms(n, UNLUCKY) <= policy.backoff_ms(n + 1, UNLUCKY)


def test_a_factor_of_one_stays_at_the_delay_however_large_n() -> None:
    assert Retry(1, delay=2, factor=1).backoff_ms(10**400, UNLUCKY) == 2000


def test_fixed_always_waits_the_delay() -> None:
    policy = Retry(9, delay=2.5, backoff="fixed")
    assert {policy.backoff_ms(n, UNLUCKY) for n in (1, 2, 1000)} == {2500}


def test_a_callable_is_given_n_from_one_and_answers_seconds_or_a_timedelta() -> None:
    asked: list[int] = []

    def backoff(n: int) -> timedelta | float:
        asked.append(n)
        return timedelta(seconds=n) if n % 2 else n * 0.1

    policy = Retry(9, backoff=backoff)
    assert [policy.backoff_ms(n, UNLUCKY) for n in (1, 2, 3)] == [1000, 200, 3000]
    assert asked == [1, 2, 3]


def test_max_delay_bounds_every_shape() -> None:
    assert Retry(1, delay=90, backoff="fixed", max_delay=60).backoff_ms(1, UNLUCKY) == 60_000
    assert Retry(1, backoff=lambda n: 90, max_delay=60).backoff_ms(1, UNLUCKY) == 60_000
    assert Retry(1, delay=90, max_delay=60).backoff_ms(1, UNLUCKY) == 60_000


def test_every_wait_is_at_least_a_millisecond() -> None:
    assert Retry(1, delay=0).backoff_ms(1, UNLUCKY) == 1
    assert Retry(1, delay=0).backoff_ms(10**400, UNLUCKY) == 1
    assert Retry(1, delay=1e-9, backoff="fixed").backoff_ms(1, UNLUCKY) == 1
    assert Retry(1, backoff=lambda n: 0).backoff_ms(1, UNLUCKY) == 1
    assert Retry(1, delay=0, jitter=1).backoff_ms(1, UNLUCKY) == 1
    assert Retry(1, max_delay=0).backoff_ms(1, UNLUCKY) == 1


def _raises(n: int) -> float:
    raise LookupError("no such n")


@pytest.mark.parametrize(
    "backoff", [_raises, lambda n: -1, lambda n: math.nan, lambda n: "soon", lambda n: None, lambda n: 1e300]
)
def test_a_backoff_that_raises_or_answers_nonsense_is_logged_and_exponential(
    backoff: Any, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Retry(9, delay=2, factor=5, backoff=backoff)
    assert [policy.backoff_ms(n, UNLUCKY) for n in (1, 2)] == [2000, 10_000]
    assert [(record.name, record.levelno) for record in caplog.records] == [("taskmanager", logging.ERROR)] * 2


@given(st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 10**7))
def test_jitter_shortens_a_wait_by_its_share_at_most(seed: int, jitter: float, delay_ms: int) -> None:
    delay = timedelta(milliseconds=delay_ms)
    policy = Retry(1, delay=delay, backoff="fixed", max_delay=delay, jitter=jitter)
    wait = policy.backoff_ms(1, random.Random(seed))
    assert max(1, math.floor(delay_ms * (1 - jitter))) <= wait <= delay_ms
    assert wait == policy.backoff_ms(1, random.Random(seed))


def test_jitter_reaches_both_ends_evenly() -> None:
    rng = random.Random(3)
    policy = Retry(1, delay=0.010, backoff="fixed", jitter=0.5)
    waits = [policy.backoff_ms(1, rng) for _ in range(6000)]
    assert set(waits) == {5, 6, 7, 8, 9, 10}
    assert all(800 < waits.count(wait) < 1200 for wait in set(waits))


def test_retry_on_takes_a_type_several_or_a_function() -> None:
    assert Retry(1).wants(KeyError(), 1)
    assert Retry(1, retry_on=LookupError).wants(KeyError(), 1)
    assert not Retry(1, retry_on=LookupError).wants(ValueError(), 1)
    assert Retry(1, retry_on=(OSError, ValueError)).wants(ValueError(), 1)
    assert not Retry(1, retry_on=()).wants(ValueError(), 1)
    asked: list[tuple[BaseException, int]] = []
    error = ValueError()

    def first_only(error: BaseException, attempt: int) -> bool:
        asked.append((error, attempt))
        return attempt == 1

    policy = Retry(1, retry_on=first_only)
    assert [policy.wants(error, 1), policy.wants(error, 2)] == [True, False]
    assert asked == [(error, 1), (error, 2)]


def test_a_retry_on_that_raises_is_logged_and_wants_the_error(caplog: pytest.LogCaptureFixture) -> None:
    def broken(error: BaseException, attempt: int) -> bool:
        raise RuntimeError("broken rule")

    assert Retry(1, retry_on=broken).wants(ValueError("seen"), 4)
    [record] = caplog.records
    assert record.name == "taskmanager"
    assert "ValueError('seen'), attempt 4" in record.getMessage()


def test_overrides_replace_budget_and_delay_and_leave_the_shape() -> None:
    policy = Retry(3, delay=1, backoff="fixed", jitter=0.25, retry_on=OSError)
    changed = policy.with_overrides(max_retries=7, delay_ms=250)
    assert changed == Retry(7, timedelta(milliseconds=250), "fixed", 2, timedelta(hours=1), 0.25, OSError)
    assert policy.with_overrides() is policy
    assert policy.max_retries == 3


def test_a_delay_asked_for_by_name_is_not_cut_short_by_max_delay() -> None:
    policy = Retry(3, max_delay=60).with_overrides(delay_ms=7_200_000)
    assert [policy.backoff_ms(n, UNLUCKY) for n in (1, 2)] == [7_200_000, 7_200_000]


HANDLER = Retry(3, delay=3, backoff="fixed")
PROCESSOR = Retry(4, delay=4, factor=4)

BUDGETS: list[tuple[int | None, int | None, Retry | None, Retry | None, int]] = [
    # emission's, handler's retry_count, handler's policy, processor's policy: budget
    (1, 2, HANDLER, PROCESSOR, 1),
    (0, 2, HANDLER, PROCESSOR, 0),
    (None, 2, HANDLER, PROCESSOR, 2),
    (None, 0, HANDLER, PROCESSOR, 0),
    (None, None, HANDLER, PROCESSOR, 3),
    (None, None, None, PROCESSOR, 4),
    (None, None, Retry(), PROCESSOR, 0),
    (None, None, None, None, 0),
    (9, None, None, None, 9),
]


@pytest.mark.parametrize(("emission", "handler_count", "handler", "processor", "budget"), BUDGETS)
def test_the_budget_is_the_emissions_else_the_handlers_else_the_processors_else_none(
    emission: int | None, handler_count: int | None, handler: Retry | None, processor: Retry | None, budget: int
) -> None:
    policy = in_force(RunOptions(retry_count=emission), handler, handler_count, None, processor)
    assert policy.max_retries == budget
    shape = handler or processor or Retry()
    assert policy == shape.with_overrides(max_retries=budget)


def test_retry_delay_replaces_the_delay_of_the_policy_in_force() -> None:
    options = RunOptions(retry_delay_ms=10)

    def waits(policy: Retry) -> list[int]:
        return [policy.backoff_ms(n, UNLUCKY) for n in (1, 2, 3)]

    assert waits(in_force(options, HANDLER, None, 20, PROCESSOR)) == [10, 10, 10]
    assert waits(in_force(DEFAULT_OPTIONS, HANDLER, None, 20, PROCESSOR)) == [20, 20, 20]
    assert waits(in_force(options, None, None, None, PROCESSOR)) == [10, 40, 160]
    assert waits(in_force(options, None, None, None, None)) == [10, 20, 40]
    assert waits(in_force(DEFAULT_OPTIONS, None, None, None, None)) == [1000, 2000, 4000]


def test_a_retry_count_is_a_whole_number_from_zero() -> None:
    assert check_retry_count(0, "attempts") == 0
    for wrong in (-1, True, 1.5, "1", None, MAX_RETRIES + 1):
        with pytest.raises(UsageError, match=r"attempts must be a whole number.* got"):
            check_retry_count(wrong, "attempts")
