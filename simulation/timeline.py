"""What happened in a world, in order: the one thing a simulation is asked about.

A timeline is a list of facts and a way of looking at it. Whoever records calls `timeline.record(fact)`, which *is* the
list's `append`; steps, filters and tables are made when somebody looks. It reads no clock, and nothing in its text or
JSON depends on hash order, so equal timelines print alike, byte for byte (worker names aside, where those differ).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

from simulation.tables import html_table, text_table, visible
from taskmanager.errors import UsageError
from taskmanager.job import Fact, Kind
from taskmanager.steps import Step, clock_text, detail_words, same

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

__all__ = ["Timeline"]

_REPR_ROWS = 40
_HTML_ROWS = 200
_RIGHT = frozenset({"attempt"})

HUES = {
    Kind.COMPLETED: "#009e73",
    Kind.STARTED: "#3b8fd1",
    Kind.FAILED: "#d55e00",
    Kind.STALLED: "#d55e00",
    Kind.RETRIED: "#d99000",
    Kind.RELEASED: "#d99000",
    Kind.REQUEUED: "#d99000",
    Kind.PAUSED: "#c0699a",
    Kind.RESUMED: "#c0699a",
}
"""A colour for each kind that one looks for, legible on light and dark and to the colour-blind; the others are grey."""
QUIET_HUE = "#8c8c8c"


class Timeline(Sequence[Step]):
    """The steps of a world, oldest first. Indexing gives a `Step`, slicing and `only` give a `Timeline`.

    Equal to another timeline (or a list of steps) where every step is: all fields but the worker's name.
    """

    __slots__ = ("facts", "record")
    facts: list[Fact]
    record: Callable[[Fact], None]

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self.facts = list(facts)
        self.record = self.facts.append

    def __len__(self) -> int:
        return len(self.facts)

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> Timeline: ...
    def __getitem__(self, index: int | slice) -> Step | Timeline:
        return Timeline(self.facts[index]) if isinstance(index, slice) else Step(self.facts[index])

    def __iter__(self) -> Iterator[Step]:
        return map(Step, self.facts)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Timeline):
            theirs = other.facts
        elif isinstance(other, (list, tuple)) and all(isinstance(step, Step) for step in other):
            theirs = [step.fact for step in other]
        else:
            return NotImplemented
        return len(self.facts) == len(theirs) and all(map(same, self.facts, theirs))

    def __reduce__(self) -> tuple[type[Timeline], tuple[list[Fact]]]:
        return (Timeline, (self.facts,))  # a copied `record` would go on writing into the original

    __hash__ = None  # type: ignore[assignment]  # it grows, so it must not be a key

    def only(
        self,
        *,
        kind: str | Collection[str] | None = None,
        event: str | None = None,
        job_id: str | None = None,
        queue: str | None = None,
    ) -> Timeline:
        """The steps so far of one kind (or several), event, job or queue; what is None is not asked.

        Raises `UsageError` for a kind that does not exist, which would otherwise look like "nothing happened".
        """
        kinds = None if kind is None else {_kind(name) for name in ([kind] if isinstance(kind, str) else kind)}
        return Timeline(
            fact
            for fact in self.facts
            if (kinds is None or fact.kind in kinds)
            and (event is None or fact.event == event)
            and (job_id is None or fact.job_id == job_id)
            and (queue is None or fact.queue == queue)
        )

    def to_json_lines(self, *, workers: bool = True) -> str:
        """One JSON object a line, in ASCII, ending with a newline; `workers=False` leaves the workers' names out."""
        rows = (step.to_dict() for step in self)
        lines = [
            json.dumps({key: value for key, value in row.items() if workers or key != "worker"}, separators=(",", ":"))
            for row in rows
        ]
        return "".join(f"{line}\n" for line in lines)

    def __str__(self) -> str:
        """Every step, as a table."""
        return self._text(len(self.facts))

    def __repr__(self) -> str:
        """The number of steps and a table of them, of a long one its head and its tail."""
        return f"Timeline of {_steps(len(self))}" + (f"\n{self._text(_REPR_ROWS)}" if self.facts else "")

    def _text(self, limit: int) -> str:
        if not self.facts:
            return "(nothing has happened)"
        shown, gap = self._shown(limit)
        heading, rows = cells(shown)
        return text_table(heading, rows, right=_RIGHT, gap=gap)

    def _repr_html_(self) -> str:
        shown, gap = self._shown(_HTML_ROWS)
        heading, rows = cells(shown)
        marks = [("●", HUES.get(fact.kind, QUIET_HUE)) for fact in shown]
        caption = f"Timeline of {_steps(len(self))}"
        return html_table(heading, rows, caption=caption, right=_RIGHT, gap=gap, marks=marks, marked="what")

    def _shown(self, limit: int) -> tuple[list[Fact], tuple[int, str] | None]:
        head, tail = visible(len(self.facts), limit)
        shown = [self.facts[i] for part in (head, tail) for i in part]
        return shown, (len(head), f"… {tail.start - head.stop:,} more …") if tail else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from simulation.pages import pages  # here, so that a simulation that shows nothing does not pay for it

        yield from pages(self, width=options.max_width)


def cells(facts: Sequence[Fact]) -> tuple[list[str], list[list[str]]]:
    """Heading and rows of a table of facts. A column that tells nothing is left out: the queue where all are in one,
    the worker where there is one."""
    columns = ["time", "what", "event", "job", "attempt"]
    if len({fact.queue for fact in facts}) > 1:
        columns.insert(2, "queue")
    if len({fact.worker for fact in facts if fact.worker is not None}) > 1:
        columns.append("worker")
    columns.append("detail")
    return columns, [[_CELLS[column](fact) for column in columns] for fact in facts]


_CELLS: dict[str, Callable[[Fact], str]] = {
    "time": lambda fact: clock_text(fact.at),
    "what": lambda fact: str(fact.kind),
    "queue": lambda fact: fact.queue,
    "event": lambda fact: fact.event or "",
    "job": lambda fact: fact.job_id or "",
    "attempt": lambda fact: "" if fact.attempt is None else str(fact.attempt),
    "worker": lambda fact: fact.worker or "",
    "detail": detail_words,
}


def _steps(count: int) -> str:
    return f"{count:,} step" + ("" if count == 1 else "s")


def _kind(name: str) -> Kind:
    try:
        return Kind(name)
    except ValueError:
        raise UsageError(f"kind must be one of {', '.join(Kind)}, got {name!r}") from None
