"""The speed of the SQLite engine: `python -m tests.benchmarks.sqlite`, beside bare SQLite and, where installed, peers.

The bare loop is what any queue on SQLite must at least do: the same payloads in a table of four columns, claimed in
batches by `UPDATE ... RETURNING`, ended by a second UPDATE, write-ahead log, `synchronous=NORMAL`. It has no ids that
are unique, no leases, no history, no replays; and only one process. A second loop does besides what an asyncio worker
must do about each job and the first does not: it decodes the payload and runs a handler as a task. SqliteHuey and
litequeue are measured in an environment that has them (`pip install huey litequeue`).
"""

from __future__ import annotations

import asyncio
import gc
import json
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, Engine, Settlement
from taskmanager.engines import open_engine
from taskmanager.job import Emission, Kind, State, Transition
from tests.benchmarks import __main__ as table

JOBS = 20_000
SINGLES = 4_000
BULK = 100
BATCH = 20
CONCURRENCY = 100
LEASE_MS = 60_000
WORKER = "host-1234-0123456789ab"
DATA = b'{"to":"a@example.com","number":123456}'
COMPLETED = Transition(Kind.COMPLETED, State.COMPLETED, max_attempts=1)


# ---- ours


def _over(url: str, measure: Callable[[Engine], Awaitable[float]]) -> float:
    async def run() -> float:
        engine = open_engine(url)
        await engine.open()
        gc.collect()
        try:
            return await measure(engine)
        finally:
            await engine.close()

    return asyncio.run(run())


def _on_file(measure: Callable[[Engine], Awaitable[float]], options: str = "") -> float:
    with TemporaryDirectory() as folder:
        return _over(f"sqlite:///{folder}/tasks.db{options}", measure)


