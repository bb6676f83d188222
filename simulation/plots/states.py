"""The states of a job and the legal moves between them, drawn from the one table that says so."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch

from simulation.diagram import arrows
from simulation.plots.canvas import BLUE, GREEN, GREY, INK, PAPER, RED, canvas, styled
from taskmanager.job import State
from taskmanager.policy.lifecycle import BORN, GONE

_PLACES: dict[str, tuple[float, float]] = {
    BORN: (0.0, 0.0),
    State.WAITING: (3.2, 0.0),
    State.DELAYED: (5.6, 2.6),
    State.ACTIVE: (8.0, 0.0),
    State.COMPLETED: (11.4, 1.5),
    State.FAILED: (11.4, -1.5),
    State.CANCELLED: (5.6, -3.0),
    GONE: (13.8, 0.0),
}
_COLOURS: dict[str, tuple[str, str]] = {
    # state: (fill, text)
    State.WAITING: ("#a9cfe8", INK),
    State.DELAYED: ("#dadada", INK),
    State.ACTIVE: (BLUE, PAPER),
    State.COMPLETED: (GREEN, PAPER),
    State.FAILED: (RED, PAPER),
    State.CANCELLED: ("#7a7a7a", PAPER),
}
_BENDS: dict[tuple[str, str], tuple[float, tuple[float, float]]] = {
    # (from, to): how much the arrow bends, and where its words stand
    (BORN, State.WAITING): (0.0, (1.25, 0.0)),
    (BORN, State.DELAYED): (-0.2, (1.6, 1.75)),
    (State.DELAYED, State.WAITING): (0.14, (3.75, 1.55)),
    (State.WAITING, State.DELAYED): (0.14, (4.75, 1.05)),
    (State.DELAYED, State.CANCELLED): (0.0, (5.6, 0.62)),
    (State.WAITING, State.ACTIVE): (0.0, (4.75, 0.0)),
    (State.ACTIVE, State.WAITING): (-0.22, (6.45, -0.5)),
    (State.ACTIVE, State.DELAYED): (0.0, (6.95, 1.15)),
    (State.ACTIVE, State.COMPLETED): (0.0, (9.75, 0.78)),
    (State.ACTIVE, State.FAILED): (0.0, (9.75, -0.78)),
    (State.ACTIVE, State.CANCELLED): (0.0, (6.72, -1.75)),
    (State.WAITING, State.CANCELLED): (0.0, (4.48, -1.75)),
    (State.FAILED, State.WAITING): (-0.17, (8.7, -1.62)),
    (State.CANCELLED, GONE): (0.44, (0.0, 0.0)),
}
_LOOPS: dict[str, tuple[float, int]] = {State.WAITING: (-0.35, -1), State.DELAYED: (0.0, 1)}
"""Where a state's moves to itself are drawn: how far from its middle, and on which side, up or down."""


_LINE: dict[str, Any] = {"arrowstyle": "-|>,head_length=5,head_width=2.6", "linewidth": 1.2, "zorder": 1}


@styled
def lifecycle(*, ax: Axes | None = None) -> Figure:
    """The state diagram of `taskmanager.policy.lifecycle.MOVES`: each arrow carries the steps that make the move."""
    figure, ax = canvas(ax, 12, 6.6)
    boxes = {name: _draw_state(ax, name, x, y) for name, (x, y) in _PLACES.items()}
    for (origin, target), steps in arrows().items():
        words = "" if target == GONE else "\n".join(steps)
        if origin == target:
            _draw_loop(ax, origin, words)
        else:
            _draw_arrow(ax, boxes[origin], boxes[target], (origin, target), words)
    ax.set_xlim(-0.4, 14.2)
    ax.set_ylim(-4.0, 4.1)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title("The life of a job")
    return figure


def _draw_state(ax: Axes, name: str, x: float, y: float) -> Patch:
    """A state's box, or a dot where lives begin and end; arrows end at the patch that is returned."""
    if name in {BORN, GONE}:
        ring = Circle((x, y), 0.24, fc="none", ec=INK if name == GONE else "none", zorder=3)
        ax.add_patch(Circle((x, y), 0.15, fc=INK, ec="none", zorder=3))
        ax.add_patch(ring)
        ax.annotate(name, (x, y + 0.48), ha="center", va="center", color=GREY, fontsize=9)
        return ring
    fill, ink = _COLOURS[name]
    box = FancyBboxPatch((x - 0.85, y - 0.36), 1.7, 0.72, boxstyle="round,pad=0,rounding_size=0.2", fc=fill, ec="none")
    box.set_zorder(3)
    ax.add_patch(box)
    ax.annotate(name, (x, y), ha="center", va="center", color=ink, fontsize=10.5, fontweight="bold", zorder=4)
    return box


def _draw_arrow(ax: Axes, tail: Patch, head: Patch, move: tuple[str, str], words: str) -> None:
    bend, place = _BENDS.get(move, (0.0, (0.0, 0.0)))
    arrow = FancyArrowPatch(
        _PLACES[move[0]],
        _PLACES[move[1]],
        connectionstyle=f"arc3,rad={bend}",
        patchA=tail,
        patchB=head,
        shrinkA=2,
        shrinkB=3,
        color="#cccccc" if move[1] == GONE else "#8a8a8a",
        **_LINE,
    )
    arrow.set_gid(f"{move[0]} to {move[1]}")
    ax.add_patch(arrow)
    _write(ax, place, words)


def _draw_loop(ax: Axes, name: str, words: str) -> None:
    """A move to the same state: a small arc on one side of it."""
    (x, y), (aside, side) = _PLACES[name], _LOOPS[name]
    arrow = FancyArrowPatch(
        (x + aside - 0.4, y + side * 0.38),
        (x + aside + 0.4, y + side * 0.42),
        connectionstyle=f"arc3,rad={-1.2 * side}",
        color="#8a8a8a",
        **_LINE,
    )
    arrow.set_gid(f"{name} to {name}")
    ax.add_patch(arrow)
    _write(ax, (x + aside, y + side * 1.12), words)


def _write(ax: Axes, place: tuple[float, float], words: str) -> None:
    """The steps of a move, on a patch of paper so that the line does not run through them."""
    if words:
        patch = {"boxstyle": "square,pad=0.15", "facecolor": PAPER, "edgecolor": "none"}
        ax.text(
            *place, words, ha="center", va="center", fontsize=8.5, color=INK, linespacing=1.15, bbox=patch, zorder=2
        )
