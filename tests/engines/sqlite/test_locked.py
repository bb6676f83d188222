"""A file that somebody else has locked: a wait that blocks nobody, then an error that says what holds it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from taskmanager import TaskManager
from taskmanager.engine import Batch, JobRef
from taskmanager.engines import open_engine
from taskmanager.errors import EngineUnavailable
from taskmanager.job import Emission, State

X, Y = Emission("send", "x"), Emission("send", "y")


@contextmanager
def transaction(url: str, begin: str) -> Iterator[sqlite3.Connection]:
    """Somebody else's, on the same file."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=0)) as other:
        other.execute(begin)
        yield other
        other.execute("ROLLBACK")


async def test_a_locked_file_is_waited_for_without_blocking_the_loop(url: str) -> None:
    engine = open_engine(url)
    await engine.enqueue("q", [X], Batch("caller", 1))
    with transaction(url, "BEGIN IMMEDIATE"):
        emitting = asyncio.ensure_future(engine.enqueue("q", [Y], Batch("caller", 2)))
        for _ in range(20):
            await asyncio.sleep(0.001)  # the loop turns
        assert not emitting.done()
        assert (await engine.count("q")).states[State.WAITING] == 1  # reading is not locked
    await emitting
    assert (await engine.count("q")).states[State.WAITING] == 2
    await engine.close()


async def test_after_the_wait_the_error_names_the_file_the_time_the_holder_and_a_remedy(url: str) -> None:
    engine = open_engine(f"{url}?wait=0.05")
    await engine.enqueue("q", [X], Batch("caller", 1))
    with transaction(url, "BEGIN IMMEDIATE"), pytest.raises(EngineUnavailable) as refusal:
        await engine.enqueue("q", [Y], Batch("caller", 2))
    told = str(refusal.value)
    assert "tasks.db was locked by" in told
    assert f"process {os.getpid()}" in told or "another process" in told
    assert "0.1 s" in told
    assert "?wait=" in told
    assert await engine.get("q", JobRef("y")) is None
    assert not (await engine.enqueue("q", [Y], Batch("caller", 2))).replayed
    await engine.close()


async def test_a_file_that_is_locked_when_it_is_opened_is_waited_for_too(url: str) -> None:
    first = open_engine(url)
    await first.enqueue("q", [X], Batch("caller", 1))
    await first.close()
    with transaction(url, "BEGIN EXCLUSIVE"):
        opening = open_engine(f"{url}?wait=0.05")
        with pytest.raises(EngineUnavailable, match=r"was locked by"):
            await opening.enqueue("q", [Y], Batch("caller", 2))
    await opening.enqueue("q", [Y], Batch("caller", 2))
    await opening.close()


async def test_a_long_reader_holds_up_no_writer(url: str) -> None:
    engine = open_engine(f"{url}?wait=0")
    await engine.enqueue("q", [X], Batch("caller", 1))
    with transaction(url, "BEGIN") as reader:
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        for number in range(2, 300):
            await engine.enqueue("q", [Emission("send", f"x{number}")], Batch("caller", number))
        assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    assert (await engine.count("q")).states[State.WAITING] == 299
    await engine.close()


async def test_a_simulation_waits_on_the_spot_and_never_suspends(url: str) -> None:
    engine = open_engine(f"{url}?wait=0.05")
    await engine.open(simulated=True)
    assert not engine.suspends
    with transaction(url, "BEGIN IMMEDIATE"):
        verb = engine.enqueue("q", [X], Batch("caller", 1))
        with pytest.raises(EngineUnavailable, match="was locked by"):
            verb.send(None)
    with pytest.raises(StopIteration):
        engine.enqueue("q", [X], Batch("caller", 1)).send(None)
    await engine.close()


async def test_an_emission_over_a_locked_file_is_sent_again_until_it_is_stored(url: str) -> None:
    tm = TaskManager(f"{url}?wait=0.02")
    await tm.emit("send", id="x")
    with transaction(url, "BEGIN IMMEDIATE"):
        emitting = tm.emit("send", id="y")
        await asyncio.sleep(0.06)
    await emitting
    found = await tm.get_job("y")
    assert found is not None
    await tm.stop()
