"""A load drops the schedules of its own files that are gone, and of nobody else's."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from simulation import Simulation
from taskmanager.tasks import create_task, forget_tasks, load_tasks, task
from tests.tasks.worlds import START, at, driver_in_force, runs, world

HOURLY = "task(name={0!r}, schedule='0 * * * *', execute=print)\n"


class Home:
    """An application on one store: each start is a new process, a day later."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.engine = f"sqlite:///{root}/tasks.db"
        self.now = START

    def write(self, path: str, *names: str, text: str = "") -> None:
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(HOURLY.format(name) for name in names)
        place.write_text(f"from taskmanager.tasks import task\n{lines}{text}\n")

    def start(self, *folders: str, queue: str = "default", workers: int = 1) -> Simulation:
        forget_tasks()
        driver = driver_in_force(queue=queue)
        for folder in folders:
            load_tasks(folder)
        self.now += timedelta(days=1)
        return world(driver, self.now, engine=self.engine, workers=workers)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def names(sim: Simulation) -> list[str]:
    return [schedule.name for schedule in sim.schedules()]


def test_what_went_while_nothing_ran_is_dropped_at_the_start(home: Home) -> None:
    home.write("app/tasks/a.py", "a", "b")
    home.write("app/tasks/c.py", "c")
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a", "b", "c"]
        assert {schedule.origin for schedule in sim.schedules()} == {"tasks:app/tasks"}
    home.write("app/tasks/a.py", "a")
    (home.root / "app/tasks/c.py").rename(home.root / "app/tasks/renamed.py")
    with home.start("./app//tasks/", workers=2) as sim:
        assert names(sim) == ["a", "c"]
        sim.advance(hours=2)
        assert [len(runs(sim, one)) for one in "abc"] == [3, 0, 3]  # with the newest of what was missed
    (home.root / "app/tasks/a.py").unlink()
    (home.root / "app/tasks/renamed.py").unlink()
    with home.start("app/tasks") as sim:
        assert names(sim) == []


def test_a_task_that_lost_its_schedule_runs_no_more_by_itself(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a"]
    home.write("app/tasks/a.py", text="task(name='a', execute=print)")
    with home.start("app/tasks") as sim:
        assert names(sim) == []
        sim.run(create_task(name="a"))
        sim.run_until_idle()
        assert len(runs(sim, "a")) == 1


def test_schedules_of_others_are_not_touched(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    home.write("other/b.py", "b")
    with home.start("app/tasks", "other") as sim:
        sim.run(create_task(name="a", schedule="@daily"))
        sim.emit("event", id="of-system-a", repeat="@daily")
    with home.start("app/tasks", queue="second") as sim:  # another application, of a queue of its own
        assert len(names(sim)) == 5
    (home.root / "other/b.py").unlink()
    (home.root / "app/tasks/a.py").unlink()
    with home.start("other") as sim:
        found = {(one.queue, one.name.partition(":")[0]) for one in sim.schedules()}
        assert found == {("default", "a"), ("default", "task"), ("default", "of-system-a"), ("second", "a")}


def test_a_task_that_was_not_loaded_from_a_file_is_never_dropped(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    forget_tasks()
    driver = driver_in_force()
    task(name="inline", schedule="@daily", execute=print)
    with world(driver, START, engine=home.engine) as sim:
        assert [one.origin for one in sim.schedules()] == ["tasks"]
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a", "inline"]


def test_while_a_file_is_broken_that_never_loaded_nothing_is_dropped(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    home.write("app/tasks/b.py", "b")
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a", "b"]
    home.write("app/tasks/a.py", text="raise LookupError")
    (home.root / "app/tasks/b.py").unlink()
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a", "b"]
    home.write("app/tasks/a.py", "a")
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a"]


def test_the_place_of_a_schedule_outlives_restarts_and_reloads(home: Home) -> None:
    date = round(at(days=1.5).timestamp() * 1000)
    once = f"task(name='once', schedule={date}, execute=print)"
    home.write("app/tasks/a.py", "a", text=once)
    with home.start("app/tasks") as sim:
        sim.advance(hours=13)
        assert runs(sim, "once") == ["02 12:00"]
        home.write("app/tasks/a.py", "a", "more", text=once)
        assert sim.run(_reloaded("app/tasks")).changed == ("a", "more", "once")
        sim.advance(hours=5)
        assert len(runs(sim, "once")) == 1
        assert len(runs(sim, "a")) == 18
    with home.start("app/tasks") as sim:
        sim.advance(hours=5)
        assert runs(sim, "once") == []


def test_loading_again_while_it_runs_tells_the_store_what_is_new_and_what_is_gone(home: Home) -> None:
    home.write("app/tasks/a.py", "a", "b")
    with home.start("app/tasks") as sim:
        sim.advance(hours=1)
        home.write("app/tasks/a.py", "a", "c")
        sim.run(_reloaded("app/tasks"))
        assert names(sim) == ["a", "c"]
        sim.advance(hours=2)
        assert [len(runs(sim, one)) for one in "abc"] == [3, 1, 2]
        home.write("app/tasks/a.py", "b", text="task(name='c', schedule='30 * * * *', execute=print)")
        sim.run(_reloaded("app/tasks", wait=False))  # in the background
        sim.advance(hours=1)
        assert names(sim) == ["b", "c"]
        assert runs(sim, "c")[-1] == "02 03:30"


async def _reloaded(folder: str, *, wait: bool = True) -> Any:
    report = load_tasks(folder)
    return await report if wait else report


def test_a_job_that_waits_for_a_task_that_went_fails_and_says_so(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    with home.start("app/tasks") as sim:
        later: datetime = home.now + timedelta(days=2)
        identifier = sim.run(create_task(name="a", schedule=later))
    (home.root / "app/tasks/a.py").unlink()
    with home.start("app/tasks") as sim:
        sim.advance(days=3)
        job = sim.job(identifier)
        assert job is not None
        assert job.state == "failed"
        assert job.reason is not None
        assert "no handler for event 'a'" in job.reason


def test_forgetting_the_tasks_drops_nothing(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a"]
    driver = driver_in_force()
    load_tasks("app/tasks")
    forget_tasks()
    with world(driver, home.now + timedelta(days=1), engine=home.engine) as sim:
        assert names(sim) == ["a"]


def test_a_task_in_code_that_has_lost_its_schedule_runs_by_it_no_more(home: Home) -> None:
    for schedule, left in (("@daily", ["inline"]), (None, [])):
        forget_tasks()
        driver = driver_in_force()
        task(name="inline", schedule=schedule, execute=print)
        with world(driver, START, engine=home.engine) as sim:
            assert names(sim) == left


def test_a_folder_that_is_loaded_by_another_path_is_the_same_folder(home: Home) -> None:
    home.write("app/tasks/a.py", "a")
    home.write("app/tasks/b.py", "b")
    with home.start("app/tasks") as sim:
        assert names(sim) == ["a", "b"]
    (home.root / "app/tasks/b.py").unlink()
    moved = home.root / "release-2"
    moved.mkdir()
    (home.root / "app").rename(moved / "app")
    with home.start(str(moved / "app/tasks")) as sim:
        assert names(sim) == ["a"]
