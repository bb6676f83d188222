"""`taskmanager simulate`: a stretch of an application's life, printed for a person or, as JSON lines, for a program.

On stdout goes what was asked for and nothing else. A fault in what was asked, or a store that cannot be reached, is one
line on stderr and exit code 2; a world that got stuck is shown as far as it went, then one line on stderr and exit code
1. What the application's own code raises keeps its traceback, for its author needs it.

What is heavy to import is imported when the command runs, so that `--help` is quick.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from simulation.summary import Summary
    from simulation.timeline import Timeline

__all__ = ["simulate"]

DIGEST_FROM = 200
"""A timeline of more steps than this is told as a digest, unless all of it is asked for."""
PIPED_WIDTH = 1000
"""Columns where the output is no terminal: nothing is cut for whoever reads it there."""
_PACKAGES = tuple(str(Path(__file__).resolve().parents[1] / name) + os.sep for name in ("simulation", "taskmanager"))


AppName = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="The application: path/to/file.py:name or package.module:name, where name is a TaskManager, a driver of "
        "tasks over one, or a function that builds one.",
    ),
]
Days = Annotated[
    float | None, typer.Option("--days", help="How many days pass; 1 where no --hours are given.", show_default=False)
]
Hours = Annotated[float | None, typer.Option("--hours", help="How many hours pass, on top of the days.")]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="ISO",
        help="When it begins, such as 2026-03-28T12:00+01:00; UTC where no offset is given, 1 March 2026 where nothing "
        "is.",
    ),
]
Seed = Annotated[str, typer.Option("--seed", help="Decides all that is random: the same seed gives the same timeline.")]
Workers = Annotated[int, typer.Option("--workers", help="How many workers run side by side.")]
EngineUrl = Annotated[
    str, typer.Option("--engine", metavar="URL", help="The store it runs on, whatever the application names.")
]
Only = Annotated[
    list[str] | None, typer.Option("--only", metavar="EVENT", help="Show this event only; may be given several times.")
]
All = Annotated[bool, typer.Option("--all", metavar="", help="Show every step, not a digest.")]
AtMost = Annotated[
    int | None,
    typer.Option("--limit", metavar="N", min=1, help="Show at most N lines of the timeline, its head and its tail."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Show only the summary.")]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print all steps as JSON lines and nothing else.")]


def simulate(
    app: AppName,
    days: Days = None,
    hours: Hours = None,
    start: Start = None,
    seed: Seed = "0",
    workers: Workers = 1,
    engine: EngineUrl = "memory://",
    only: Only = None,
    everything: All = False,
    limit: AtMost = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Run an application in simulated time, and show what happened.

    The code runs unmodified. Cron jobs, delays, retries and asyncio.sleep take as long as they say, and no real time
    passes meanwhile.

    A long timeline is shown as a digest: trouble and what is new step by step, what went well as it did before by its
    end, and counted where it is frequent. A summary by event follows. All times are UTC.

    Exit codes: 0 it ran; 1 it got stuck; 2 it could not begin, or its store could not be reached.

    Examples:

    - `taskmanager simulate shop.py:tm --days 30`

    - `taskmanager simulate shop.py:tm --hours 6 --start 2026-10-25T00:00+02:00 --workers 3 --only charge --all`

    - `taskmanager simulate shop.py:tm --days 7 --json > week.jsonl`
    """
    with _in_one_line():
        began = time.perf_counter()
        # An application may print what it likes; among JSON lines that would be one too many.
        with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
            timeline, summary, stuck = _run(app, _seconds(days, hours), start, seed, workers, engine)
        took = time.perf_counter() - began
        if only:
            timeline, summary = _chosen(timeline, summary, only)
        if json:
            sys.stdout.write(timeline.to_json_lines())
        else:
            _show(_console(), timeline, summary, everything=everything, limit=limit, quiet=quiet)
            print(f"Simulated in {took:.1f} s.", file=sys.stderr)
        sys.stdout.flush()
        if stuck is not None:
            raise stuck


def _seconds(days: float | None, hours: float | None) -> float:
    from taskmanager.errors import UsageError

    for name, value in (("--days", days), ("--hours", hours)):
        if value is not None and not 0 <= value < math.inf:
            raise UsageError(f"{name} must be a number of at least 0, got {value}")
    if days is None and hours is None:
        days = 1.0
    return (days or 0.0) * 86_400 + (hours or 0.0) * 3600


def _run(
    app: str, seconds: float, start: str | None, seed: str, workers: int, engine: str
) -> tuple[Timeline, Summary, Exception | None]:
    from simulation import Simulation, SimulationStuck
    from taskmanager.target import load_application

    if workers == 0:
        print("no worker runs (--workers 0): no schedule is registered and no job is started", file=sys.stderr)
    stuck = None
    with Simulation(
        load_application(app),
        start=_moment(start),
        seed=int(seed) if seed.isdecimal() else seed,
        workers=workers,
        engine=engine,
        fresh=True,
    ) as sim:
        try:
            sim.advance(seconds)
        except SimulationStuck as error:
            stuck = error
        return sim.timeline, sim.summary, stuck


def _moment(text: str | None) -> datetime | None:
    from taskmanager.errors import UsageError

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--start must be a date or a time such as 2026-03-28T12:00+01:00, got {text!r}") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _chosen(timeline: Timeline, summary: Summary, events: list[str]) -> tuple[Timeline, Summary]:
    from simulation.summary import Summary
    from simulation.timeline import Timeline

    if missing := [event for event in events if event not in summary.events]:
        seen = ", ".join(map(repr, summary.events)) or "none"
        print(f"nothing happened to {', '.join(map(repr, missing))}; events seen: {seen}", file=sys.stderr)
    return (
        Timeline(fact for fact in timeline.facts if fact.event in events),
        Summary({name: event for name, event in summary.events.items() if name in events}),
    )


def _console() -> Console:
    from rich.console import Console

    is_sized = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, emoji=False, markup=False, width=None if is_sized else PIPED_WIDTH)


def _show(
    console: Console, timeline: Timeline, summary: Summary, *, everything: bool, limit: int | None, quiet: bool
) -> None:
    from simulation.pages import render

    if not quiet:
        digest = not everything and len(timeline) > DIGEST_FROM
        render(timeline, console, limit=limit, digest=digest)
        console.print()
        if digest:
            console.print(f"A digest of {len(timeline):,} steps; --all shows every one.\n", style="dim")
    console.print(summary)


@contextlib.contextmanager
def _in_one_line() -> Iterator[None]:
    """What is wrong in one line on stderr, and the exit code that says whose fault it is."""
    from simulation.errors import SimulationStuck
    from taskmanager.errors import EngineUnavailable, UsageError
    from taskmanager.target import BrokenApplication

    try:
        yield
    except BrokenApplication as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    except (UsageError, EngineUnavailable) as error:
        raise _ended(error, 2) from None
    except SimulationStuck as error:
        raise _ended(error, 1) from None
    except BrokenPipeError:
        # Whoever read has had enough; without this Python would complain once more as it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _ended(error: Exception, code: int) -> typer.Exit:
    print(f"error: {_place(error)}{' '.join(str(error).split())}", file=sys.stderr)
    return typer.Exit(code)


def _place(error: Exception) -> str:
    """`shop.py:12: ` where a line of the application led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith((*_PACKAGES, "<"))]
    entered = any(f.name == "load_application" for f in frames) or any(f.name == "_built" for f in frames)
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}: " if own and entered else ""
