"""The source as data: every module of the product, parsed once, and what it imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Module(NamedTuple):
    """One file: its dotted name, its path from the root, its text and its tree."""

    name: str
    path: str
    text: str
    tree: ast.Module


@cache
def modules(*folders: str) -> tuple[Module, ...]:
    """Every Python file of these folders, in the order of their paths."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            relative = path.relative_to(ROOT)
            parts = relative.with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found.append(Module(name, str(relative), text, ast.parse(text)))
    return tuple(found)


PRODUCT = ("taskmanager", "simulation")


def imports(module: Module, *, for_types: bool = True) -> Iterator[str]:
    """The modules it imports, wherever it does so; `for_types=False` leaves out what only a type checker sees."""
    known = {other.name for other in modules(*PRODUCT)}
    for node in _seen(module.tree, for_types):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                within = f"{node.module}.{alias.name}"
                yield within if within in known else node.module


def _seen(node: ast.AST, for_types: bool) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not for_types:
        children: list[ast.AST] = list(node.orelse)
    else:
        children = list(ast.iter_child_nodes(node))
    for child in children:
        yield from _seen(child, for_types)


def within(name: str, place: str) -> bool:
    """Whether a module is `place` or lies in it."""
    return name == place or name.startswith(f"{place}.")


def docstrings(tree: ast.Module) -> set[int]:
    """The identities of the nodes that are docstrings, or texts beneath a constant."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
