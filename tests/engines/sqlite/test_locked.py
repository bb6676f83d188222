"""A file that somebody else has locked: a wait that blocks nobody, then an error that says what holds it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from taskmanager import Job, TaskManager
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


async def test_an_emission_waits_for_a_lock_that_ends_in_time(url: str) -> None:
    tm = TaskManager(url)
    await tm.emit("send", id="x")
    with transaction(url, "BEGIN IMMEDIATE"):
        emitting = tm.emit("send", id="y")
        await asyncio.sleep(0.06)
    await emitting
    assert await tm.get_job("y") is not None
    await tm.stop()


@contextmanager
def seconds(least: float, most: float) -> Iterator[None]:
    """How long the block is to take; the wait of these tests is half a second."""
    began_s = time.monotonic()
    yield
    assert least <= time.monotonic() - began_s < most


async def test_a_call_on_a_locked_file_is_refused_after_the_wait_and_not_sent_again(url: str) -> None:
    tm = TaskManager(f"{url}?wait=0.5")
    await tm.emit("send", id="x")
    with transaction(url, "BEGIN IMMEDIATE"):
        for calling in (tm.emit("send", id="y"), tm.cancel("x")):
            with seconds(0.4, 2), pytest.raises(EngineUnavailable, match="was locked by"):
                await calling
    assert await tm.get_job("y") is None
    await tm.stop()


async def test_who_waits_behind_a_call_on_a_locked_file_waits_no_longer_than_it(url: str) -> None:
    tm = TaskManager(f"{url}?wait=0.5")
    await tm.emit("send", id="x")

    async def emitted_later(number: int) -> object:
        await asyncio.sleep(number / 20)  # behind the first, and not all in one call
        return await tm.emit("send", number)

    with transaction(url, "BEGIN IMMEDIATE"), seconds(0.4, 1.3):
        calls = [emitted_later(number) for number in range(6)] + [tm.cancel("x") for _ in range(6)]
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, EngineUnavailable) and "was locked by" in str(error) for error in ended)
    assert (await tm.emit("send", id="z")).status == "emitted"
    await tm.stop()


async def test_who_waits_for_a_result_hears_at_the_timeout_that_the_file_is_locked(url: str) -> None:
    tm = TaskManager(url)
    handle = await tm.emit("send", id="x")
    with transaction(url, "BEGIN IMMEDIATE"):
        with seconds(0.2, 1.5), pytest.raises(TimeoutError, match="'send' was not emitted within"):
            await tm.emit_and_wait("send", timeout=0.3)
        with seconds(0.2, 1.5), pytest.raises(TimeoutError, match="did not answer in time"):
            await handle.result(timeout=0.3)
    with pytest.raises(TimeoutError, match="is still waiting"):
        await handle.result(timeout=0)
    await tm.stop()


async def test_a_worker_on_a_locked_file_says_so_in_one_line_and_goes_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tm = TaskManager(f"{url}?wait=0.4", lease=0.3)
    running, over = asyncio.Event(), asyncio.Event()

    @tm.handler("send")
    async def send(job: Job[Any]) -> str:
        running.set()
        await over.wait()
        return "sent"

    async with tm:
        handle = await tm.emit("send")
        await running.wait()
        with transaction(url, "BEGIN IMMEDIATE"):
            # Its beats hang longer than a beat, so before it looks for lost jobs it beats, and is refused.
            async with asyncio.timeout(20):
                while not any("looking after queue" in one.message for one in caplog.records):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        over.set()
        assert await handle.result(timeout=10) == "sent"
    told = [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]
    assert {one.levelname for one in told} == {"WARNING"}
    assert not any("\n" in one.getMessage() or one.exc_info for one in told)
