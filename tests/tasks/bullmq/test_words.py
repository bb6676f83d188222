"""The functions of tasks over a BullMQ driver: definitions, `create_task` and `delete_task` in one application."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from taskmanager.tasks import BullMQDriver, create_task, delete_task, forget_tasks, set_driver, task
from tests.servers import Server
from tests.tasks.bullmq.world import Queue, Ran, until


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    forget_tasks()


async def test_an_application_defines_creates_and_deletes_tasks_in_bullmq(server: Server) -> None:
    ran, queue = Ran(), Queue(server)
    task(name="reminder", execute=ran)
    task(name="rates", schedule="0 3 * * *", timezone="Europe/Paris", execute=ran)
    async with BullMQDriver(host="127.0.0.1", port=server.port) as ours:
        await set_driver(ours)
        assert list(queue.schedulers()) == ["rates@static"]
        await create_task(name="reminder", data={"to": "Zoë"})
        dropped = await create_task(name="reminder", schedule=datetime.now(UTC) + timedelta(hours=1))
        cron = await create_task(name="reminder", schedule="* * * * * *", immediate=True)
        await delete_task(dropped)
        await until(lambda: {"to": "Zoë"} in ran.data and {} in ran.data)
        await delete_task(cron)
        assert dropped not in queue.ids()
        assert list(queue.schedulers()) == ["rates@static"]


async def test_a_second_process_that_defines_the_same_changes_nothing_in_the_queue(server: Server) -> None:
    queue = Queue(server)
    seen = []
    for _ in range(2):
        task(name="rates", schedule="0 3 * * *", timezone="Europe/Paris", immediate=True, execute=Ran())
        ours = BullMQDriver(f"redis://127.0.0.1:{server.port}")
        await set_driver(ours)
        await ours.stop()
        forget_tasks()
        seen.append((queue.ids(), queue.schedulers()))
    assert seen[0] == seen[1]
    assert len(seen[0][0]) == 1
