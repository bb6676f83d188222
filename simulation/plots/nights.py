"""Two hard moments of a cron: the night the clock changes, and the hours nobody was there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from simulation.plots.canvas import (
    BLUE,
    GREY,
    RED,
    SERIES,
    HasTimeline,
    Moment,
    at_ms,
    bare,
    canvas,
    day_number,
    facts_of,
    legend_above,
    styled,
    time_axis,
)
from simulation.plots.crons import Crons, occurrences
from simulation.timeline import Timeline
from taskmanager.clock import datetime_of, moment_ms
from taskmanager.errors import UsageError
from taskmanager.job import Kind
from taskmanager.policy.zones import zone_named

__all__ = ["catch_up", "night"]

_HOUR_MS = 3_600_000
_STEP_MS = 60_000
_ROW_HOURS = 0.62
"""The height of a cron's row, in hours of the wall clock above it."""
_MOST_TIMES = 8
"""A row with more runs than this is shown without their times."""


@styled
def night(
    crons: Crons, day: date, *, timezone: str, hours: tuple[float, float] = (0, 6), ax: Axes | None = None
) -> Figure:
    """One night when the clock changes: the wall clock against UTC, and on that line the runs of each cron.

    `day` is the day of the change in `timezone`, `hours` the part of it that is shown, from its midnight, in real time.
    The hour that never comes is hatched; the one that comes twice is shaded. Each cron has its own row of dots below.
    """
    zone = zone_named(timezone)
    midnight = moment_ms(datetime.combine(day, time(), tzinfo=zone), "day")
    start, end = midnight + round(hours[0] * _HOUR_MS), midnight + round(hours[1] * _HOUR_MS)
    found = occurrences(crons, start, end + 1, timezone)
    figure, ax = canvas(ax, 10, 4.4 + 0.32 * len(found))
    _draw_wall(ax, start, end, midnight, zone)
    low = _wall_hours(start, zone, midnight)
    rows = {name: low - _ROW_HOURS * (index + 1.5) for index, name in enumerate(found)}
    shades = {name: SERIES[index % len(SERIES)] for index, name in enumerate(found)}
    for name, moments in found.items():
        _draw_row(ax, rows[name], moments, shades[name], zone)
    for moment in sorted({moment for moments in found.values() for moment in moments}):
        together = [shades[name] for name, moments in found.items() if moment in moments]
        _draw_rings(ax, day_number(moment), _wall_hours(moment, zone, midnight), together)
    ticks = range(round(low), round(_wall_hours(end, zone, midnight)) + 1)
    ax.set_yticks([*ticks, *rows.values()], [*(f"{hour % 24:02d}:00" for hour in ticks), *rows])
    ax.set_title(f"{timezone}, {day.day} {day:%B %Y}: what the wall clock shows")
    time_axis(ax, start, end)
    ax.grid(axis="both", linewidth=0.8)
    bare(ax)
    return figure


def _draw_row(ax: Axes, y: float, moments: Sequence[int], shade: str, zone: tzinfo) -> None:
    """A cron's own row: its runs, each with what the wall clock showed (unless there are too many to read)."""
    xs = [day_number(at) for at in moments]
    ax.plot(xs, [y] * len(xs), "o", color=shade, markersize=8, markeredgecolor="white", zorder=4)
    if len(moments) > _MOST_TIMES:
        return
    for x, at in zip(xs, moments, strict=True):
        text = f"{datetime_of(at).astimezone(zone):%H:%M}"
        ax.annotate(text, (x, y), (7, 0), textcoords="offset points", va="center", fontsize=8, color=GREY)


def _draw_rings(ax: Axes, x: float, y: float, shades: Sequence[str]) -> None:
    """The runs of one moment on the line, those of several crons one inside the other."""
    for index, shade in enumerate(shades):
        size = 8 + 5 * (len(shades) - 1 - index)
        ax.plot(x, y, "o", color=shade, markersize=size, markeredgecolor="white", zorder=4 + index / 100)


def _offset_ms(ms: int, zone: tzinfo) -> int:
    offset = datetime_of(ms).astimezone(zone).utcoffset() or timedelta()
    return offset // timedelta(milliseconds=1)


