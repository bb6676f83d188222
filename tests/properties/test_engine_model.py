"""Random programs: every engine does what the model of the contract does, answer by answer."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.engines.conformance.conftest import ENGINES
from tests.properties.machine import machine_of
from tests.properties.pair import each_empty
from tests.servers import Servers

STEPS = 50
SHARES = {"memory": 1, "sqlite-memory": 5, "sqlite-file": 20}
"""By how many the number of programs is divided for an engine that takes longer over one; others are slower still."""
SLOW = 20


@pytest.mark.parametrize("engine", list(ENGINES))
def test_any_program_has_the_same_answers_as_the_model(engine: str, servers: Servers) -> None:
    programs = settings().max_examples // SHARES.get(engine, SLOW)
    drawn = settings(max_examples=programs, stateful_step_count=STEPS)
    run_state_machine_as_test(machine_of(each_empty(engine, servers)), settings=drawn)
