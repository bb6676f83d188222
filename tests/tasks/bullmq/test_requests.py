"""What is kept for a request, and what a deletion takes away: exactly its own."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest

from taskmanager.errors import UsageError
from taskmanager.tasks import CronSchedule, Task, TaskRequest
from tests.servers import Server
from tests.tasks.bullmq.world import EACH_SECOND, NEVER_SOON, QUEUE, Queue, Ran, at, driver, static, until

HOUR = timedelta(hours=1)
SOON = timedelta(seconds=0.8)  # a static date must be registered before it has come, on a busy machine too
WINTER = CronSchedule("0 3 * * *", "Europe/Paris")


# ---- one name, several requests


async def test_two_pending_tasks_of_one_name_live_side_by_side_and_each_is_deleted_alone(server: Server) -> None:
    ours, queue = driver(server), Queue(server)
    first, second = [await ours.create(TaskRequest("reminder", {"n": n}, at(HOUR))) for n in (1, 2)]
    assert sorted(queue.ids()) == sorted({first, second})
    await ours.delete(first)
    assert queue.ids() == [second]
    await ours.delete(second)
    assert queue.ids() == []
    await ours.stop()


async def test_two_crons_of_one_name_live_side_by_side_and_deleting_one_stops_exactly_it(server: Server) -> None:
    ran, queue = Ran(), Queue(server)
    async with driver(server, Task.of("tick", ran)) as ours:
        first = await ours.create(TaskRequest("tick", {"n": 1}, EACH_SECOND))
        second = await ours.create(TaskRequest("tick", {"n": 2}, EACH_SECOND))
        await until(lambda: {"n": 1} in ran.data)
        await ours.delete(first)
        seen = ran.data.count({"n": 1})
        await until(lambda: ran.data.count({"n": 2}) >= 2)
        assert list(queue.schedulers()) == [second]
        assert ran.data.count({"n": 1}) == seen
        assert all(job_id.startswith(f"repeat:{second}:") for job_id in queue.ids())


async def test_an_occurrence_that_is_due_and_has_not_begun_goes_with_its_cron(server: Server) -> None:
    """BullMQ itself removes the next one only while it is delayed."""
    ours, queue = driver(server), Queue(server)
    identifier = await ours.create(TaskRequest("tick", {}, NEVER_SOON, immediate=True))
    (waiting,) = queue.ids("wait")
    assert waiting.startswith(f"repeat:{identifier}:")
    await ours.delete(identifier)
    assert (queue.ids(), queue.schedulers()) == ([], {})
    await ours.stop()


@pytest.mark.parametrize("identifier", ["nobody@1", "meta", "id", "wait", "events", "", "repeat", "x:y"])
async def test_deleting_what_does_not_exist_changes_nothing(server: Server, identifier: str) -> None:
    """Also where the queue has a key of that name for its own."""
    ours = driver(server)
    await ours.create(TaskRequest("reminder", {}))
    await ours.create(TaskRequest("tick", {}, NEVER_SOON))
    before = sorted(server.ask("KEYS", "*"))
    await ours.delete(identifier)
    assert sorted(server.ask("KEYS", "*")) == before
    await ours.stop()


async def test_deleting_what_is_over_keeps_its_record(server: Server) -> None:
    queue = Queue(server)
    async with driver(server, Task.of("reminder", Ran())) as ours:
        identifier = await ours.create(TaskRequest("reminder", {}))
        await queue.ended(identifier)
        await ours.delete(identifier)
        assert queue.ids("completed") == [identifier]


async def test_a_name_with_a_colon_has_an_identifier_without_one(server: Server) -> None:
    """BullMQ for Node refuses such an id, and reads one with several as a legacy job's."""
    ran = Ran()
    async with driver(server, Task.of("mail:send", ran)) as ours:
        made = [
            await ours.create(TaskRequest("mail:send", {})),
            await ours.create(TaskRequest("mail:send", {}, NEVER_SOON)),
            await ours.create(static("mail:send", NEVER_SOON)),
            await ours.create(static("mail%3Asend", NEVER_SOON)),
        ]
        assert (len(set(made)), [":" in identifier for identifier in made]) == (4, [False] * 4)
        await ran.times(1)


