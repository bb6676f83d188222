"""The house rules that a machine can hold: clocks, words, sizes, the public face, and what lies about."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator

import pytest

import simulation
import taskmanager
from taskmanager.job import Kind, State
from taskmanager.policy.lifecycle import BORN, GONE, MOVES
from tests.house.source import PRODUCT, ROOT, Module, docstrings, modules

LONGEST_FILE = 450
LONGEST_FUNCTION = 65
PUBLIC_NAMES = 25
CLOCK_READS = frozenset(
    {
        *(f"time.{name}" for name in ("time", "monotonic", "perf_counter", "process_time", "localtime", "gmtime")),
        *(f"time.{name}_ns" for name in ("time", "monotonic", "perf_counter", "process_time")),
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    }
)
TOP_LEVEL = frozenset({"README.md", "pyproject.toml", "taskmanager", "simulation", "tests", "notebooks"})
LEFT_BY_TOOLS = ("build", "dist", "*.egg-info", "tasks.db*")
SKIPS = frozenset({"skip", "skipif", "xfail", "importorskip"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
EVERYTHING = modules(*PRODUCT, "tests", "notebooks")


def attributes(module: Module) -> Iterator[str]:
    """Every `a.b` in a module, as its last two names."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            yield f"{owner}.{node.attr}"


# ---- time and chance


def test_only_clock_py_reads_a_clock() -> None:
    reads = {m.name: CLOCK_READS.intersection(attributes(m)) for m in modules("taskmanager")}
    assert {name: found for name, found in reads.items() if found} == {
        "taskmanager.clock": {"datetime.now", "time.monotonic"}
    }
    imported = re.compile(r"^\s*(import time\b|from time import)", re.MULTILINE)
    assert [m.name for m in modules("taskmanager") if imported.search(m.text)] == ["taskmanager.clock"]


def test_randomness_is_handed_in_and_never_the_process_own() -> None:
    shared = {f"random.{name}" for name in dir(random)} - {"random.Random"}
    assert [m.name for m in modules("taskmanager") if shared.intersection(attributes(m))] == []


# ---- words


def test_the_name_of_a_state_is_written_in_job_py_only() -> None:
    literal = []
    for module in modules("taskmanager"):
        said = docstrings(module.tree)
        literal += [
            f"{module.path}:{node.lineno} {node.value!r}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and node.value in list(State) and id(node) not in said
        ]
    assert {place.partition(":")[0] for place in literal} == {"taskmanager/job.py"}, literal


def test_the_table_of_moves_speaks_of_states_and_steps_and_every_state_is_reached_and_left() -> None:
    states = set(State)
    assert {origin for origin, _ in MOVES} == {BORN, *states}
    assert {target for targets in MOVES.values() for target in targets} == {GONE, *states}
    assert {step for _, step in MOVES} <= {GONE, *Kind}


# ---- the public face


@pytest.mark.parametrize("package", [taskmanager, simulation], ids=lambda package: str(package.__name__))
def test_the_public_face_is_small_and_every_name_says_what_it_means(package: object) -> None:
    names: list[str] = package.__all__  # type: ignore[attr-defined]  # a module has one
    assert len(names) <= PUBLIC_NAMES
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    for name in names:
        told = getattr(package, name).__doc__ or ""
        made_up = told.startswith(f"{name}(")  # what a dataclass writes where nobody did
        assert told.strip(), f"{name} has no docstring"
        assert not made_up, f"{name} has no docstring but what a dataclass writes"


def test_every_module_begins_with_its_law() -> None:
    assert [module.path for module in modules(*PRODUCT) if not ast.get_docstring(module.tree)] == []


# ---- sizes


def test_a_file_is_one_subject() -> None:
    sizes = {module.path: module.text.count("\n") for module in EVERYTHING}
    assert {path: size for path, size in sizes.items() if size > LONGEST_FILE} == {}


def test_a_function_fits_the_screen() -> None:
    sizes = {
        f"{module.path}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for module in modules(*PRODUCT)
        for node in ast.walk(module.tree)
        if isinstance(node, Function)
    }
    assert {name: size for name, size in sizes.items() if size > LONGEST_FUNCTION} == {}


# ---- what lies about


def test_the_top_level_holds_what_the_design_names_and_nothing_else() -> None:
    found = {path for path in ROOT.iterdir() if not path.name.startswith(".")}
    extra = {path.name for path in found if not any(path.match(pattern) for pattern in LEFT_BY_TOOLS)}
    assert extra - {"__pycache__"} == TOP_LEVEL


def test_no_test_is_skipped() -> None:
    skipped = {f"pytest.{name}" for name in SKIPS} | {f"mark.{name}" for name in SKIPS}
    assert [module.path for module in modules("tests") if skipped.intersection(attributes(module))] == []


def test_nothing_is_left_for_later() -> None:
    later = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    assert [module.path for module in EVERYTHING if later.search(module.text)] == []


def test_no_path_of_anybodys_machine_is_named() -> None:
    path = re.compile(r"(?<![\w./-])/(?:home|root|work|tmp|Users)/")
    texts = {module.path: module.text for module in EVERYTHING}
    texts |= {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "pyproject.toml", ".ci/run")}
    assert [name for name, text in texts.items() if path.search(text)] == []
