"""The engine's clock is set back by an hour under a worker: what has no moment to wait for goes on at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from taskmanager import Job, TaskManager
from taskmanager.clock import SystemClock
from tests.worker.real_world import until

HOUR_US = 3_600_000_000


class Hands:
    """The hands of the clock, which may be set."""

    offset_us = 0


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands, now_us = Hands(), SystemClock.now_us
    monkeypatch.setattr(SystemClock, "now_us", lambda clock: now_us(clock) + hands.offset_us)
    return hands


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/tasks.db"


def test_a_worker_of_two_queues_goes_on_claiming_and_stops(hands: Hands, url: str) -> None:
    async def main() -> None:
        tm, runs = TaskManager(url, concurrency=2), []

        @tm.handler("here")
        async def here(job: Job[Any]) -> None:
            runs.append(job.id)

        @tm.handler("there", queue="there")
        async def there(job: Job[Any]) -> None:
            runs.append(job.id)

        await tm.start()
        await tm.emit_many([{"event": "here", "id": "h"}, {"event": "there", "id": "t", "queue": "there"}])
        await until(lambda: len(runs) == 2)
        hands.offset_us -= HOUR_US
        for n in range(3):
            await tm.emit("here", id=f"h{n}")
            await until(lambda: len(runs) == 3 + n)  # noqa: B023 - looked at before the next round
        await tm.emit("there", id="t0", queue="there")
        await until(lambda: "t0" in runs)
        stopping = asyncio.ensure_future(tm.stop())
        await until(stopping.done)

    asyncio.run(main())


def test_who_waits_for_a_result_is_told_in_time_that_there_is_none(hands: Hands, url: str) -> None:
    async def main() -> None:
        tm = TaskManager(url)
        handle = await tm.emit("nobody-serves-it")
        waiting = asyncio.ensure_future(handle.result(timeout=0.05))
        for _ in range(20):
            await asyncio.sleep(0.001)  # it lies down
        hands.offset_us -= HOUR_US
        await until(waiting.done)
        with pytest.raises(TimeoutError, match="is still waiting"):
            await waiting
        await tm.stop()

    asyncio.run(main())
