"""The life of a job: the table of moves, and every decision that can be made from a run."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.job import DEFAULT_OPTIONS, FINISHED, LIVE, Claim, ErrorInfo, Kind, Reason, State, Transition
from taskmanager.policy.lifecycle import (
    BORN,
    GONE,
    MOVES,
    CancelHeard,
    Lost,
    Outcome,
    Postponed,
    Raised,
    Refused,
    Returned,
    Stopped,
    Terms,
    Unhandled,
    decide,
)
from taskmanager.policy.retry import NO_RETRY, Retry

ERROR = ErrorInfo("ValueError", "no", "Traceback ...")
OUTCOMES: list[Outcome] = [
    Returned(b'"done"'),
    Returned(skipped=True),
    Raised(ERROR),
    Raised(ERROR, retryable=False),
    Refused("bad address", ERROR),
    Refused("bad address"),
    Postponed(250),
    Unhandled("no handler"),
    Stopped(),
    Lost(),
    CancelHeard(),
]


def claim_with(failures: int = 0, losses: int = 0, attempt: int = 1) -> Claim:
    return Claim(
        number=7,
        id="send:1",
        serial=3,
        queue="default",
        event="send",
        data=b"{}",
        options=DEFAULT_OPTIONS,
        priority=0,
        attempt=attempt,
        failures=failures,
        losses=losses,
        created_at=1000,
        run_at=1000,
        schedule=None,
        claimed_at=2000,
    )


def decided(outcome: Outcome, terms: Terms | None = None, **counts: int) -> Transition:
    return decide(claim_with(**counts), outcome, terms or Terms(), random.Random(1))


# ---- the table


def test_every_move_is_between_known_states_by_a_known_step() -> None:
    places = {BORN, GONE, *State}
    for (source, step), targets in MOVES.items():
        assert source in places - {GONE}
        assert targets
        assert targets <= places - {BORN}
        assert step in {*Kind, GONE}


def test_every_state_is_reached_from_birth_and_reaches_the_end() -> None:
    onward: dict[str, set[str]] = {}
    for (source, _), targets in MOVES.items():
        onward.setdefault(source, set()).update(targets)

    def reachable(start: str) -> set[str]:
        seen, frontier = {start}, [start]
        while frontier:
            frontier += (fresh := onward.get(frontier.pop(), set()) - seen)
            seen |= fresh
        return seen

    assert reachable(BORN) == {BORN, GONE, *State}
    assert all(GONE in reachable(state) for state in State)
    assert GONE not in onward


def test_only_a_claim_makes_a_job_active_and_only_an_operator_revives_a_finished_one() -> None:
    assert {key for key, targets in MOVES.items() if State.ACTIVE in targets} == {(State.WAITING, Kind.STARTED)}
    revived = {key for key, targets in MOVES.items() if key[0] in FINISHED and targets != {GONE}}
    assert revived == {(State.FAILED, Kind.REQUEUED)}
    assert MOVES[State.FAILED, Kind.REQUEUED] == {State.WAITING}


def test_the_moves_between_states_are_those_of_the_contract() -> None:
    by_state: dict[str, set[str]] = {state: set() for state in [BORN, *State]}
    for (source, step), targets in MOVES.items():
        if step not in (Kind.REPLACED, Kind.DEBOUNCED):  # new content, the same job
            by_state[source] |= targets
    assert by_state == {
        BORN: {State.WAITING, State.DELAYED},
        State.DELAYED: {State.WAITING, State.CANCELLED},
        State.WAITING: {State.ACTIVE, State.CANCELLED},
        State.ACTIVE: {State.COMPLETED, State.DELAYED, State.FAILED, State.CANCELLED, State.WAITING},
        State.COMPLETED: {GONE},
        State.FAILED: {State.WAITING, GONE},
        State.CANCELLED: {GONE},
    }


def test_new_content_never_starts_or_ends_a_job() -> None:
    for (source, step), targets in MOVES.items():
        if step in (Kind.REPLACED, Kind.DEBOUNCED):
            assert source in LIVE - {State.ACTIVE}
            assert targets <= LIVE - {State.ACTIVE}


# ---- every decision is a legal move


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
@pytest.mark.parametrize("ignore", [True, False])
@pytest.mark.parametrize("budget", [0, 1, 3])
def test_every_decision_and_what_may_overrule_it_is_a_legal_move(outcome: Outcome, ignore: bool, budget: int) -> None:
    for failures, losses in itertools.product(range(5), range(4)):
        terms = Terms(retry=Retry(budget), ignore_config_errors=ignore, dead_letter="dead")
        transition = decided(outcome, terms, failures=failures, losses=losses)
        assert transition.to in MOVES[State.ACTIVE, transition.kind]
        overruled = {State.FAILED: Kind.FAILED, State.CANCELLED: Kind.CANCELLED}[transition.superseded]
        assert transition.superseded in MOVES[State.ACTIVE, overruled]
        assert State.CANCELLED in MOVES[State.ACTIVE, Kind.CANCELLED]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=repr)
@pytest.mark.parametrize("budget", [0, 1, 3])
def test_what_a_decision_carries_fits_the_state_it_leads_to(outcome: Outcome, budget: int) -> None:
    for failures in range(5):
        transition = decided(outcome, Terms(retry=Retry(budget), dead_letter="dead"), failures=failures)
        assert (transition.delay_ms >= 1) == (transition.to is State.DELAYED)
        assert transition.result is None or transition.to is State.COMPLETED
        assert transition.dead_letter is None or transition.to is State.FAILED
        assert transition.error is not None or transition.to is not State.FAILED
        assert (transition.failures, transition.losses) in {(0, 0), (1, 0), (0, 1)}


@given(st.sampled_from(OUTCOMES), st.integers(0, 5), st.integers(0, 3), st.integers(0, 5), st.integers(0, 2**32))
def test_equal_arguments_give_equal_decisions(
    outcome: Outcome, failures: int, losses: int, budget: int, seed: int
) -> None:
    terms = Terms(retry=Retry(budget, jitter=1.0))
    claim = claim_with(failures, losses)
    first = decide(claim, outcome, terms, random.Random(seed))
    assert first == decide(claim, outcome, terms, random.Random(seed))


# ---- each outcome


def test_a_return_completes_with_its_result() -> None:
    transition = decided(Returned(b"42"), Terms(retry=Retry(2)), failures=2)
    assert transition == Transition(Kind.COMPLETED, State.COMPLETED, result=b"42", max_attempts=3)


def test_a_run_that_declined_is_skipped_and_completed() -> None:
    transition = decided(Returned(skipped=True))
    assert (transition.kind, transition.to, transition.result) == (Kind.SKIPPED, State.COMPLETED, None)


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_an_error_is_retried_while_the_budget_lasts_and_then_fails(budget: int) -> None:
    terms = Terms(retry=Retry(budget, delay=1, factor=2), dead_letter="dead")
    for failures in range(budget):
        transition = decided(Raised(ERROR), terms, failures=failures, attempt=9)
        assert (transition.kind, transition.to) == (Kind.RETRIED, State.DELAYED)
        assert transition.delay_ms == 1000 * 2**failures
        assert (transition.failures, transition.error, transition.reason) == (1, ERROR, None)
        assert (transition.superseded, transition.max_attempts) == (State.FAILED, budget + 1)
        assert transition.dead_letter is None
    for failures in (budget, budget + 1):
        transition = decided(Raised(ERROR), terms, failures=failures)
        assert (transition.kind, transition.to, transition.delay_ms) == (Kind.FAILED, State.FAILED, 0)
        assert (transition.failures, transition.error, transition.max_attempts) == (1, ERROR, budget + 1)
        assert transition.dead_letter == "dead"


def test_attempts_beyond_the_failures_spend_no_retry_and_lengthen_no_wait() -> None:
    transition = decided(Raised(ERROR), Terms(retry=Retry(1)), failures=0, attempt=50, losses=2)
    assert (transition.kind, transition.delay_ms) == (Kind.RETRIED, 1000)


def test_an_error_that_retry_on_does_not_want_fails_whatever_is_left() -> None:
    transition = decided(Raised(ERROR, retryable=False), Terms(retry=Retry(9), dead_letter="dead"))
    assert (transition.to, transition.dead_letter) == (State.FAILED, "dead")


@pytest.mark.parametrize("budget", [0, 9])
def test_what_can_never_succeed_fails_at_once_with_its_reason(budget: int) -> None:
    terms = Terms(retry=Retry(budget), dead_letter="dead")
    transition = decided(Refused(Reason.RESULT, ERROR), terms)
    assert (transition.kind, transition.to, transition.reason) == (Kind.FAILED, State.FAILED, Reason.RESULT)
    assert (transition.error, transition.dead_letter) == (ERROR, "dead")
    assert decided(Refused("bad address"), terms).error == ErrorInfo("Discard", "bad address")


@pytest.mark.parametrize("failures", [0, 3])
def test_a_postponed_job_waits_as_it_asked_and_spends_nothing(failures: int) -> None:
    transition = decided(Postponed(250), Terms(retry=Retry(3)), failures=failures)
    assert transition == Transition(Kind.RETRIED, State.DELAYED, delay_ms=250, superseded=State.FAILED)
    assert decided(Postponed(0)).delay_ms == 1


@pytest.mark.parametrize("budget", [0, 9])
def test_a_missing_handler_fails_at_once_without_a_dead_letter(budget: int) -> None:
    transition = decided(Unhandled("it has handlers in 'emails'"), Terms(retry=Retry(budget), dead_letter="dead"))
    assert (transition.kind, transition.to, transition.dead_letter) == (Kind.FAILED, State.FAILED, None)
    assert transition.reason == "it has handlers in 'emails'"
    assert transition.error == ErrorInfo("ConfigurationError", "it has handlers in 'emails'")


def test_a_missing_handler_that_is_not_ignored_takes_the_ordinary_path() -> None:
    terms = Terms(retry=Retry(1), ignore_config_errors=False, dead_letter="dead")
    first, last = (decided(Unhandled("nowhere"), terms, failures=failures) for failures in (0, 1))
    assert (first.kind, first.delay_ms, first.failures, first.dead_letter) == (Kind.RETRIED, 1000, 1, None)
    assert (last.kind, last.reason, last.dead_letter) == (Kind.FAILED, "nowhere", "dead")


def test_a_stop_gives_the_job_back_and_spends_nothing() -> None:
    transition = decided(Stopped(), Terms(retry=Retry(2)), failures=1, losses=1)
    assert transition == Transition(Kind.RELEASED, State.WAITING, superseded=State.CANCELLED)


def test_a_cancel_that_was_heard_ends_the_job_cancelled() -> None:
    transition = decided(CancelHeard(), Terms(dead_letter="dead"))
    assert transition == Transition(Kind.CANCELLED, State.CANCELLED, reason=Reason.REQUESTED)


@pytest.mark.parametrize("max_stalled", [1, 2, 3])
def test_lost_leases_bring_the_job_back_until_the_last_one_allowed_fails_it(max_stalled: int) -> None:
    terms = Terms(max_stalled=max_stalled, dead_letter="dead")
    for losses in range(max_stalled - 1):
        transition = decided(Lost(), terms, losses=losses)
        assert transition == Transition(Kind.STALLED, State.WAITING, losses=1, superseded=State.CANCELLED)
    for losses in (max_stalled - 1, max_stalled):
        transition = decided(Lost(), terms, losses=losses)
        assert (transition.kind, transition.to, transition.reason) == (Kind.FAILED, State.FAILED, Reason.STALLED)
        assert (transition.failures, transition.losses, transition.dead_letter) == (0, 1, "dead")


def test_a_lost_lease_asks_no_retry_budget() -> None:
    assert decided(Lost(), Terms(retry=NO_RETRY), failures=9).kind is Kind.STALLED


# ---- dead letters


def test_should_send_is_asked_once_about_the_final_failure_and_obeyed() -> None:
    asked: list[tuple[ErrorInfo, int]] = []

    def refuse(error: ErrorInfo, attempts: int) -> bool:
        asked.append((error, attempts))
        return False

    terms = Terms(retry=Retry(1), dead_letter="dead", should_dead_letter=refuse)
    assert decided(Raised(ERROR), terms, failures=0, attempt=1).dead_letter is None
    assert asked == []
    assert decided(Raised(ERROR), terms, failures=1, attempt=5).dead_letter is None
    assert asked == [(ERROR, 5)]
    agreeing = Terms(dead_letter="dead", should_dead_letter=lambda error, attempts: True)
    assert decided(Raised(ERROR), agreeing).dead_letter == "dead"


def test_without_a_stream_there_is_no_dead_letter_and_nobody_is_asked() -> None:
    def unasked(*_: Any) -> bool:
        raise AssertionError("there is nothing to decide")

    assert decided(Raised(ERROR), Terms(dead_letter=None, should_dead_letter=unasked)).dead_letter is None
