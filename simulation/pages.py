"""A timeline for a person at a terminal: a page a day, colours by kind, lengths of time in words, routine kept quiet.

*Routine* is what happened before in the same way: a life that goes from emission to completion without trouble, where
the event's life before it did too. It is listed, but dim, so that what is unusual stands out; the first success after
trouble is news and is shown as such. A *digest* tells a routine life by its end alone, and only counts those of an
event that goes well more than `RARE` times a day.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console, Group
from rich.text import Text

from simulation.tables import visible
from simulation.timeline import Timeline
from taskmanager.clock import datetime_of
from taskmanager.job import Fact, Kind
from taskmanager.steps import clock_text, day_words, detail_words

__all__ = ["pages", "render", "routine"]

STYLES: dict[Kind, tuple[str, str]] = {
    # kind: (symbol, style)
    Kind.EMITTED: ("+", "default"),
    Kind.SCHEDULED: ("+", "default"),
    Kind.FOLLOW_UP: ("+", "default"),
    Kind.DUE: ("·", "dim"),
    Kind.STARTED: ("▸", "blue"),
    Kind.PROGRESS: ("…", "blue"),
    Kind.COMPLETED: ("✓", "green"),
    Kind.SKIPPED: ("–", "dim"),
    Kind.RETRIED: ("↻", "yellow"),
    Kind.REQUEUED: ("↻", "yellow"),
    Kind.RELEASED: ("↩", "yellow"),
    Kind.STALLED: ("↩", "bold yellow"),
    Kind.FAILED: ("✗", "bold red"),
    Kind.CANCELLED: ("✗", "magenta"),
    Kind.DUPLICATE: ("=", "dim"),
    Kind.DEBOUNCED: ("=", "dim"),
    Kind.REPLACED: ("~", "cyan"),
    Kind.PAUSED: ("‖", "magenta"),
    Kind.RESUMED: ("▸", "magenta"),
}
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_BORN = frozenset({Kind.EMITTED, Kind.SCHEDULED})
_UNTROUBLED = _BORN | {Kind.DUE, Kind.STARTED, Kind.PROGRESS, Kind.COMPLETED, Kind.DEBOUNCED}
_TO_COME = _BORN | {Kind.DUE, Kind.DEBOUNCED}
_ENDS = frozenset({Kind.COMPLETED, Kind.SKIPPED, Kind.FAILED, Kind.CANCELLED})
_JOB_WIDTH = 48
"""Wider jobs are cut in the terminal; the table of `str()` has them whole."""
_REST_WIDTH = 50
"""What a line takes beside the job; in a narrow terminal the job gets what is left."""
_LEAST_JOB_WIDTH = 16
_HANGING = 18
"""Where an error goes on that does not fit its line: below the words that say what happened."""
_DAY_MS = 86_400_000
RARE = 2
"""A digest names the routine lives of an event up to so many a day; of more it says how many they were."""


def render(timeline: Timeline, console: Console, *, limit: int | None = None, digest: bool = False) -> None:
    """Prints a timeline to a console, or its digest; with a `limit`, the head and the tail of a longer one."""
    console.print(Group(*pages(timeline, limit, digest=digest, width=console.width)))


def pages(
    timeline: Timeline, limit: int | None = None, *, digest: bool = False, width: int | None = None
) -> Iterator[Text]:
    """The lines that `render` prints: for each day a heading, then a line a step (in a digest, a line for the rest)."""
    facts = timeline.facts
    if not facts:
        yield Text("Nothing has happened.", style="dim")
        return
    quiet = routine(facts)
    rows = _digest(facts, quiet) if digest else [_Row(fact.at // _DAY_MS, i, "") for i, fact in enumerate(facts)]
    head, tail = visible(len(rows), len(rows) if limit is None else limit)
    shown = [(i, rows[i]) for part in (head, tail) for i in part]
    where = _Columns([facts[row.fact] for _, row in shown if row.fact is not None], width)
    day: int | None = None
    for number, row in shown:
        if tail and number == tail.start:
            yield Text(f"  … {tail.start - head.stop:,} more …", style="dim")
        if row.day != day:
            if day is not None:
                yield Text("")
            day = row.day
            yield Text(_heading(day * _DAY_MS), style="bold underline")
        yield Text(row.words, style="dim") if row.fact is None else where.line(facts[row.fact], row.fact in quiet)


class _Row(NamedTuple):
    """A line of a page: a fact by its index, or, where that is None, words."""

    day: int
    fact: int | None
    words: str


def _digest(facts: Sequence[Fact], quiet: frozenset[int]) -> list[_Row]:
    """The facts that are news and the ends of rare routine, then for each day how often the rest went well."""
    ends = {i: (facts[i].at // _DAY_MS, facts[i].event or "") for i in quiet if facts[i].kind in _ENDS}
    often = {key: count for key, count in Counter(ends.values()).items() if count > RARE}
    rows = [
        _Row(fact.at // _DAY_MS, i, "")
        for i, fact in enumerate(facts)
        if i not in quiet or (i in ends and ends[i] not in often)
    ]
    by_day: dict[int, list[str]] = {}
    for (day, event), count in sorted(often.items()):
        by_day.setdefault(day, []).append(f"{count:,} {event}")
    rows += [_Row(day, None, f"  as usual      ✓ {', '.join(told)}") for day, told in by_day.items()]
    return sorted(rows, key=lambda row: (row.day, row.fact is None, row.fact or 0))


def _heading(ms: int) -> str:
    return f"{_WEEKDAYS[datetime_of(ms).weekday()]} {day_words(ms)}"


class _Columns:
    """How wide the columns are, and whether queue and worker need saying, for the steps that are shown."""

    def __init__(self, facts: Sequence[Fact], width: int | None) -> None:
        self.several_queues = len({fact.queue for fact in facts}) > 1
        self.several_workers = len({fact.worker for fact in facts if fact.worker is not None}) > 1
        self.width = width
        room = _JOB_WIDTH if width is None else max(_LEAST_JOB_WIDTH, min(_JOB_WIDTH, width - _REST_WIDTH))
        self.job_width = min(room, max((cell_len("".join(self._job(fact))) for fact in facts), default=room))

    def _job(self, fact: Fact) -> tuple[str, str]:
        """What is read, and what only tells one apart from another: the event, and the rest of the id."""
        place = f"{fact.queue}/" if self.several_queues else ""
        event, job_id = fact.event or "", fact.job_id or ""
        if not event:
            return place + job_id if job_id else f"queue {fact.queue}", ""
        return place + event, job_id.removeprefix(event) if job_id.startswith(event) else f" {job_id}".rstrip()

    def line(self, fact: Fact, is_quiet: bool) -> Text:
        symbol, style = STYLES[fact.kind]
        name, rest = self._job(fact)
        cut = _fitted(name + rest, self.job_width)
        is_error = fact.kind in {Kind.FAILED, Kind.RETRIED}  # never cut: it is what one came to read
        text = Text(overflow="ellipsis", no_wrap=not is_error, style="dim" if is_quiet else "")
        text.append(f"  {clock_text(fact.at)[11:-1]}  ", style="dim")
        text.append(f"{symbol} {fact.kind:<10}", style="" if is_quiet else style)
        text.append(cut[: len(name)], style="" if is_quiet or fact.kind is Kind.DUE else "bold")
        text.append(cut[len(name) :], style="dim")
        text.append(f"  {'' if fact.attempt is None else f'#{fact.attempt}':<3}", style="dim")
        if self.several_workers:
            text.append(f" {fact.worker or '':<12}", style="dim")
        told, told_style = detail_words(fact), "red" if fact.kind is Kind.FAILED else ""
        if is_error and self.width is not None and text.cell_len + 1 + cell_len(told) > self.width > 2 * _HANGING:
            text.rstrip()
            for line in textwrap.wrap(told, self.width - _HANGING, break_on_hyphens=False):
                text.append(f"\n{' ' * _HANGING}{line}", style=told_style)
            return text
        text.append(f" {told}", style=told_style)
        text.rstrip()
        return text


def _fitted(words: str, width: int) -> str:
    """So wide exactly; what is cut ends in an ellipsis."""
    return set_cell_size(words, width) if cell_len(words) <= width else set_cell_size(words, width - 1) + "…"


def routine(facts: Sequence[Fact]) -> frozenset[int]:
    """The indexes of the facts that belong to a routine life, or to one that is yet to begin like that."""
    lives: dict[tuple[str, str], list[int]] = {}
    was_well: dict[tuple[str, str | None], bool] = {}
    quiet: set[int] = set()
    for index, fact in enumerate(facts):
        if fact.job_id is None:
            continue
        key = (fact.queue, fact.job_id)
        if fact.kind in _BORN:
            lives[key] = []
        lives.setdefault(key, []).append(index)
        if fact.kind in _ENDS:
            life = lives.pop(key)
            is_well = fact.kind is Kind.COMPLETED and all(facts[i].kind in _UNTROUBLED for i in life)
            if is_well and was_well.get((fact.queue, fact.event), False):
                quiet.update(life)
            was_well[fact.queue, fact.event] = is_well
    for life in lives.values():
        is_to_come = all(facts[i].kind in _TO_COME for i in life)
        if is_to_come and was_well.get((facts[life[0]].queue, facts[life[0]].event), False):
            quiet.update(life)
    return frozenset(quiet)
