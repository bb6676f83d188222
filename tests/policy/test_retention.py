"""The reading of `retention`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from taskmanager.errors import UsageError
from taskmanager.job import FINISHED, Limit, State
from taskmanager.policy.retention import Retention, transient

DEFAULT = {
    State.COMPLETED: Limit(3_600_000, 1000),
    State.FAILED: Limit(604_800_000, 10_000),
    State.CANCELLED: Limit(604_800_000, 10_000),
}


@pytest.mark.parametrize("nothing", [None, {}])
def test_without_a_word_every_finished_state_has_its_default(nothing: dict[str, object] | None) -> None:
    assert Retention.of(nothing) == DEFAULT
    assert DEFAULT.keys() == FINISHED


def test_a_state_that_is_given_replaces_its_default_alone() -> None:
    limits = Retention.of({"completed": (1.5, 7)})
    assert limits == DEFAULT | {State.COMPLETED: Limit(1500, 7)}
    assert Retention.of({State.FAILED: [timedelta(days=1), 7]})[State.FAILED] == Limit(86_400_000, 7)


def test_a_default_cannot_be_changed_through_what_is_given_out() -> None:
    with pytest.raises(TypeError):
        Retention.of(None)[State.FAILED] = Limit(0, 0)  # type: ignore[index]
    assert Retention.of(None) == DEFAULT


def test_none_is_without_end() -> None:
    limits = Retention.of({"completed": (None, 5), "failed": (5, None), "cancelled": (None, None)})
    assert limits == {
        State.COMPLETED: Limit(None, 5),
        State.FAILED: Limit(5000, None),
        State.CANCELLED: Limit(None, None),
    }
    assert transient(limits) == frozenset()


def test_a_limit_of_zero_removes_at_once() -> None:
    limits = Retention.of({"completed": 0, "failed": (0, 5), "cancelled": (5, 0)})
    assert transient(limits) == FINISHED
    assert transient(Retention.of({"completed": 0})) == {State.COMPLETED}
    assert transient(Retention.of(None)) == frozenset()


@pytest.mark.parametrize(
    "wrong",
    [
        {"waiting": (1, 1)},
        {"active": 0},
        {"done": 0},
        {1: 0},
        {"failed": (-1, 1)},
        {"failed": (1, -1)},
        {"failed": (1, 1.5)},
        {"failed": (1, True)},
        {"failed": (float("nan"), 1)},
        {"failed": (1,)},
        {"failed": (1, 2, 3)},
        {"failed": 3600},
        {"failed": "1h"},
        {"failed": None},
        {"failed": False},
        {"failed": {"age": 1}},
        {"failed": ("1", 1)},
    ],
    ids=repr,
)
def test_other_states_and_what_is_no_limit_are_refused_with_the_value_seen(wrong: dict[Any, Any]) -> None:
    with pytest.raises(UsageError, match="retention") as refusal:
        Retention.of(wrong)
    [(state, limit)] = wrong.items()
    parts = limit if isinstance(limit, tuple) else [limit]
    assert any(repr(seen) in str(refusal.value) for seen in (state, limit, *parts))


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(UsageError, match="retention must be a mapping"):
        Retention.of(3600)  # type: ignore[arg-type]
