"""Tasks that go into sets in the same order in every process.

`asyncio.wait` and `TaskGroup` keep tasks in sets, and a set of plain tasks is ordered by memory address: which child of
a failing group is cancelled first would differ between two runs. These tasks hash by their number.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from simulation.loop import VirtualLoop

__all__ = ["Task", "current_node", "end_tasks", "unfinished"]

current_node: ContextVar[object | None] = ContextVar("simulation_node", default=None)
"""The node on which the running code runs; None for the outside world."""

T = TypeVar("T")
_ROUNDS = 100


class Task(asyncio.Task[T]):
    """An asyncio task that hashes by its number, which counts the tasks of its loop from 1, and knows its node."""

    __slots__ = ("node", "number")

    def __init__(self, coro: Any, *, loop: VirtualLoop, name: object, context: Any) -> None:
        loop.tasks_made = self.number = loop.tasks_made + 1
        self.node = current_node.get() if context is None else context.get(current_node)
        super().__init__(coro, loop=loop, name=f"Task-{self.number}" if name is None else str(name), context=context)

    def __hash__(self) -> int:
        return self.number


def end_tasks(loop: VirtualLoop) -> None:
    """Cancels every task of a loop, again while some go on, and lets their callbacks run; the clock does not move."""
    for _ in range(_ROUNDS):
        left = unfinished(loop)
        if not left:
            return
        for task in left:
            task.cancel()
        loop.settle()
    for task in unfinished(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # it refused to end: the caller has done all


def unfinished(loop: VirtualLoop) -> list[asyncio.Task[Any]]:
    """The tasks of a loop that are under way, in the order of their making."""
    return sorted((task for task in asyncio.all_tasks(loop) if not task.done()), key=hash)
