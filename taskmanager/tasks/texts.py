"""The Python files of a folder as texts: which there are, what they say, and what can be told without running them."""

from __future__ import annotations

import ast
import os
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Texts", "imports", "is_helper", "module_name", "place_of", "read", "tree_of"]

Texts = Mapping[Path, bytes | None]
"""What each file says; None for one that cannot be read."""


def read(place: Path) -> Texts:
    """What all Python files of a folder and of the folders in it say, in sorted order; {} where it is none.

    Hidden files are left out, for editors keep theirs so, and folders from which nothing can be imported.
    """
    texts: dict[Path, bytes | None] = {}
    for folder, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name != "__pycache__")
        for path in (Path(folder, name) for name in sorted(names) if name.endswith(".py") and name[0] != "."):
            if path.is_file():
                try:
                    texts[path] = path.read_bytes()
                except FileNotFoundError:
                    continue  # it has just gone
                except OSError:
                    texts[path] = None
    return texts


def is_helper(path: Path) -> bool:
    """Whether a file is for task files to import and is none itself."""
    return path.name.startswith("_")


def tree_of(text: bytes) -> ast.Module | None:
    """The syntax tree of a file; None where it is not (yet) Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told when it is run
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def imports(text: bytes | None) -> set[str]:
    """The modules beside it that a file imports, in words that can be read without running it."""
    tree = tree_of(text) if text is not None and b"from" in text and b" ." in text else None
    found: set[str] = set()
    for node in () if tree is None else ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {alias.name for alias in node.names} if node.module is None else {node.module.partition(".")[0]}
    return found


def place_of(error: BaseException, path: Path) -> tuple[int | None, str | None]:
    """The line of that file at which it happened, and where in a file beside it, if that is where it began."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename is not None:
        frames.append((error.filename, error.lineno))
    inside = [(Path(name), line) for name, line in frames if Path(name).is_relative_to(path.parent)]
    line = next((line for file, line in reversed(inside) if file == path), None)
    if not inside or inside[-1][0] == path:
        return line, None
    return line, f"{inside[-1][0].relative_to(path.parent)}:{inside[-1][1]}"


def module_name(stem: str) -> str:
    """The name under which a file is imported."""
    return stem.replace(".", "_")
