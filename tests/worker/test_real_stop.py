"""Stopping on the machine's own clock: from another task, from a handler, cancelled, and again and again."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from taskmanager import EngineUnavailable, Job, TaskManager
from taskmanager.engines.memory.engine import MemoryEngine
from taskmanager.worker import worker
from taskmanager.worker.worker import CANCEL_PATIENCE_S
from tests.worker.real_world import PATIENCE_S, ended, until


def test_a_stop_from_another_task_lets_the_running_handler_end() -> None:
    async def main() -> None:
        tm = TaskManager("memory://")
        begun, go_on = asyncio.Event(), asyncio.Event()

        @tm.handler("work")
        async def work(job: Job[Any]) -> str:
            begun.set()
            await go_on.wait()
            return "done"

        await tm.start()
        handle = await tm.emit("work")
        await begun.wait()
        stopping = asyncio.create_task(tm.stop())
        await asyncio.sleep(0)
        go_on.set()
        await stopping
        job = await handle.refresh()
        assert job is not None
        assert job.result == "done"
        await tm.stop()

    asyncio.run(main())


def test_a_stop_that_is_begun_by_a_handler_completes() -> None:
    async def main() -> None:
        tm = TaskManager("memory://", grace=5)
        stops: list[asyncio.Task[None]] = []

        @tm.handler("last")
        async def last(job: Job[Any]) -> str:
            stops.append(asyncio.create_task(tm.stop()))
            return "goodbye"

        await tm.start()
        handle = await tm.emit("last")
        assert await handle.result(PATIENCE_S) == "goodbye"
        async with asyncio.timeout(PATIENCE_S):
            await stops[0]

    asyncio.run(main())


def test_a_stop_awaited_by_one_of_its_own_handlers_is_refused_with_the_remedy() -> None:
    async def main() -> None:
        tm = TaskManager("memory://")

        @tm.handler("last")
        async def last(job: Job[Any]) -> None:
            await tm.stop()

        async with tm:
            await tm.emit("last", id="l")
            job = await ended(tm, "l")
        assert job.error is not None
        assert job.error.type == "UsageError"
        assert "create_task" in job.error.message

    asyncio.run(main())


def test_a_stop_that_is_itself_cancelled_still_leaves_nothing_running() -> None:
    async def main() -> None:
        tm = TaskManager("memory://", grace=60)
        begun = asyncio.Event()
        cleaned = []

        @tm.handler("work")
        async def work(job: Job[Any]) -> None:
            begun.set()
            try:
                await asyncio.sleep(3600)
            finally:
                cleaned.append(job.id)

        await tm.start()
        handle = await tm.emit("work", id="w")
        await begun.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(tm.stop(), 0.02)
        assert cleaned == ["w"]
        left = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert left == []
        job = await handle.refresh()
        assert job is not None
        assert job.state == "waiting"
        await tm.stop()

    asyncio.run(main())


def test_start_and_stop_at_the_same_time_and_many_times_end_as_they_should() -> None:
    async def main() -> None:
        tm = TaskManager("memory://")

        @tm.handler("work")
        async def work(job: Job[Any]) -> int:
            return int(job.data["n"])

        for n in range(5):
            await asyncio.gather(tm.start(), tm.start())
            assert await tm.emit_and_wait("work", {"n": n}, timeout=PATIENCE_S) == n
            await asyncio.gather(tm.stop(), tm.stop())
        names = {thread.name for thread in threading.enumerate()}
        assert "taskmanager-heartbeat" not in names

    asyncio.run(main())


def test_a_plain_handler_that_never_looks_whether_it_is_to_end_is_left_behind_at_the_end_of_the_grace() -> None:
    async def main() -> None:
        tm = TaskManager("memory://", grace=0.01)
        begun, release, returned = threading.Event(), threading.Event(), threading.Event()

        @tm.handler("plain")
        def plain(job: Job[Any]) -> str:
            begun.set()
            release.wait(PATIENCE_S)
            returned.set()
            return "too late"

        await tm.start()
        handle = await tm.emit("plain")
        await until(begun.is_set)
        began = time.monotonic()
        await tm.stop()
        assert time.monotonic() - began < CANCEL_PATIENCE_S / 2
        release.set()
        await until(returned.is_set)
        job = await handle.refresh()
        assert job is not None
        assert (job.state, job.result) == ("active", None)
        await tm.stop()

    asyncio.run(main())


def test_a_plain_handler_that_looks_whether_it_is_to_end_is_waited_for_and_released() -> None:
    async def main() -> None:
        tm = TaskManager("memory://", grace=0.01)
        begun = threading.Event()

        @tm.handler("polite")
        def polite(job: Job[Any]) -> None:
            while not job.stopping:
                begun.set()
                time.sleep(0.002)
            time.sleep(0.05)  # it tidies up

        await tm.start()
        handle = await tm.emit("polite")
        await until(begun.is_set)
        await tm.stop()
        job = await handle.refresh()
        assert job is not None
        assert job.state == "waiting"
        await tm.stop()

    asyncio.run(main())


def test_a_stop_says_in_a_line_whom_it_waits_for(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        tm = TaskManager("memory://", grace=7)
        begun, go_on = asyncio.Event(), asyncio.Event()

        @tm.handler("work")
        async def work(job: Job[Any]) -> None:
            begun.set()
            await go_on.wait()

        await tm.start()
        tm.emit("work")
        await begun.wait()
        stopping = asyncio.create_task(tm.stop())
        await until(lambda: "stopping: 1 running handler(s) get up to 7 s" in caplog.messages)
        go_on.set()
        await stopping

    with caplog.at_level("INFO", "taskmanager"):
        asyncio.run(main())


# ---- a store that does not answer any more


async def with_an_end_untold(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> TaskManager:
    """A started worker whose handler has ended, in front of a store that takes no settlement."""
    tm = TaskManager("memory://", **settings)
    told = asyncio.Event()

    async def away(*call: object) -> None:
        told.set()
        raise EngineUnavailable("away")

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        pass

    monkeypatch.setattr(MemoryEngine, "settle", away)
    await tm.start()
    await tm.emit("work")
    await told.wait()
    return tm


def test_a_stop_waits_for_a_store_no_longer_than_any_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(worker, "RESEND_S", 0.1)
        tm = await with_an_end_untold(monkeypatch, grace=3600)  # which is for who runs, and nobody does
        async with asyncio.timeout(PATIENCE_S):
            await tm.stop()

    asyncio.run(main())


def test_a_stop_that_is_hurried_leaves_what_the_store_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setattr(worker, "RESEND_S", 3600)
        monkeypatch.setattr(worker, "_HURRIED_S", 0.05)
        tm = await with_an_end_untold(monkeypatch)
        stopping = asyncio.create_task(tm.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait((stopping,))

    asyncio.run(main())
