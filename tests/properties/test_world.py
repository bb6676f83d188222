"""Random programs of whole applications in simulated time: the laws hold, and the same program is the same world."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from tests.properties.world import Program, play, programs
from tests.properties.world_laws import check
from tests.servers import Servers, server_kinds

REFERENCE = "memory://"
URLS = ("sqlite://", "fakeredis://")
"""Engines whose store is a new one each time. Every engine must give the reference's timelines, byte for byte."""
SHARE = {REFERENCE: 4, "redis": 8}
"""One example in so many of the profile's; elsewhere, where a program takes longest, one in twelve."""


def drawn(engine: str) -> settings:
    examples = max(160, settings().max_examples) // SHARE.get(engine, 12)
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


@drawn(REFERENCE)
@given(program=programs)
def test_the_laws_hold_in_every_world(program: Program) -> None:
    check(play(program))


@pytest.mark.parametrize("engine", [REFERENCE, *URLS, *server_kinds()])
def test_the_same_program_is_the_same_world_on_every_engine(engine: str, servers: Servers) -> None:
    @drawn(engine)
    @given(program=programs)
    def is_the_same_world(program: Program) -> None:
        url = engine if engine in (REFERENCE, *URLS) else servers.shared(engine).url
        first, second = play(program, REFERENCE), play(program, url)
        assert first.timeline.to_json_lines(workers=False) == second.timeline.to_json_lines(workers=False)
        assert first.records == second.records
        assert first.runs == second.runs

    is_the_same_world()
