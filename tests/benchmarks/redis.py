"""The speed of the Redis engine: `python -m tests.benchmarks.redis`, beside raw Redis and, where found, two peers.

It starts a server of its own, unless it is given the URL of one, which must hold nothing, for it is emptied all the
time. Everything is measured in one go, in rounds in which ours and the others alternate; each producer and each worker
is a process of its own. Figures are medians of the rounds, ratios the medians of the rounds' ratios. Nothing is
asserted.

`raw Lua` is what a queue with a state a job must at least do, `raw Streams` what one without must: see
`redis_peers/raw.py`. taskiq-redis is measured in an environment that has it (`pip install taskiq taskiq-redis`), BullMQ
where there is `node` and a package `bullmq`: in the folder given by --node, in this one, or among the global ones.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.benchmarks.redis_peers.peer import Figures
from tests.benchmarks.redis_peers.stage import PYTHON, Failed, Stage
from tests.servers import Server

BULLMQ = Path(__file__).parent / "redis_peers" / "bullmq.mjs"
NAMES = {
    # peer: what the table calls it
    "ours": "ours",
    "floor": "raw Lua",
    "streams": "raw Streams",
    "taskiq": "taskiq-redis",
    "bullmq": "BullMQ",
}
INSTALL = {
    "taskiq": "pip install taskiq-redis",
    "bullmq": "Node, and `npm install bullmq` here or globally",
}
"""What peers that need not be there are installed by."""
TIMED = 1000
"""How many jobs latency and lateness are measured by, at most: ten seconds' worth."""
RATE = 100
SLEEP_MS = 5
KEEPS, FORGETS = 1, 0
WIDTH = 110
"""Columns of the table where it goes to a file."""


# ---- the parts


