"""How often a failed run is tried again, and how long each retry waits.

A policy is a value: a budget, a shape and a filter. It reads no clock and draws only from the generator handed in, so
the same failure of the same job waits equally long on every engine and in every simulation of one seed.

The n of a backoff counts *failures* (raised or timed out), never hand-outs: a lost lease or a postponed run makes no
later wait longer. Every wait obeys, in this order: the shape (`delay * factor ** (n - 1)`, `delay`, or what a callable
says), the bound `max_delay`, the jitter (BullMQ's: downwards only, so `max_delay` holds with it), and at least 1 ms.

A user's callable runs in a worker, where there is nobody to tell: one that raises or answers nonsense is logged and the
default taken. Everything that can be known earlier is refused when the policy is made.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta

from taskmanager.clock import duration_ms
from taskmanager.errors import UsageError
from taskmanager.job import RunOptions
from taskmanager.policy.checks import check_callable, check_names, check_number, check_whole

__all__ = ["MAX_RETRIES", "NO_RETRY", "Retry", "check_retry_count", "in_force"]

MAX_RETRIES = 2**31 - 2
"""The largest budget; with the first attempt it still fits the 32 bits that any store counts in."""

_LARGEST_EXPONENT = 10**9
_SHAPES = ("exponential", "fixed")
_LOGGER = logging.getLogger("taskmanager")

Backoff = Callable[[int], timedelta | float]
RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException, int], bool]


def check_retry_count(value: object, field: str) -> int:
    """A number of retries, as any `retry_count`, `attempts` or `max_retries` gives it; `UsageError` naming `field`."""
    return check_whole(value, field, 0, MAX_RETRIES)


@dataclass(frozen=True, slots=True)
class Retry:
    """How a failed run is tried again. Raises `UsageError` at once where a part is out of range.

    `max_retries`: how many failures are followed by a retry; a default, which `retry_count` of a handler or an emission
    replaces. `delay` and `max_delay`: seconds or a timedelta, the first wait and the longest. `backoff`:
    `"exponential"` (retry n waits `delay * factor ** (n - 1)`), `"fixed"` (always `delay`), or a function of n
    (1, 2, ...) that returns seconds or a timedelta. `factor`: 1 or more. `jitter`: from 0 to 1, the share of each wait
    that is left to chance, evenly between `wait * (1 - jitter)` and `wait`. `retry_on`: an exception type, a tuple of
    them, or a function `(error, attempt) -> bool`; an error it does not want fails the job at once. None wants all.
    """

    max_retries: int = 0
    delay: timedelta | float = 1.0
    backoff: str | Backoff = "exponential"
    factor: float = 2
    max_delay: timedelta | float = 3600
    jitter: float = 0.0
    retry_on: RetryOn | None = None

    def __post_init__(self) -> None:
        check_retry_count(self.max_retries, "Retry.max_retries")
        duration_ms(self.delay, "Retry.delay")
        duration_ms(self.max_delay, "Retry.max_delay")
        check_number(self.factor, "Retry.factor", 1)
        check_number(self.jitter, "Retry.jitter", 0, 1)
        if not isinstance(self.backoff, str):
            check_callable(self.backoff, "Retry.backoff")
        elif self.backoff not in _SHAPES:
            raise UsageError(f"Retry.backoff must be one of {_SHAPES} or a function of n, got {self.backoff!r}")
        if self.retry_on is not None:
            _check_retry_on(self.retry_on)

    @staticmethod
    def of(value: Retry | Mapping[str, object]) -> Retry:
        """A `Retry` from itself or from a mapping of the same names; `UsageError` for anything else."""
        if isinstance(value, Retry):
            return value
        if not isinstance(value, Mapping):
            raise UsageError(f"retry must be a Retry or a mapping of its fields, got {value!r}")
        check_names(value, "retry", [field.name for field in fields(Retry)])
        return Retry(**value)  # type: ignore[arg-type]  # the constructor checks every type itself

    def backoff_ms(self, n: int, rng: random.Random) -> int:
        """How long retry `n` (1-based, without bound) waits, in milliseconds: at least 1, at most `max_delay`."""
        wait = min(self._shaped_ms(n), duration_ms(self.max_delay, "Retry.max_delay"))
        if self.jitter and wait > 1:
            wait = rng.randint(_up(wait * (1 - self.jitter)), wait)
        return max(1, wait)

    def wants(self, error: BaseException, attempt: int) -> bool:
        """Whether `retry_on` has this error tried again; True where it is None or fails itself."""
        wanted = self.retry_on
        if wanted is None:
            return True
        if isinstance(wanted, (type, tuple)):
            return isinstance(error, wanted)
        try:
            return bool(wanted(error, attempt))
        except Exception:
            _LOGGER.exception("retry_on %r raised on %r, attempt %d; the error is retried", wanted, error, attempt)
            return True

    def with_overrides(self, max_retries: int | None = None, delay_ms: int | None = None) -> Retry:
        """This policy with another budget or another first delay; the shape stays.

        A delay beyond `max_delay` raises that as well: what was asked for by name is not cut short by a default.
        """
        changed = self if max_retries is None else replace(self, max_retries=max_retries)
        if delay_ms is None:
            return changed
        longest_ms = max(delay_ms, duration_ms(self.max_delay, "Retry.max_delay"))
        return replace(changed, delay=timedelta(milliseconds=delay_ms), max_delay=timedelta(milliseconds=longest_ms))

    def _shaped_ms(self, n: int) -> int:
        delay_ms = duration_ms(self.delay, "Retry.delay")
        if self.backoff == "fixed":
            return delay_ms
        if callable(self.backoff):
            try:
                return duration_ms(self.backoff(n), "the answer of Retry.backoff")
            except Exception:
                _LOGGER.exception("backoff %r failed for n=%d; the wait is exponential instead", self.backoff, n)
        longest_ms = duration_ms(self.max_delay, "Retry.max_delay")
        try:
            # In floating point: an integer power of a huge n would be computed to its last digit.
            grown = delay_ms * float(self.factor) ** min(n - 1, _LARGEST_EXPONENT)
        except OverflowError:
            return longest_ms if delay_ms else 0
        return _up(min(grown, longest_ms))


NO_RETRY = Retry()
"""No retries; and the shape of the waits where only a budget is given."""


def in_force(
    emission: RunOptions,
    handler: Retry | None,
    handler_retry_count: int | None,
    handler_retry_delay_ms: int | None,
    processor: Retry | None,
) -> Retry:
    """The policy of one run: the emission's word first, then the handler's, then the processor's, else no retries.

    The shape is the handler's policy, else the processor's, else `Retry()`. A handler's `retry_count` goes before the
    `max_retries` of its own policy, and a `retry_delay`, the emission's before the handler's, replaces the delay.
    """
    policy = handler or processor or NO_RETRY
    budget = handler_retry_count if emission.retry_count is None else emission.retry_count
    delay_ms = handler_retry_delay_ms if emission.retry_delay_ms is None else emission.retry_delay_ms
    return policy if budget is None and delay_ms is None else policy.with_overrides(budget, delay_ms)


def _check_retry_on(value: object) -> None:
    types = value if isinstance(value, tuple) else (value,)
    if all(isinstance(entry, type) and issubclass(entry, BaseException) for entry in types):
        return
    if isinstance(value, (tuple, type)):
        raise UsageError(f"Retry.retry_on must name exception types, got {value!r}")
    check_callable(value, "Retry.retry_on")


def _up(ms: float) -> int:
    """Up to the whole millisecond, after the microsecond has taken what floating point added."""
    return math.ceil(round(ms, 3))
