"""A year of crons: how many runs fall on each day and hour, and which crons fall in the same minute.

A cron is a pattern, or the moments of its occurrences: what a simulation saw can be drawn as well as what is to come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simulation.plots.canvas import BLUE, GREY, INK, PAPER, SEQUENCE, Moment, at_ms, bare, canvas, styled
from taskmanager.clock import moment_ms
from taskmanager.errors import UsageError
from taskmanager.policy.cron import Cron
from taskmanager.policy.zones import zone_named

__all__ = ["Crons", "collisions", "occurrences", "year"]

Crons: TypeAlias = Mapping[str, str | Iterable[Moment]]
"""Crons by name: a pattern such as `0 9 * * 1-5`, or the moments of its occurrences."""

_MINUTE_MS = 60_000


def occurrences(crons: Crons, start: int, end: int, timezone: str) -> dict[str, list[int]]:
    """By name, the occurrences from `start` up to but excluding `end`, in ms. Patterns are read in `timezone`."""
    found: dict[str, list[int]] = {}
    for name, cron in crons.items():
        if isinstance(cron, str):
            moments = list(Cron.parse(cron, timezone).occurrences(start - 1, end - 1))
        else:
            moments = sorted(at_ms(moment, f"crons[{name!r}]") for moment in cron)
        found[name] = [moment for moment in moments if start <= moment < end]
    return found


def _bounds(year: int, timezone: str) -> tuple[int, int]:
    zone = zone_named(timezone)
    if not isinstance(year, int) or not 1970 <= year < 9999:
        raise UsageError(f"year must be a whole number from 1970 to 9998, got {year!r}")
    return tuple(moment_ms(datetime(y, 1, 1, tzinfo=zone), "year") for y in (year, year + 1))  # type: ignore[return-value]


@styled
def year(crons: Crons, *, year: int = 2026, timezone: str = "UTC", ax: Axes | None = None) -> Figure:
    """A year as a map of heat: a column a day, a row an hour of the day in `timezone`, darker where more runs fall.

    Above it the runs a day. The hour that a daylight-saving night leaves out is empty, the one it repeats counts both.
    """
    start, end = _bounds(year, timezone)
    zone = zone_named(timezone)
    moments = [moment for found in occurrences(crons, start, end, timezone).values() for moment in found]
    days = 366 if date(year, 12, 31).timetuple().tm_yday == 366 else 365
    counts = np.zeros((24, days))
    for hour_ms, number in Counter(moment // 900_000 for moment in moments).items():  # offsets are whole quarters
        local = datetime.fromtimestamp(hour_ms * 900, UTC).astimezone(zone)
        counts[local.hour, local.timetuple().tm_yday - 1] += number
    figure, ax = canvas(ax, 12, 4.4)
    ax.set_facecolor("#f7f7f7")
    edges_x, edges_y = np.arange(days + 1), np.arange(25)
    heat = ax.pcolormesh(edges_x, edges_y, np.ma.masked_equal(counts, 0), cmap=SEQUENCE, vmin=0)
    _month_axis(ax, year, days)
    ax.set_yticks([0, 6, 12, 18, 24], ["00:00", "06:00", "12:00", "18:00", "24:00"])
    ax.set_ylim(24, 0)
    ax.set_ylabel(timezone, color=GREY)
    bare(ax)
    _days_above(ax, counts.sum(axis=0), date(year, 1, 1))
    bar = figure.colorbar(heat, ax=ax, pad=0.015, aspect=24, fraction=0.03)
    bar.set_label("runs in the hour", color=GREY)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.locator = MaxNLocator(nbins=5, integer=True)
    bar.update_ticks()
    return figure


def _month_axis(ax: Axes, year: int, days: int) -> None:
    """A white line where a month begins, and its name in its middle."""
    starts = [(date(year, month, 1) - date(year, 1, 1)).days for month in range(1, 13)]
    for start in starts[1:]:
        ax.axvline(start, color=PAPER, linewidth=1.2)
    middles = [(a + b) / 2 for a, b in zip(starts, [*starts[1:], days], strict=True)]
    ax.set_xticks(middles, [f"{date(year, month, 1):%b}" for month in range(1, 13)])
    ax.set_xlim(0, days)


def _days_above(ax: Axes, runs: Any, first: date) -> None:
    """The runs a day as a skyline above the map, with the title and the total."""
    above = ax.inset_axes((0, 1.04, 1, 0.2))
    above.stairs(runs, np.arange(len(runs) + 1), fill=True, color=BLUE, alpha=0.85)
    above.set_xlim(0, len(runs))
    most = int(runs.max()) if len(runs) else 0
    above.set_ylim(0, max(most, 1) * 1.05)
    above.set_yticks([0, most] if most else [0])
    above.set_xticks([])
    above.set_ylabel("a day", color=GREY)
    bare(above)
    day = first + timedelta(days=int(runs.argmax()))
    busiest = f"; the busiest day is {day.day} {day:%B} with {most:,}" if runs.min() < most else ""
    above.set_title(f"{int(runs.sum()):,} runs in {first.year}{busiest}")


@styled
def collisions(crons: Crons, *, year: int = 2026, timezone: str = "UTC", ax: Axes | None = None) -> Figure:
    """Which crons fall in the same minute: for each two, in how many minutes of the year; on the diagonal its own.

    A note names the minute in which most of them meet (the first of those, if there are several).
    """
    start, end = _bounds(year, timezone)
    found = occurrences(crons, start, end, timezone)
    minutes = {name: {moment // _MINUTE_MS for moment in moments} for name, moments in found.items()}
    names = list(minutes)
    shared = np.array([[len(minutes[a] & minutes[b]) for b in names] for a in names]).reshape(len(names), len(names))
    below = np.tri(len(names), k=-1, dtype=bool)
    most = max(2, int(shared[below].max())) if below.any() else 2
    shades = LogNorm(1, most)  # the numbers span thousands, and the small ones are the surprises
    figure, ax = canvas(ax, max(5.5, 2.6 + 0.8 * len(names)), max(3.2, 1.6 + 0.62 * len(names)))
    ax.imshow(np.ma.masked_where(~below | (shared == 0), shared), cmap=SEQUENCE, norm=shades, aspect="auto")
    for row in range(len(names)):
        for column in range(row + 1):
            count = int(shared[row, column])
            _write_count(ax, row, column, count, ink=PAPER if count and shades(count) > 0.55 else INK)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(names) - 0.5, -0.5)
    bare(ax)
    ax.set_title("Minutes in which both fall due")
    ax.text(0.99, 0.97, _crowd(minutes, timezone), transform=ax.transAxes, ha="right", va="top", color=GREY)
    return figure


def _write_count(ax: Axes, row: int, column: int, count: int, *, ink: str) -> None:
    if row == column:
        ax.text(column, row, f"{count:,}", ha="center", va="center", color=GREY, fontsize=8.5, style="italic")
        return
    ax.text(column, row, f"{count:,}" if count else "·", ha="center", va="center", color=ink if count else GREY)


def _crowd(minutes: Mapping[str, set[int]], timezone: str) -> str:
    """The most crowded minute, in words."""
    crowd = Counter(minute for found in minutes.values() for minute in found)
    most = max(crowd.values(), default=0)
    if most < 2:
        return "no two fall in the same minute"
    first = min(minute for minute, number in crowd.items() if number == most)
    at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=first)).astimezone(zone_named(timezone))
    together = sum(1 for number in crowd.values() if number > 1)
    return f"{together:,} minutes are shared\n{most} at once on {at.day} {at:%B, %H:%M}"
