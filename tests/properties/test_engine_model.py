"""Random programs: every engine does what the model of the contract does, answer by answer."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.engines.conformance.conftest import ENGINES
from tests.properties.machine import machine_of

PROGRAMS, STEPS = 100, 50


@pytest.mark.parametrize("engine", list(ENGINES))
def test_any_program_has_the_same_answers_as_the_model(engine: str) -> None:
    drawn = settings(max_examples=max(PROGRAMS, settings().max_examples), stateful_step_count=STEPS)
    run_state_machine_as_test(machine_of(ENGINES[engine]), settings=drawn)
