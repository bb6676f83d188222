"""What is the SQLite engine's own: its URLs, its streams, forks, and the default store."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, Delete, Engine, JobRef, Settlement
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import SqliteEngine, opening
from taskmanager.engines.sqlite.address import Address
from taskmanager.errors import UsageError
from taskmanager.job import Emission, Plan, State
from tests.engines.conformance.builders import failed

LEASE_MS = 60_000


async def ids(engine: Engine) -> list[str]:
    return [job.id for job in await engine.list("q", None, 100, None)]


def files_of(url: str) -> set[str]:
    """What lies beside the file."""
    return {one.name for one in Path(url.removeprefix("sqlite:///")).parent.iterdir()}


# ---- URLs


@pytest.mark.parametrize(
    ("rest", "address"),
    [
        ("", Address(None)),
        ("/:memory:", Address(None)),
        ("//var/lib/a.db", Address("/var/lib/a.db")),
        ("//var/lib/a%20b.db?synchronous=FULL", Address("/var/lib/a b.db", "full")),
        ("//a.db?wait=0.5&synchronous=normal", Address("/a.db", "normal", 0.5)),
    ],
)
def test_a_url_names_a_place_and_how_it_is_kept(rest: str, address: Address) -> None:
    assert Address.of(rest) == address


def test_three_slashes_are_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Address.of("/tasks.db").path == str(tmp_path.resolve() / "tasks.db")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite://tasks.db", "names a host"),
        ("sqlite:///", "names no file"),
        ("sqlite:///a.db?mode=ro", "takes synchronous, wait"),
        ("sqlite:///a.db?synchronous=off", "must be normal or full, got 'off'"),
        ("sqlite:///a.db?wait=long", "a number of seconds from 0 to 30, got 'long'"),
        ("sqlite:///%FF.db", r"must be UTF-8, got '.*\\udcff\.db'; give it another name"),
        ("sqlite:///\udcff.db", r"must be UTF-8, got '.*\\udcff\.db'; give it another name"),
    ],
)
def test_a_url_that_is_wrong_says_so_when_it_is_given(url: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_engine(url)


@pytest.mark.parametrize(("option", "number"), [("", 1), ("?synchronous=normal", 1), ("?synchronous=full", 2)])
async def test_synchronous_is_what_the_url_says(
    url: str, option: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[sqlite3.Connection] = []
    connect = opening.connect

    def kept(address: Address) -> sqlite3.Connection:
        files.append(connect(address))
        return files[-1]

    monkeypatch.setattr(opening, "connect", kept)
    engine = open_engine(f"{url}{option}")
    await engine.open()
    assert files[0].execute("PRAGMA synchronous").fetchone() == (number,)
    assert files[0].execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert files[0].execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
    await engine.close()


# ---- one store


async def test_in_memory_each_is_a_store_of_its_own_that_outlives_a_close(url: str) -> None:
    first, second = open_engine("sqlite://"), open_engine("sqlite://")
    await first.enqueue("q", [Emission("send", "x")], Batch("caller", 1))
    await first.close()
    assert await ids(first) == ["x"]
    assert await ids(second) == []


async def test_engines_of_one_file_in_one_process_share_a_connection_until_the_last_closes(url: str) -> None:
    first, second = open_engine(url), open_engine(url)
    await first.enqueue("q", [Emission("send", "x")], Batch("caller", 1))
    await first.close()
    assert await ids(second) == ["x"]
    await second.close()
    assert "tasks.db-wal" not in files_of(url)
    assert await ids(second) == ["x"]
    await second.close()


async def test_a_dead_letter_lies_in_its_stream_until_its_job_goes() -> None:
    engine = SqliteEngine()
    for number, id in enumerate("abc", 1):
        await engine.enqueue("q", [Emission("send", id)], Batch("caller", number))
        [claim] = (await engine.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
        await engine.settle("q", "w", [Settlement(claim.number, failed(dead_letter="dlq"))], Batch("w", number))
    assert [id for id, _, _ in await engine.dead_letters("dlq")] == ["a", "b", "c"]
    await engine.control("q", Delete(JobRef("b")), Batch("caller", 1))
    assert [(id, entry.reason) for id, _, entry in await engine.dead_letters("dlq")] == [
        ("a", "ValueError"),
        ("c", "ValueError"),
    ]


async def test_texts_that_are_no_unicode_are_stored_as_far_as_they_are(url: str) -> None:
    engine = open_engine(url)
    await engine.enqueue("q", [Emission("send", "x")], Batch("caller", 1))
    [claim] = (await engine.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
    how = failed(reason="bad \udcff word")
    await engine.settle("q", "w", [Settlement(claim.number, how)], Batch("w", 1))
    job = await engine.get("q", JobRef("x"))
    assert job is not None
    assert job.reason == "bad ? word"
    await engine.close()


async def test_a_forked_child_has_a_connection_of_its_own(url: str) -> None:
    # In a process without threads, as a fork wants it.
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "tests.engines.sqlite.forked", url], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stdout) == (0, "child parent\n"), ended.stderr


# ---- the whole


async def test_without_a_url_the_store_is_tasks_db_beside_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TASKMANAGER_URL", raising=False)
    tm = TaskManager()

    @tm.handler("greet")
    async def greet(job: Job[Any]) -> str:
        return f"hello {job.data['name']}"

    async with tm:
        assert await tm.emit_and_wait("greet", {"name": "you"}, timeout=10) == "hello you"
    assert (tmp_path / "tasks.db").exists()


def test_a_simulation_on_a_file_tells_what_one_in_memory_tells(url: str) -> None:
    def timeline(engine: str) -> str:
        tm = TaskManager("memory://", concurrency=2)

        @tm.handler("shaky", retry={"max_retries": 2, "delay": 5, "jitter": 0.5})
        async def shaky(job: Job[Any]) -> None:
            await asyncio.sleep(30)
            if job.attempt < 3:
                raise ValueError("not yet")

        @tm.handler("hourly", repeat={"pattern": "0 * * * *"})
        async def hourly(job: Job[Any], ctx: Any) -> None:
            await ctx.emit("shaky", {"from": job.id}, delay=60)

        with Simulation(tm, start="2026-03-28T00:00Z", seed=3, workers=2, engine=engine) as sim:
            sim.advance(hours=5)
            sim.nodes[0].crash()
            sim.advance(hours=1)
            return sim.timeline.to_json_lines(workers=False)

    assert timeline(url) == timeline("memory://")


async def test_a_simulated_file_is_no_store_for_a_worker(url: str) -> None:
    simulated = open_engine(url)
    await simulated.open(simulated=True)
    await simulated.enqueue("q", [Emission("send", "x")], Batch("caller", 1))
    await simulated.close()
    real = open_engine(url)
    with pytest.raises(UsageError, match=r"tasks\.db is simulated and cannot be used as a real one"):
        await real.open()
    assert (await real.count("q")).states[State.WAITING] == 1
    await real.close()


async def test_a_schedule_that_was_stored_before_there_were_origins_is_read_and_kept(url: str) -> None:
    """A plan is one JSON text with defaults, so a new field of it is no new schema."""
    engine = open_engine(url)
    await engine.enqueue("q", [Plan("nightly", "report", "0 3 * * *", "UTC", b"7", overlap="skip")], Batch("caller", 1))
    await engine.close()
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
        [written] = file.execute("SELECT plan FROM schedules").fetchone()
        older = {name: value for name, value in json.loads(written).items() if name != "origin"}
        assert len(older) == len(json.loads(written)) - 1
        file.execute("UPDATE schedules SET plan = ?", (json.dumps(older),))
        file.commit()
    again = open_engine(url)
    [schedule] = (await again.schedules("q")).schedules
    assert schedule.plan == Plan("nightly", "report", "0 3 * * *", "UTC", b"7", overlap="skip", origin=None)
    await again.close()
