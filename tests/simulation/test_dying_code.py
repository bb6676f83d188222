"""What the code of a crashed machine still does: its `finally` blocks run, reach nobody, and nobody complains."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager

LAST_WORDS: dict[str, Callable[[Job[Any], Any], Awaitable[Any] | None]] = {
    "emits": lambda job, ctx: void(ctx.emit("later")),
    "emits and waits": lambda job, ctx: ctx.emit("later"),
    "logs": lambda job, ctx: job.logger("the end"),
    "waits for ever": lambda job, ctx: asyncio.get_running_loop().create_future(),
}


def void(_: object) -> None: ...


@pytest.mark.parametrize("words", LAST_WORDS)
def test_last_words_reach_nobody_and_are_not_complained_of(words: str, caplog: pytest.LogCaptureFixture) -> None:
    tm = TaskManager("memory://")
    ended: list[str] = []

    @tm.handler("work")
    async def work(job: Job[Any], ctx: Any) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            said = LAST_WORDS[words](job, ctx)
            try:
                if said is not None:
                    await said
            finally:
                ended.append(words)

    with Simulation(tm) as sim:
        sim.emit("work", id="w")
        sim.advance(5)
        sim.nodes[0].crash()
        for _ in range(2):
            sim.advance(10)
            gc.collect()
        assert ended == ([words] if words == "emits" else [])
        assert [step.event for step in sim.timeline.only(event="later")] == []
        assert sim.logs("w") == []
    gc.collect()
    assert ended == [words]
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
