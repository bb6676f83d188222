"""Loading a folder of task files: what is taken, what is reported, and what a second load changes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from taskmanager.errors import UsageError
from taskmanager.manager import app_of
from taskmanager.tasks import ManagerDriver, load_tasks, task
from tests.tasks.worlds import Files, driver_in_force, runs, world


def events(driver: ManagerDriver) -> list[str]:
    return sorted(one.event for one in app_of(driver.manager).registry)


def returned(driver: ManagerDriver, name: str) -> object:
    """What a run of the task returns."""
    with world(driver) as sim:
        job = sim.emit(name)
        sim.run_until_idle()
        found = sim.job(job)
        assert found is not None
        return found.result


# ---- what is taken


def test_files_directly_inside_are_loaded_in_sorted_order_and_private_ones_and_others_are_not(files: Files) -> None:
    driver = driver_in_force()
    files.define("b.py", "second", "third")
    files.define("a.py", "first")
    files.define("with-dash.and.dots.py", "fourth")
    files.define("_private.py", "private")
    files.define("__init__.py", "package")
    files.define("notes.txt", "text")
    (files.folder / "inner").mkdir()
    files.define("inner/deep.py", "deep")
    (files.folder / "folder.py").mkdir()
    report = load_tasks()
    assert report.loaded == report.changed == ("first", "second", "third", "fourth")
    assert (report.ok, report.refused, report.broken, report.dropped) == (True, (), (), ())
    assert events(driver) == ["first", "fourth", "second", "third"]


async def test_the_report_may_be_awaited(files: Files) -> None:
    driver_in_force()
    files.define("a.py", "first")
    report = load_tasks()
    assert await report is report
    assert (await load_tasks("app/tasks")).changed == ()


@pytest.mark.parametrize("folder", ["missing", "app/missing/too"])
def test_a_missing_folder_is_an_empty_one_and_a_file_is_none(folder: str, files: Files) -> None:
    driver_in_force()
    files.define("a.py", "first")
    assert load_tasks(folder).loaded == ()
    with pytest.raises(UsageError, match=r"folder must be a folder of task files, got the file 'app/tasks/a\.py'"):
        load_tasks("app/tasks/a.py")


def test_files_import_their_helpers_and_one_another_relatively_and_clobber_nobodys_modules(files: Files) -> None:
    driver = driver_in_force()
    files.write("_rates.py", "EUR = 7")
    (files.folder / "_more").mkdir()
    files.write("_more/__init__.py", "from .deep import GBP")
    files.write("_more/deep.py", "GBP = 8")
    files.write("json.py", "def execute(ctx): return ctx.task.name", "task(name='json', execute=execute)")
    files.write(
        "first.py",
        "import json",
        "from ._rates import EUR",
        "from ._more import GBP",
        "from .json import execute",
        "from . import json as sibling",
        "task(name='first', execute=lambda ctx: json.dumps([EUR, GBP, sibling.execute is execute]))",
    )
    report = load_tasks()
    assert report.loaded == ("first", "json")
    assert report.ok, report
    assert returned(driver, "first") == "[7, 8, true]"
    assert isinstance(sys.modules["json"], ModuleType)
    assert "execute" not in vars(sys.modules["json"])
    assert "_rates" not in sys.modules


def test_loading_leaves_no_files_of_its_own(files: Files) -> None:
    driver_in_force()
    files.define("a.py", "first")
    load_tasks()
    assert [path.name for path in files.folder.iterdir()] == ["a.py"]


# ---- what is reported


def test_a_broken_file_is_reported_with_its_line_and_the_rest_load(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    driver = driver_in_force()
    files.define("a.py", "first")
    files.write("broken.py", "task(name='half', execute=print)", "", "raise LookupError('no rates')")
    files.write("comma.py", "task(name='comma' execute=print)")
    files.write("exits.py", "import sys", "sys.exit(3)")
    files.write("imports.py", "import nowhere_to_be_found")
    files.write("panics.py", "class Panic(BaseException): ...", "raise Panic('from below')")
    files.write("sibling.py", "from a import x")
    files.write("words.py", "task(name='two words', execute=print)")
    files.define("z.py", "last")
    report = load_tasks()
    assert report.loaded == ("first", "last")
    assert events(driver) == ["first", "last"]  # what was half made has been taken back
    told = [str(one).removeprefix(f"{files.folder}/") for one in report.broken]
    assert told[0] == "broken.py:4: LookupError: no rates"
    assert told[1].startswith("comma.py:2: SyntaxError: ")
    assert told[2] == "exits.py:3: SystemExit: 3"
    assert told[3] == "imports.py:2: ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    assert told[4] == "panics.py:3: Panic: from below"
    assert told[5].startswith("sibling.py:2: ModuleNotFoundError: No module named 'a'; files of one folder")
    assert told[6].startswith("words.py:2: UsageError: event name must be")
    assert not report.ok
    assert caplog.text.count("Traceback") == 7


def test_a_second_task_of_a_name_is_refused_and_reported_and_the_first_wins(files: Files) -> None:
    driver = driver_in_force()
    task(name="mine", execute=lambda ctx: "mine")
    driver.manager.register_handler(lambda job: "handler", "theirs")
    files.define("a.py", "one", "one")
    files.define("b.py", "one", "two", "mine", "theirs")
    report = load_tasks()
    assert report.loaded == ("one", "two")
    assert [(Path(one.file).name, one.line, one.task) for one in report.refused] == [
        *(("a.py", 3, "one"), ("b.py", 2, "one")),
        *(("b.py", 4, "mine"), ("b.py", 5, "theirs")),
    ]
    assert [returned(driver, name) for name in ("one", "mine", "theirs")] == ["a.py", "mine", "handler"]


def test_a_definition_that_nobody_finished_is_reported(files: Files) -> None:
    driver_in_force()
    files.write("a.py", "task(name='open')", "@task(name='whole')", "def whole(ctx): ...")
    report = load_tasks()
    assert report.loaded == ("whole",)
    [refused] = report.refused
    assert (refused.line, refused.reason) == (2, "task(name='open') has no execute, and decorates no function")


def test_tasks_of_a_helper_are_those_of_the_file_that_imports_it(files: Files) -> None:
    driver_in_force()
    files.write("_made.py", "def make(name):", "    return task(name=name, execute=print)")
    files.write("a.py", "from ._made import make", "make('made')")
    files.define("b.py", "made")
    report = load_tasks()
    assert report.loaded == ("made",)
    assert [(Path(one.file).name, one.line) for one in report.refused] == [("b.py", 2)]


# ---- loading again


def test_nothing_changed_is_nothing_done(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "runs", 0, raising=False)
    driver = driver_in_force()
    files.write("a.py", "import sys", "sys.runs = getattr(sys, 'runs', 0) + 1", "task(name='first', execute=print)")
    load_tasks()
    again = load_tasks(Path("./app/../app/tasks"))
    assert (again.loaded, again.changed, again.dropped) == (("first",), (), ())
    assert vars(sys)["runs"] == 1
    assert events(driver) == ["first"]


def test_a_saved_file_replaces_its_tasks_at_once_and_those_of_others_stay(files: Files) -> None:
    driver = driver_in_force()
    for number in range(1, 4):  # within one second, and of one length: no cache may be asked
        files.write("a.py", f"task(name='first', execute=lambda ctx: {number})")
        files.define("b.py", "second")
        assert load_tasks().changed == (("first", "second") if number == 1 else ("first",))
        assert returned(driver, "first") == number


def test_a_task_that_is_replaced_has_a_handler_at_every_moment(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = driver_in_force()
    registry = app_of(driver.manager).registry
    found: list[bool] = []
    removed: list[str] = []

    def look(_: object) -> None:
        found.append(registry.find("default", "first") is not None)

    monkeypatch.setattr(sys, "look", look, raising=False)
    monkeypatch.setattr(registry, "remove", lambda queue, event: removed.append(event))
    registry.listen(look)
    for number, name in enumerate(("a.py", "a.py", "b.py")):  # saved, saved again, and moved
        for path in files.folder.iterdir():
            path.unlink()
        files.write(name, "import sys", "sys.look(0)", "task(name='first', execute=print)", f"sys.look({number})")
        load_tasks()
    assert found == [False, False, True, True, True, True, True, True, True]
    assert removed == []


def test_a_renamed_task_and_a_renamed_or_removed_file_leave_nothing(files: Files) -> None:
    driver = driver_in_force()
    files.define("a.py", "first")
    files.define("b.py", "second")
    load_tasks()
    files.define("a.py", "renamed")
    assert load_tasks().dropped == ("first",)
    (files.folder / "b.py").rename(files.folder / "c.py")
    report = load_tasks()
    assert (report.loaded, report.dropped) == (("renamed", "second"), ())
    assert returned(driver, "second") == "b.py"
    files.remove("a.py")
    files.remove("c.py")
    assert load_tasks().dropped == ("renamed", "second")
    assert events(driver) == []


def test_a_changed_helper_runs_the_files_anew(files: Files) -> None:
    driver = driver_in_force()
    files.write("_rates.py", "EUR = 7")
    files.write("a.py", "from ._rates import EUR", "task(name='first', execute=lambda ctx: EUR)")
    load_tasks()
    files.write("_rates.py", "EUR = 9")
    assert load_tasks().changed == ("first",)
    assert returned(driver, "first") == 9


def test_a_broken_save_keeps_the_version_before_it_and_is_reported_until_it_is_mended(files: Files) -> None:
    driver = driver_in_force()
    files.write("a.py", "task(name='first', execute=lambda ctx: 'old')")
    load_tasks()
    files.write("a.py", "task(name='first', execute=lambda ctx: 'new')", "raise LookupError")
    for _ in range(2):
        report = load_tasks()
        [broken] = report.broken
        assert broken.reason.endswith("; the version that was loaded before stays")
        assert (report.loaded, report.changed, report.dropped) == (("first",), (), ())
        assert returned(driver, "first") == "old"
    files.write("a.py", "task(name='first', execute=lambda ctx: 'new')")
    assert load_tasks().changed == ("first",)
    assert returned(driver, "first") == "new"


def test_a_refused_task_takes_its_turn_when_the_first_is_gone(files: Files) -> None:
    driver = driver_in_force()
    files.define("a.py", "one")
    files.define("b.py", "one")
    assert len(load_tasks().refused) == 1
    files.remove("a.py")
    report = load_tasks()
    assert (report.loaded, report.changed, report.refused) == (("one",), ("one",), ())
    assert returned(driver, "one") == "b.py"


def test_a_run_under_way_ends_on_the_old_code_and_the_next_is_of_the_new(files: Files) -> None:
    driver = driver_in_force()
    lines = ("import asyncio", "async def execute(ctx):", "    await asyncio.sleep(60)")
    files.write("a.py", *lines, "    return 'old'", "task(name='slow', execute=execute)")
    load_tasks()
    with world(driver) as sim:
        old = sim.emit("slow", id="old")
        sim.advance(30)
        files.write("a.py", *lines, "    return 'new'", "task(name='slow', execute=execute)")
        assert load_tasks().changed == ("slow",)
        new = sim.emit("slow", id="new")
        sim.run_until_idle()
        assert [job.result for job in (sim.job(old), sim.job(new)) if job] == ["old", "new"]
        files.remove("a.py")
        load_tasks()
        gone = sim.emit("slow", id="gone")
        sim.run_until_idle()
        job = sim.job(gone)
        assert job is not None
        assert job.state == "failed"
        assert len(runs(sim, "slow")) == 2


def test_a_file_that_cannot_be_read_is_broken_and_keeps_what_it_was(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver_in_force()
    files.define("a.py", "first")
    files.define("b.py", "second")
    load_tasks()
    read = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name == "a.py":
            raise PermissionError(13, "Permission denied")
        if path.name == "b.py":
            raise FileNotFoundError(2, "it has just gone")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    (files.folder / "a.py").write_bytes(b"\x00")  # nor can it be compiled
    report = load_tasks()
    assert (report.loaded, report.dropped, len(report.broken)) == (("first",), ("second",), 1)
