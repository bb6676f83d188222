"""How long finished jobs stay: by age and by number, per state.

The two limits work together: a job goes when it is older than its state's age, or when more than the state's number are
newer. A limit of 0 keeps none, so the job is removed by the write that ends it (*transient*), without a janitor.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from taskmanager.clock import duration_ms
from taskmanager.errors import UsageError
from taskmanager.job import FINISHED, Limit, State

__all__ = ["Retention", "transient"]

_LARGEST_COUNT = 2**53 - 1
_REMOVED_AT_ONCE = Limit(0, 0)
_DEFAULT = {
    State.COMPLETED: Limit(3_600_000, 1000),
    State.FAILED: Limit(604_800_000, 10_000),
    State.CANCELLED: Limit(604_800_000, 10_000),
}


class Retention:
    """The reading of a user's `retention`; see `of`."""

    @staticmethod
    def of(value: Mapping[str, object] | None) -> Mapping[State, Limit]:
        """The limits of every finished state, from a mapping of some of them.

        Each is a pair (seconds or a timedelta, jobs), either None where it has no end, or 0: removed at once. A state
        that is not given keeps its default: completed an hour and 1,000, failed and cancelled a week and 10,000.
        Raises `UsageError` for other states, and for what is negative or no number.
        """
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            raise UsageError(f"retention must be a mapping of states to (seconds, jobs) or 0, got {value!r}")
        given = {_finished(state): _limit(limit, f"retention[{str(state)!r}]") for state, limit in value.items()}
        return MappingProxyType(_DEFAULT | given)


def transient(limits: Mapping[State, Limit]) -> frozenset[State]:
    """The states whose jobs are removed by the very write that ends them."""
    return frozenset(state for state, limit in limits.items() if 0 in (limit.age_ms, limit.count))


def _finished(state: object) -> State:
    if state not in tuple(FINISHED):
        names = ", ".join(sorted(FINISHED))
        raise UsageError(f"retention is for finished states ({names}), got {state!r}")
    return State(str(state))


def _limit(value: object, field: str) -> Limit:
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return _REMOVED_AT_ONCE
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise UsageError(f"{field} must be a pair (seconds, jobs), either None for no end, or 0, got {value!r}")
    age, count = value
    age_ms = None if age is None else duration_ms(age, f"{field} seconds")
    if count is None:
        return Limit(age_ms, None)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _LARGEST_COUNT:
        raise UsageError(f"{field} jobs must be a whole number of 0 or more, or None, got {count!r}")
    return Limit(age_ms, count)