async def test_a_refused_pattern_writes_nothing(server: Server) -> None:
    ours = driver(server)
    for pattern in ("0 0 1 1", "0 0 */2 * 1", "0 0 31 2 *"):
        with pytest.raises(UsageError, match="pattern"):
            await ours.create(TaskRequest("tick", {}, CronSchedule(pattern)))
    assert server.ask("KEYS", "*") == []
    await ours.stop()


# ---- dates


async def test_a_date_runs_when_it_has_come_and_is_told_its_own_moment(server: Server) -> None:
    ran = Ran()
    async with driver(server, Task.of("reminder", ran)) as ours:
        soon = at(timedelta(milliseconds=250))
        await ours.create(TaskRequest("reminder", {"n": 1}, soon))
        (ctx,) = await ran.times(1)
        assert ctx.timestamp == soon.at <= datetime.now(UTC)


async def test_a_date_that_is_past_and_a_request_without_one_run_now(server: Server) -> None:
    ran = Ran()
    async with driver(server, Task.of("reminder", ran)) as ours:
        await ours.create(TaskRequest("reminder", {"n": 1}, at(-timedelta(days=400))))
        await ours.create(TaskRequest("reminder", {"n": 2}))
        await ran.times(2)
        assert sorted(ran.data, key=str) == [{"n": 1}, {"n": 2}]


# ---- a task's own cron


async def test_registering_a_static_cron_again_neither_doubles_nor_loses_an_occurrence(server: Server) -> None:
    """One fell due while no worker was there; a restart registers the same again, and then it runs."""
    ran, queue = Ran(), Queue(server)
    before = driver(server)
    identifier = await before.create(static("tick", EACH_SECOND))
    await before.stop()
    (due,) = queue.ids()
    await until(lambda: datetime.now(UTC).timestamp() * 1000 > queue.schedulers()[identifier])
    after = driver(server, Task.of("tick", ran))
    assert await after.create(static("tick", EACH_SECOND)) == identifier
    assert queue.ids() == [due]
    async with after:
        (first, *_) = await ran.times(1)
    assert first.job.id == due
    assert len(queue.ids()) == 1


async def test_a_changed_pattern_or_zone_takes_the_place_of_the_static_cron(server: Server) -> None:
    ours, queue = driver(server), Queue(server)
    identifier = await ours.create(static("rates", WINTER))
    for changed in (CronSchedule("0 4 * * *", "Europe/Paris"), CronSchedule("0 4 * * *", "Asia/Tokyo")):
        assert await ours.create(static("rates", changed)) == identifier
        stored = server.ask("HMGET", f"{QUEUE}:repeat:{identifier}", "pattern", "tz")
        assert stored == [changed.pattern, changed.timezone]
        assert queue.ids() == [f"repeat:{identifier}:{queue.schedulers()[identifier]}"]
    await ours.stop()


async def test_a_static_cron_whose_next_job_was_lost_is_set_going_again(server: Server) -> None:
    """Each job adds the next; where one is gone, nothing would ever run again."""
    ours, queue = driver(server), Queue(server)
    identifier = await ours.create(static("rates", WINTER))
    (job_id,) = queue.ids()
    server.ask("ZREM", f"{QUEUE}:delayed", job_id)
    server.ask("DEL", f"{QUEUE}:{job_id}")
    assert await ours.create(static("rates", WINTER)) == identifier
    assert queue.ids() == [job_id]
    await ours.stop()


async def test_immediate_adds_one_run_where_the_cron_is_new_or_changed_and_none_on_a_restart(server: Server) -> None:
    ran = Ran()
    async with driver(server, Task.of("rates", ran)) as ours:
        await ours.create(static("rates", WINTER, immediate=True))
        await ran.times(1)
        await ours.create(static("rates", WINTER, immediate=True))
        await ours.create(static("rates", NEVER_SOON, immediate=True))
        await ran.times(2)
        await ours.create(TaskRequest("rates", {"last": True}))
        assert [ctx.data for ctx in await ran.times(3)] == [{}, {}, {"last": True}]
        assert len(Queue(server).ids()) == 1


