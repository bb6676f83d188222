"""Random programs of whole applications give the reference's timelines on a file too, byte for byte."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings

from tests.properties.world import Program, play, programs

EXAMPLES = max(120, settings().max_examples) // 8


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
@given(program=programs)
def test_the_same_program_is_the_same_world_on_a_file(program: Program) -> None:
    with TemporaryDirectory() as folder:
        first, second = play(program), play(program, f"sqlite:///{folder}/tasks.db")
    assert first.timeline.to_json_lines(workers=False) == second.timeline.to_json_lines(workers=False)
    assert first.records == second.records
    assert first.runs == second.runs
