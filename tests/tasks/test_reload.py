"""Hot reload: files are saved while their tasks are served, in all the ways in which editors save."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskmanager.errors import UsageError
from taskmanager.manager import app_of
from taskmanager.tasks import ManagerDriver, MemoryDriver, create_task, forget_tasks, load_tasks, set_driver, watching
from taskmanager.tasks import reload as reloading
from taskmanager.tasks.board import boards
from taskmanager.tasks.discovery import Folder
from tests.tasks.worlds import Files, until

DAILY = "task(name={0!r}, schedule={1!r}, execute=lambda ctx: {2!r})"


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "taskmanager")
    return caplog


@asynccontextmanager
async def served(*folders: str, **options: Any) -> AsyncIterator[MemoryDriver]:
    """A driver with its folders loaded, started and watched."""
    driver = MemoryDriver(**options)
    set_driver(driver)
    for folder in folders or ("app/tasks",):
        load_tasks(folder)
    async with driver, watching(driver):
        yield driver


async def returned(driver: ManagerDriver, name: str) -> Any:
    """What a run of the task returns."""
    return await driver.manager.emit_and_wait(name, timeout=20)


async def until_it_returns(driver: ManagerDriver, name: str, value: object) -> None:
    async with asyncio.timeout(20):
        while await returned(driver, name) != value:
            pass


async def until_scheduled(driver: ManagerDriver, **patterns: str) -> None:
    """The store has these schedules and no others."""
    async with asyncio.timeout(20):
        while {one.name: one.pattern for one in await driver.manager.schedules()} != patterns:  # noqa: ASYNC110 - a store tells nobody
            await asyncio.sleep(0.002)


def defined() -> list[str]:
    return sorted(boards()[-1].tasks)


# ---- what a save does


async def test_a_saved_file_replaces_its_tasks_and_their_schedules(files: Files) -> None:
    files.write("a.py", DAILY.format("first", "0 1 * * *", "old"))
    async with served() as driver:
        await until_scheduled(driver, first="0 1 * * *")
        files.write("a.py", DAILY.format("first", "0 2 * * *", "new"))
        await until_scheduled(driver, first="0 2 * * *")
        assert await returned(driver, "first") == "new"


async def test_what_is_removed_or_renamed_leaves_no_schedule_and_what_is_new_has_one(files: Files) -> None:
    files.write("a.py", DAILY.format("first", "0 1 * * *", "a"))
    async with served() as driver:
        files.write("b.py", DAILY.format("second", "0 2 * * *", "b"))
        await until_scheduled(driver, first="0 1 * * *", second="0 2 * * *")
        files.write("a.py", DAILY.format("renamed", "0 1 * * *", "a"))
        await until_scheduled(driver, renamed="0 1 * * *", second="0 2 * * *")
        (files.folder / "b.py").rename(files.folder / "c.py")
        await until(lambda: boards()[-1].tasks["second"].execute.__module__.endswith(".c"))
        await until_scheduled(driver, renamed="0 1 * * *", second="0 2 * * *")
        files.remove("a.py")
        await until_scheduled(driver, second="0 2 * * *")
        files.remove("c.py")
        await until_scheduled(driver)


async def test_a_run_under_way_ends_on_the_old_code(files: Files) -> None:
    def lines(version: str) -> tuple[str, ...]:
        wait = f"    ctx.began.set(); await ctx.ends.wait(); return {version!r}"
        return ("async def execute(ctx):", wait, "task(name='slow', execute=execute)")

    began, ends = asyncio.Event(), asyncio.Event()
    files.write("a.py", *lines("old"))
    async with served(ctx={"began": began, "ends": ends}) as driver:
        old = await driver.manager.emit("slow", id="old")
        await began.wait()
        before = boards()[-1].tasks["slow"]
        files.write("a.py", *lines("new"))
        await until(lambda: boards()[-1].tasks["slow"] is not before)
        new = await driver.manager.emit("slow", id="new")
        ends.set()
        assert [await old.result(20), await new.result(20)] == ["old", "new"]


async def test_a_broken_save_keeps_the_old_version_and_says_where_it_broke(
    files: Files, told: pytest.LogCaptureFixture
) -> None:
    files.write("a.py", DAILY.format("first", "0 1 * * *", "old"))
    async with served() as driver:
        for broken in ("task(name='first' execute=print)", "task(name='half', execute=print); nowhere"):
            told.clear()
            files.write("a.py", "", broken)
            await until(lambda: f"{files.folder / 'a.py'}:3: " in told.text)
            assert "; the version that was loaded before stays" in told.text
            assert defined() == ["first"]
            assert await returned(driver, "first") == "old"
            await until_scheduled(driver, first="0 1 * * *")
        files.write("a.py", DAILY.format("first", "0 1 * * *", "new"))
        await until_it_returns(driver, "first", "new")


async def test_a_saved_helper_reloads_who_uses_it(files: Files) -> None:
    files.write("_rates.py", "EUR = 7")
    files.write("a.py", "from . import _rates", "task(name='first', execute=lambda ctx: _rates.EUR)")
    async with served() as driver:
        assert await returned(driver, "first") == 7
        files.write("_rates.py", "EUR = 8")
        await until_it_returns(driver, "first", 8)


async def test_a_task_that_moves_to_another_folder_is_served_all_the_while(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path, "app/a_other")
    files.write("a.py", DAILY.format("first", "0 1 * * *", "here"))
    async with served("app/a_other", "app/tasks") as driver:
        os.replace(files.folder / "a.py", other.folder / "a.py")
        await until(lambda: boards()[-1].tasks["first"].origin == "tasks:app/a_other")
        assert await returned(driver, "first") == "here"
        await until_scheduled(driver, first="0 1 * * *")


async def test_a_date_that_has_run_does_not_run_again_when_its_file_is_saved(files: Files) -> None:
    ran: list[str] = []
    soon = "from datetime import UTC, datetime, timedelta\nsoon = datetime.now(UTC) + timedelta(seconds=1)"
    files.write("_soon.py", soon)
    lines = "from ._soon import soon", "task(name='once', schedule=soon, execute=lambda ctx: ctx.ran.append({0!r}))"
    async with served(ctx={"ran": ran}) as driver:
        files.write("a.py", lines[0], lines[1].format("old"), "task(name='version', execute=lambda ctx: 1)")
        await until(lambda: ran)
        files.write("a.py", lines[0], lines[1].format("new"), "task(name='version', execute=lambda ctx: 2)")
        await until_it_returns(driver, "version", 2)
        await driver.manager.drain(20)
        assert ran == ["old"]


# ---- how editors save


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def by_a_move(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def with_a_backup(path: Path, text: str) -> None:
    """As vim does: a probe, the old file moved aside, the new one written, the backup gone."""
    path.with_name("4913").touch()
    path.with_name("4913").unlink()
    backup = path.with_name(f"{path.name}~")
    os.rename(path, backup)
    path.write_text(text)
    backup.unlink()


def by_a_second_python_file(path: Path, text: str) -> None:
    temporary = path.with_name("tmp0a1b.py")
    temporary.write_text(text)
    os.replace(temporary, path)


def many_times(path: Path, text: str) -> None:
    for end in range(0, len(text) + 1, 7):
        path.write_text(text[:end])
        path.touch()
    path.write_text(text)


@pytest.mark.parametrize("save", [in_place, by_a_move, with_a_backup, by_a_second_python_file, many_times])
async def test_a_save_in_steps_is_one_save(
    save: Callable[[Path, str], None], files: Files, told: pytest.LogCaptureFixture
) -> None:
    files.write("a.py", DAILY.format("first", "0 1 * * *", "old"))
    async with served() as driver:
        save(files.folder / "a.py", (files.folder / "a.py").read_text().replace("old", "new"))
        await until_it_returns(driver, "first", "new")
        assert [one for one in told.messages if one.startswith("reloaded")] == ["reloaded app/tasks: first changed"]
    assert not [one for one in told.records if one.levelno > logging.INFO]


async def test_a_file_that_is_emptied_and_written_later_loses_nothing(
    files: Files, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes | None] = []
    read = Folder.read

    def reading(folder: Folder) -> Any:
        texts = read(folder)
        seen.append(texts.get(files.folder / "a.py"))
        return texts

    monkeypatch.setattr(Folder, "read", reading)
    files.write("a.py", DAILY.format("first", "0 1 * * *", "old"))
    async with served() as driver:
        for number in range(3):
            with (files.folder / "a.py").open("w") as file:
                for part in ("", "from taskmanager.tasks import task\ntask(name="):
                    file.write(part)
                    file.flush()
                    seen.clear()
                    await until(lambda: len(seen) >= 3)  # it has been looked at, and left as it was
                    assert defined() == ["first"]
                file.write(f"'first', schedule='0 1 * * *', execute=lambda ctx: {number})\n")
            await until_it_returns(driver, "first", number)
    assert not [one for one in told.records if one.levelno > logging.INFO]
    assert "gone and dropped" not in told.text


async def test_a_file_that_is_being_typed_and_saved_all_the_while_holds_up_no_other(files: Files) -> None:
    files.write("a.py", DAILY.format("first", "0 1 * * *", "old"))
    files.write("b.py", DAILY.format("second", "0 1 * * *", "old"))
    async with served() as driver:
        before = boards()[-1].tasks["first"]
        typed = itertools.count()

        def types() -> bool:
            files.write("b.py", f"task(name='second{next(typed)}'")
            return boards()[-1].tasks["first"] is not before

        files.write("a.py", DAILY.format("first", "0 1 * * *", "new"))
        await until(types)
        assert await returned(driver, "first") == "new"
        assert defined() == ["first", "second"]


async def test_files_that_are_not_tasks_reload_nothing(files: Files, told: pytest.LogCaptureFixture) -> None:
    files.write("a.py", DAILY.format("first", "0 1 * * *", "old"))
    async with served():
        (files.folder / "__pycache__").mkdir()
        (files.folder / ".git").mkdir()
        for name in ("a.py~", ".a.py.swp", "#a.py#", ".a.py", "__pycache__/a.py", ".git/a.py", "a.pyc", "notes.txt"):
            (files.folder / name).write_text("raise LookupError")
        os.symlink("me@host.1234", files.folder / ".#a.py")
        os.utime(files.folder / "a.py")
        files.define("b.py", "second")
        await until(lambda: defined() == ["first", "second"])
        assert [one for one in told.messages if "changed," in one] == [
            "tasks: 1 in app/tasks, 1 changed, 0 gone",
            "tasks: 2 in app/tasks, 1 changed, 0 gone",
        ]


# ---- folders come and go


async def test_a_folder_that_comes_goes_and_comes_again_is_followed(files: Files) -> None:
    shutil.rmtree(files.folder)
    async with served() as driver:
        for number in range(2):
            files.folder.mkdir()
            files.write("a.py", DAILY.format("first", "0 1 * * *", number))
            await until_scheduled(driver, first="0 1 * * *")
            assert await returned(driver, "first") == number
            os.rename(files.folder, f"away-{number}")
            await until_scheduled(driver)


async def test_a_folder_that_is_loaded_later_is_watched_too(files: Files, tmp_path: Path) -> None:
    files.define("a.py", "first")
    later = Files(tmp_path, "later")
    async with served():
        load_tasks("later")
        for name in ("second", "third"):
            later.define("a.py", name)
            await until(lambda name=name: defined() == ["first", name])  # type: ignore[misc]  # it takes none


async def test_where_the_system_cannot_ring_the_files_are_read_now_and_then(
    files: Files, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_watches(*paths: object, **options: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", out_of_watches)
    monkeypatch.setattr(reloading, "LOOK_S", 0.01)
    files.define("a.py", "first")
    async with served():
        await until(lambda: "saved files do not ring" in told.text)
        files.define("b.py", "second")
        await until(lambda: defined() == ["first", "second"])


# ---- where several serve


async def test_a_job_of_a_task_that_was_saved_and_is_not_loaded_yet_does_not_fail(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(*paths: object, **options: object) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield None

    monkeypatch.setattr("watchfiles.awatch", silent)
    files.define("a.py", "first")
    files.define("b.py", "second")
    async with served() as driver:
        await until_it_returns(driver, "first", "a.py")
        (files.folder / "b.py").write_text("")  # half saved, and it stays that way
        files.define("c.py", "third")
        identifier = await create_task(name="third")  # as another process does, which has loaded it
        await driver.manager.drain(20)
        job = await driver.manager.get_job(identifier)
        assert job is not None
        assert (job.state, job.result) == ("completed", "c.py")
        assert defined() == ["first", "second", "third"]
        gone = await create_task(name="gone")
        await driver.manager.drain(20)
        job = await driver.manager.get_job(gone)
        assert job is not None
        assert job.state == "failed"


def test_only_the_folders_of_who_is_served_are_watched() -> None:
    first, second = MemoryDriver(), MemoryDriver()
    set_driver(first)
    load_tasks("app/tasks")
    set_driver(second)
    load_tasks("other")
    places = {None: {"tasks", "other"}, first: {"tasks"}, first.manager: {"tasks"}, second: {"other"}}
    for served, names in places.items():
        assert {folder.place.name for folder in watching(served).folders()} == names


# ---- what is told


def test_where_no_folder_was_loaded_it_says_what_it_watches() -> None:
    driver = MemoryDriver()
    with pytest.raises(UsageError, match=r"watches the folders that load_tasks has loaded, and none has been"):
        watching()
    set_driver(driver)
    load_tasks()
    with pytest.raises(UsageError, match="none has been"):
        watching(MemoryDriver())
    forget_tasks()
    with pytest.raises(UsageError, match="none has been"):
        watching(driver)


def test_without_watchfiles_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(UsageError, match=r"pip install 'taskmanager\[reload\]'"):
        watching()


async def test_a_changed_application_is_told_to_need_a_restart(files: Files, told: pytest.LogCaptureFixture) -> None:
    app = files.folder / "_app.py"
    files.write("_app.py", "old = True")
    driver = MemoryDriver()
    set_driver(driver)
    load_tasks()
    async with driver, watching(driver, app=app):
        files.write("_app.py", "new = True")
        await until(lambda: "_app.py was changed: that takes a restart" in told.text)
        told.clear()
        files.remove("_app.py")
        await until(lambda: "_app.py was changed: that takes a restart" in told.text)


async def test_a_slow_import_is_told(
    files: Files, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reloading, "SLOW_S", 0.0)
    async with served():
        files.define("a.py", "first")
        await until(lambda: "in which nothing else ran" in told.text)


async def test_afterwards_nothing_is_watched_and_nothing_is_left_behind(files: Files) -> None:
    async with served() as driver:
        files.define("a.py", "first")
        await until(lambda: defined() == ["first"])
        assert app_of(driver.manager).registry.seekers
    assert app_of(driver.manager).registry.seekers == []
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}  # type: ignore[union-attr]  # it runs


async def test_a_fault_in_a_load_ends_nothing(
    files: Files, told: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, faults = Folder.load, [LookupError("no luck")]

    def loading(folder: Folder, texts: Any = None) -> Any:
        if texts is not None and faults:
            raise faults.pop()
        return load(folder, texts)

    monkeypatch.setattr(Folder, "load", loading)
    async with served():
        files.define("a.py", "first")
        await until(lambda: defined() == ["first"])
        assert "LookupError: no luck" in told.text


async def test_a_folder_that_is_a_link_is_followed_where_it_points_now(tmp_path: Path) -> None:
    for release, value in (("v1", "old"), ("v2", "new")):
        (tmp_path / release).mkdir()
        text = "from taskmanager.tasks import task\n" + DAILY.format(f"of-{release}", "@daily", value)
        (tmp_path / release / "a.py").write_text(text)
    link, fresh = tmp_path / "tasks", tmp_path / "fresh"
    link.symlink_to("v1")
    async with served(str(link)) as driver:
        await until_scheduled(driver, **{"of-v1": "@daily"})
        fresh.symlink_to("v2")
        fresh.replace(link)
        await until_scheduled(driver, **{"of-v2": "@daily"})
        assert await returned(driver, "of-v2") == "new"
