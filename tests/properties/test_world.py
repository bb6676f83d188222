"""Random programs of whole applications in simulated time: the laws hold, and the same program is the same world."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.properties.world import Program, play, programs
from tests.properties.world_laws import check

ENGINES = ("memory://",)
"""Every engine must give the timelines of the first, byte for byte."""
drawn = settings(max_examples=max(40, settings().max_examples // 4), suppress_health_check=[HealthCheck.too_slow])


@drawn
@given(program=programs)
def test_the_laws_hold_in_every_world(program: Program) -> None:
    check(play(program))


@pytest.mark.parametrize("engine", ENGINES)
@drawn
@given(program=programs)
def test_the_same_program_is_the_same_world_on_every_engine(engine: str, program: Program) -> None:
    first, second = play(program, ENGINES[0]), play(program, engine)
    assert first.timeline.to_json_lines(workers=False) == second.timeline.to_json_lines(workers=False)
    assert first.records == second.records
    assert first.runs == second.runs
