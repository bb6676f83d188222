"""The life of a job: one table of legal moves, and the function that chooses among them.

`MOVES` says which step takes a job from which state to which. It is the only place where that is written down: engines
look their moves up in it, the README's diagram is drawn from it, and the tests check that nothing else happens.

`decide` looks at how a run went and says what becomes of the job. It reads no clock and no store: a claim, an outcome,
the terms that are in force and a source of randomness go in, a `Transition` comes out. Two facts it cannot know,
because they may change until the very write: whether the job was cancelled meanwhile, and whether a follow-up was
recorded. For those the transition carries what the engine is to compare: only a move that does not finish the job
yields to them, and `superseded` says to what.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass

from taskmanager.job import Claim, ErrorInfo, Kind, Reason, State, Transition
from taskmanager.policy.retry import NO_RETRY, Retry

BORN = "born"
"""Where every job comes from, in the table and the diagram."""
GONE = "gone"
"""Where every job ends up, in the table and the diagram."""

MOVES: dict[tuple[str, str], frozenset[str]] = {
    # (from, step): to
    (BORN, Kind.EMITTED): frozenset({State.WAITING, State.DELAYED}),
    (BORN, Kind.FOLLOW_UP): frozenset({State.WAITING, State.DELAYED}),
    (BORN, Kind.SCHEDULED): frozenset({State.WAITING, State.DELAYED}),
    (State.DELAYED, Kind.DUE): frozenset({State.WAITING}),
    (State.DELAYED, Kind.REPLACED): frozenset({State.WAITING, State.DELAYED}),
    (State.DELAYED, Kind.DEBOUNCED): frozenset({State.WAITING, State.DELAYED}),
    (State.DELAYED, Kind.CANCELLED): frozenset({State.CANCELLED}),
    (State.WAITING, Kind.REPLACED): frozenset({State.WAITING, State.DELAYED}),
    (State.WAITING, Kind.DEBOUNCED): frozenset({State.WAITING}),
    (State.WAITING, Kind.STARTED): frozenset({State.ACTIVE}),
    (State.WAITING, Kind.CANCELLED): frozenset({State.CANCELLED}),
    (State.ACTIVE, Kind.COMPLETED): frozenset({State.COMPLETED}),
    (State.ACTIVE, Kind.SKIPPED): frozenset({State.COMPLETED}),
    (State.ACTIVE, Kind.RETRIED): frozenset({State.DELAYED}),
    (State.ACTIVE, Kind.FAILED): frozenset({State.FAILED}),
    (State.ACTIVE, Kind.CANCELLED): frozenset({State.CANCELLED}),
    (State.ACTIVE, Kind.RELEASED): frozenset({State.WAITING}),
    (State.ACTIVE, Kind.STALLED): frozenset({State.WAITING}),
    (State.FAILED, Kind.REQUEUED): frozenset({State.WAITING}),
    (State.COMPLETED, GONE): frozenset({GONE}),
    (State.FAILED, GONE): frozenset({GONE}),
    (State.CANCELLED, GONE): frozenset({GONE}),
}


@dataclass(frozen=True, slots=True)
class Returned:
    """The handler came back; `result` is its encoded value. `skipped`: it declined to run (system B's `prepare`)."""

    result: bytes | None = None
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class Raised:
    """The handler raised or ran out of time. `retryable` is what `retry_on` says of the error."""

    error: ErrorInfo
    retryable: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """No run can ever succeed: `Discard`, data that does not validate, a result that cannot be stored."""

    reason: str
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """`RetryLater`."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class Unhandled:
    """The worker has no handler for the event; `reason` names the queues that do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The worker stops and gives the job back."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease was reaped."""


@dataclass(frozen=True, slots=True)
class CancelHeard:
    """The worker heard of a cancel and stopped the handler."""


Outcome = Returned | Raised | Refused | Postponed | Unhandled | Stopped | Lost | CancelHeard


@dataclass(frozen=True, slots=True)
class Terms:
    """What is in force for one run: its retry policy (budget and backoff), and how the worker ends jobs.

    `should_dead_letter` is the user's `should_send`, already guarded: it takes the error and the number of attempts.
    """

    retry: Retry = NO_RETRY
    max_stalled: int = 3
    ignore_config_errors: bool = True
    dead_letter: str | None = None
    should_dead_letter: Callable[[ErrorInfo, int], bool] | None = None


def decide(claim: Claim, outcome: Outcome, terms: Terms, rng: random.Random) -> Transition:
    """The next state of a job whose run ended with `outcome`. Pure: equal arguments give equal transitions."""
    match outcome:
        case Returned(result=None):
            return _done(outcome.skipped, terms.retry.max_retries + 1)
        case Returned(result=result, skipped=skipped):
            kind = Kind.SKIPPED if skipped else Kind.COMPLETED
            done = Transition(kind, State.COMPLETED)  # filled in by name: keywords would double the cost of each job
            done.result, done.max_attempts = result, terms.retry.max_retries + 1
            return done
        case Raised(error, retryable):
            return _failed_run(claim, error, retryable, terms, rng, reason=None)
        case Unhandled(reason):
            error = ErrorInfo("ConfigurationError", reason)
            if terms.ignore_config_errors:
                return Transition(Kind.FAILED, State.FAILED, failures=1, reason=reason, error=error)
            return _failed_run(claim, error, True, terms, rng, reason=reason)
        case Refused(reason, error):
            return _failed(claim, error or ErrorInfo("Discard", reason), terms, reason=reason, failures=1)
        case Postponed(delay_ms):
            return Transition(Kind.RETRIED, State.DELAYED, delay_ms=max(1, delay_ms), superseded=State.FAILED)
        case Stopped():
            return Transition(Kind.RELEASED, State.WAITING, superseded=State.CANCELLED)
        case CancelHeard():
            return Transition(Kind.CANCELLED, State.CANCELLED, reason=Reason.REQUESTED)
        case Lost():
            if claim.losses + 1 >= terms.max_stalled:
                error = ErrorInfo("LeaseLost", f"the lease was lost {claim.losses + 1} times")
                return _failed(claim, error, terms, reason=Reason.STALLED, losses=1)
            return Transition(Kind.STALLED, State.WAITING, losses=1, superseded=State.CANCELLED)


@functools.lru_cache  # most jobs end like this, and nobody changes a transition: all of them share a few
def _done(skipped: bool, max_attempts: int) -> Transition:
    return Transition(Kind.SKIPPED if skipped else Kind.COMPLETED, State.COMPLETED, max_attempts=max_attempts)


def _failed_run(
    claim: Claim, error: ErrorInfo, retryable: bool, terms: Terms, rng: random.Random, reason: str | None
) -> Transition:
    retries_spent = claim.failures
    if retryable and retries_spent < terms.retry.max_retries:
        return Transition(
            Kind.RETRIED,
            State.DELAYED,
            delay_ms=terms.retry.backoff_ms(retries_spent + 1, rng),
            failures=1,
            error=error,
            superseded=State.FAILED,
            max_attempts=terms.retry.max_retries + 1,
        )
    return _failed(claim, error, terms, reason=reason, failures=1)


def _failed(
    claim: Claim, error: ErrorInfo, terms: Terms, *, reason: str | None, failures: int = 0, losses: int = 0
) -> Transition:
    wanted = terms.dead_letter is not None and (
        terms.should_dead_letter is None or terms.should_dead_letter(error, claim.attempt)
    )
    return Transition(
        Kind.FAILED,
        State.FAILED,
        failures=failures,
        losses=losses,
        reason=reason,
        error=error,
        dead_letter=terms.dead_letter if wanted else None,
        max_attempts=terms.retry.max_retries + 1,
    )
