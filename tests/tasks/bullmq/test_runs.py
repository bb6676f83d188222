"""How a run ends, and what BullMQ is told of it."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta

import pytest

from taskmanager.errors import Discard, RetryLater
from taskmanager.tasks import Task, TaskContext, TaskRequest
from tests.servers import Server
from tests.tasks.bullmq.world import EACH_SECOND, Queue, Ran, at, driver, until


def raises(error: BaseException) -> Task:
    def execute(ctx: TaskContext) -> None:
        raise error

    return Task.of("reminder", execute)


async def test_a_run_is_completed_and_a_declined_one_too(server: Server) -> None:
    ran, queue = Ran(), Queue(server)
    declining = Task.of("declined", ran, prepare=lambda ctx: False)
    async with driver(server, Task.of("reminder", ran), declining, ctx={"mailer": "post"}) as ours:
        executed = await queue.ended(await ours.create(TaskRequest("reminder", {"n": 1})))
        declined = await queue.ended(await ours.create(TaskRequest("declined", {"n": 2})))
    assert (executed["returnvalue"], declined["returnvalue"]) == (None, "skipped")
    assert len(queue.ids("completed")) == 2
    (ctx,) = ran.contexts
    assert (ctx.data, ctx.mailer, ctx.job.name) == ({"n": 1}, "post", "reminder")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("the mailer is down"), "the mailer is down"),
        (TimeoutError(), "TimeoutError"),
        (Discard("no such user"), "no such user"),
        (asyncio.CancelledError(), "CancelledError"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_a_task_that_raises_is_in_the_failed_set_with_its_error_and_in_the_log(
    server: Server, caplog: pytest.LogCaptureFixture, error: BaseException, reason: str
) -> None:
    queue = Queue(server)

    async def execute(ctx: TaskContext) -> None:
        raise error

    async with driver(server, Task.of("reminder", execute)) as ours:
        identifier = await ours.create(TaskRequest("reminder", {}))
        ended = await queue.ended(identifier)
    assert queue.ids("failed") == [identifier]
    assert ended["failedReason"] == reason
    assert "Traceback" in json.loads(ended["stacktrace"])[0]
    assert "task 'reminder'" in caplog.text


async def test_the_job_of_a_task_that_nobody_knows_fails_and_says_so(server: Server) -> None:
    queue = Queue(server)
    async with driver(server, Task.of("reminder", Ran())) as ours:
        identifier = await ours.create(TaskRequest("forgotten", {}))
        ended = await queue.ended(identifier)
    assert queue.ids("failed") == [identifier]
    assert "'forgotten'" in ended["failedReason"]
    assert "reminder" in ended["failedReason"]


async def test_a_cron_goes_on_after_a_run_that_failed(server: Server) -> None:
    queue = Queue(server)
    async with driver(server, raises(ValueError("down"))) as ours:
        await ours.create(TaskRequest("reminder", {}, EACH_SECOND))
        await until(lambda: len(queue.ids("failed")) >= 2)


async def test_a_slow_task_of_a_cron_never_runs_twice_at_the_same_time(server: Server) -> None:
    """BullMQ adds the next occurrence when one begins, so with several slots it would."""
    running, most, release = 0, 0, asyncio.Event()
    queue = Queue(server)

    async def slow(ctx: TaskContext) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1

    task = Task.of("slow", slow)
    async with driver(server, task, concurrency=5) as ours, driver(server, task, concurrency=5):
        await ours.create(TaskRequest("slow", {}, EACH_SECOND))
        other = await ours.create(TaskRequest("slow", {}, EACH_SECOND))
        await until(lambda: len(queue.ids("completed")) >= 4)
        skipped = [queue.job(job_id)["returnvalue"] for job_id in queue.ids("completed")]
        assert skipped == ['"skipped"'] * len(skipped)
        assert (running, most) == (2, 2)  # one of each of the two crons
        release.set()
        await until(lambda: any(queue.job(job_id)["returnvalue"] == "null" for job_id in queue.ids("completed")))
        await ours.delete(other)


async def test_a_cron_runs_where_the_server_does_not_say_what_is_active(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def unheard(*_: object) -> None:
        raise ConnectionError("the line is dead")

    ran = Ran()
    monkeypatch.setattr("bullmq.backends.redis_backend.RedisBackend.getRanges", unheard)
    async with driver(server, Task.of("tick", ran)) as ours:
        await ours.create(TaskRequest("tick", {}, EACH_SECOND, immediate=True))
        await ran.times(1)
    assert "the line is dead" in caplog.text


async def test_retry_later_delays_the_job_and_counts_no_attempt(server: Server) -> None:
    calls: list[TaskContext] = []
    queue = Queue(server)

    def busy_once(ctx: TaskContext) -> None:
        calls.append(ctx)
        if len(calls) == 1:
            raise RetryLater(0.1)

    async with driver(server, Task.of("reminder", busy_once)) as ours:
        ended = await queue.ended(await ours.create(TaskRequest("reminder", {})))
    assert len(calls) == 2
    assert (ended["atm"], "failedReason" in ended) == ("1", False)


async def test_stop_waits_for_what_runs(server: Server) -> None:
    begun, release = asyncio.Event(), asyncio.Event()
    queue = Queue(server)

    async def slow(ctx: TaskContext) -> None:
        begun.set()
        await release.wait()

    ours = driver(server, Task.of("slow", slow))
    await ours.start()
    identifier = await ours.create(TaskRequest("slow", {}))
    await begun.wait()
    stopping = asyncio.ensure_future(ours.stop())
    await asyncio.sleep(0)
    release.set()
    await stopping
    assert queue.ids("completed") == [identifier]


async def test_what_runs_still_when_the_grace_is_over_is_given_back_and_run_by_the_next(server: Server) -> None:
    begun, ran, queue = asyncio.Event(), Ran(), Queue(server)

    async def endless(ctx: TaskContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    first = driver(server, Task.of("slow", endless), grace=0)
    await first.start()
    soon = at(timedelta(milliseconds=20))
    identifier = await first.create(TaskRequest("slow", {"n": 1}, soon))
    await begun.wait()
    await first.stop()
    assert (queue.ids(), queue.ids("active")) == ([identifier], [])
    async with driver(server, Task.of("slow", ran)):
        (ctx,) = await ran.times(1)
        ended = await queue.ended(identifier)
    assert (ctx.data, ctx.timestamp) == ({"n": 1}, soon.at)
    assert (ended["atm"], queue.ids("completed")) == ("1", [identifier])


async def test_a_stop_leaves_no_job_with_a_worker_that_is_gone(server: Server) -> None:
    """Whatever was handed out in that moment; BullMQ would find it in a minute, and count it as lost."""
    ran, queue, adding = Ran(), Queue(server), driver(server)
    added = 0
    for round_ in range(60):
        ours = driver(server, Task.of("reminder", ran), concurrency=1 + round_ % 3)
        await ours.start()
        for _ in range(round_ % 4):
            await adding.create(TaskRequest("reminder", {"n": added}))
            added += 1
        stopping = asyncio.ensure_future(ours.stop())
        await adding.create(TaskRequest("reminder", {"n": added}))
        added += 1
        await stopping
        assert queue.ids("active") == []
    async with driver(server, Task.of("reminder", ran)):
        await until(lambda: len(queue.ids("completed")) == added)
    assert sorted(each["n"] for each in ran.data) == list(range(added))
    await adding.stop()


async def test_stop_ends_where_the_server_is_gone(server: Server) -> None:
    begun = asyncio.Event()

    async def endless(ctx: TaskContext) -> None:
        begun.set()
        await asyncio.Event().wait()

    own = Server(server.kind)
    try:
        ours = driver(own, Task.of("slow", endless), grace=0)
        await ours.start()
        await ours.create(TaskRequest("slow", {}))
        await begun.wait()
        own.kill()
        await asyncio.wait_for(ours.stop(), 15)
    finally:
        own.stop()


async def test_a_stopped_driver_starts_again_and_stop_may_be_repeated(server: Server) -> None:
    ran = Ran()
    ours = driver(server, Task.of("reminder", ran))
    for count in (1, 2):
        await ours.start()
        await ours.start()
        await ours.create(TaskRequest("reminder", {"n": count}))
        await ran.times(count)
        await ours.stop()
        await ours.stop()
    assert ran.data == [{"n": 1}, {"n": 2}]


async def test_a_plain_function_runs_in_a_thread_beside_others(server: Server) -> None:
    meeting = threading.Barrier(3, timeout=20)

    def meets(ctx: TaskContext) -> None:
        meeting.wait()

    queue = Queue(server)
    async with driver(server, Task.of("meet", meets), concurrency=3) as ours:
        for _ in range(3):
            await ours.create(TaskRequest("meet", {}))
        await until(lambda: len(queue.ids("completed")) == 3)


async def test_the_worker_goes_on_when_its_server_was_away(server: Server) -> None:
    ran = Ran()
    own = Server(server.kind)
    try:
        async with driver(own, Task.of("reminder", ran)) as ours:
            await ours.create(TaskRequest("reminder", {"n": 1}))
            await ran.times(1)
            await asyncio.to_thread(own.restart)
            await ours.create(TaskRequest("reminder", {"n": 2}))
            await ran.times(2)
    finally:
        own.stop()


def test_one_driver_serves_one_event_loop_after_another(server: Server) -> None:
    """As in a script that calls `asyncio.run` for each thing it does."""
    ours, queue = driver(server), Queue(server)

    async def once() -> None:
        await ours.create(TaskRequest("reminder", {}, at(timedelta(hours=1))))
        await ours.stop()

    asyncio.run(once())
    asyncio.run(once())
    assert len(queue.ids()) == 2
