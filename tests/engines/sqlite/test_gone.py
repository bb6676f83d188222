"""A file that is taken away from under those who use it: they hear of it, and nothing is written into no file."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from taskmanager import Job, TaskManager
from taskmanager.engine import Batch, Engine
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import store
from taskmanager.errors import EngineGone
from taskmanager.job import Emission, State

X, Y = Emission("send", "x"), Emission("send", "y")


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LOOK_S", 0.0)


async def opened(url: str) -> Engine:
    engine = open_engine(url)
    await engine.enqueue("q", [X], Batch("caller", 1))
    return engine


async def test_a_write_to_a_file_that_was_deleted_is_refused_and_makes_no_other(url: str) -> None:
    engine = await opened(url)
    path_of(url).unlink()
    for _ in range(2):
        with pytest.raises(EngineGone, match=r"tasks\.db was deleted or replaced while it was in use.*Put it back"):
            await engine.enqueue("q", [Y], Batch("caller", 2))
    assert not path_of(url).exists()
    await engine.close()
    assert not path_of(url).exists()


async def test_a_file_that_was_replaced_is_not_written_to_until_it_is_opened_anew(url: str, tmp_path: Path) -> None:
    other = await opened(f"sqlite:///{tmp_path}/other.db")
    await other.close()
    engine = await opened(url)
    (tmp_path / "other.db").rename(path_of(url))
    with pytest.raises(EngineGone):
        await engine.enqueue("q", [Y], Batch("caller", 2))
    await engine.close()
    await engine.enqueue("q", [Y], Batch("caller", 3))
    assert (await engine.count("q")).states[State.WAITING] == 2
    await engine.close()


async def test_a_file_that_is_put_back_is_used_again(url: str, tmp_path: Path) -> None:
    engine = await opened(url)
    path_of(url).rename(tmp_path / "aside")
    with pytest.raises(EngineGone):
        await engine.count("q")
    (tmp_path / "aside").rename(path_of(url))
    await engine.enqueue("q", [Y], Batch("caller", 2))
    assert (await engine.count("q")).states[State.WAITING] == 2
    await engine.close()


async def test_an_emission_is_refused_at_once_and_a_worker_without_work_says_what_happened(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    tm = TaskManager(url)

    @tm.handler("send")
    async def send(job: Job[Any]) -> str:
        return "sent"

    async with tm:
        assert await tm.emit_and_wait("send", timeout=10) == "sent"
        path_of(url).unlink()
        async with asyncio.timeout(10):
            while "was deleted or replaced" not in caplog.text:  # noqa: ASYNC110 - a thread notices
                await asyncio.sleep(0.005)
        with pytest.raises(EngineGone):
            await asyncio.wait_for(tm.emit("send", 2), 1)
    assert not path_of(url).exists()
