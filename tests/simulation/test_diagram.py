"""The diagram says exactly what the table of moves says."""

from __future__ import annotations

import re

from simulation.diagram import arrows, lifecycle_mermaid
from taskmanager.policy.lifecycle import BORN, GONE, MOVES

TABLE = {(str(origin), str(step), str(target)) for (origin, step), targets in MOVES.items() for target in targets}


def test_the_mermaid_diagram_contains_exactly_the_legal_moves() -> None:
    header, direction, *lines = lifecycle_mermaid().splitlines()
    assert (header, direction.strip()) == ("stateDiagram-v2", "direction LR")
    found = set()
    for line in lines:
        match = re.fullmatch(r"    (\S+) --> ([^\s:]+)(?:: (.+))?", line)
        assert match is not None
        origin, target = match[1].replace("[*]", BORN), match[2].replace("[*]", GONE)
        for step in (match[3] or GONE).split(", "):
            found.add((origin, step, target))
    assert found == TABLE


def test_no_two_arrows_join_the_same_states_the_same_way() -> None:
    lines = lifecycle_mermaid().splitlines()
    ends = [line.partition(":")[0] for line in lines]
    assert len(set(ends)) == len(ends) == len(arrows()) + 2
