"""Run by hand: `python -m tests.benchmarks`. Figures of one run, each beside its floor; nothing is asserted."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from tests.benchmarks import simulated

ROUNDS = 5
WIDTH = 140
"""Where it is piped, so that no heading is cut."""

Measure = Callable[[], float]
BENCHMARKS: list[tuple[str, str, Measure, str, Measure]] = [
    # what, unit, ours, what the floor is, the floor
    (
        "no-op jobs emitted, claimed, run, settled",
        "jobs/s",
        simulated.jobs,
        "a task a job, bare loop",
        simulated.bare_tasks,
    ),
    ("the same without emitting", "jobs/s", simulated.drained_jobs, "a task a job, bare loop", simulated.bare_tasks),
    ("2,000 handlers that sleep up to 47 h", "s", simulated.sleepers, "2,000 bare sleeps", simulated.bare_sleepers),
    ("a year of an hourly cron", "s", simulated.hourly_year, "croniter alone", simulated.croniter_year),
    ("entering, 500 modules new", "ms", simulated.entering_first, "time-machine alone", simulated.bare_travel),
    ("entering, the same modules", "ms", simulated.entering_again, "time-machine alone", simulated.bare_travel),
]


def main(about: str = "Figures of the simulation, each beside its floor.") -> None:
    argparse.ArgumentParser(description=about).parse_args()  # which knows --help, and refuses all else
    table = Table(title=f"median of {ROUNDS} interleaved rounds, Python {sys.version.split()[0]}")
    for heading in ("what", "unit", "here", "floor", "", "here / floor"):
        table.add_column(heading, justify="right" if heading in ("here", "floor", "here / floor") else "left")
    for what, unit, ours, floor_name, floor in BENCHMARKS:
        figures = [(ours(), floor()) for _ in range(ROUNDS)]
        mine, base = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = statistics.median(here / there for here, there in figures)
        table.add_row(
            what,
            unit,
            f"{mine:,.3g}" if mine < 1000 else f"{mine:,.0f}",
            f"{base:,.3g}" if base < 1000 else f"{base:,.0f}",
            floor_name,
            f"{ratio:.2f}",
        )
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


if __name__ == "__main__":
    main()