async def test_processes_that_register_the_same_at_the_same_time_make_one_immediate_run(server: Server) -> None:
    ran = Ran()
    names = [f"rates-{number}" for number in range(10)]
    processes = [driver(server, *(Task.of(name, ran) for name in names), concurrency=20) for _ in range(4)]
    async with processes[0]:
        for name in names:
            await asyncio.gather(*(each.create(static(name, WINTER, immediate=True)) for each in processes))
        await processes[0].create(TaskRequest(names[0], {"last": True}))
        await until(lambda: {"last": True} in ran.data and len(ran.data) > len(names))
    assert sorted(ctx.task.name for ctx in ran.contexts if ctx.data == {}) == sorted(names)
    for each in processes[1:]:
        await each.stop()


async def test_a_static_task_is_dropped_by_its_identifier(server: Server) -> None:
    ours, queue = driver(server), Queue(server)
    for schedule in (WINTER, at(HOUR)):
        await ours.delete(await ours.create(static("rates", schedule)))
        assert (queue.ids(), queue.schedulers()) == ([], {})
    await ours.stop()


# ---- a task's own date


async def test_a_static_date_runs_once_however_often_it_is_registered(server: Server) -> None:
    ran, queue = Ran(), Queue(server)
    ours = driver(server, Task.of("launch", ran))
    when = at(SOON)
    async with ours:
        identifier = await ours.create(static("launch", when))
        assert await ours.create(static("launch", when)) == identifier
        assert len(queue.ids()) == 1
        (ctx,) = await ran.times(1)
        assert ctx.timestamp == when.at
        await queue.ended(ctx.job.id)
    async with ours:
        await ours.create(static("launch", when))
        assert queue.ids() == []


async def test_a_static_date_that_was_run_long_ago_is_not_run_again_though_its_job_is_gone(server: Server) -> None:
    ran, queue = Ran(), Queue(server)
    async with driver(server, Task.of("launch", ran)) as ours:
        when = at(SOON)
        await ours.create(static("launch", when))
        (ctx,) = await ran.times(1)
        await queue.ended(ctx.job.id)
        server.empty()
        await ours.create(static("launch", when))
        assert queue.ids() == []


async def test_a_changed_static_date_takes_the_place_of_the_other_whether_that_has_run_or_not(server: Server) -> None:
    ran, queue = Ran(), Queue(server)
    async with driver(server, Task.of("launch", ran)) as ours:
        identifier = await ours.create(static("launch", at(HOUR)))
        soon = at(SOON)
        assert await ours.create(static("launch", soon)) == identifier
        assert queue.ids() == [f"repeat:{identifier}:{soon.at_ms}"]
        await ran.times(1)
        later = at(2 * HOUR)
        await ours.create(static("launch", later))
        assert queue.ids() == [f"repeat:{identifier}:{later.at_ms}"]
    assert [ctx.timestamp for ctx in ran.contexts] == [soon.at]


async def test_a_static_date_that_passed_while_nobody_was_there_runs_once(server: Server) -> None:
    ran = Ran()
    ours = driver(server, Task.of("launch", ran))
    when = at(SOON)
    await ours.create(static("launch", when))
    await until(lambda: datetime.now(UTC) > when.at)
    await ours.create(static("launch", when))
    async with ours:
        (ctx,) = await ran.times(1)
    assert ctx.timestamp == when.at


async def test_a_static_date_that_is_past_when_first_registered_does_not_run_and_is_logged(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    ours, queue = driver(server), Queue(server)
    await ours.create(static("launch", at(HOUR)))
    with caplog.at_level(logging.WARNING, "taskmanager"):
        await ours.create(static("launch", at(-HOUR)))
    assert "'launch': its date" in caplog.text
    assert (queue.ids(), queue.schedulers()) == ([], {})
    await ours.stop()


async def test_a_static_task_may_change_from_a_cron_to_a_date_and_back(server: Server) -> None:
    ours, queue = driver(server), Queue(server)
    identifier = await ours.create(static("rates", WINTER))
    later = at(HOUR)
    await ours.create(static("rates", later))
    assert queue.ids() == [f"repeat:{identifier}:{later.at_ms}"]
    await ours.create(static("rates", WINTER))
    (job_id,) = queue.ids()
    assert json.loads(queue.job(job_id)["opts"])["repeat"]["pattern"] == "0 3 * * *"
    await ours.stop()
