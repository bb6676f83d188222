"""How often, how late, and after which errors a failed run is tried again; and whose word counts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Discard, Job, Retry, RetryLater, TaskManager, UsageError
from tests.worker.worlds import app, delays, found, kinds


def failing(tm: TaskManager, error: Callable[[], BaseException] = lambda: ValueError("boom"), **options: Any) -> None:
    @tm.handler("work", **options)
    async def work(job: Job[Any]) -> None:
        raise error()


def run(tm: TaskManager, **emission: Any) -> Simulation:
    with Simulation(tm) as sim:
        sim.emit("work", id="w", **emission)
        sim.run_until_idle()
    return sim


def test_without_a_budget_the_first_failure_is_the_last() -> None:
    tm = app()
    failing(tm)
    assert kinds(run(tm)) == ["emitted", "started", "failed"]


def test_attempts_is_the_number_of_retries_so_three_means_four_runs() -> None:
    tm = app()
    failing(tm, attempts=3)
    sim = run(tm)
    assert len(sim.attempts("work")) == 4
    assert delays(sim) == [1.0, 2.0, 4.0]


def test_max_attempts_is_retries_plus_one_and_is_told_to_handler_and_reader() -> None:
    tm = app()
    seen = []

    @tm.handler("work", attempts=2)
    async def work(job: Job[Any]) -> None:
        seen.append((job.attempt, job.max_attempts))

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        assert found(sim.job("w")).max_attempts == 3
        sim.run_until_idle()
        assert found(sim.job("w")).max_attempts == 3
    assert seen == [(1, 3)]


def test_a_retried_run_that_succeeds_completes_and_keeps_no_error() -> None:
    tm = app()

    @tm.handler("work", attempts=5)
    async def work(job: Job[Any]) -> int:
        if job.attempt < 3:
            raise ValueError("not yet")
        return job.attempt

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.result, job.error, job.attempt) == ("completed", 3, None, 3)
    assert [(entry.number, entry.outcome) for entry in job.attempts] == [
        (1, "retried"),
        (2, "retried"),
        (3, "completed"),
    ]


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (Retry(4, delay=1, factor=3), [1, 3, 9, 27]),
        (Retry(4, delay=1, factor=3, max_delay=5), [1, 3, 5, 5]),
        (Retry(3, delay=7, backoff="fixed"), [7, 7, 7]),
        (Retry(3, backoff=lambda n: n * 10), [10, 20, 30]),
        (Retry(2, delay=0), [0.001, 0.001]),
        ({"max_retries": 2, "delay": 0.25}, [0.25, 0.5]),
    ],
)
def test_each_retry_waits_as_its_policy_says(policy: Any, waits: list[float]) -> None:
    tm = app()
    failing(tm, retry=policy)
    assert delays(run(tm)) == waits


def test_a_backoff_that_raises_falls_back_to_the_default(caplog: pytest.LogCaptureFixture) -> None:
    def backoff(n: int) -> float:
        raise KeyError(n)

    tm = app()
    failing(tm, retry=Retry(2, delay=3, backoff=backoff))
    assert delays(run(tm)) == [3, 6]
    assert "backoff" in caplog.text


@given(st.floats(0, 1), st.integers(0, 1000))
def test_jitter_only_shortens_a_wait_and_never_below_its_share(jitter: float, seed: int) -> None:
    tm = app()
    failing(tm, retry=Retry(4, delay=10, factor=2, max_delay=60, jitter=jitter))
    with Simulation(tm, seed=seed) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        for waited, full in zip(delays(sim), [10, 20, 40, 60], strict=True):
            assert full * (1 - jitter) - 0.001 <= waited <= full


@given(st.integers(0, 40))
def test_a_budget_of_n_gives_n_plus_one_runs_each_at_its_own_moment(budget: int) -> None:
    tm = app()
    failing(tm, retry=Retry(budget, delay=0.5, factor=1.5, max_delay=30))
    sim = run(tm)
    started = [step.at.timestamp() for step in sim.attempts("work")]
    assert len(started) == budget + 1
    gaps = [round(later - earlier, 3) for earlier, later in pairwise(started)]
    assert gaps == delays(sim)


# ---- precedence


@pytest.mark.parametrize(
    ("emission", "handler", "processor", "runs"),
    [
        ({}, {}, None, 1),
        ({}, {}, Retry(2), 3),
        ({}, {"attempts": 1}, Retry(2), 2),
        ({}, {"attempts": 0}, Retry(2), 1),
        ({}, {"retry": Retry(4)}, Retry(2), 5),
        ({}, {"retry": Retry(4), "retry_count": 1}, Retry(2), 2),
        ({"attempts": 3}, {"attempts": 1}, Retry(2), 4),
        ({"attempts": 0}, {"attempts": 1}, Retry(2), 1),
        ({"retry_count": 1, "attempts": 5}, {}, None, 2),
        ({}, {"retry_count": 1, "attempts": 5}, None, 2),
    ],
)
def test_the_budget_is_the_emissions_else_the_handlers_else_the_processors(
    emission: dict[str, Any], handler: dict[str, Any], processor: Retry | None, runs: int
) -> None:
    tm = app(processor={"retry": processor})
    failing(tm, **handler)
    assert len(run(tm, **emission).attempts("work")) == runs


@pytest.mark.parametrize(
    ("emission", "handler", "processor", "waits"),
    [
        ({"retry_delay": 5}, {}, Retry(2, delay=1), [5, 10]),
        ({"retry_delay": 5}, {}, Retry(2, delay=1, backoff="fixed"), [5, 5]),
        ({"retry_delay_ms": 50}, {"retry_delay": 9}, Retry(2, factor=10), [0.05, 0.5]),
        ({}, {"retry_delay": 9}, Retry(2, factor=10), [9, 90]),
        ({"attempts": 2, "retry_delay": 4}, {}, None, [4, 8]),
        ({}, {"attempts": 2, "retry_delay_ms": 1500}, None, [1.5, 3]),
        ({"attempts": 2, "retry_delay": 7200}, {}, None, [7200, 7200]),
    ],
)
def test_a_retry_delay_replaces_the_delay_and_leaves_the_shape(
    emission: dict[str, Any], handler: dict[str, Any], processor: Retry | None, waits: list[float]
) -> None:
    tm = app(processor={"retry": processor})
    failing(tm, **handler)
    assert delays(run(tm, **emission)) == waits


# ---- which errors


@pytest.mark.parametrize(
    ("retry_on", "runs"),
    [
        (ValueError, 3),
        (Exception, 3),
        (KeyError, 1),
        ((KeyError, ValueError), 3),
        (lambda error, attempt: attempt < 2, 2),
        (lambda error, attempt: "boom" in str(error), 3),
        (lambda error, attempt: False, 1),
    ],
)
def test_retry_on_says_which_errors_are_tried_again(retry_on: Any, runs: int) -> None:
    tm = app()
    failing(tm, retry=Retry(2, retry_on=retry_on))
    sim = run(tm)
    assert len(sim.attempts("work")) == runs
    assert kinds(sim)[-1] == "failed"


def test_retry_on_that_raises_is_logged_and_the_error_is_retried(caplog: pytest.LogCaptureFixture) -> None:
    def picky(error: BaseException, attempt: int) -> bool:
        raise RuntimeError("cannot tell")

    tm = app()
    failing(tm, retry=Retry(1, retry_on=picky))
    assert len(run(tm).attempts("work")) == 2
    assert "retry_on" in caplog.text


# ---- Discard and RetryLater


def test_discard_fails_at_once_whatever_budget_is_left() -> None:
    tm = app(processor={"retry": Retry(9)})
    failing(tm, lambda: Discard("no such user"))
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.reason, job.attempt) == ("failed", "no such user", 1)
    assert job.error is not None
    assert job.error.type == "Discard"
    assert job.dead_letter is not None


def test_retry_later_spends_no_retry_and_the_attempt_grows() -> None:
    tm = app()

    @tm.handler("work", attempts=1)
    async def work(job: Job[Any]) -> None:
        if job.attempt <= 5:
            raise RetryLater(60)
        raise ValueError(job.attempt)

    sim = run(tm)
    assert [step.attempt for step in sim.attempts("work")] == [1, 2, 3, 4, 5, 6, 7]
    assert delays(sim) == [60, 60, 60, 60, 60, 1.0]
    assert kinds(sim)[-1] == "failed"


def test_retry_later_of_nothing_still_waits_a_millisecond() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        if job.attempt == 1:
            raise RetryLater(0)

    assert delays(run(tm)) == [0.001]


@pytest.mark.parametrize("delay", [-1, float("nan"), "soon"])
def test_retry_later_that_cannot_be_is_an_ordinary_failure_that_says_so(delay: Any) -> None:
    tm = app()
    failing(tm, lambda: RetryLater(delay))
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert job.state == "failed"
    assert job.error is not None
    assert job.error.type == "UsageError"
    assert "RetryLater.delay" in job.error.message


def test_data_that_does_not_validate_fails_at_once_without_a_run_of_the_handler() -> None:
    tm = app(processor={"retry": Retry(9)})
    ran = []

    @tm.handler("work")
    async def work(job: Job[int]) -> None:
        ran.append(job.data)

    with Simulation(tm) as sim:
        sim.emit("work", {"not": "a number"}, id="w")
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert (job.state, job.reason, job.attempt, ran) == ("failed", "data", 1, [])


# ---- an operator's retry


def test_retry_of_a_failed_job_runs_it_with_a_fresh_budget() -> None:
    tm = app()
    failing(tm, attempts=1)
    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        assert found(sim.retry("w")).state == "waiting"
        sim.run_until_idle()
        job = found(sim.job("w"))
    assert kinds(sim, "w").count("started") == 4
    assert (job.state, job.attempt) == ("failed", 4)
    assert delays(sim) == [1.0, 1.0]


def test_retrying_what_has_not_failed_is_refused_and_changes_nothing() -> None:
    tm = app()

    @tm.handler("work")
    async def work(job: Job[Any]) -> None: ...

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.run_until_idle()
        with pytest.raises(UsageError, match="completed"):
            sim.retry("w")
        assert found(sim.job("w")).state == "completed"
        assert sim.retry("nobody") is None


def test_retry_all_runs_the_failed_jobs_of_one_event_again() -> None:
    tm = app()
    failing(tm)
    mended: list[bool] = []

    @tm.handler("other")
    async def other(job: Job[Any]) -> None:
        if not mended:
            raise ValueError("broken")

    with Simulation(tm) as sim:
        sim.emit_many([{"event": name, "data": n} for name in ("work", "other") for n in range(3)])
        sim.run_until_idle()
        mended.append(True)
        assert sim.retry_all(event="other") == 3
        sim.run_until_idle()
        assert {state: n for state, n in sim.counts().items() if n} == {"completed": 3, "failed": 3}
