"""How much one claim takes of what is free: little where handlers wait for something, much where they are short."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from taskmanager import Job, TaskManager
from taskmanager.engine import Claimed
from taskmanager.engines.memory.engine import MemoryEngine
from tests.worker.real_world import until

SLOTS = 30


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs each claim asked for, as long as it got some."""
    asked: list[int] = []
    claim = MemoryEngine.claim

    async def noting(engine: MemoryEngine, queue: str, worker: str, holds: Any, limit: int, *terms: Any) -> Claimed:
        answer = await claim(engine, queue, worker, holds, limit, *terms)
        if answer.jobs:
            asked.append(limit)
        return answer

    monkeypatch.setattr(MemoryEngine, "claim", noting)
    return asked


def test_short_jobs_are_fetched_in_three_claims_for_all_slots(portions: list[int]) -> None:
    async def main() -> None:
        tm = TaskManager("memory://", concurrency=SLOTS)
        runs: list[str] = []

        @tm.handler("short")
        async def short(job: Job[Any]) -> None:
            runs.append(job.id)

        await tm.emit_many([{"event": "short", "id": str(n)} for n in range(300)])
        async with tm:
            await until(lambda: len(runs) == 300)

    asyncio.run(main())
    assert len(portions) <= 3 * 300 / SLOTS + 2
    assert max(portions) == SLOTS // 2


def test_while_most_handlers_wait_each_slot_that_becomes_free_is_filled_again_soon(portions: list[int]) -> None:
    async def main() -> None:
        tm = TaskManager("memory://", concurrency=SLOTS)
        gates: dict[str, asyncio.Event] = {}

        @tm.handler("waits")
        async def waits(job: Job[Any]) -> None:
            gate = gates[job.id] = asyncio.Event()
            await gate.wait()

        await tm.emit_many([{"event": "waits", "id": f"{n:03}"} for n in range(50)])
        async with tm:
            await until(lambda: len(gates) == SLOTS)
            portions.clear()
            for name in sorted(gates)[:12]:
                gates[name].set()
            await until(lambda: len(gates) == SLOTS + 12)
            assert (sum(portions) >= 12, max(portions)) == (True, 4)
            while not all(gate.is_set() for gate in gates.values()) or len(gates) < 50:
                for gate in gates.values():
                    gate.set()
                await asyncio.sleep(0)

    asyncio.run(main())
