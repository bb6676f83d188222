"""The log: who moves it and when, and that it stays small whatever is written, and whoever reads."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, Engine
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import opening, statements, wal
from taskmanager.engines.sqlite.address import Address
from taskmanager.job import Emission, State
from tests.engines.sqlite.neighbours import neighbours

MB = 1 << 20


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def log_bytes(url: str) -> int:
    return path_of(f"{url}-wal").stat().st_size


async def until(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not claim():  # noqa: ASYNC110 - the thing is done by a thread
            await asyncio.sleep(0.002)


async def emit(engine: Engine, first: int, count: int) -> None:
    """One by one, without a pause but for a turn of the loop."""
    for number in range(first, first + count):
        await engine.enqueue("q", [Emission("send", f"x{number}")], Batch("caller", number))
        await asyncio.sleep(0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is long at half a megabyte, so that a test need not write much."""
    monkeypatch.setattr(wal, "CHECKPOINT_PAGES", 60)
    monkeypatch.setattr(wal, "LONG_PAGES", 120)
    monkeypatch.setattr(opening, "KEPT_BYTES", MB // 2)


async def test_the_log_is_moved_in_turn_after_a_commit_of_ones_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    connect = opening.connect

    def watched(address: Address) -> sqlite3.Connection:
        file = connect(address)
        file.set_trace_callback(lambda text: told.append(text))
        return file

    monkeypatch.setattr(opening, "connect", watched)
    monkeypatch.setattr(wal, "CHECKPOINT_PAGES", 50)
    engine = open_engine(url)
    await emit(engine, 1, 40)
    await until(lambda: statements.CHECKPOINT in told)
    at = told.index(statements.CHECKPOINT)
    noted = told.index(statements.NOTE_CHECKPOINT)
    assert noted < told.index(statements.COMMIT, noted) < at
    await engine.close()


async def test_what_is_written_gets_into_the_file(url: str) -> None:
    engine = open_engine(url)
    for number in range(1, 41):
        entries = [Emission("send", f"x{number}-{nth}", b'"%s"' % (b"x" * 500)) for nth in range(500)]
        await engine.enqueue("q", entries, Batch("caller", number))
        await asyncio.sleep(0)
    await until(lambda: path_of(url).stat().st_size > 4 * MB)
    await engine.close()
    with closing(sqlite3.connect(path_of(url))) as file:
        assert file.execute("SELECT count(*) FROM jobs").fetchone() == (20_000,)


@pytest.mark.usefixtures("short")
async def test_the_log_stays_short_under_a_writer_that_never_pauses(url: str) -> None:
    engine = open_engine(url)
    longest = 0
    for number in range(1, 4000, 100):
        await emit(engine, number, 100)  # two megabytes of log, eighty in all
        longest = max(longest, log_bytes(url))
    assert longest < 32 * MB
    assert (await engine.count("q")).states[State.WAITING] == 4000
    await engine.close()


@pytest.mark.usefixtures("short")
async def test_the_log_stays_short_under_a_worker_that_is_never_without_work(url: str) -> None:
    tm = TaskManager(url, concurrency=10)

    @tm.handler("noop")
    async def noop(job: Job[Any]) -> None:
        pass

    longest = 0
    async with tm:
        for number in range(1500):
            await tm.emit("noop", number)  # one by one: sixty kilobytes of log each, ninety megabytes in all
            if number % 100 == 0:
                longest = max(longest, log_bytes(url))
        await tm.drain()
        longest = max(longest, log_bytes(url))
        assert (await tm.counts())["completed"] == 1500
    assert longest < 32 * MB


async def test_the_log_stays_short_where_four_processes_write_without_a_pause(url: str) -> None:
    async with neighbours(*(("hammer", url, f"h{number}", 2) for number in range(4))) as hammers:
        for hammer in hammers:
            await hammer.heard()
        with closing(sqlite3.connect(path_of(url))) as file:  # or the log would go with the last of them
            file.execute("SELECT count(*) FROM jobs").fetchone()
            for hammer in hammers:
                hammer.tell()
            took = [float(ms) for hammer in hammers for ms in await hammer.heard()]
            longest = log_bytes(url)
    assert longest < 64 * MB  # of some 20 kilobytes an emission
    assert sorted(took)[int(len(took) * 0.99)] < 100


async def test_large_payloads_are_noticed_though_they_are_few(url: str) -> None:
    engine = open_engine(url)
    for number in range(1, 41):
        entry = Emission("send", f"x{number}", b'"%s"' % (b"x" * MB))
        await engine.enqueue("q", [entry], Batch("caller", number))
    await until(lambda: path_of(url).stat().st_size > 10 * MB)
    await engine.close()


@pytest.mark.usefixtures("short")
async def test_a_log_that_a_reader_made_long_is_cut_back_when_he_is_gone(url: str) -> None:
    engine = open_engine(url)
    await emit(engine, 1, 10)
    with closing(sqlite3.connect(path_of(url), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM jobs").fetchone()
        await emit(engine, 11, 500)
        assert log_bytes(url) > 8 * MB
        reader.execute("ROLLBACK")
    number = 511
    async with asyncio.timeout(20):
        while log_bytes(url) > 2 * MB:
            await emit(engine, number, 10)
            number += 10
    await engine.close()


@pytest.mark.usefixtures("short")
async def test_nobody_is_refused_because_his_own_process_moves_the_log(url: str) -> None:
    engine = open_engine(f"{url}?wait=0")
    await emit(engine, 1, 2000)
    assert (await engine.count("q")).states[State.WAITING] == 2000
    await engine.close()


async def test_a_log_is_moved_with_everybody_kept_from_writing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(url)
    await emit(engine, 1, 10)
    seen: list[str] = []
    connect = opening.connect

    def connected(address: Address) -> sqlite3.Connection:
        """Somebody else tries to write just before the log is moved."""
        with closing(connect(address)) as other, pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute(statements.BEGIN)
        seen.append("locked")
        return connect(address)

    address = Address.of(url.removeprefix("sqlite://"))
    with closing(connect(address)) as holder:
        holder.execute(statements.BEGIN)
        monkeypatch.setattr(opening, "connect", connected)
        wal.Wal(address).move_under(holder)
        assert not holder.in_transaction
        monkeypatch.undo()
        assert seen == ["locked"]
        _, length, moved = holder.execute(statements.CHECKPOINT).fetchone()
        assert length == moved > 0
    before = log_bytes(url)
    await emit(engine, 11, 10)
    assert log_bytes(url) == before  # started anew, at its beginning
    await engine.close()


@pytest.mark.usefixtures("short")
async def test_without_a_reserve_the_log_is_moved_all_the_same_and_a_warning_says_what_is_missing(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    path_of(f"{url}-reserve").mkdir()
    engine = open_engine(url)
    await emit(engine, 1, 1500)
    assert log_bytes(url) < 16 * MB
    await until(lambda: path_of(url).stat().st_size > MB // 4)
    await engine.close()
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1
    assert "there can be no reserve beside" in told[0]
