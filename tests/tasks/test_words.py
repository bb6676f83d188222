"""`task`, `create_task`, `delete_task` and the driver in force: what belongs where, and what is refused."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import taskmanager.tasks
from simulation import Simulation
from taskmanager import TaskManager
from taskmanager.errors import UsageError
from taskmanager.tasks import (
    CronSchedule,
    ManagerDriver,
    MemoryDriver,
    RedisDriver,
    SQLiteDriver,
    TaskContext,
    create_task,
    current_driver,
    delete_task,
    forget_tasks,
    load_tasks,
    set_driver,
    task,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def greet(ctx: TaskContext) -> str:
    return f"Hello, {ctx.data['to']}!"


# ---- defining


def test_a_task_is_defined_by_a_call_or_by_decorating_with_its_words_or_without() -> None:
    set_driver(MemoryDriver())

    @task
    def bare(ctx: TaskContext) -> None: ...

    @task()
    def empty(ctx: TaskContext) -> None: ...

    @task(name="rates", schedule="@daily", timezone="Asia/Tokyo", immediate=True)
    def named(ctx: TaskContext) -> None: ...

    called = task(name="greet", execute=greet, prepare=lambda ctx: True)
    assert [one.name for one in (bare, empty, named, called)] == ["bare", "empty", "rates", "greet"]
    assert (named.schedule, named.immediate) == (CronSchedule("@daily", "Asia/Tokyo"), True)
    assert called.execute is greet
    assert task(execute=greet, name="again").origin is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"name": "two words"}, "event name must be"),
        ({"schedule": "sometimes"}, "pattern must be five fields"),
        ({"immediate": True}, "immediate must come with a cron schedule"),
        ({"prepare": "yes"}, "prepare must be a function"),
        ({"timezone": "UTC"}, "timezone belongs to a cron schedule"),
    ],
)
def test_what_is_wrong_is_said_where_the_words_are_and_nothing_is_defined(words: dict[str, Any], message: str) -> None:
    driver = MemoryDriver()
    set_driver(driver)
    with pytest.raises(UsageError, match=message):
        task(**words)  # before there is a function
    with pytest.raises(UsageError, match=message):
        task(execute=greet, **words)
    assert list(_handlers(driver)) == []


def test_a_lambda_needs_a_name_and_the_name_is_no_first_argument() -> None:
    with pytest.raises(UsageError, match="name must be given for <function"):
        task(execute=lambda ctx: None)
    wrong: Any = "greet"
    with pytest.raises(UsageError, match="task takes its words by name"):
        task(wrong)
    with pytest.raises(TypeError, match="shedule"):
        task(name="greet", shedule="@daily")  # type: ignore[call-overload]  # a misspelt word


def test_a_second_task_of_a_name_is_refused_and_the_first_stays() -> None:
    first = task(name="greet", execute=greet)  # before any driver is set
    with pytest.raises(UsageError, match="there is a task 'greet' already, and it stays"):
        task(name="greet", execute=greet)
    driver = MemoryDriver()
    set_driver(driver)
    with pytest.raises(UsageError, match="there is a task 'greet' already, and it stays"):
        task(name="greet", schedule="@daily", execute=greet)
    with Simulation(driver.manager) as sim:
        sim.advance(days=2)
        assert len(sim.timeline) == 0
    assert first.schedule is None


def test_a_task_of_the_name_of_a_handler_is_refused_and_the_handler_stays() -> None:
    tm = TaskManager("memory://")
    tm.register_handler(lambda job: "a handler", "greet")
    task(name="other", execute=greet)
    task(name="greet", execute=greet)
    with pytest.raises(UsageError, match="task 'greet' has the name of a handler of queue 'default'"):
        set_driver(ManagerDriver(tm))
    assert [name for _, name in _handlers(ManagerDriver(tm))] == ["greet"]  # 'other' has been taken back
    set_driver(ManagerDriver(tm, queue="tasks"))
    assert _handlers(ManagerDriver(tm)) == [("default", "greet"), ("tasks", "other"), ("tasks", "greet")]


# ---- drivers


def test_tasks_defined_before_any_driver_belong_to_the_first_and_stay_with_it() -> None:
    task(name="early", execute=greet)
    first, second = MemoryDriver(), MemoryDriver()
    set_driver(first)
    assert current_driver() is first
    task(name="middle", execute=greet)
    set_driver(second)
    task(name="late", execute=greet)
    task(name="early", execute=greet)  # another board, so no clash
    set_driver(first)
    task(name="last", execute=greet)
    assert [name for _, name in _handlers(first)] == ["early", "middle", "last"]
    assert [name for _, name in _handlers(second)] == ["late", "early"]


@pytest.mark.parametrize("word", ["create_task", "delete_task", "load_tasks"])
async def test_before_any_is_set_the_words_use_the_file_tasks_db(word: str, tmp_path: Path) -> None:
    early = task(name="early", execute=greet)
    assert current_driver() is None
    match word:
        case "create_task":
            await create_task(name="early", data={"to": "Ann"})
        case "delete_task":
            await delete_task("nothing")
        case _:
            load_tasks()
    driver = current_driver()
    assert isinstance(driver, SQLiteDriver)
    assert driver.manager.db == "sqlite:///tasks.db"
    assert _handlers(driver) == [("default", early.name)]
    await driver.stop()


def test_a_refused_call_sets_no_driver() -> None:
    for call in (create_task(name="t", schedule="never"), create_task(name="t", data={"a": {1}}), delete_task(7)):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            call.send(None)
    assert current_driver() is None


def test_what_is_no_driver_is_refused_and_nothing_changes() -> None:
    driver = MemoryDriver()
    set_driver(driver)
    wrong: Any
    for wrong in (MemoryDriver, TaskManager("memory://"), None):
        with pytest.raises(UsageError, match="driver must be an object with the methods create, delete"):
            set_driver(wrong)
    assert current_driver() is driver


def test_each_driver_names_its_store_and_takes_the_options_of_a_task_manager(tmp_path: Path) -> None:
    stores = {
        MemoryDriver(): "memory://",
        MemoryDriver("shared"): "memory://shared",
        SQLiteDriver(): "sqlite:///tasks.db",
        SQLiteDriver("a?b.db"): "sqlite:///a%3Fb.db",
        SQLiteDriver(tmp_path / "x.db"): f"sqlite:///{tmp_path}/x.db",
        SQLiteDriver("sqlite:///y.db?wait=1"): "sqlite:///y.db?wait=1",
        RedisDriver(): "redis://localhost:6379",
        RedisDriver("redis://other/3"): "redis://other/3",
    }
    assert [driver.manager.db for driver in stores] == list(stores.values())
    assert MemoryDriver(queue="tasks", concurrency=3).queue == "tasks"
    with pytest.raises(UsageError, match="concurrency must be"):
        MemoryDriver(concurrency=0)
    with pytest.raises(UsageError, match="ctx must not have its own 'store'"):
        MemoryDriver(ctx={"store": 1})
    with pytest.raises(UsageError, match="queue name must be"):
        MemoryDriver(queue="two words")
    with pytest.raises(UsageError, match="manager must be a TaskManager"):
        ManagerDriver("memory://")  # type: ignore[arg-type]


def test_forgotten_is_everything_and_a_name_can_be_given_again() -> None:
    driver = MemoryDriver()
    set_driver(driver)
    task(name="greet", execute=greet)
    forget_tasks()
    assert (_handlers(driver), current_driver()) == ([], None)
    task(name="greet", execute=greet)
    set_driver(driver)
    assert _handlers(driver) == [("default", "greet")]


# ---- creating and deleting


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"name": "two words"}, "event name must be"),
        ({"data": {"when": datetime(2026, 1, 1)}}, "naive datetime"),
        ({"data": {"a": {1, 2}}}, r"data\.a: .* has no order"),
        ({"data": {"a": "x" * 200}}, "data must be at most max_data_bytes=100"),
        ({"schedule": "0 0 31 2 *"}, "pattern must name a day that comes"),
        ({"schedule": 1_700_000_000}, "for seconds, multiply by 1000"),
        ({"schedule": NOON, "immediate": True}, "immediate must come with a cron schedule"),
        ({"schedule": NOON, "timezone": "UTC"}, "timezone belongs to a cron"),
        ({"timezone": "UTC"}, "timezone belongs to a cron"),
    ],
)
def test_a_task_that_cannot_be_created_is_refused_and_nothing_is_written(words: dict[str, Any], message: str) -> None:
    driver = MemoryDriver(max_data_bytes=100)
    set_driver(driver)
    task(name="greet", execute=greet)
    with Simulation(driver.manager) as sim:
        with pytest.raises(UsageError, match=message):
            sim.run(create_task(**({"name": "greet"} | words)))
        assert len(sim.timeline) == 0
        assert sim.schedules() == []


def test_creating_a_run_of_what_is_not_defined_here_is_taken_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    driver = MemoryDriver()
    set_driver(driver)
    with Simulation(driver.manager, workers=0) as sim, caplog.at_level(logging.WARNING, "taskmanager"):
        identifier = sim.run(create_task(name="elsewhere"))
        assert sim.job(identifier) is not None
    assert "no task 'elsewhere' is defined here" in caplog.text


@pytest.mark.parametrize("wrong", [None, 7, b"task"])
async def test_an_identifier_is_a_text(wrong: Any) -> None:
    set_driver(MemoryDriver())
    with pytest.raises(UsageError, match="identifier must be the text that create_task answered"):
        await delete_task(wrong)


def test_the_driver_that_needs_an_extra_is_named_and_imported_only_by_who_asks() -> None:
    assert "BullMQDriver" not in taskmanager.tasks.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = taskmanager.tasks.Nothing


def _handlers(driver: ManagerDriver) -> list[tuple[str, str]]:
    from taskmanager.manager import app_of

    return [(one.queue, one.event) for one in app_of(driver.manager).registry]


def test_every_public_name_says_what_it_means() -> None:
    told_elsewhere = {"TaskRunner"}  # a type made of others, which can carry no text
    for name in set(taskmanager.tasks.__all__) - told_elsewhere:
        told = getattr(taskmanager.tasks, name).__doc__ or ""
        assert told.strip(), name
        assert not told.startswith(f"{name}("), name
