"""A full disk: nothing new comes in, what runs can end, and when there is room again all goes on.

The disk is SQLite's own bound on the pages of the file; what the reserve holds are pages beneath that bound.
"""

from __future__ import annotations

import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskmanager import TaskManager
from taskmanager.engine import Batch, Engine, Settlement
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import opening, reserve, store
from taskmanager.engines.sqlite.address import Address
from taskmanager.errors import EngineFull
from taskmanager.job import Emission, State
from tests.engines.conformance.builders import completed

LEASE_MS = 60_000
PAGES = 64
RESULT = b'"%s"' % (b"r" * 500)


class Disk:
    """What `Reserve` does, on a disk of pages. `free` are those that nobody uses."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self.file = file
        self.free = 10_000
        self.is_held = True

    def bound(self) -> None:
        [used] = self.file.execute("PRAGMA page_count").fetchone()
        self.file.execute(f"PRAGMA max_page_count = {used + self.free}")

    def is_there(self) -> bool:
        return self.is_held

    def regain(self) -> bool:
        self.is_held = self.free >= PAGES
        return self.is_held

    def release(self) -> bool:
        had, self.is_held = self.is_held, False
        self.free += PAGES if had else 0
        self.bound()
        return had

    @contextmanager
    def turn(self) -> Iterator[bool]:
        yield False

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> list[Disk]:
    """The disk of the one store that the test opens."""
    disks: list[Disk] = []
    connect = opening.connect

    def connected(address: Address) -> sqlite3.Connection:
        disks.append(Disk(connect(address)))
        return disks[-1].file

    monkeypatch.setattr(opening, "connect", connected)
    monkeypatch.setattr(store, "Reserve", lambda path: disks[-1])
    return disks


async def emit(engine: Engine, number: int, count: int = 40) -> None:
    entries = [Emission("send", f"j{number}-{nth}", b'"%s"' % (b"x" * 200)) for nth in range(count)]
    await engine.enqueue("q", entries, Batch("caller", number))


async def test_on_a_full_disk_emissions_are_refused_what_runs_ends_and_then_all_goes_on(
    url: str, disk: list[Disk]
) -> None:
    engine = open_engine(url)
    for number in range(1, 6):
        await emit(engine, number)
    running = (await engine.claim("q", "w", (), 100, LEASE_MS, 2)).jobs
    disk[0].free = 0
    disk[0].bound()
    with pytest.raises(EngineFull, match=r"tasks\.db has no room left: free some on its disk"):
        await emit(engine, 6)
    for number, claim in enumerate(running, 1):
        answer = await engine.settle("q", "w", [Settlement(claim.number, completed(RESULT))], Batch("w", number))
        assert answer.verdicts == [State.COMPLETED]
    assert not disk[0].is_held
    disk[0].free = 0
    with pytest.raises(EngineFull):
        await emit(engine, 6, count=1)
    with pytest.raises(EngineFull):
        await engine.claim("q", "w", (), 1, LEASE_MS, 2)
    states = (await engine.count("q")).states
    assert (states[State.COMPLETED], states[State.WAITING], states[State.ACTIVE]) == (100, 100, 0)

    disk[0].free = 10_000
    disk[0].bound()
    await emit(engine, 6)
    assert len((await engine.claim("q", "w", (), 10, LEASE_MS, 2)).jobs) == 10
    assert disk[0].is_held
    await engine.close()


async def test_where_the_reserve_is_used_up_too_a_settlement_is_refused_and_can_be_sent_again(
    url: str, disk: list[Disk]
) -> None:
    engine = open_engine(url)
    await emit(engine, 1)
    [claim] = (await engine.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
    settlement = Settlement(claim.number, completed(b'"%s"' % (b"r" * 500_000)))
    disk[0].free, disk[0].is_held = 0, False
    disk[0].bound()
    with pytest.raises(EngineFull, match="no room left"):
        await engine.settle("q", "w", [settlement], Batch("w", 1))
    assert (await engine.count("q")).states[State.ACTIVE] == 1
    disk[0].free = 10_000
    disk[0].bound()
    answer = await engine.settle("q", "w", [settlement], Batch("w", 1))
    assert (answer.verdicts, answer.replayed) == ([State.COMPLETED], False)
    await engine.close()


def test_a_reserve_takes_room_gives_it_back_and_takes_it_again(tmp_path: Path) -> None:
    held = reserve.Reserve(f"{tmp_path}/tasks.db")
    file = tmp_path / "tasks.db-reserve"
    assert held.is_there()
    assert file.stat().st_blocks * 512 >= reserve.RESERVE_BYTES
    assert held.release()
    assert not held.release()
    assert (held.is_there(), file.stat().st_blocks) == (False, 0)
    assert held.regain()
    assert held.is_there()
    held.close()


def test_one_at_a_time_has_the_turn(tmp_path: Path) -> None:
    path = f"{tmp_path}/tasks.db"
    with reserve.turn_without_reserve(path) as is_ours:
        assert is_ours  # there is no file to lock, so nobody can have the turn
    one, other = reserve.Reserve(path), reserve.Reserve(path)
    with one.turn() as is_ours, other.turn() as is_theirs, reserve.turn_without_reserve(path) as is_a_readers:
        assert (is_ours, is_theirs, is_a_readers) == (True, False, False)
    with other.turn() as is_theirs:
        assert is_theirs
    with reserve.turn_without_reserve(path) as is_ours, one.turn() as is_theirs:
        assert (is_ours, is_theirs) == (True, False)
    one.close()
    other.close()


def log_bytes(url: str) -> int:
    return Path(f"{url.removeprefix('sqlite:///')}-wal").stat().st_size


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Sets how long a file of this process may become."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_file_that_may_not_become_longer_is_full_at_once(url: str, file_limit: Callable[[int], None]) -> None:
    tm = TaskManager(url)
    await tm.emit("send", "x")
    file_limit(log_bytes(url) + 20_000)
    began_s = time.monotonic()
    with pytest.raises(EngineFull, match=r"tasks\.db has no room left"):
        await tm.emit_many([{"event": "send", "data": [number, "x" * 3000]} for number in range(100)])
    assert time.monotonic() - began_s < 1
    file_limit(resource.RLIM_INFINITY)
    assert (await tm.emit("send", "y")).status == "emitted"
    await tm.stop()