def emitted(stage: Stage, peer: str, jobs: int) -> Figures:
    return {"singly": stage.play(peer, "one_by_one", jobs // 4)["rate"]}


def drained(stage: Stage, peer: str, jobs: int) -> Figures:
    stage.play(peer, "in_bulk", 1)  # what a store needs once is not a job's
    before = stage.memory()
    bulk = stage.play(peer, "in_bulk", jobs)["rate"]
    waiting = (stage.memory() - before) / jobs
    cpu_s = stage.cpu_s()
    done = stage.play(peer, "work", jobs + 1, 0, KEEPS)
    server_us = 1e6 * (stage.cpu_s() - cpu_s) / jobs
    return {"bulk": bulk, "waiting": waiting, "drain": done["rate"], "cpu": done["cpu_us"], "server": server_us}


def slept(stage: Stage, peer: str, jobs: int) -> Figures:
    stage.play(peer, "in_bulk", jobs // 2)
    return {"slept": stage.play(peer, "work", jobs // 2, SLEEP_MS, KEEPS)["rate"]}


def started(stage: Stage, peer: str, jobs: int) -> Figures:
    timed = min(jobs, TIMED)
    with stage.begin(peer, "work", timed, 0, KEEPS) as worker:
        worker.ready()
        stage.play(peer, "steadily", timed, RATE)
        figures = worker.figures()
    return {"start_p50": figures["p50_ms"], "start_p99": figures["p99_ms"]}


def delayed(stage: Stage, peer: str, jobs: int) -> Figures:
    timed = min(jobs, TIMED)
    stage.play(peer, "later", timed, timed / RATE)
    figures = stage.play(peer, "work", timed, 0, KEEPS)
    return {"late_p50": figures["p50_ms"], "late_p99": figures["p99_ms"], "earliest": figures["earliest_ms"]}


def left(stage: Stage, peer: str, jobs: int) -> Figures:
    stage.play(peer, "in_bulk", jobs // 4)
    stage.play(peer, "work", jobs // 4, 0, FORGETS)
    sizes = stage.sizes()
    return {"left_keys": len(sizes), "left_bytes": sum(sizes)}


class Row(NamedTuple):
    """One line of the table: the figure's key in what its part measures."""

    key: str
    what: str
    unit: str
    is_compared: bool = True


class Part(NamedTuple):
    """What is measured together, of whom."""

    measure: Callable[[Stage, str, int], Figures]
    peers: Sequence[str]
    rows: Sequence[Row]


PARTS = {
    "emit": Part(emitted, list(NAMES), [Row("singly", "emitted, each awaited before the next", "jobs/s")]),
    "drain": Part(
        drained,
        list(NAMES),
        [
            Row("bulk", "emitted 100 at a time", "jobs/s"),
            Row("waiting", "the server's memory for a waiting job", "bytes"),
            Row("drain", "no-op handlers, 100 at a time", "jobs/s"),
            Row("cpu", "the worker's CPU for each of them", "µs"),
            Row("server", "the server's CPU for each of them", "µs"),
        ],
    ),
    "sleep": Part(slept, list(NAMES), [Row("slept", "handlers that sleep 5 ms (ideal: 20,000)", "jobs/s")]),
    "latency": Part(
        started,
        ["ours", "streams", "taskiq", "bullmq"],
        [
            Row("start_p50", "from emit to start, at 100 jobs/s: p50", "ms"),
            Row("start_p99", "from emit to start, at 100 jobs/s: p99", "ms"),
        ],
    ),
    "delayed": Part(
        delayed,
        ["ours", "floor", "bullmq"],
        [
            Row("late_p50", "delayed jobs, 100 a second: late by, p50", "ms"),
            Row("late_p99", "delayed jobs, 100 a second: late by, p99", "ms"),
            Row("earliest", "delayed jobs: the earliest of all", "ms", is_compared=False),
        ],
    ),
    "left": Part(
        left,
        ["ours", "taskiq", "bullmq"],
        [
            Row("left_keys", "keys left where nothing is to be kept", "keys", is_compared=False),
            Row("left_bytes", "memory of these keys", "bytes"),
        ],
    ),
}


# ---- who is there


def commands(peers: Iterable[str], node: Path | None) -> dict[str, Sequence[str]]:
    """The words that start a process of each peer that can be measured here."""
    found: dict[str, Sequence[str]] = {peer: (*PYTHON, peer) for peer in ("ours", "floor", "streams")}
    if find_spec("taskiq_redis"):
        found["taskiq"] = (*PYTHON, "taskiq")
    folder = next(filter(_has_bullmq, [node] if node else _node_folders()), None)
    if folder is not None and shutil.which("node"):
        found["bullmq"] = ("node", str(BULLMQ), str(folder.resolve()))
    return {peer: words for peer, words in found.items() if peer in peers}


def _has_bullmq(folder: Path) -> bool:
    return (folder / "node_modules" / "bullmq").is_dir()


def _node_folders() -> Iterator[Path]:
    yield Path.cwd()
    if shutil.which("npm"):
        told = subprocess.run(["npm", "root", "-g"], capture_output=True, text=True, check=False).stdout.strip()
        yield Path(told).parent  # it says the folder node_modules itself


@contextmanager
def staged(url: str | None, players: dict[str, Sequence[str]]) -> Iterator[Stage]:
    """The given server, or one of our own: the machine's Redis, else the Valkey of a package."""
    if url is not None:
        stage = Stage(url, players)
        if stage.is_used:
            raise SystemExit("that server holds data, and a benchmark empties its server; give one that holds none")
        yield stage
        stage.empty()
        return
    server = Server("redis" if shutil.which("redis-server") else "valkey")
    try:
        yield Stage(server.url, players)
    finally:
        server.stop()


# ---- the run and its table

Measured = dict[tuple[str, str], list[Figures]]
"""By part and peer, one a round."""


def run(stage: Stage, parts: Sequence[str], players: Iterable[str], jobs: int, rounds: int, log: Console) -> Measured:
    """Who fails in a part is said so, and left out of it from then on."""
    plan = [(part, peer) for part in parts for peer in players if peer in PARTS[part].peers]
    measured: Measured = {each: [] for each in plan}
    with log.status("") as status:
        for number in range(rounds):
            for part, peer in list(measured):
                status.update(f"round {number + 1} of {rounds}: {part}, {NAMES[peer]}")
                stage.empty()
                try:
                    measured[part, peer].append(PARTS[part].measure(stage, peer, jobs))
                except Failed as failure:
                    del measured[part, peer]
                    log.print(f"{part}, {NAMES[peer]}: {failure}", markup=False)
    return measured


def tabulate(measured: Measured, title: str) -> Table:
    table = Table(title=title)
    for heading in ("what", "unit", "here", "other", "", "here / other"):
        table.add_column(heading, justify="right" if heading in ("here", "other", "here / other") else "left")
    for part in dict.fromkeys(part for part, _ in measured):
        for row in PARTS[part].rows:
            figures = {p: [each[row.key] for each in rounds] for (of, p), rounds in measured.items() if of == part}
            for line in _lines(row, figures):
                table.add_row(*line)
            table.add_section()
    return table


def _lines(row: Row, figures: dict[str, list[float]]) -> Iterator[tuple[str, ...]]:
    """Ours stands in the first line, each other in one of its own."""
    ours = figures.pop("ours", [])
    head = (row.what, row.unit, _shown(ours))
    for peer, theirs in figures.items() or [("", [])]:
        ratios = [here / there for here, there in zip(ours, theirs, strict=False) if there]
        compared = f"{median(ratios):.2f}" if ratios and row.is_compared else ""
        yield (*head, _shown(theirs), NAMES.get(peer, ""), compared)
        head = ("", "", "")


def _shown(figures: Sequence[float]) -> str:
    if not figures:
        return ""
    middle = median(figures)
    return f"{middle:,.3g}" if abs(middle) < 1000 else f"{middle:,.0f}"


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of {least} or more, got {text!r}")
        return int(text)

    return read


def _chosen(known: Iterable[str]) -> Callable[[str], list[str]]:
    def choose(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := set(wanted).difference(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there is only {', '.join(known)}")
        return wanted

    return choose


def _arguments() -> argparse.Namespace:
    told = argparse.ArgumentParser(prog="python -m tests.benchmarks.redis", description="Figures of the Redis engine.")
    told.add_argument("url", nargs="?", help="an empty server; without it one is started")
    told.add_argument("--jobs", type=_at_least(100), default=20_000, help="how many (default: %(default)s)")
    told.add_argument("--rounds", type=_at_least(1), default=3, help="how often (default: %(default)s)")
    told.add_argument("--parts", type=_chosen(PARTS), default=list(PARTS), help=f"of {','.join(PARTS)}")
    told.add_argument("--peers", type=_chosen(NAMES), default=list(NAMES), help=f"of {','.join(NAMES)}")
    told.add_argument("--node", type=Path, help="the folder whose node_modules has bullmq")
    return told.parse_args()


def main() -> None:
    told = _arguments()
    players = commands(told.peers, told.node)
    log = Console(stderr=True)
    for peer in told.peers:
        if peer not in players:
            log.print(f"not measured: {NAMES[peer]}, which needs: {INSTALL[peer]}", markup=False)
    with staged(told.url, players) as stage:
        title = (
            f"median of {told.rounds} interleaved rounds of {told.jobs:,} jobs, {stage.version}, "
            f"Python {sys.version.split()[0]}, {os.cpu_count()} cores"
        )
        measured = run(stage, told.parts, players, told.jobs, told.rounds, log)
    Console(width=None if sys.stdout.isatty() else WIDTH).print(tabulate(measured, title))


if __name__ == "__main__":
    main()
