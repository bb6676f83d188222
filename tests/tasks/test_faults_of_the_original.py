"""What the system that these tasks follow does wrong: each has a test that would fail on it."""

from __future__ import annotations

import asyncio

from taskmanager.tasks import TaskContext, create_task, delete_task, task
from tests.tasks.worlds import at, driver_in_force, runs, steps, world


def test_a_slow_task_never_runs_several_times_at_once() -> None:
    driver = driver_in_force()
    running: list[int] = [0]
    most: list[int] = []

    async def slow(ctx: TaskContext) -> None:
        running[0] += 1
        most.append(running[0])
        await asyncio.sleep(25 * 60)
        running[0] -= 1

    task(name="static", schedule="*/10 * * * *", execute=slow)
    with world(driver, workers=2) as sim:
        sim.advance(hours=3)
        assert len(runs(sim, "static")) == 6
    assert set(most) == {1}
    driver = driver_in_force()
    task(name="created", execute=slow)
    most.clear()
    running[0] = 0
    with world(driver, workers=2) as sim:
        sim.run(create_task(name="created", schedule="*/10 * * * *"))
        sim.advance(hours=3)
        assert len(runs(sim, "created")) == 6
    assert set(most) == {1}


def test_a_cron_of_one_user_does_not_delete_anothers() -> None:
    driver = driver_in_force()
    digests: list[str] = []
    task(name="digest", execute=lambda ctx: digests.append(ctx.data["user"]))
    with world(driver) as sim:
        for user in ("ann", "bob"):
            sim.run(create_task(name="digest", data={"user": user}, schedule="0 9 * * *"))
        sim.advance(days=2)
    assert sorted(digests) == ["ann", "ann", "bob", "bob"]


def test_a_second_reminder_of_the_same_name_and_data_is_not_dropped() -> None:
    driver = driver_in_force()
    task(name="remind", execute=lambda ctx: None)
    with world(driver) as sim:
        words = {"name": "remind", "data": {"to": "ann"}, "schedule": at(hours=1)}
        one, two = (sim.run(create_task(**words)) for _ in range(2))  # type: ignore[arg-type]
        assert one != two
        sim.advance(hours=2)
        assert len(runs(sim, "remind")) == 2


def test_deleting_a_cron_by_its_identifier_stops_it_and_no_other() -> None:
    driver = driver_in_force()
    digests: list[str] = []
    task(name="digest", execute=lambda ctx: digests.append(ctx.data["user"]))
    with world(driver) as sim:
        first, _ = (
            sim.run(create_task(name="digest", data={"user": user}, schedule="0 * * * *")) for user in ("ann", "bob")
        )
        sim.advance(hours=1)
        sim.run(delete_task(first))
        sim.advance(hours=1)
    assert sorted(digests) == ["ann", "bob", "bob"]


def test_the_errors_of_a_task_do_not_vanish() -> None:
    driver = driver_in_force()

    @task(schedule="0 * * * *")
    async def rates(ctx: TaskContext) -> None:
        raise LookupError("no rates")

    with world(driver) as sim:
        sim.advance(hours=2)
        assert steps(sim, "rates") == ["scheduled", "started", "failed"] * 2  # and the cron goes on
        failed = sim.jobs(state="failed")
        assert [job.error.message for job in failed if job.error and job.dead_letter] == ["no rates"] * 2