async def _emit(engine: Engine, jobs: int, size: int) -> float:
    began_s = time.perf_counter()
    for number in range(jobs // size):
        entries = [Emission("send", f"send:{number:08}{nth:014}", DATA) for nth in range(size)]
        await engine.enqueue("q", entries, Batch("caller", number + 1))
    return jobs / (time.perf_counter() - began_s)


async def _drain(engine: Engine) -> float:
    await _emit(engine, JOBS, BULK)
    began_s = time.perf_counter()
    number = 0
    while jobs := (await engine.claim("q", WORKER, (), BATCH, LEASE_MS, 2)).jobs:
        number += 1
        settlements = [Settlement(claim.number, COMPLETED) for claim in jobs]
        await engine.settle("q", WORKER, settlements, Batch(WORKER, number))
    return JOBS / (time.perf_counter() - began_s)


def emitted_singly() -> float:
    return _on_file(lambda engine: _emit(engine, SINGLES, 1))


def emitted_singly_full() -> float:
    return _on_file(lambda engine: _emit(engine, SINGLES // 4, 1), "?synchronous=full")


def emitted_in_bulk() -> float:
    return _on_file(lambda engine: _emit(engine, JOBS, BULK))


def drained() -> float:
    return _on_file(_drain)


def worked_off() -> float:
    """Jobs a second through a TaskManager: no-op handlers, from the start to the last settlement."""
    with TemporaryDirectory() as folder:
        return asyncio.run(_work_off(f"sqlite:///{folder}/tasks.db"))


def worked_off_in_memory() -> float:
    return asyncio.run(_work_off(f"memory://benchmark-{time.perf_counter_ns()}"))


async def _work_off(url: str) -> float:
    tm = TaskManager(url, concurrency=CONCURRENCY)
    left = JOBS
    over = asyncio.Event()

    @tm.handler("noop")
    async def noop(job: Job[Any]) -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set()

    await tm.emit_many([{"event": "noop", "data": {"i": number}} for number in range(JOBS)])
    began_s = time.perf_counter()
    await tm.start()
    await over.wait()
    await tm.drain()
    took_s = time.perf_counter() - began_s
    await tm.stop()
    return JOBS / took_s


# ---- bare SQLite


def _bare(folder: str, synchronous: str = "normal") -> sqlite3.Connection:
    file = sqlite3.connect(f"{folder}/bare.db", isolation_level=None)
    file.execute("PRAGMA journal_mode = wal")
    file.execute(f"PRAGMA synchronous = {synchronous}")
    file.execute("CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT, state TEXT, data BLOB)")
    file.execute("CREATE INDEX waiting ON jobs (number) WHERE state = 'waiting'")
    return file


def _bare_emit(file: sqlite3.Connection, jobs: int, size: int) -> float:
    began_s = time.perf_counter()
    for number in range(jobs // size):
        file.execute("BEGIN IMMEDIATE")
        rows = [(f"send:{number:08}{nth:014}", "waiting", DATA) for nth in range(size)]
        file.executemany("INSERT INTO jobs (id, state, data) VALUES (?, ?, ?)", rows)
        file.execute("COMMIT")
    return jobs / (time.perf_counter() - began_s)


def bare_singly() -> float:
    with TemporaryDirectory() as folder, closing(_bare(folder)) as file:
        return _bare_emit(file, SINGLES, 1)


def bare_singly_full() -> float:
    with TemporaryDirectory() as folder, closing(_bare(folder, "full")) as file:
        return _bare_emit(file, SINGLES // 4, 1)


def bare_in_bulk() -> float:
    with TemporaryDirectory() as folder, closing(_bare(folder)) as file:
        return _bare_emit(file, JOBS, BULK)


def bare_loop() -> float:
    """The strict floor of a drain: rows, and nothing done with them."""
    with TemporaryDirectory() as folder, closing(_bare(folder)) as file:
        _bare_emit(file, JOBS, BULK)
        began_s = time.perf_counter()
        while rows := _bare_claim(file):
            _bare_end(file, rows)
        return JOBS / (time.perf_counter() - began_s)


def bare_worker() -> float:
    """The same with what no asyncio worker can do without: each payload decoded, each handler run as a task."""

    async def handler(data: dict[str, Any]) -> None:
        assert data["number"]

    async def work(file: sqlite3.Connection) -> None:
        while rows := _bare_claim(file):
            async with asyncio.TaskGroup() as tasks:
                for _, data in rows:
                    tasks.create_task(handler(json.loads(data)))
            _bare_end(file, rows)

    with TemporaryDirectory() as folder, closing(_bare(folder)) as file:
        _bare_emit(file, JOBS, BULK)
        began_s = time.perf_counter()
        asyncio.run(work(file))
        return JOBS / (time.perf_counter() - began_s)


def _bare_claim(file: sqlite3.Connection) -> list[tuple[int, bytes]]:
    return file.execute(
        "UPDATE jobs SET state = 'active' WHERE number IN (SELECT number FROM jobs WHERE state = 'waiting'"
        f" ORDER BY number LIMIT {BATCH}) RETURNING number, data"
    ).fetchall()


def _bare_end(file: sqlite3.Connection, rows: list[tuple[int, bytes]]) -> None:
    file.execute("BEGIN IMMEDIATE")
    file.executemany("UPDATE jobs SET state = 'completed' WHERE number = ?", [row[:1] for row in rows])
    file.execute("COMMIT")


def same_table_loop() -> float:
    """The bare loop over the engine's own tables: as wide, with the same indexes, and nothing else done."""
    with TemporaryDirectory() as folder:
        asyncio.run(_fill(f"sqlite:///{folder}/tasks.db"))
        with closing(sqlite3.connect(f"{folder}/tasks.db", isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = normal")
            ended = 0
            began_s = time.perf_counter()
            while True:
                rows = file.execute(
                    "UPDATE jobs SET state = 'active', attempt = attempt + 1, lease = 1, claim = place, started_at = 1"
                    " WHERE place IN (SELECT place FROM jobs WHERE queue = 1 AND state = 'waiting'"
                    f" ORDER BY priority DESC, line LIMIT {BATCH}) RETURNING place, id, data"
                ).fetchall()
                if not rows:
                    return JOBS / (time.perf_counter() - began_s)
                ends = [(ended + nth, row[0]) for nth, row in enumerate(rows, 1)]
                ended += len(rows)
                file.execute("BEGIN IMMEDIATE")
                file.executemany(
                    "UPDATE jobs SET state = 'completed', lease = NULL, finished_at = 1, ended = ? WHERE place = ?",
                    ends,
                )
                file.executemany("INSERT INTO ends VALUES (?, ?)", ends)
                file.execute("COMMIT")


async def _fill(url: str) -> None:
    engine = open_engine(url)
    await _emit(engine, JOBS, BULK)
    await engine.close()


# ---- peers


def _huey(drain: bool) -> float:
    with TemporaryDirectory() as folder:
        huey: Any = import_module("huey").SqliteHuey(filename=f"{folder}/huey.db", results=False)

        @huey.task()  # type: ignore[untyped-decorator]  # a peer's, of no type here
        def noop(number: int) -> None:
            pass

        began_s = time.perf_counter()
        for number in range(SINGLES):
            noop(number)
        if drain:
            began_s = time.perf_counter()
            while (task := huey.dequeue()) is not None:
                huey.execute(task)
        rate = SINGLES / (time.perf_counter() - began_s)
        huey.storage.close()
        return rate


def _litequeue(drain: bool) -> float:
    with TemporaryDirectory() as folder:
        queue: Any = import_module("litequeue").LiteQueue(f"{folder}/lite.db")
        began_s = time.perf_counter()
        for _ in range(SINGLES):
            queue.put(DATA.decode())
        if drain:
            began_s = time.perf_counter()
            while (message := queue.pop()) is not None:
                queue.done(message.message_id)
        rate = SINGLES / (time.perf_counter() - began_s)
        queue.close()
        return rate


ROWS: list[tuple[str, str, table.Measure, str, table.Measure]] = [
    ("emitted one by one", "jobs/s", emitted_singly, "bare INSERT", bare_singly),
    ("the same, synchronous=full", "jobs/s", emitted_singly_full, "bare INSERT, FULL", bare_singly_full),
    (f"emitted {BULK} at a time", "jobs/s", emitted_in_bulk, "bare INSERTs", bare_in_bulk),
    (f"claimed and settled {BATCH} at a time", "jobs/s", drained, "bare UPDATE ... RETURNING", bare_loop),
    ("the same", "jobs/s", drained, "that loop on our tables", same_table_loop),
    ("worked off by a TaskManager", "jobs/s", worked_off, "that loop, JSON and a task a job", bare_worker),
    ("the same", "jobs/s", worked_off, "a TaskManager over memory://", worked_off_in_memory),
]
if find_spec("huey"):
    ROWS += [
        ("emitted in bulk", "jobs/s", emitted_in_bulk, "SqliteHuey", lambda: _huey(drain=False)),
        ("worked off by a TaskManager", "jobs/s", worked_off, "SqliteHuey", lambda: _huey(drain=True)),
    ]
if find_spec("litequeue"):
    ROWS += [
        ("emitted in bulk", "jobs/s", emitted_in_bulk, "litequeue", lambda: _litequeue(drain=False)),
        ("worked off by a TaskManager", "jobs/s", worked_off, "litequeue", lambda: _litequeue(drain=True)),
    ]

if __name__ == "__main__":
    table.BENCHMARKS[:] = ROWS
    missing = [peer for peer in ("huey", "litequeue") if not find_spec(peer)]
    if missing:
        print(f"not measured: pip install {' '.join(missing)}", file=sys.stderr)
    table.main("Figures of the SQLite engine, each beside bare SQLite or a peer.")
