"""Claims that a store refuses: the queue is asked again, however early that was."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskmanager import Job, TaskManager, UsageError
from taskmanager.engine import Claimed
from taskmanager.engines.memory.engine import MemoryEngine
from taskmanager.worker import fetcher
from tests.worker.real_world import ended, until


@pytest.mark.parametrize("answered_before", [False, True])
def test_a_queue_whose_claim_was_refused_is_served_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, answered_before: bool
) -> None:
    monkeypatch.setattr(fetcher, "_BROKEN_PAUSE_S", 0.01)
    claim = MemoryEngine.claim
    refuses = not answered_before

    async def moody(engine: MemoryEngine, *call: Any) -> Claimed:
        if refuses:
            raise UsageError("this user may not")
        return await claim(engine, *call)

    async def main() -> None:
        nonlocal refuses
        tm = TaskManager("memory://")

        @tm.handler("work")
        async def work(job: Job[Any]) -> None:
            pass

        monkeypatch.setattr(MemoryEngine, "claim", moody)
        async with tm:
            if answered_before:
                await tm.emit("work", id="first")
                await ended(tm, "first")
                refuses = True
                await tm.emit("work", id="second")
            await until(lambda: "this user may not" in caplog.text)
            refuses = False
            await tm.emit("work", id="third")
            assert (await ended(tm, "third")).state == "completed"

    asyncio.run(main())
