"""The life of a job as Mermaid text, for the README; `plots.lifecycle` draws the same as a figure.

Both are read off `lifecycle.MOVES` and say neither more nor less than it.
"""

from __future__ import annotations

from taskmanager.policy.lifecycle import BORN, GONE, MOVES

__all__ = ["arrows", "lifecycle_mermaid"]


def arrows() -> dict[tuple[str, str], tuple[str, ...]]:
    """(from, to): the steps that lead there, in the table's order."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for (origin, step), targets in MOVES.items():
        for target in sorted(targets):
            found[str(origin), str(target)] = (*found.get((str(origin), str(target)), ()), str(step))
    return found


def lifecycle_mermaid() -> str:
    """The table of legal moves as a Mermaid state diagram; steps that join the same two states share an arrow."""
    lines = ["stateDiagram-v2", "    direction LR"]
    for (origin, target), steps in arrows().items():
        ends = f"    {'[*]' if origin == BORN else origin} --> {'[*]' if target == GONE else target}"
        lines.append(ends if target == GONE else f"{ends}: {', '.join(steps)}")
    return "\n".join(lines) + "\n"
