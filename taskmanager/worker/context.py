"""The `ctx` of a handler: your own context, plus `emit`.

Only `emit` and `emit_many` are ours, and a context that has an `emit` already is refused, because one of the two would
be silently hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.overlay import Overlay, has

__all__ = ["Context", "check_context"]


class Context(Overlay):
    """See the module's law, and that of `overlay`."""

    __slots__ = ("emit", "emit_many")

    own = ("emit", "emit_many")
    stays = "cannot be replaced: handlers call it to emit"

    emit: Callable[..., Any]
    emit_many: Callable[..., Any]

    def __init__(self, below: Any, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> None:
        super().__init__(below, emit=emit, emit_many=emit_many)


def check_context(value: object) -> None:
    """Raises `UsageError` for a context with an `emit` of its own."""
    for name in Context.own:
        if has(value, name):
            raise UsageError(f"ctx must not have its own {name!r}: handlers call ctx.{name}(...) to emit; rename it")