def _wall_hours(ms: int, zone: tzinfo, midnight: int) -> float:
    """What the wall clock shows, in hours since the midnight the night began with."""
    return (ms + _offset_ms(ms, zone) - midnight - _offset_ms(midnight, zone)) / _HOUR_MS


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _draw_wall(ax: Axes, start: int, end: int, midnight: int, zone: tzinfo) -> None:
    """The line of the wall clock, in one piece per offset, and what happens where it jumps."""
    changes = [ms for ms in range(start + _STEP_MS, end, _STEP_MS) if _offset_ms(ms, zone) != _offset_ms(ms - 1, zone)]
    handles: list[Line2D | Patch] = []
    for left, right in zip([start, *changes], [*changes, end], strict=True):
        ends = [(left, _wall_hours(left, zone, midnight)), (right, _wall_hours(right - 1, zone, midnight))]
        ax.plot(*_columns([(day_number(x), y) for x, y in ends]), color="#9a9a9a", linewidth=2, zorder=2)
    for change in changes:
        before, after = _wall_hours(change - 1, zone, midnight), _wall_hours(change, zone, midnight)
        x = day_number(change)
        ax.plot([x, x], [before, after], color="#9a9a9a", linewidth=1.2, linestyle=":", zorder=2)
        if after > before:
            band = ax.axhspan(
                before, after, facecolor="#f6f6f6", edgecolor="#cfcfcf", hatch="////", linewidth=0, zorder=0
            )
            band.set_label("never comes")
        else:
            band = ax.axhspan(after, before, color="#fbeed2", linewidth=0, zorder=0)
            band.set_label("comes twice")
        handles.append(band)
    if handles:
        legend_above(ax, handles)


Decisions: TypeAlias = HasTimeline | Timeline | Iterable[tuple[Moment, Moment]]
"""What became of occurrences: a world, or for each that ran (its own moment, when it was admitted)."""


@styled
def catch_up(
    worlds: Mapping[str, Decisions],
    occurrences: Iterable[Moment],
    outage: tuple[Moment, Moment],
    *,
    ax: Axes | None = None,
) -> Figure:
    """What became of the occurrences that fell into an outage: a row a world (one a policy, say), the outage shaded.

    `occurrences` are all that fell due. A dot is one that was admitted at its own moment; one admitted later is a ring
    there, and an arrow leads to the dot where it ran; one that was dropped is a cross.
    """
    due = [at_ms(moment, "occurrences") for moment in occurrences]
    down, up = (at_ms(moment, "outage") for moment in outage)
    if down > up:
        raise UsageError("outage must be (from, to) with from before to; turn the two round")
    ran = {name: _admitted(world) for name, world in worlds.items()}
    seen = [*due, down, up, *(at for admitted in ran.values() for at in admitted.values())]
    figure, ax = canvas(ax, 10, 1.7 + 0.62 * len(ran))
    ax.axvspan(day_number(down), day_number(up), color="#f1ece4", linewidth=0, zorder=0)
    ax.annotate(
        "nobody was there",
        (day_number((down + up) / 2), 0.985),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="top",
        fontsize=8.5,
        color="#8a7a5c",
    )
    for row, admitted in enumerate(ran.values()):
        for moment in due:
            _draw_occurrence(ax, row, moment, admitted.get(moment))
    ax.set_yticks(range(len(ran)), list(ran))
    ax.set_ylim(len(ran) - 0.45, -0.95)
    time_axis(ax, min(seen), max(*seen, min(seen) + 1))
    bare(ax)
    ax.set_title("Missed, and what became of it")
    legend_above(ax, _CATCH_UP_LEGEND)
    return figure


_RAN: dict[str, Any] = {"marker": "o", "color": BLUE, "markersize": 8, "markeredgecolor": "white"}
_LATE: dict[str, Any] = _RAN | {"markersize": 7, "markerfacecolor": "white", "markeredgecolor": BLUE}
_DROPPED: dict[str, Any] = {"marker": "x", "color": RED, "markersize": 7, "markeredgewidth": 1.8}
_CATCH_UP_LEGEND = [
    Line2D([], [], linestyle="", label="ran", **_RAN),
    Line2D([], [], linestyle="", label="missed, ran later", **_LATE),
    Line2D([], [], linestyle="", label="dropped", **_DROPPED),
]


def _draw_occurrence(ax: Axes, row: int, due: int, ran: int | None) -> None:
    x = day_number(due)
    if ran is None:
        ax.plot(x, row, zorder=3, **_DROPPED)
        return
    if ran > due:
        arrow = {"arrowstyle": "-", "color": BLUE, "linewidth": 0.9, "alpha": 0.5, "connectionstyle": "arc3,rad=-0.25"}
        ax.annotate("", (day_number(ran), row), (x, row), arrowprops={**arrow, "shrinkA": 4, "shrinkB": 4})
        ax.plot(x, row, zorder=3, **_LATE)
    ax.plot(day_number(ran), row, zorder=4, **_RAN)


def _admitted(world: Decisions) -> dict[int, int]:
    """By occurrence, when it was admitted. A world tells it by `scheduled` steps, whose ids end with the occurrence."""
    if not isinstance(world, (HasTimeline, Timeline)):
        return {at_ms(due, "worlds"): at_ms(ran, "worlds") for due, ran in world}
    found: dict[int, int] = {}
    for fact in facts_of(world):
        if fact.kind is Kind.SCHEDULED and fact.job_id is not None:
            moment = datetime.fromisoformat(fact.job_id.rpartition("@")[2]).astimezone(UTC)
            found[moment_ms(moment, "occurrence")] = fact.at
    return found
