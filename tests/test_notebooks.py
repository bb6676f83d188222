"""The notebooks run from top to bottom, draw what they promise, and are kept without their outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
PICTURES = {"01_a_jobs_life.ipynb": 3, "02_schedules.ipynb": 5}
TOLD = {
    # 15 s after the last heartbeat of a worker that dies at 22:04:00; that it is logged takes no virtual time
    "01_a_jobs_life.ipynb": "Its lease was lost at 22:04:15",
    "02_schedules.ipynb": "latest  ran  9, dropped 8",
}


def read(name: str) -> Any:
    return nbformat.read(FOLDER / name, as_version=4)  # type: ignore[no-untyped-call]  # nbformat has no types


@pytest.fixture(scope="module", params=PICTURES)
def executed(request: pytest.FixtureRequest) -> tuple[str, Any]:
    notebook = read(request.param)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(FOLDER)}}).execute()
    return request.param, notebook


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def test_every_notebook_is_listed_here() -> None:
    assert {path.name for path in FOLDER.glob("*.ipynb")} == set(PICTURES)


@pytest.mark.parametrize("name", PICTURES)
def test_a_notebook_is_kept_without_outputs_and_says_what_it_shows(name: str) -> None:
    notebook = read(name)
    assert outputs(notebook) == []
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")


def test_a_notebook_runs_and_draws_its_pictures(executed: tuple[str, Any]) -> None:
    name, notebook = executed
    drawn = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    assert len(drawn) == PICTURES[name]
    drawing = [cell for cell in notebook.cells if cell.cell_type == "code" and "plots." in cell.source]
    assert len(drawing) == len(drawn)


def test_no_cell_of_a_notebook_complains(executed: tuple[str, Any]) -> None:
    _, notebook = executed
    told = "".join(output.get("text", "") for output in outputs(notebook))
    assert "Warning" not in told
    assert "timed out" not in told


def test_a_notebook_tells_what_its_prose_promises(executed: tuple[str, Any]) -> None:
    name, notebook = executed
    told = "".join(output.get("text", "") for output in outputs(notebook))
    assert TOLD[name] in told
