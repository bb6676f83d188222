"""A test of the tests: faults planted one by one, each of which the random programs must find.

The draws are fixed, so a fault is found by the same program every time. What is not planted passes with the same draws,
or a program that always fails would look like a watchful one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from simulation import SimulationStuck
from taskmanager.errors import InvariantError
from tests.engines.conformance.conftest import ENGINES
from tests.properties import engine_bugs, worker_bugs, world_laws
from tests.properties.machine import machine_of
from tests.properties.moves import MOVES
from tests.properties.world import Program, programs
from tests.properties.world import play as play_world
from tests.servers import Servers

FOUND = (AssertionError, InvariantError)
MEMORY = ENGINES["memory"](Servers())
DRAWS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)
PLAYS, PROGRAMS, WORLDS = 300, 60, 150
"""How many random plays of moves, and then programs of the whole machine, a fault of an engine may survive; how many
worlds a fault of a worker may."""


@settings(DRAWS, max_examples=PLAYS)
@given(st.lists(st.sampled_from(sorted(MOVES)), min_size=20, max_size=60))
def play(names: list[str]) -> None:
    machine = machine_of(MEMORY)()
    machine.open()
    try:
        machine.play(names)
    finally:
        machine.teardown()


def run_programs() -> None:
    play()
    drawn = settings(DRAWS, max_examples=PROGRAMS, stateful_step_count=40)
    run_state_machine_as_test(machine_of(MEMORY), settings=drawn)


@settings(DRAWS, max_examples=WORLDS)
@given(programs)
def run_worlds(program: Program) -> None:
    world_laws.check(play_world(program))


def test_with_nothing_planted_the_same_programs_find_nothing() -> None:
    run_programs()
    run_worlds()


@pytest.mark.parametrize("plant", engine_bugs.BUGS.values(), ids=engine_bugs.BUGS)
def test_a_fault_of_an_engine_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(FOUND):
        run_programs()


@pytest.mark.parametrize("plant", worker_bugs.BUGS.values(), ids=worker_bugs.BUGS)
def test_a_fault_of_a_worker_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises((*FOUND, SimulationStuck)):
        run_worlds()
