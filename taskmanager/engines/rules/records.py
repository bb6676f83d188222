"""The look-up of legal moves, and what the rules know of an open window."""

from __future__ import annotations

from typing import NamedTuple

from taskmanager.errors import InvariantError
from taskmanager.job import Edge
from taskmanager.policy.lifecycle import MOVES

__all__ = ["LEGAL", "Opening", "WindowKey", "check"]

LEGAL = frozenset((start, step, end) for (start, step), ends in MOVES.items() for end in ends)
"""The table of legal moves, flat: one look-up a move."""

WindowKey = tuple[str, str, Edge]
"""Event, key and edge of a debounce window."""


class Opening(NamedTuple):
    """An open debounce window: whose it is, when it opened, and (leading) when it ends."""

    id: str
    serial: int
    first_at: int
    until: int | None


def check(start: str, step: str, end: str) -> None:
    """Raises `InvariantError` for a move that is not in the table."""
    if (start, step, end) not in LEGAL:
        legal = ", ".join(sorted(MOVES.get((start, step), ()))) or "nowhere"
        raise InvariantError(f"no step {step} leads from {start} to {end}; by the table of moves it leads to: {legal}")
