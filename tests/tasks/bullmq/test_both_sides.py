"""One queue, served by Node's BullMQ and by ours: each runs what the other has added."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from taskmanager.tasks import CronSchedule, Task, TaskRequest
from tests.servers import Server
from tests.tasks.bullmq.node import NodeSide
from tests.tasks.bullmq.world import EACH_SECOND, Queue, Ran, at, driver, static, until

Node = Callable[[], NodeSide]


async def test_node_runs_a_task_that_is_created_here_with_its_data(server: Server, node: Node) -> None:
    ours = driver(server)
    async with node() as other:
        await other.tell("work")
        data = {"to": "Zoë", "at": [1, 2.5, None], "deep": {"a": True}}
        identifier = await ours.create(TaskRequest("reminder", data))
        assert (await other.ran(1)) == [{"ran": "reminder", "data": data, "id": identifier}]
    await ours.stop()


async def test_node_runs_a_date_of_ours_when_it_has_come_and_one_that_is_past_at_once(
    server: Server, node: Node
) -> None:
    ours = driver(server)
    async with node() as other:
        await other.tell("work")
        soon = at(timedelta(milliseconds=300))
        later = await ours.create(TaskRequest("reminder", {"n": 1}, soon))
        past = await ours.create(TaskRequest("reminder", {"n": 2}, at(-timedelta(days=1))))
        assert [run["id"] for run in await other.ran(2)] == [past, later]
        assert datetime.now(UTC) >= soon.at
    await ours.stop()


async def test_node_runs_a_cron_of_ours_again_and_again_until_it_is_deleted(server: Server, node: Node) -> None:
    ours = driver(server)
    async with node() as other:
        await other.tell("work")
        identifier = await ours.create(TaskRequest("tick", {"n": 1}, EACH_SECOND))
        kept = await ours.create(TaskRequest("tick", {"n": 2}, CronSchedule("0 0 1 1 *", "Europe/Paris")))
        runs = await other.ran(2)
        assert [run["data"] for run in runs[:2]] == [{"n": 1}, {"n": 1}]
        await ours.delete(identifier)
        (left,) = await other.tell("schedulers")
        assert left["key"] == kept
        assert (left["name"], left["pattern"], left["tz"]) == ("tick", "0 0 1 1 *", "Europe/Paris")
    await ours.stop()


async def test_what_node_adds_is_run_here_with_its_data_and_the_moment_it_was_due(server: Server, node: Node) -> None:
    ran = Ran()
    async with driver(server, Task.of("reminder", ran)), node() as other:
        added = await other.tell("add", task="reminder", data={"n": 1}, options={"delay": 300})
        (ctx,) = await ran.times(1)
        assert (ctx.data, ctx.job.id) == ({"n": 1}, added["id"])
        assert timedelta(0) <= datetime.now(UTC) - ctx.timestamp < timedelta(seconds=5)
        stored = Queue(server).job(added["id"])
        assert ctx.timestamp.timestamp() * 1000 == int(stored["timestamp"]) + 300


async def test_a_job_scheduler_of_node_is_run_here_and_goes_on(server: Server, node: Node) -> None:
    ran = Ran()
    async with driver(server, Task.of("tick", ran)), node() as other:
        await other.tell("schedule", id="ticking", repeat={"pattern": "* * * * * *"}, task="tick", data={"n": 1})
        first, second, *_ = await ran.times(2)
        assert second.timestamp - first.timestamp >= timedelta(seconds=1)
        assert (first.timestamp.microsecond, second.data) == (0, {"n": 1})


async def test_one_cron_passes_from_our_worker_to_nodes_and_back(server: Server, node: Node) -> None:
    ran = Ran()
    ours = driver(server, Task.of("tick", ran))
    async with node() as other:
        async with ours:
            identifier = await ours.create(TaskRequest("tick", {}, EACH_SECOND))
            await ran.times(1)
        await other.tell("work")
        await other.ran(1)
        await other.tell("rest")
        seen = len(ran.contexts)
        async with ours:
            await ran.times(seen + 1)
        assert list(Queue(server).schedulers()) == [identifier]


async def test_node_sees_why_a_task_failed_here(server: Server, node: Node) -> None:
    def breaks(ctx: object) -> None:
        raise ValueError("the mailer is down")

    async with driver(server, Task.of("reminder", breaks)) as ours, node() as other:
        broken = await ours.create(TaskRequest("reminder", {}))
        nobody = (await other.tell("add", task="forgotten", data={}, options={"attempts": 3}))["id"]
        await Queue(server).ended(broken)
        await Queue(server).ended(nobody)
        assert (await other.tell("job", id=broken))["failedReason"] == "the mailer is down"
        assert "no such task" in (await other.tell("job", id=nobody))["failedReason"]
        assert [await other.tell("state", id=each) for each in (broken, nobody)] == ["failed", "failed"]


async def test_the_attempts_that_node_asks_for_are_made_here(server: Server, node: Node) -> None:
    calls: list[object] = []

    def breaks_once(ctx: object) -> None:
        calls.append(ctx)
        if len(calls) == 1:
            raise ValueError("not yet")

    async with driver(server, Task.of("reminder", breaks_once)), node() as other:
        added = await other.tell("add", task="reminder", data={}, options={"attempts": 2, "backoff": 10})
        await Queue(server).ended(added["id"])
        assert await other.tell("state", id=added["id"]) == "completed"
    assert len(calls) == 2


async def test_node_runs_a_static_date_once_and_registering_it_again_runs_nothing(server: Server, node: Node) -> None:
    ours, queue = driver(server), Queue(server)
    async with node() as other:
        await other.tell("work")
        when = at(timedelta(milliseconds=800))
        identifier = await ours.create(static("launch", when))
        (run,) = await other.ran(1)
        assert (run["ran"], run["id"]) == ("launch", f"repeat:{identifier}:{when.at_ms}")
        await queue.ended(run["id"])
        assert await ours.create(static("launch", when)) == identifier
        assert queue.ids() == []
    await ours.stop()


async def test_a_task_that_fails_on_node_is_kept_there_as_failed(server: Server, node: Node) -> None:
    ours = driver(server)
    async with node() as other:
        await other.tell("work", fails="node is down")
        identifier = await ours.create(TaskRequest("reminder", {}))
        await other.ran(1)
        await Queue(server).ended(identifier)
        assert (await other.tell("job", id=identifier))["failedReason"] == "node is down"
    await ours.stop()


async def test_a_job_that_node_added_is_deleted_by_its_id(server: Server, node: Node) -> None:
    ours, queue = driver(server), Queue(server)
    async with node() as other:
        added = [await other.tell("add", task="reminder", data={}, options={"delay": 60_000}) for _ in range(2)]
        await ours.delete(added[0]["id"])
        await until(lambda: queue.ids() == [added[1]["id"]])
    await ours.stop()


async def test_a_command_that_node_cannot_carry_out_is_told(server: Server, node: Node) -> None:
    """Or a test could wait for what will never come."""
    async with node() as other:
        with pytest.raises(RuntimeError, match="not a function"):
            await other.tell("dance")
