"""Whose debounce counts: the emission's own, else what the emitting TaskManager registered, else its processor's."""

from __future__ import annotations

from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Debounce, TaskManager, UsageError
from tests.worker.apps import everything, keeping


def statuses(sim: Simulation, *, seconds: float, times: int = 3, **options: Any) -> list[str]:
    """Of emissions of `alert` with one id, `seconds` apart."""
    seen = []
    for _ in range(times):
        seen.append(str(sim.emit("alert", id="a", **options).status))
        sim.advance(seconds)
    return seen


@pytest.mark.parametrize("rule", [30, Debounce(30), {"window": 30}], ids=["number", "Debounce", "mapping"])
def test_a_handlers_debounce_holds_for_emissions_that_bring_none(rule: Any) -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert", debounce=rule)
    with Simulation(tm) as sim:
        assert statuses(sim, seconds=15) == ["emitted", "debounced", "emitted"]


def test_a_handlers_debounce_may_be_given_in_milliseconds() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert", debounce_ms=30_000)
    with Simulation(tm) as sim:
        assert statuses(sim, seconds=15) == ["emitted", "debounced", "emitted"]


@pytest.mark.parametrize("rule", [30, Debounce(30), {"window": 30}], ids=["number", "Debounce", "mapping"])
def test_the_processors_debounce_holds_where_neither_emission_nor_handler_has_one(rule: Any) -> None:
    tm = TaskManager(db="memory://", processor={"debounce": rule})
    keeping(tm, "alert")
    with Simulation(tm) as sim:
        assert statuses(sim, seconds=15) == ["emitted", "debounced", "emitted"]


def test_the_processors_debounce_holds_for_events_without_a_handler_here() -> None:
    tm = TaskManager(db="memory://", processor={"debounce": 30})
    with Simulation(tm, workers=0) as sim:
        assert statuses(sim, seconds=1)[:2] == ["emitted", "debounced"]


def test_the_emissions_word_goes_before_the_handlers_and_that_before_the_processors() -> None:
    tm = TaskManager(db="memory://", processor={"debounce": 3600})
    keeping(tm, "alert", debounce=30)
    with Simulation(tm) as sim:
        assert statuses(sim, seconds=30) == ["emitted", "emitted", "emitted"]
        assert statuses(sim, seconds=6, debounce=5) == ["emitted", "emitted", "emitted"]


@pytest.mark.parametrize("none", [{"debounce": 0}, {"debounce": False}, {"debounce_ms": 0}], ids=str)
def test_an_emission_may_refuse_the_debounce_of_its_handler(none: dict[str, Any]) -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert", debounce=3600)
    with Simulation(tm) as sim:
        assert statuses(sim, seconds=1, **none) == ["emitted", "emitted", "emitted"]


def test_a_handlers_trailing_debounce_with_a_key_names_the_job() -> None:
    tm = TaskManager(db="memory://")
    kept = keeping(tm, "search", debounce=Debounce(5, edge="trailing", key=lambda data: data["user"]))
    with Simulation(tm) as sim:
        ids = {sim.emit("search", {"user": "ann", "q": q}).id for q in ("h", "he", "hey")}
        sim.run_until_idle()
    assert len(ids) == 1
    assert kept == [{"user": "ann", "q": "hey"}]


def test_a_key_function_is_given_the_data_as_it_was_emitted() -> None:
    tm = TaskManager(db="memory://")
    given: list[Any] = []

    def key(data: Any) -> str:
        given.append(data)
        return "k"

    with Simulation(tm, workers=0) as sim:
        sim.emit("alert", {"n": 1}, debounce=Debounce(5, key=key))
        sim.emit("alert", debounce=Debounce(5, key=key))
    assert given == [{"n": 1}, {}]


def _raises(data: Any) -> str:
    raise KeyError("user")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (_raises, "raised KeyError: 'user'"),
        (lambda data: 7, "must be 1-500 characters .* got 7"),
        (lambda data: "", "must be 1-500 characters .* got ''"),
        (lambda data: None, "must be 1-500 characters .* got None"),
    ],
    ids=["raises", "a number", "empty", "None"],
)
def test_a_key_function_that_gives_no_key_refuses_the_emission(key: Any, says: str) -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "alert", debounce=Debounce(5, key=key))
    with Simulation(tm, workers=0) as sim:
        before = everything(sim)
        with pytest.raises(UsageError, match=says):
            sim.emit("alert", {"n": 1})
        assert everything(sim) == before
