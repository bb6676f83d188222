"""Loading again: which files run anew because of what they import, and what stays as it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from taskmanager.tasks import ManagerDriver, load_tasks
from tests.tasks.worlds import Files, driver_in_force, world


@pytest.fixture(autouse=True)
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How often each file that says so has run."""
    counts: dict[str, int] = {}
    monkeypatch.setattr(sys, "counts", counts, raising=False)
    return counts


COUNTED = "import sys; sys.counts[__name__.rpartition('.')[2]] = sys.counts.get(__name__.rpartition('.')[2], 0) + 1"


def returned(driver: ManagerDriver, name: str) -> object:
    """What a run of the task returns, or why it failed."""
    with world(driver) as sim:
        job = sim.emit(name)
        sim.run_until_idle()
        found = sim.job(job)
        assert found is not None
        return found.result if found.error is None else found.error.message


@pytest.mark.parametrize(
    "words", ["from ._rates import EUR", "from . import _rates; EUR = _rates.EUR", "from ._rates.deep import EUR"]
)
def test_a_changed_helper_is_seen_however_it_is_imported_and_wherever_it_is(words: str, files: Files) -> None:
    driver = driver_in_force()
    (files.folder / "_rates").mkdir()
    files.write("_rates/__init__.py", "from .deep import EUR")
    files.write("a.py", words, "task(name='first', execute=lambda ctx: EUR)")
    for euros in (7, 8, 9):  # within one second, and of one length
        files.write("_rates/deep.py", f"EUR = {euros}")
        assert load_tasks().changed == ("first",)
        assert returned(driver, "first") == euros
    assert list(files.folder.rglob("*.pyc")) == []


def test_a_helper_that_did_not_change_keeps_what_it_holds(files: Files, counts: dict[str, int]) -> None:
    driver = driver_in_force()
    files.write("_shared.py", COUNTED, "seen = []")
    body = "seen.append(ctx.task.name); return list(seen)"
    lines = ("from ._shared import seen", f"def execute(ctx): {body}")
    for name in ("a", "b"):
        files.write(f"{name}.py", *lines, f"task(name={name!r}, execute=execute)")
    load_tasks()
    assert returned(driver, "a") == ["a"]
    files.write("a.py", *lines, "task(name='a', execute=execute)", "changed = True")
    assert load_tasks().changed == ("a",)
    assert returned(driver, "b") == ["a", "b"]
    assert returned(driver, "a") == ["a", "b", "a"]
    assert counts == {"_shared": 1}


def test_a_helper_that_defines_tasks_runs_again_with_the_file_that_has_them(files: Files) -> None:
    driver_in_force()
    files.write("_made.py", "task(name='made', execute=print)")
    files.write("a.py", "from . import _made", "task(name='a', execute=print)")
    files.write("b.py", "from . import _made", "task(name='b', execute=print)")
    assert load_tasks().loaded == ("made", "a", "b")
    files.write("a.py", "from . import _made", "task(name='a2', execute=print)")
    report = load_tasks()
    assert (report.loaded, report.changed, report.dropped) == (("made", "a2", "b"), ("made", "a2"), ("a",))
    files.write("b.py", "from . import _made", "task(name='b2', execute=print)")
    report = load_tasks()
    assert (report.loaded, report.changed, report.refused) == (("made", "a2", "b2"), ("b2",), ())


def test_who_imports_a_changed_task_file_runs_again_and_nobody_else(files: Files, counts: dict[str, int]) -> None:
    driver = driver_in_force()
    files.write("a.with.dots.py", COUNTED, "EUR = 7", "task(name='a', execute=print)")
    files.write("b.py", COUNTED, "from .a_with_dots import EUR", "task(name='b', execute=lambda ctx: EUR)")
    files.write("c.py", COUNTED, "from . import b", "task(name='c', execute=lambda ctx: b.EUR)")
    files.write("d.py", COUNTED, "task(name='d', execute=print)")
    load_tasks()
    files.write("a.with.dots.py", COUNTED, "EUR = 8", "task(name='a', execute=print)")
    assert load_tasks().changed == ("a", "b", "c")
    assert (returned(driver, "b"), returned(driver, "c")) == (8, 8)
    assert counts == {"a_with_dots": 2, "b": 2, "c": 2, "d": 1}


def test_a_broken_helper_is_told_with_its_own_line_and_what_runs_still_finds_the_one_before_it(files: Files) -> None:
    driver = driver_in_force()
    late = ("def execute(ctx):", "    from ._rates import EUR", "    return EUR", "task(name='a', execute=execute)")
    files.write("_rates.py", "EUR = 7")
    files.write("a.py", "from . import _rates", *late)
    load_tasks()
    for broken, says in (("EUR = = 8", "SyntaxError: "), ("EUR = 8 / 0", "ZeroDivisionError: ")):
        files.write("_rates.py", "", broken)
        [told] = load_tasks().broken
        assert str(told).startswith(f"{files.folder / 'a.py'}:2: {says}")
        assert told.reason.endswith(" (at _rates.py:3); the version that was loaded before stays")
        assert returned(driver, "a") == 7
    files.write("_rates.py", "EUR = 9")
    report = load_tasks()
    assert (report.changed, report.broken) == (("a",), ())
    assert returned(driver, "a") == 9


def test_hidden_files_and_folders_that_are_no_packages_are_nobodys(files: Files) -> None:
    driver_in_force()
    files.define("a.py", "first")
    files.define(".a.py", "hidden")
    for folder in (".cache", "__pycache__", "no-package"):
        (files.folder / folder).mkdir()
        files.write(f"{folder}/b.py", "raise LookupError")
    os.symlink("nowhere.py", files.folder / ".#a.py")
    os.symlink("nowhere.py", files.folder / "b.py")
    report = load_tasks()
    assert (report.loaded, report.ok) == (("first",), True)
    files.write("no-package/b.py", "raise KeyError")
    assert load_tasks().changed == ()


def test_a_file_that_was_saved_while_others_ran_is_not_known_in_full(files: Files) -> None:
    driver = driver_in_force()
    files.write("a.py", "task(name='a', schedule='@daily', execute=print)")
    files.write("b.py", "task(name='b', schedule='@daily', execute=print)")
    load_tasks()
    with world(driver) as sim:
        files.write("b.py", "from pathlib import Path", f"Path({str(files.folder / 'c.py')!r}).touch()")
        sim.run(_loaded())
        # Whoever has read c.py may have registered more than we know of, so nothing is dropped yet.
        assert [schedule.name for schedule in sim.schedules()] == ["a", "b"]
        sim.run(_loaded())
        assert [schedule.name for schedule in sim.schedules()] == ["a"]


async def _loaded() -> None:
    await load_tasks(Path("app/tasks"))
