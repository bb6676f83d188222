"""The README is run: its snippets, its commands, what it shows of their output, and its diagram."""

from __future__ import annotations

import re
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from simulation import Simulation
from simulation.diagram import lifecycle_mermaid
from simulation.pages import render
from taskmanager.target import load_application
from tests.house.source import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = (
    "python3 -m venv .venv && .venv/bin/pip install -e . && "
    ".venv/bin/taskmanager simulate notebooks/shop.py:tm --days 30",
    ".venv/bin/pip install -e '.[dev]' && .venv/bin/pytest",
)
"""What somebody types on a fresh machine: one command for the main job, one for the tests."""


def blocks(language: str) -> list[tuple[int, str]]:
    """The fenced blocks of a language: the line each begins at, and its text."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [(README.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    fences = re.findall(r"^```(.*)$", README, re.MULTILINE)
    assert set(fences[::2]) == {"bash", "python", "text", "mermaid"}
    assert set(fences[1::2]) == {""}


def test_the_snippets_run_from_top_to_bottom(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)  # where dataclasses look for their own
    snippets = [(line, text) for line, text in blocks("python") if "def test_" not in text]
    assert len(snippets) >= 8
    for line, text in snippets:
        # Padded, so that a traceback names the line of the README.
        exec(compile("\n" * (line - 1) + text, str(ROOT / "README.md"), "exec", dont_inherit=True), vars(module))
    assert "failed: transfer:" in capsys.readouterr().out


def test_the_snippets_that_are_tests_pass(pytester: pytest.Pytester) -> None:
    tests = [text for _, text in blocks("python") if "def test_" in text]
    assert tests
    pytester.makepyfile("\n".join(tests))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_the_shell_commands_are_the_two_that_the_pipeline_runs_as_they_stand() -> None:
    lines = [line for _, text in blocks("bash") for line in text.splitlines()]
    assert tuple(lines) == COMMANDS
    pipeline = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in pipeline
    assert [pipeline.count(f'timed "${{readme[{n}]}}"') for n in (0, 1, 2)] == [1, 1, 0]


def test_what_is_shown_of_the_first_command_is_what_it_prints() -> None:
    shown = blocks("text")[0][1]
    with Simulation(load_application(f"{ROOT}/notebooks/shop.py:tm")) as sim:
        sim.advance(days=30)
        paper = StringIO()
        render(sim.timeline, Console(file=paper, width=1000), digest=True)
    printed = iter(paper.getvalue().splitlines())
    for line in shown.splitlines():
        assert line in printed, line  # in this order


def test_the_diagram_is_the_table_of_moves() -> None:
    assert [text for _, text in blocks("mermaid")] == [lifecycle_mermaid()]
