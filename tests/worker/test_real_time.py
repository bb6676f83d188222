"""The running side on the machine's own clock: what a simulation replaces. Durations are tiny, and no test waits for a
while where it can wait for a thing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

import pytest

from taskmanager import Job, TaskManager
from tests.worker.real_world import PATIENCE_S, Neighbour, ended, shared


def test_a_handler_that_blocks_the_loop_for_three_leases_keeps_its_job() -> None:
    async def main() -> None:
        url = f"memory://{uuid4().hex}"
        tm = TaskManager(url, lease=0.1)
        runs: list[int] = []

        @tm.handler("block")
        async def block(job: Job[Any]) -> str:
            runs.append(job.attempt)
            time.sleep(0.35)  # noqa: ASYNC251 - blocking the loop is what is tested
            return "unbroken"

        # The neighbour that would reap it lives in a loop of its own, as another process does.
        neighbour = Neighbour(url)
        async with tm:
            neighbour.start()
            handle = await tm.emit("block", id="b")
            assert await handle.result(PATIENCE_S) == "unbroken"
            job = await ended(tm, "b")
            await asyncio.to_thread(neighbour.stop)
        assert (runs, job.losses) == ([1], 0)

    asyncio.run(main())


def test_the_beats_of_a_hung_process_end_and_its_jobs_run_elsewhere() -> None:
    async def main() -> None:
        url = f"memory://{uuid4().hex}"
        tm = TaskManager(url, lease=0.1, max_block=0.05)
        neighbour = Neighbour(url)

        @tm.handler("block")
        async def block(job: Job[Any]) -> str:
            neighbour.start()
            deadline = time.monotonic() + PATIENCE_S
            while not neighbour.runs and time.monotonic() < deadline:
                time.sleep(0.005)  # noqa: ASYNC251 - hanging the loop is what is tested
            return "by the hung one"

        async with tm:
            handle = await tm.emit("block", id="b")
            assert await handle.result(PATIENCE_S) == "by the neighbour"
            job = await ended(tm, "b")
            await asyncio.to_thread(neighbour.stop)
        assert (neighbour.runs, job.losses, job.attempt) == ([2], 1, 2)

    asyncio.run(main())


def test_two_task_managers_of_one_process_share_a_named_store() -> None:
    async def main() -> None:
        emitting, serving = shared()

        @serving.handler("work")
        async def work(job: Job[Any]) -> int:
            return int(job.data["n"]) * 2

        async with serving:
            assert await emitting.emit_and_wait("work", {"n": 21}, timeout=PATIENCE_S) == 42
        await emitting.stop()

    asyncio.run(main())


def test_nameless_memory_stores_are_each_their_own() -> None:
    async def main() -> None:
        one, two = TaskManager("memory://"), TaskManager("memory://")
        await one.emit("work", id="w")
        assert await one.get_job("w") is not None
        assert await two.get_job("w") is None
        await one.stop()
        await two.stop()

    asyncio.run(main())


def test_drain_returns_when_nothing_is_left_to_do() -> None:
    async def main() -> None:
        tm = TaskManager("memory://", concurrency=4)
        done: list[int] = []

        @tm.handler("work", attempts=1, retry_delay=0.01)
        async def work(job: Job[Any]) -> None:
            await asyncio.sleep(0.005)
            if job.attempt == 1:
                raise ValueError("once more")
            done.append(job.data["n"])

        async with tm:
            for n in range(10):
                tm.emit("work", {"n": n}, delay=0.02)
            await tm.drain(timeout=PATIENCE_S)
            assert sorted(done) == list(range(10))
            await tm.pause_queue()
            await tm.emit("work", {"n": 99})
            await tm.drain(timeout=PATIENCE_S)

    asyncio.run(main())


def test_drain_with_a_timeout_that_passes_says_what_is_left() -> None:
    async def main() -> None:
        tm = TaskManager("memory://")

        @tm.handler("work")
        async def work(job: Job[Any]) -> None: ...

        async with tm:
            await tm.emit("work", delay=3600)
            with pytest.raises(TimeoutError, match="1 delayed"):
                await tm.drain(timeout=0.01)

    asyncio.run(main())


@pytest.mark.parametrize("error", [StopIteration("end"), SystemExit(2), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_a_plain_handler_raises_in_its_thread_fails_its_job_alone(error: BaseException) -> None:
    async def main() -> None:
        tm = TaskManager("memory://")

        @tm.handler("odd")
        def odd(job: Job[Any]) -> None:
            raise error

        @tm.handler("next")
        async def next_one(job: Job[Any]) -> str:
            return "alive"

        async with tm:
            await tm.emit("odd", id="o")
            assert (await ended(tm, "o")).state == "failed"
            assert await tm.emit_and_wait("next", timeout=PATIENCE_S) == "alive"

    asyncio.run(main())


def test_a_timeout_ends_an_async_handler_for_real() -> None:
    async def main() -> None:
        tm = TaskManager("memory://")

        @tm.handler("slow", timeout=0.01)
        async def slow(job: Job[Any]) -> None:
            await asyncio.sleep(3600)

        async with tm:
            await tm.emit("slow", id="s")
            job = await ended(tm, "s")
        assert job.error is not None
        assert job.error.type == "TimeoutError"

    asyncio.run(main())


def test_a_cancel_is_heard_for_real_by_the_worker_of_another_task_manager() -> None:
    async def main() -> None:
        asking, serving = shared(lease=0.1)
        begun = asyncio.Event()

        @serving.handler("work")
        async def work(job: Job[Any]) -> None:
            begun.set()
            await asyncio.sleep(3600)

        async with serving:
            await asking.emit("work", id="w")
            await begun.wait()
            await asking.cancel("w")
            assert (await ended(asking, "w")).state == "cancelled"
        await asking.stop()

    asyncio.run(main())


@pytest.mark.parametrize("has_handler", [False, True])
def test_a_worker_that_has_nothing_to_serve_says_so(caplog: pytest.LogCaptureFixture, has_handler: bool) -> None:
    async def main() -> None:
        tm = TaskManager("memory://")
        if has_handler:
            tm.register_handler(lambda job: None, "work")
        async with tm:
            pass

    with caplog.at_level("WARNING", "taskmanager"):
        asyncio.run(main())
    assert ("has no handler" in caplog.text) is not has_handler
