"""The `taskmanager` command, as somebody at a shell meets it: what it prints where, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from simulation.command import DIGEST_FROM
from taskmanager.cli import application

APP = """
import asyncio, random
from taskmanager import TaskManager

tm = TaskManager()
not_an_app = 7

@tm.handler("tick", repeat="*/10 * * * *")
async def tick(job, ctx):
    if random.random() < 0.1:
        raise RuntimeError("now and then")
    await asyncio.sleep(random.random())

@tm.handler("report", repeat="0 6 * * *")
async def report(job):
    return {"fine": True}

def build():
    made = TaskManager()
    made.register_handler(report, "report", repeat="0 6 * * *")
    return made
"""


class Shell:
    """A folder to stand in, and what a command said there."""

    class Said(NamedTuple):
        code: object
        out: str
        err: str

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [*sys.path])
        monkeypatch.delenv("COLUMNS", raising=False)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words: str) -> Said:
        with pytest.raises(SystemExit) as ended:
            application()(list(words))
        return self.Said(ended.value.code or 0, *self._capsys.readouterr())

    def simulate(self, *words: str) -> Said:
        return self.run("simulate", *words)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    found = Shell(tmp_path, monkeypatch, capsys)
    found.write("app.py", APP)
    yield found
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


# ---- what is shown


def test_a_day_passes_where_nothing_else_is_asked_and_a_summary_ends_it(shell: Shell) -> None:
    said = shell.simulate("app.py:tm", "--only", "report")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "Sunday 1 March 2026"
    assert any(line.startswith("  06:00:00.000  ✓ completed report@2026-03-01T06:00:00Z") for line in lines)
    heading, row = lines[-2:]
    assert heading.split()[:3] == ["event", "emitted", "runs"]
    assert row.split()[:3] == ["report", "1", "1"]


def test_a_long_timeline_is_a_digest_and_all_of_it_comes_with_all(shell: Shell) -> None:
    digest, whole = shell.simulate("app.py:tm", "--days", "3"), shell.simulate("app.py:tm", "--days", "3", "--all")
    steps = sum("T" in line and "@" in line for line in whole.out.splitlines())
    assert steps > DIGEST_FROM
    assert f"A digest of {steps:,} steps" in digest.out
    assert "as usual" in digest.out
    assert "as usual" not in whole.out
    assert len(digest.out) < len(whole.out) / 2


def test_a_digest_leaves_out_no_trouble(shell: Shell) -> None:
    digest, whole = shell.simulate("app.py:tm", "--days", "3"), shell.simulate("app.py:tm", "--days", "3", "--all")
    troubles = [line for line in whole.out.splitlines() if "✗" in line]
    assert troubles
    assert [line for line in digest.out.splitlines() if "✗" in line] == troubles


def test_a_limit_shows_head_and_tail_and_quiet_only_the_summary(shell: Shell) -> None:
    short = shell.simulate("app.py:tm", "--all", "--limit", "4")
    assert "more …" in short.out
    assert sum("@" in line for line in short.out.splitlines()) == 4
    quiet = shell.simulate("app.py:tm", "--quiet")
    assert quiet.out.splitlines()[0].startswith("event")
    assert "@" not in quiet.out


def test_a_narrow_terminal_gets_lines_that_fit_and_the_summary_in_two_tables(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = shell.simulate("app.py:tm", "--only", "report", "--only", "tick")
    assert max(map(len, said.out.splitlines())) <= 60
    assert sum(line.startswith("event") for line in said.out.splitlines()) == 2
    assert "(median)" in said.out
    assert "…" not in said.out.split("event")[1]


def test_an_error_too_long_for_its_line_goes_on_below_it_whole_and_indented(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shell.write("wordy.py", APP.replace('"now and then"', '"said " * 40').replace("< 0.1", "< 2"))
    said = shell.simulate("wordy.py:tm", "--hours", "0.2", "--only", "tick")
    pages = said.out.split("\nevent")[0].splitlines()
    assert max(map(len, pages)) <= 80
    below = [line for line in pages if "said" in line]
    assert sum(line.count("said") for line in below) == 40
    assert {line[:19].strip() for line in below[1:]} <= {"s"}
    assert all(line.startswith(" " * 18) for line in below)


def test_nothing_is_cut_and_nothing_coloured_where_the_output_is_no_terminal(shell: Shell) -> None:
    shell.write("loud.py", APP.replace('"now and then"', '"loud " * 60').replace("< 0.1", "< 2"))
    said = shell.simulate("loud.py:tm", "--hours", "1")
    assert "\x1b" not in said.out
    assert any(line.count("loud") == 60 for line in said.out.splitlines())


def test_json_prints_the_timeline_as_json_lines_and_nothing_else(shell: Shell) -> None:
    shell.write("chatty.py", APP.replace("    if random", "    print('a handler may print')\n    if random"))
    said = shell.simulate("chatty.py:tm", "--hours", "2", "--json")
    steps = [json.loads(line) for line in said.out.splitlines()]
    assert steps[0] == {
        "at": "2026-03-01T00:10:00.000Z",
        "kind": "scheduled",
        "queue": "default",
        "event": "tick",
        "job_id": "tick@2026-03-01T00:10:00Z",
    }
    assert {step["kind"] for step in steps} >= {"scheduled", "started", "completed"}
    assert "a handler may print" in said.err


def test_the_same_seed_prints_the_same_and_another_seed_something_else(shell: Shell) -> None:
    first, again, other = (
        shell.simulate("app.py:tm", "--json", "--seed", seed, "--workers", "2").out for seed in ("1", "1", "yes")
    )
    assert first == again
    assert first != other


def test_a_world_without_workers_says_so_on_stderr_and_is_empty(shell: Shell) -> None:
    said = shell.simulate("app.py:tm", "--workers", "0", "--json")
    assert (said.code, said.out) == (0, "")
    assert "no worker runs (--workers 0)" in said.err
    assert "no worker runs" not in shell.simulate("app.py:tm", "--hours", "1").err


def test_start_is_utc_unless_it_has_an_offset(shell: Shell) -> None:
    for start in ("2026-03-29", "2026-03-29T00:00", "2026-03-29T02:00+02:00"):
        said = shell.simulate("app.py:tm", "--start", start, "--days", "0.3", "--only", "report", "--json")
        assert json.loads(said.out.splitlines()[0])["job_id"] == "report@2026-03-29T06:00:00Z", start


def test_only_an_event_that_did_nothing_is_said_on_stderr(shell: Shell) -> None:
    said = shell.simulate("app.py:tm", "--only", "rapport")
    assert said.code == 0
    assert "Nothing has happened." in said.out
    assert said.err.splitlines()[0] == "nothing happened to 'rapport'; events seen: 'report', 'tick'"


# ---- which application


def test_an_application_may_be_a_function_that_builds_it(shell: Shell) -> None:
    assert "report" in shell.simulate("app.py:build", "--days", "1").out


def test_an_application_may_be_named_by_module_and_find_its_neighbours(shell: Shell) -> None:
    shell.write("pack/__init__.py", "")
    shell.write("pack/words.py", "EVENT = 'greet'")
    shell.write(
        "pack/jobs.py",
        "from taskmanager import TaskManager\nfrom pack.words import EVENT\n"
        "class home:\n    tm = TaskManager()\n"
        "@home.tm.handler(EVENT, repeat='0 * * * *')\nasync def greet(job): ...\n",
    )
    assert "greet" in shell.simulate("pack.jobs:home.tm", "--days", "1").out


def test_a_file_finds_its_neighbours(shell: Shell) -> None:
    shell.write("deep/near.py", "EVENT = 'near'")
    shell.write(
        "deep/jobs2.py",
        APP.replace('"report"', "EVENT").replace("import asyncio", "from near import EVENT\nimport asyncio"),
    )
    assert "near@" in shell.simulate("deep/jobs2.py:tm").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope.py:tm"], "there is no file 'nope.py'"),
        (["nope:tm"], "there is no module 'nope'"),
        (["json.nope:tm"], "there is no module 'json.nope'"),
        (["app.py"], "APP must be path/to/file.py:name or package.module:name, got 'app.py'"),
        (["app.py:"], "APP must be"),
        (["app.py:other"], "app.py has no 'other'; it has the TaskManager 'tm'"),
        (["json:tm"], "json has no 'tm'; it has no TaskManager by any name"),
        (["app.py:not_an_app"], "must be a TaskManager or a function that builds one, got a int"),
        (["app.py:asyncio.Lock"], "must return a TaskManager"),
        (["app.py:asyncio.sleep"], "must build a TaskManager when called without arguments; it has missing a required"),
        (["app.py:asyncio.to_thread"], "must build a TaskManager when called without arguments"),
        (["app.py:tm", "--start", "tomorrow"], "--start must be a date or a time such as"),
        (["app.py:tm", "--days", "-1"], "--days must be a number of at least 0, got -1.0"),
        (["app.py:tm", "--hours", "nan"], "--hours must be a number of at least 0, got nan"),
        (["app.py:tm", "--days", "1e9"], "must end before the year 10000"),
        (["app.py:tm", "--workers", "-1"], "workers must be an integer from 0"),
        (["app.py:tm", "--engine", "tape://"], "engine must be one of memory://"),
        (["app.py:tm", "--engine", "redis://127.0.0.1:1/0"], "error: redis://127.0.0.1:1/0: Error"),
    ],
)  # fmt: skip
def test_a_fault_in_the_asking_is_one_line_on_stderr_and_exit_code_2(
    shell: Shell, words: list[str], message: str
) -> None:
    said = shell.simulate(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    assert message in said.err


# ---- when it goes wrong inside


def test_a_usage_error_of_the_application_names_its_line(shell: Shell) -> None:
    shell.write(
        "wrong.py", "from taskmanager import TaskManager\ntm = TaskManager()\ntm.register_handler(print, 'a b')\n"
    )
    said = shell.simulate("wrong.py:tm")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: wrong.py:3: event name must be")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("command", ["simulate", "run"])
@pytest.mark.parametrize("name", ["broken.py:tm", "broken:tm"])
def test_what_the_application_raises_itself_is_told_from_its_own_line_on(shell: Shell, command: str, name: str) -> None:
    shell.write("broken.py", "import a_module_that_is_not_there\n")
    said = shell.run(command, name)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines() == [
        "Traceback (most recent call last):",
        f'  File "{shell.folder / "broken.py"}", line 1, in <module>',
        "    import a_module_that_is_not_there",
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
    ]


def test_an_application_that_is_no_python_is_told_so(shell: Shell) -> None:
    shell.write("broken.py", "tm = (\n")
    said = shell.simulate("broken.py:tm")
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1] == "SyntaxError: '(' was never closed"
    assert "target.py" not in said.err


def test_a_world_that_gets_stuck_is_shown_as_far_as_it_went_and_ends_with_1(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulation.wire.ONE_INSTANT_STEPS", 1000)
    shell.write(
        "spin.py",
        "from taskmanager import TaskManager, new_id\ntm = TaskManager()\n"
        "@tm.handler('again', repeat='* * * * *')\n"
        "async def again(job, ctx):\n    await ctx.emit('again', id=new_id())\n",
    )
    said = shell.simulate("spin.py:tm", "--quiet")
    assert said.code == 1
    assert said.out.splitlines()[-1].startswith("again")
    assert "emit itself again without a delay" in said.err
    assert [line for line in said.err.splitlines() if line.startswith("error: ")] == [said.err.splitlines()[-1]]


# ---- the command itself


def test_help_names_every_option_and_how_to_begin(shell: Shell) -> None:
    assert "simulate" in shell.run("--help").out
    text = shell.run("simulate", "--help").out
    for word in ("APP", "--days", "--hours", "--start", "--seed", "--workers", "--engine", "--only", "--all", "--limit",
                 "--quiet", "--json", "path/to/file.py:name", "Exit codes", "shop.py:tm --days 30"):  # fmt: skip
        assert word in text, word


def test_version_is_the_installed_one(shell: Shell) -> None:
    said = shell.run("--version")
    assert (said.code, said.out.count(".")) == (0, 2)


def test_a_reader_who_has_had_enough_ends_it_without_complaint(shell: Shell) -> None:
    """`taskmanager simulate ... | head -1`, as the installed script."""
    code = "import sys; from taskmanager.cli import main; sys.argv[0] = 'taskmanager'; main()"
    words = [sys.executable, "-c", code, "simulate", "app.py:tm", "--days", "20", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=shell.folder) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith(b'{"at"')
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0
