"""What jobs did: lanes of waits and runs for a world, stairs of states for one job."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import shorten

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from simulation.plots.canvas import (
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    STATE_COLOURS,
    World,
    bare,
    canvas,
    day_number,
    facts_of,
    legend_above,
    styled,
    time_axis,
)
from simulation.spans import Span, spans
from taskmanager.errors import UsageError
from taskmanager.job import Fact, Kind, State
from taskmanager.steps import clock_text, span_words

_MARKS: dict[Kind, tuple[str, str, str]] = {
    # what ended a stretch: (marker, colour, label)
    Kind.RETRIED: ("^", ORANGE, "retried"),
    Kind.STALLED: ("v", ORANGE, "lease lost"),
    Kind.FAILED: ("X", RED, "failed"),
    Kind.CANCELLED: ("s", GREY, "cancelled"),
}
_HEIGHTS = {State.DELAYED: 0.12, State.WAITING: 0.34, State.ACTIVE: 0.68}
"""How much of a row a stretch takes: the more is going on, the more."""
_MOST_ROWS = 12
"""Rows a lane has at most; what overlaps more than that shares them."""


@styled
def timeline(world: World, *, ax: Axes | None = None) -> Figure:
    """A lane an event: delays thin, waits light, runs solid; retries, failures, lost leases and cancels are marked.

    `world` is a simulation, a timeline or steps. Jobs of one event at the same time are stacked in its lane. What has
    not ended reaches to the end of the picture.
    """
    facts = facts_of(world)
    stretches = spans(facts)
    start, end = (facts[0].at, facts[-1].at) if facts else (0, 0)
    lanes = list(dict.fromkeys(span.event for span in sorted(stretches, key=lambda span: span.start)))
    packed = {lane: _pack([span for span in stretches if span.event == lane], end) for lane in lanes}
    depth = {lane: max(row for _, row in packed[lane]) + 1 for lane in lanes}
    height = 1.3 + sum(0.28 + 0.24 * min(depth[lane], 5) for lane in lanes)
    figure, ax = canvas(ax, 11, max(2.2, min(height, 12)))
    for index, lane in enumerate(lanes):
        _draw_lane(ax, index, packed[lane], depth[lane], end)
    ax.set_yticks(range(len(lanes)), lanes)
    ax.set_ylim(len(lanes) - 0.45, -0.55)
    for index in range(1, len(lanes)):
        ax.axhline(index - 0.5, color="#efefef", linewidth=0.8, zorder=0)
    time_axis(ax, start, max(end, start + 1))
    bare(ax, "left")
    ax.set_title("What ran when" if stretches else "Nothing happened")
    legend_above(ax, _legend(stretches))
    return figure


def _pack(stretches: Sequence[Span], end: int) -> list[tuple[Span, int]]:
    """Each stretch with a row in which its job is alone: a life keeps its row, the first free one."""
    free_at: list[int] = []
    row_of: dict[tuple[str, str], tuple[int, int]] = {}
    packed = []
    for span in sorted(stretches, key=lambda span: (span.start, span.end is None, span.end or 0)):
        key, until = (span.queue, span.job_id), end if span.end is None else span.end
        row, last = row_of.get(key, (-1, -1))
        if row < 0 or last != span.start or free_at[row] > span.start:
            row = next((i for i, moment in enumerate(free_at) if moment <= span.start), len(free_at))
            if row == len(free_at) and row < _MOST_ROWS:
                free_at.append(until)
            row = min(row, _MOST_ROWS - 1)
        free_at[row] = max(free_at[row], until)
        row_of[key] = (row, until)
        packed.append((span, row))
    return packed


def _draw_lane(ax: Axes, lane: int, packed: Sequence[tuple[Span, int]], depth: int, end: int) -> None:
    """One lane: bars for the stretches, and for each a hairline at its start, so that the shortest is still seen."""
    pitch = 0.84 / depth
    bars: dict[State, list[tuple[float, float, float, float]]] = {state: [] for state in _HEIGHTS}
    for span, row in packed:
        x0, x1 = day_number(span.start), day_number(end if span.end is None else span.end)
        middle, half = lane - 0.42 + pitch * (row + 0.5), min(pitch, 0.36) * _HEIGHTS[span.state] / 2
        bars[span.state].append((x0, x1 - x0, middle - half, 2 * half))
        if span.ended_by in _MARKS and span.end is not None:
            marker, colour, _ = _MARKS[span.ended_by]
            ax.plot(
                x1, middle, marker, color=colour, markersize=7, markeredgecolor="white", markeredgewidth=0.8, zorder=4
            )
    for state, boxes in bars.items():
        corners = [((x, y), (x, y + h), (x + w, y + h), (x + w, y)) for x, w, y, h in boxes if w > 0]
        if corners:
            ax.add_collection(PolyCollection(corners, facecolors=STATE_COLOURS[state], linewidths=0, zorder=2))
        if state is State.ACTIVE and boxes:
            starts = [((x, y), (x, y + h)) for x, _, y, h in boxes]
            ax.add_collection(LineCollection(starts, colors=STATE_COLOURS[state], linewidths=1.4, zorder=3))


def _legend(stretches: Sequence[Span]) -> list[Patch | Line2D]:
    """An entry for what there is, and for nothing else."""
    names = {State.DELAYED: "delayed", State.WAITING: "waiting", State.ACTIVE: "running"}
    seen = {span.state for span in stretches if span.end is None or span.end > span.start or span.state is State.ACTIVE}
    ended = {span.ended_by for span in stretches}
    bars: list[Patch | Line2D] = [Patch(color=STATE_COLOURS[s], label=names[s]) for s in names if s in seen]
    return bars + [
        Line2D([], [], linestyle="", marker=marker, color=colour, label=label)
        for kind, (marker, colour, label) in _MARKS.items()
        if kind in ended
    ]


_LEVELS = {State.DELAYED: 0, State.WAITING: 1, State.ACTIVE: 2}
_ENDS = {Kind.COMPLETED: GREEN, Kind.SKIPPED: GREY, Kind.FAILED: RED, Kind.CANCELLED: GREY}
_TURNS = _ENDS | {Kind.RETRIED: ORANGE, Kind.STALLED: ORANGE, Kind.RELEASED: ORANGE}
"""What may end a run, and its colour."""


@styled
def job(world: World, job_id: str, *, ax: Axes | None = None) -> Figure:
    """One job's life as stairs: a level each for delayed, waiting and running, each stretch with its length in words.

    Time is not to scale, for an hour's delay would hide the second that matters: every stretch is as wide as any other,
    one without length is left out, and the moments between them are written below. Raises `UsageError` where the world
    has no step of that job.
    """
    everything = facts_of(world)
    facts = [fact for fact in everything if fact.job_id == job_id]
    if not facts:
        raise UsageError(f"job_id must be a job of this timeline, got {job_id!r}; sim.timeline lists those there are")
    told = {(fact.at, fact.kind): fact for fact in facts}
    stretches = sorted(spans(facts), key=lambda span: (span.start, span.end is None, span.end or 0))
    last = (everything if any(span.end is None for span in stretches) else facts)[-1].at
    stairs = [span for span in stretches if span.end is None or span.end > span.start or span.state is State.ACTIVE]
    figure, ax = canvas(ax, min(18, max(6.5, 1.6 + 1.25 * len(stairs))), 3.4)
    for x, span in enumerate(stairs):
        level = _LEVELS[span.state]
        ax.plot(
            [x, x + 1], [level, level], color=STATE_COLOURS[span.state], linewidth=17, solid_capstyle="butt", zorder=2
        )
        ax.text(
            x + 0.5,
            level,
            _stretch_words(span, last),
            ha="center",
            va="center",
            fontsize=8.5,
            zorder=3,
            color="white" if span.state is State.ACTIVE else INK,
        )
        if x:
            before = _LEVELS[stairs[x - 1].state]
            ax.plot([x, x], [before, level], color="#b0b0b0", linewidth=1, zorder=1)
        if span.end is not None and span.ended_by in _TURNS:
            _mark_turn(ax, x + 1, level, told[span.end, span.ended_by])
    _moments_below(ax, facts[0].at, [span.start for span in stairs] + [last])
    ax.set_yticks(list(_LEVELS.values()), ["delayed", "waiting", "running"])
    ax.set_ylim(-0.5, 3.25)
    ax.set_xlim(-0.15, len(stairs) + 0.6)
    bare(ax, "left", "bottom")
    ax.set_title(job_id)
    return figure


def _stretch_words(span: Span, last: int) -> str:
    attempt = "" if span.attempt is None else f"#{span.attempt}  "
    return attempt + (
        f"{span_words(last - span.start)} so far" if span.end is None else span_words(span.end - span.start)
    )


def _moments_below(ax: Axes, born: int, moments: Sequence[int]) -> None:
    """The clock under each stair; the day where it begins or changes."""
    labels: list[str] = []
    day = ""
    for moment in moments:
        date_text, _, clock = clock_text(moment)[:-1].partition(" ")
        labels.append(clock.removesuffix(".000") + (f"\n{date_text}" if date_text != day else ""))
        day = date_text
    ax.set_xticks(range(len(moments)), labels, fontsize=8)
    ax.set_xlabel(f"{span_words(moments[-1] - born)} in all, UTC, not to scale", loc="right", color=GREY)
    ax.grid(axis="x", linewidth=0.8)


def _mark_turn(ax: Axes, x: int, level: int, fact: Fact) -> None:
    """What ended a stretch: a mark, and above it the word and what was raised."""
    ax.plot(
        x,
        level,
        _MARKS.get(fact.kind, ("o", "", ""))[0],
        color=_TURNS[fact.kind],
        markersize=9,
        markeredgecolor="white",
        zorder=4,
    )
    error = str((fact.detail or {}).get("error") or (fact.detail or {}).get("reason") or "")
    words = f"{fact.kind}\n{shorten(error, 30, placeholder=' …')}" if error else str(fact.kind)
    ax.annotate(
        words,
        (x, level),
        (0, 13),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=8.5,
        color=_TURNS[fact.kind] if fact.kind in {Kind.FAILED, Kind.COMPLETED} else INK,
    )
