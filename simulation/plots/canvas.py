"""What all pictures share: a figure without pyplot, one quiet style, one palette, and time on an axis.

Colours are Okabe and Ito's, which the colour-blind tell apart; grey is for what is not the point. The style is set for
the length of a call and then put back, so a user's own settings neither change these pictures nor are changed by them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar, runtime_checkable

import matplotlib
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure

from simulation.timeline import Timeline
from taskmanager.clock import datetime_of, moment_ms
from taskmanager.errors import UsageError
from taskmanager.job import Fact, State
from taskmanager.steps import Step

BLUE, SKY, GREEN, ORANGE, RED, PURPLE, YELLOW = (
    "#0072b2",
    "#56b4e9",
    "#009e73",
    "#e69f00",
    "#d55e00",
    "#cc79a7",
    "#f0e442",
)
INK, GREY, PALE, PAPER = "#222222", "#767676", "#e9e9e9", "#ffffff"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED, "#5b4a9c", "#8a6d3b")
"""The order in which things that are alike (crons, say) get their colours."""
STATE_COLOURS = {State.DELAYED: "#cfcfcf", State.WAITING: "#a9cfe8", State.ACTIVE: BLUE}

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#bdbdbd",
    "axes.facecolor": PAPER,
    "axes.titlelocation": "left",
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": PALE,
    "figure.facecolor": PAPER,
    "figure.dpi": 110,
    "figure.constrained_layout.h_pad": 0.12,
    "figure.constrained_layout.w_pad": 0.14,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.usetex": False,
    "text.parse_math": False,
    "timezone": "UTC",
}

SEQUENCE = LinearSegmentedColormap.from_list("blues of the house", ["#dcebf5", "#7ab8dd", BLUE, "#003a5c"])
"""For numbers: the more, the darker."""

P = ParamSpec("P")
T = TypeVar("T")
Moment: TypeAlias = int | datetime
"""A moment: milliseconds since the epoch, or an aware datetime."""


@runtime_checkable
class HasTimeline(Protocol):
    """A simulation, as far as a picture needs one."""

    @property
    def timeline(self) -> Timeline: ...


World: TypeAlias = HasTimeline | Timeline | Iterable[Step]


class Picture(Figure):
    """A figure that shows itself in a notebook, which a plain one does only after pyplot was loaded."""

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.savefig(out, format="png", dpi=144)
        return out.getvalue()


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Runs `draw` in the style of this house, and puts the settings back."""

    @wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return in_style


def canvas(ax: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes to draw on and their figure: the given ones, or a new figure of that size in inches."""
    if ax is None:
        figure = Picture(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        return figure, figure.add_subplot()
    figure_of = ax.figure
    while isinstance(figure_of, SubFigure):
        figure_of = figure_of.figure
    return figure_of, ax


def facts_of(world: World) -> list[Fact]:
    """The facts of a simulation, a timeline, or steps."""
    if isinstance(world, HasTimeline):
        return world.timeline.facts
    return world.facts if isinstance(world, Timeline) else [step.fact for step in world]


def at_ms(moment: Moment, field: str) -> int:
    """A moment in milliseconds; `UsageError` for anything else."""
    if isinstance(moment, bool) or not isinstance(moment, (int, datetime)):
        raise UsageError(f"{field} must be an aware datetime or milliseconds since the epoch, got {moment!r}")
    return moment if isinstance(moment, int) else moment_ms(moment, field)


def day_number(ms: float) -> float:
    """A moment as matplotlib counts it: in days."""
    return ms / 86_400_000


def time_axis(ax: Axes, start: int, end: int, *, zone: tzinfo = UTC, name: str = "UTC") -> None:
    """An x axis of time from `start` to `end` (ms) with a little air; its label has the days."""
    air = max((end - start) * 0.015, 1)
    ax.set_xlim(day_number(start - air), day_number(end + air))
    kit: Any = dates  # which matplotlib leaves untyped
    locator = kit.AutoDateLocator(tz=zone, minticks=4, maxticks=9)
    formatter = kit.ConciseDateFormatter(locator, tz=zone, show_offset=False)
    formatter.formats = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S.%f"]
    formatter.zero_formats = ["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(formatter)
    ax.set_xlabel(f"{days_words(start, end, zone)}, {name}", loc="right", color=GREY)
    ax.grid(axis="x", linewidth=0.8)
    ax.tick_params(length=0)


def days_words(start: int, end: int, zone: tzinfo) -> str:
    """The days from one moment to another: `28 March 2026`, or with a dash between the first and the last."""
    days = [datetime_of(ms).astimezone(zone) for ms in (start, end)]
    first, last = (f"{day.day} {day:%B} {day.year}" for day in days)
    return first if first == last else f"{first} – {last}"


def bare(ax: Axes, *sides: str) -> None:
    """Takes away the named spines (all, if none is named) and all tick marks."""
    for side in sides or ("left", "right", "top", "bottom"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0)


def legend_above(ax: Axes, handles: Sequence[Any]) -> None:
    """A legend in one row above the axes, at the right, off the data."""
    ax.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=len(handles),
        borderaxespad=0.4,
        columnspacing=1.4,
        handletextpad=0.5,
        handlelength=1.4,
    )
