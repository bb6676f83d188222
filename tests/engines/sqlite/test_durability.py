"""kill -9 at any point of any verb: what was acknowledged is there, and nothing runs twice at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, JobRef
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import statements
from taskmanager.job import Edge, Emission, Kind, State, StoredJob, Window
from tests.engines.sqlite.campaign import POINTS
from tests.engines.sqlite.left_behind import WINDOW_MS
from tests.engines.sqlite.neighbours import neighbours

KILLS, KILLS_A_NIGHT = 50, 400
LEASE_S = 1.0


@pytest.mark.parametrize("workers", [1, 3])
def test_nothing_acknowledged_is_lost_and_nothing_runs_twice_when_a_worker_is_killed(
    workers: int, request: pytest.FixtureRequest
) -> None:
    kills = KILLS_A_NIGHT if request.config.getoption("--nightly") else KILLS
    seed = int.from_bytes(os.urandom(4)) if request.config.getoption("--nightly") else 7
    command = [sys.executable, "-m", "tests.engines.sqlite.campaign", str(kills), str(workers), str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"{kills} kills\n"), ended.stdout + ended.stderr


def test_every_point_is_a_statement_of_the_engine() -> None:
    texts = [text for name, text in vars(statements).items() if name.isupper() and isinstance(text, str)]
    names = {text[3 : text.index(" */")] for text in texts if text.startswith("/* ")}
    assert {*POINTS} - {"answer"} <= names


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a process has left behind that was killed after its last answer."""
    url = f"sqlite:///{tmp_path_factory.mktemp('left')}/tasks.db"
    command = [sys.executable, "-m", "tests.engines.sqlite.left_behind", url]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    return url


async def job(url: str, id: str) -> StoredJob:
    found = await open_engine(url).get("q", JobRef(id))
    assert found is not None
    return found


async def test_waiting_delayed_and_retrying_jobs_outlive_their_process(left: str) -> None:
    states = {id: (await job(left, id)).state for id in ("waiting", "delayed", "retrying", "running")}
    assert states == {
        "waiting": State.WAITING,
        "delayed": State.DELAYED,
        "retrying": State.DELAYED,
        "running": State.ACTIVE,
    }
    retrying = await job(left, "retrying")
    assert (retrying.attempt, retrying.failures, len(retrying.attempts)) == (1, 1, 1)


async def test_schedules_and_pauses_outlive_their_process(left: str) -> None:
    engine = open_engine(left)
    [schedule] = (await engine.schedules("q")).schedules
    assert (schedule.plan.name, schedule.plan.pattern, schedule.live) == ("nightly", "0 3 * * *", 1)
    assert (await engine.count("paused")).paused


async def test_open_windows_outlive_their_process(left: str) -> None:
    again = Emission("send", "another", window=Window("key", Edge.LEADING, WINDOW_MS))
    answer = await open_engine(left).enqueue("q", [again], Batch("test", 1))
    assert answer.verdicts[0].status == Kind.DEBOUNCED


async def test_logs_progress_and_dead_letters_outlive_their_process(left: str) -> None:
    engine = open_engine(left)
    assert [line.message for line in await engine.logs("q", "running")] == ["half way"]
    progress, letter = (await job(left, "running")).progress, (await job(left, "dead")).dead_letter
    assert progress is not None
    assert progress.fraction == 0.5
    assert letter is not None
    assert letter.stream == "dlq"


async def test_an_answer_that_was_never_heard_is_given_again(left: str) -> None:
    answer = await open_engine(left).enqueue("q", [Emission("send", "waiting")], Batch("left", 1))
    assert answer.replayed


async def test_the_job_of_a_killed_worker_runs_again_within_its_lease_and_two_seconds(url: str) -> None:
    runs: list[int] = []
    tm = TaskManager(url, lease=LEASE_S)

    @tm.handler("hold")
    async def hold(job: Job[Any]) -> str:
        runs.append(job.attempt)
        return "by the survivor"

    async with neighbours(("holder", url, LEASE_S)) as [holder]:
        await holder.heard()
        emitted = await tm.emit("hold", id="x")
        assert await holder.heard() == ["running", "1"]
        holder.process.kill()
        await holder.process.wait()
        killed_s = time.monotonic()
        async with tm:
            assert await emitted.result(timeout=LEASE_S + 10) == "by the survivor"
            assert time.monotonic() - killed_s < LEASE_S + 2
    assert runs == [2]


def test_the_store_names_its_files_beside_it(left: str) -> None:
    path = Path(left.removeprefix("sqlite:///"))
    assert {one.name for one in path.parent.iterdir()} <= {
        *(path.name + end for end in ("", "-wal", "-shm", "-reserve")),
    }
