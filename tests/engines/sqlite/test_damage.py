"""Damaged rows and files: a row costs one job, a file is refused at the start with what to do."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, Engine, JobRef, Settlement
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import opening
from taskmanager.errors import JobFailed, UsageError
from taskmanager.job import Emission, Kind, State
from tests.engines.conformance.builders import completed, emissions

LEASE_MS = 60_000
NOT_UTF8 = "CAST(x'ff41' AS TEXT)"


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def spoil(url: str, statement: str) -> None:
    with closing(sqlite3.connect(path_of(url), isolation_level=None)) as other:
        assert other.execute(statement).rowcount == 1


async def filled(url: str, count: int = 3) -> Engine:
    engine = open_engine(url)
    await engine.open()
    await engine.enqueue("q", emissions(count), Batch("caller", 1))
    return engine


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("id", NOT_UTF8, "id is not UTF-8"),
        ("event", NOT_UTF8, "event is not UTF-8"),
        ("event", "x'00'", "event is bytes, not str"),
        ("data", "'text'", "data is str, not bytes"),
        ("options", "'{'", "options cannot be read"),
        ("attempt", "'many'", "attempt is str, not int"),
        ("losses", "'many'", "losses is str, not int"),
        ("expires_at", "'soon'", "expires_at is str, not int"),
    ],
)
async def test_a_damaged_row_fails_with_a_reason_and_the_queue_goes_on(
    url: str, column: str, value: str, told: str
) -> None:
    engine = await filled(url)
    spoil(url, f"UPDATE jobs SET {column} = {value} WHERE id = 'j00001'")
    answer = await engine.claim("q", "w", (), 10, LEASE_MS, 2)
    assert [claim.id for claim in answer.jobs] == ["j00000", "j00002"]
    [fact] = answer.facts
    assert fact.kind == Kind.FAILED
    assert fact.detail is not None
    assert told in fact.detail["reason"]
    [job] = await engine.list("q", State.FAILED, 10, None)
    assert (job.reason, job.finished_at) == (fact.detail["reason"], answer.now)
    assert (await engine.count("q")).states[State.FAILED] == 1
    settlements = [Settlement(claim.number, completed()) for claim in answer.jobs]
    assert (await engine.settle("q", "w", settlements, Batch("w", 1))).verdicts == [State.COMPLETED] * 2
    await engine.close()


async def test_damage_in_a_running_job_costs_what_was_damaged_and_not_its_end(url: str) -> None:
    engine = await filled(url, 1)
    [claim] = (await engine.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
    spoil(url, "UPDATE jobs SET progress = 'half', attempts = 'several'")
    answer = await engine.settle("q", "w", [Settlement(claim.number, completed(b"1"))], Batch("w", 1))
    assert answer.verdicts == [State.COMPLETED]
    job = await engine.get("q", JobRef("j00000"))
    assert job is not None
    assert (job.result, len(job.attempts), job.progress) == (b"1", 1, None)
    await engine.close()


async def test_a_damaged_row_can_be_listed_and_counted(url: str) -> None:
    engine = await filled(url)
    spoil(url, f"UPDATE jobs SET event = {NOT_UTF8}, state = 'lost' WHERE id = 'j00001'")
    jobs = await engine.list("q", None, 10, None)
    assert [job.id for job in jobs] == ["j00002", "j00001", "j00000"]
    assert "state is 'lost'" in str(jobs[1].reason)
    assert (await engine.count("q")).states[State.WAITING] == 3
    await engine.close()


FAR = 10**18
"""No moment that Python knows."""


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("data", "x'7b22'", "data b'{\"' cannot be read (Input data was truncated)"),
        ("data", "x'fffe'", "data b'\\xff\\xfe' cannot be read"),
        ("data", "x''", "data b'' cannot be read"),
        ("data", "'text'", "data is str, not bytes"),
        ("result", "x'7b'", "result b'{' cannot be read"),
        ("created_at", FAR, f"created_at {FAR} cannot be read"),
        ("run_at", FAR, f"run_at {FAR} cannot be read"),
        ("run_at", -FAR, f"run_at -{FAR} cannot be read"),
        ("finished_at", FAR, f"finished_at {FAR} cannot be read"),
        ("started_at", "'soon'", "started_at is str, not int"),
        ("attempts", f"""'[[1,"w",{FAR},0,"failed",null]]'""", "attempts [AttemptInfo("),
        ("progress", "'half'", "progress cannot be read"),
        ("options", "'{'", "options cannot be read"),
        ("event", NOT_UTF8, "event is not UTF-8"),
        ("priority", "'high'", "priority is str, not int"),
    ],
)
async def test_a_damaged_job_can_be_seen_and_ruled_and_its_reason_says_what_is_damaged(
    url: str, column: str, value: object, told: str
) -> None:
    tm = TaskManager(url)
    for id in ("one", "bad", "two"):
        await tm.emit("send", id=id)
    spoil(url, f"UPDATE jobs SET {column} = {value} WHERE id = 'bad'")
    jobs = await tm.jobs()
    assert [job.id for job in jobs] == ["two", "bad", "one"]
    for job in (jobs[1], await tm.get_job("bad")):
        assert job is not None
        assert job.reason is not None
        assert job.reason.startswith("damaged row: ")
        assert told in job.reason
        assert column != "data" or job.data is None
    assert (await tm.counts())["waiting"] == 3
    cancelled = await tm.cancel("bad")
    assert cancelled is not None
    assert cancelled.state == State.CANCELLED
    deleted = await tm.delete_job("bad")
    assert deleted is not None
    assert deleted.id == "bad"
    assert [job.id for job in await tm.jobs()] == ["two", "one"]
    await tm.stop()


async def test_a_job_that_failed_for_its_damage_can_be_run_again_and_purged(url: str) -> None:
    tm = TaskManager(url)

    @tm.handler("send")
    async def send(job: Job[Any]) -> None:
        pass

    handle = await tm.emit("send", id="bad")
    spoil(url, "UPDATE jobs SET data = x'7b' WHERE id = 'bad'")
    async with tm:
        with pytest.raises(JobFailed):
            await handle.result(timeout=10)
    [failed] = await tm.jobs(state="failed")
    assert "damaged row: data b'{' cannot be read" in str(failed.reason)
    again = await tm.retry("bad")
    assert again is not None
    assert again.state == State.WAITING
    assert await tm.purge("default", "waiting") == 1
    await tm.stop()


async def test_a_damaged_result_is_told_to_who_waits_for_it(url: str) -> None:
    tm = TaskManager(url)

    @tm.handler("send")
    async def send(job: Job[Any]) -> str:
        return "sent"

    async with tm:
        handle = await tm.emit("send")
        assert await handle.result(timeout=10) == "sent"
        spoil(url, "UPDATE jobs SET result = x'7b'")
        with pytest.raises(JobFailed, match=r"damaged row: result b'{' cannot be read"):
            await handle.result(timeout=10)


async def refused(url: str, match: str) -> None:
    engine = open_engine(url)
    with pytest.raises(UsageError, match=match):
        await engine.open()
    await engine.close()


async def test_a_file_that_is_no_database_is_refused_with_what_to_do(url: str) -> None:
    path_of(url).write_bytes(b"this is not a database, and long enough to look like one" * 20)
    await refused(url, r"tasks\.db is not a SQLite database.* Restore it from a backup")


async def test_a_damaged_file_is_refused_with_what_to_do(url: str) -> None:
    engine = await filled(url, 1000)
    await engine.close()
    content = bytearray(path_of(url).read_bytes())
    for page in range(5, len(content) // 4096, 3):
        content[page * 4096 : page * 4096 + 64] = b"\xa5" * 64
    path_of(url).write_bytes(content)
    await refused(url, r"tasks\.db is damaged.*\.recover")


@pytest.mark.parametrize(
    ("pragma", "match"),
    [
        (f"user_version = {opening.SCHEMA + 1}", r"newer than 2; upgrade taskmanager"),
        ("user_version = 0", r"older than 2 .*begin anew"),
        ("application_id = 7", r"another program; name a file of its own"),
    ],
)
async def test_a_file_of_another_schema_or_program_is_refused_and_left_alone(url: str, pragma: str, match: str) -> None:
    engine = await filled(url)
    await engine.close()
    with closing(sqlite3.connect(path_of(url))) as other:
        other.execute(f"PRAGMA {pragma}")
    before = path_of(url).read_bytes()
    await refused(url, match)
    assert path_of(url).read_bytes() == before


async def test_another_programs_database_is_refused(url: str) -> None:
    with closing(sqlite3.connect(path_of(url))) as other:
        other.execute("CREATE TABLE albums (title)")
    await refused(url, "another program")


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    await refused(f"sqlite:///{tmp_path}/there/tasks.db", r"the folder .*/there of the store .* does not exist")
    assert not (tmp_path / "there").exists()


async def test_a_folder_is_no_file(tmp_path: Path) -> None:
    await refused(f"sqlite:///{tmp_path}", "must be a file, and is a folder")


async def test_a_pipe_is_no_file(url: str) -> None:
    os.mkfifo(path_of(url))
    await refused(url, "must be a file, and is a pipe or device")


async def test_a_device_is_no_file() -> None:
    await refused("sqlite:////dev/null", "must be a file, and is a pipe or device")


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE jobs",
        "ALTER TABLE jobs RENAME COLUMN line TO position",
        "CREATE TRIGGER t BEFORE INSERT ON jobs BEGIN SELECT RAISE(ABORT, 'no more'); END",
    ],
)
async def test_tables_that_somebody_has_changed_are_told_at_once(url: str, change: str) -> None:
    await (await filled(url)).close()
    with closing(sqlite3.connect(path_of(url), isolation_level=None)) as other:
        other.execute(change)
    tm = TaskManager(url)
    with pytest.raises(UsageError, match=r"tasks\.db is not as it was made: .*Restore it from a backup"):
        await tm.emit("send", queue="q")
    await tm.stop()


async def test_a_file_that_this_user_may_not_write_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await filled(url)).close()
    # Whoever runs the tests may be allowed everything.
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("tasks.db"))
    await refused(url, r"cannot be written: this user may not write to .*/tasks\.db")


async def test_a_file_that_turns_read_only_refuses_the_next_write(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await filled(url)).close()

    def read_only(address: object) -> sqlite3.Connection:
        target = f"file:{path_of(url)}?mode=ro"
        return sqlite3.connect(target, uri=True, timeout=0, isolation_level=None, check_same_thread=False)

    monkeypatch.setattr(opening, "connect", read_only)
    engine = open_engine(url)
    await engine.open()
    with pytest.raises(UsageError, match="cannot be written: give this user the right"):
        await engine.enqueue("q", [Emission("send", "x")], Batch("caller", 2))
    assert (await engine.count("q")).states[State.WAITING] == 3
    await engine.close()


async def test_two_that_make_the_same_file_at_once_make_one_store(url: str) -> None:
    engines = [open_engine(f"{url}?wait={number}") for number in range(5, 9)]  # options apart, so connections apart
    await asyncio.gather(*(engine.open() for engine in engines))
    for number, engine in enumerate(engines):
        await engine.enqueue("q", [Emission("send", f"x{number}")], Batch(f"caller{number}", 1))
    assert (await engines[0].count("q")).states[State.WAITING] == 4
    for engine in engines:
        await engine.close()
