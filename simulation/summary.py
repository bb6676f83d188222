"""What happened, counted: a line an event.

Counts are of steps; lengths of time are read off the stretches in `spans`. A *wait* is from becoming waiting, for
whatever reason, to the start; a *run* is what the handler took, as the step that ended it says, else from its start to
its end. Median and maximum are given because a mean hides the one job that waited for an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from simulation.spans import Span, spans
from simulation.tables import html_table, text_table
from taskmanager.job import Fact, Kind, State
from taskmanager.steps import seconds_words

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult

__all__ = ["EventSummary", "Spread", "Summary"]


@dataclass(frozen=True, slots=True)
class Spread:
    """How lengths of time lie: their median and the longest, in seconds."""

    median: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Spread | None:
        """None where there are none."""
        values = list(seconds)
        return cls(round(median(values), 6), max(values)) if values else None


@dataclass(slots=True)
class EventSummary:
    """One event's counts. `emitted` includes occurrences of schedules and follow-ups; `failed` are jobs, not attempts.

    `retries` counts what was to run again, also for `RetryLater`; `lost` the lost leases. `waiting` and `running` are
    None where nothing started or ended.
    """

    event: str
    emitted: int = 0
    runs: int = 0
    completed: int = 0
    skipped: int = 0
    retries: int = 0
    lost: int = 0
    failed: int = 0
    dead_letters: int = 0
    cancelled: int = 0
    waiting: Spread | None = None
    running: Spread | None = None


_COUNTED: dict[Kind, str] = {
    Kind.EMITTED: "emitted",
    Kind.SCHEDULED: "emitted",
    Kind.FOLLOW_UP: "emitted",
    Kind.STARTED: "runs",
    Kind.COMPLETED: "completed",
    Kind.SKIPPED: "skipped",
    Kind.RETRIED: "retries",
    Kind.STALLED: "lost",
    Kind.FAILED: "failed",
    Kind.CANCELLED: "cancelled",
}
_TITLES = {
    "event": "event",
    "emitted": "emitted",
    "runs": "runs",
    "completed": "completed",
    "skipped": "skipped",
    "retries": "retries",
    "lost": "lost",
    "failed": "failed",
    "dead_letters": "dead letters",
    "cancelled": "cancelled",
}
_ALWAYS = frozenset({"event", "emitted", "runs", "completed", "failed"})
"""Columns that are shown even where all is 0; the others only where they tell something."""
_ANY_WIDTH = 10_000
"""Columns enough for a table to say how wide it would like to be."""
_LENGTHS = ("waited (median)", "waited (max)", "ran (median)", "ran (max)")


@dataclass(frozen=True, slots=True)
class Summary:
    """The events of a world by name, in alphabetical order. Prints as a table as text, in rich and in a notebook."""

    events: Mapping[str, EventSummary] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: Iterable[Fact], dead_letters: Mapping[str, int] | None = None) -> Summary:
        """Counts facts, e.g. `timeline.facts`. No fact tells of `dead_letters`: whoever knows gives them, by event."""
        told = list(facts)
        found = {
            name: EventSummary(name) for name in sorted({f.event for f in told if f.event} | set(dead_letters or {}))
        }
        for fact in told:
            counted = _COUNTED.get(fact.kind)
            if counted is not None and fact.event:
                setattr(found[fact.event], counted, getattr(found[fact.event], counted) + 1)
        for event, number in (dead_letters or {}).items():
            found[event].dead_letters = number
        stretches = spans(told)
        runs = _run_seconds(told, stretches)
        for event, summary in found.items():
            waits = (
                s for s in stretches if s.event == event and s.state is State.WAITING and s.ended_by is Kind.STARTED
            )
            summary.waiting = Spread.of((s.end - s.start) / 1000 for s in waits if s.end is not None)
            summary.running = Spread.of(runs.get(event, ()))
        return cls(found)

    def __getitem__(self, event: str) -> EventSummary:
        return self.events[event]

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """By event: the counts, and `waiting` and `running` as {median, max} in seconds, or None."""
        return {event: asdict(summary) for event, summary in self.events.items()}

    def __str__(self) -> str:
        heading, rows = self._cells()
        return text_table(heading, rows, right=frozenset(heading[1:])) if rows else "(nothing has happened)"

    def _repr_html_(self) -> str:
        heading, rows = self._cells()
        return html_table(heading, rows, caption=f"Summary of {len(rows)} events", right=frozenset(heading[1:]))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table  # here, so that a simulation that shows nothing does not pay for it

        heading, rows = self._cells()
        if not rows:
            yield str(self)
            return

        def table(columns: Sequence[int], gap: str = " ") -> Table:
            made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
            for i in columns:
                name = heading[i]
                style = {"event": "bold", "failed": "red", "dead letters": "red", "retries": "yellow"}.get(name, "")
                justify: JustifyMethod = "left" if name == "event" else "right"
                made.add_column(name.replace(" ", gap), justify=justify, style=style, no_wrap=True)
            for row in rows:
                made.add_row(*(row[i] for i in columns))
            return made

        whole = table(range(len(heading)))
        if console.measure(whole, options=options.update(width=_ANY_WIDTH)).maximum <= options.max_width:
            yield whole
        else:
            counts = len(heading) - len(_LENGTHS)
            yield table(range(counts), "\n")
            yield ""
            yield table([0, *range(counts, len(heading))], "\n")

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        told = list(self.events.values())
        shown = [name for name in _TITLES if name in _ALWAYS or any(getattr(event, name) for event in told)]
        rows = [
            [_number(getattr(event, name)) for name in shown] + _spread(event.waiting) + _spread(event.running)
            for event in told
        ]
        return [*(_TITLES[name] for name in shown), *_LENGTHS], rows


def _number(value: str | int) -> str:
    return value if isinstance(value, str) else f"{value:,}" if value else "·"


def _spread(spread: Spread | None) -> list[str]:
    return ["", ""] if spread is None else [seconds_words(spread.median), seconds_words(spread.max)]


def _run_seconds(facts: Iterable[Fact], stretches: Iterable[Span]) -> dict[str, list[float]]:
    """By event, how long each ended run took."""
    told: dict[tuple[str, str | None, int, Kind | None], float] = {
        (f.queue, f.job_id, f.at, f.kind): f.detail["duration"] for f in facts if f.detail and "duration" in f.detail
    }
    found: dict[str, list[float]] = {}
    for span in stretches:
        if span.state is State.ACTIVE and span.end is not None:
            took = told.get((span.queue, span.job_id, span.end, span.ended_by), (span.end - span.start) / 1000)
            found.setdefault(span.event, []).append(took)
    return found
