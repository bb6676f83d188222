"""`delete_task`: an identifier ends what it began, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from taskmanager.tasks import TaskContext, create_task, delete_task, task
from tests.tasks.worlds import at, driver_in_force, runs, steps, world


def test_a_reminder_that_is_deleted_before_its_date_never_runs() -> None:
    driver = driver_in_force()
    task(name="remind", execute=lambda ctx: None)
    with world(driver) as sim:
        identifier = sim.run(create_task(name="remind", schedule=at(hours=1)))
        sim.run(delete_task(identifier))
        sim.advance(hours=2)
        assert steps(sim, "remind") == ["emitted", "cancelled"]
        assert sim.job(identifier) is None


def test_deleting_again_or_what_ran_or_what_never_was_changes_nothing() -> None:
    driver = driver_in_force()
    task(name="remind", execute=lambda ctx: "reminded")
    with world(driver) as sim:
        identifier = sim.run(create_task(name="remind"))
        sim.run_until_idle()
        before = sim.timeline.facts[:]
        for one in (identifier, identifier, "task:remind:nothing", "", "anything", f"{identifier}x", "\x00"):
            sim.run(delete_task(one))
        assert sim.timeline.facts == before
        job = sim.job(identifier)
        assert job is not None
        assert job.result == "reminded"  # the record of what ran stays


def test_a_tasks_own_schedule_and_the_jobs_of_others_cannot_be_deleted() -> None:
    driver = driver_in_force()
    task(name="digest", schedule="0 * * * *", execute=lambda ctx: None)
    driver.manager.register_handler(lambda job: None, "mail")
    with world(driver) as sim:
        sim.emit("mail", id="mail", delay=3600)
        for one in ("digest", "mail", "digest@2026-03-01T01:00:00Z"):
            sim.run(delete_task(one))
        sim.advance(hours=1)
        assert runs(sim, "digest") == runs(sim, "mail") == ["01 01:00"]


def test_occurrences_of_a_deleted_cron_that_still_wait_go_with_it_and_no_others() -> None:
    driver = driver_in_force(concurrency=1)

    @task
    async def digest(ctx: TaskContext) -> None:
        await asyncio.sleep(1)

    with world(driver) as sim:
        first, second = (sim.run(create_task(name="digest", schedule="0 * * * *", immediate=True)) for _ in range(2))
        sim.pause_queue("default")
        sim.advance(hours=1)
        assert sim.counts()["waiting"] == 2
        sim.run(delete_task(first))
        assert [job.schedule for job in sim.jobs(state="waiting")] == [second]
        assert [one.name for one in sim.schedules()] == [second]


def test_more_occurrences_than_fill_a_page_are_looked_through() -> None:
    driver = driver_in_force()
    task(name="digest", execute=lambda ctx: None)
    with world(driver) as sim:
        sim.pause_queue("default")
        identifier = sim.run(create_task(name="digest", schedule="0 * * * *"))
        sim.advance(hours=1)
        sim.emit_many([{"event": "digest", "data": number} for number in range(1500)])
        sim.run(delete_task(identifier))
        assert sim.counts()["waiting"] == 1500


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_in_flight_ends_on_its_own(fails: bool) -> None:
    driver = driver_in_force()
    ended: list[str] = []

    @task
    async def remind(ctx: TaskContext) -> None:
        await asyncio.sleep(60)
        ended.append(ctx.job.id)
        if fails:
            raise LookupError

    with world(driver) as sim:
        once = sim.run(create_task(name="remind"))
        cron = sim.run(create_task(name="remind", schedule="0 * * * *", immediate=True))
        sim.advance(30)
        for identifier in (once, cron):
            sim.run(delete_task(identifier))
        sim.advance(hours=3)
        assert ended == [once, f"{cron}@immediate"]
        ends = ["failed" if fails else "completed"] * 2
        assert [kind for kind in steps(sim, "remind") if kind in ("completed", "failed", "cancelled")] == ends


def test_a_run_that_waits_for_its_retry_is_deleted() -> None:
    driver = driver_in_force(processor={"retry": {"max_retries": 5, "delay": 600}})

    @task
    async def remind(ctx: TaskContext) -> None:
        raise LookupError

    with world(driver) as sim:
        identifier = sim.run(create_task(name="remind"))
        sim.advance(60)
        sim.run(delete_task(identifier))
        sim.advance(hours=3)
        assert steps(sim, "remind") == ["emitted", "started", "retried", "cancelled"]


def test_where_the_run_begins_while_it_is_being_deleted_it_ends_on_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = driver_in_force()

    @task
    async def remind(ctx: TaskContext) -> None:
        await asyncio.sleep(60)

    with world(driver) as sim:
        identifier = sim.run(create_task(name="remind", schedule=at(hours=1)))
        get_job = driver.manager.get_job

        async def and_then_it_begins(*words: object) -> object:
            found = await get_job(*words)  # type: ignore[arg-type]
            await driver.manager.promote(identifier)
            await asyncio.sleep(1)
            return found

        monkeypatch.setattr(driver.manager, "get_job", and_then_it_begins)
        sim.run(delete_task(identifier))
        sim.run_until_idle()
        assert steps(sim, "remind") == ["emitted", "due", "started", "completed"]
