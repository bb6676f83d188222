"""Which tasks there are and whose: the driver in force, and for each driver the board of its tasks.

A task belongs to the driver in force when it is defined, or, where none is yet, to the first one that is set; a driver
that is set later takes no task away from an earlier one. While a file is being loaded its definitions are collected and
put on the board together, or not at all (see `discovery`).

This is state of the process, as definitions in files must be; `forget_tasks` is for tests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any, Generic, Protocol, TypeVar

from taskmanager.errors import UsageError
from taskmanager.tasks.definitions import Task
from taskmanager.tasks.driver import TaskDriver, check_driver
from taskmanager.tasks.managed import ManagerDriver, SQLiteDriver
from taskmanager.tasks.relay import Relay

log = logging.getLogger("taskmanager")

R = TypeVar("R")


class Loaded(Protocol):
    """A folder that was loaded."""

    @property
    def origin(self) -> str: ...


class Board:
    """The tasks of one driver, by name. `folders` is what was loaded for it, by the folder's place."""

    def __init__(self, driver: TaskDriver) -> None:
        self.driver = driver
        self.tasks: dict[str, Task] = {}
        self.folders: dict[str, Loaded] = {}
        self.hands: ManagerDriver | Relay = (
            driver if isinstance(driver, ManagerDriver) else Relay(driver, self.tasks.get, lambda: sorted(self.tasks))
        )
        self._telling: set[asyncio.Task[None]] = set()

    def add(self, task: Task) -> None:
        """Puts up a task of a new name; `UsageError` where the name is taken."""
        if task.name in self.tasks:
            raise UsageError(
                f"there is a task {task.name!r} already, and it stays; name this one otherwise, "
                "or call forget_tasks() where tests define tasks anew"
            )
        self.put(task)

    def put(self, task: Task) -> None:
        """Puts up a task, in place of the one of its name."""
        self.hands.register(task)
        self.tasks[task.name] = task

    def remove(self, name: str) -> None:
        del self.tasks[name]
        self.hands.unregister(name)

    def forget(self) -> None:
        """Takes every task back, and drops nothing that a store has."""
        for folder in self.folders.values():
            self.hands.own(folder.origin, is_whole=False)
        self.folders.clear()
        for name in tuple(self.tasks):
            self.remove(name)

    def tell(self) -> asyncio.Task[None] | None:
        """Lets the driver hear of what changed, in the background; None where it cannot hear now."""
        if not self.hands.can_settle:
            return None
        try:
            telling = asyncio.get_running_loop().create_task(self.hands.settle())
        except RuntimeError:
            return None
        self._telling.add(telling)
        telling.add_done_callback(self._told)
        return telling

    def _told(self, telling: asyncio.Task[None]) -> None:
        self._telling.discard(telling)
        if not telling.cancelled() and (error := telling.exception()) is not None:
            log.error("%r has not heard of its tasks: %s", self.driver, error)


class Told(Generic[R]):
    """What has been done here. Awaiting it also waits until the driver has heard, and raises what it raised."""

    def __init__(self, board: Board, value: R) -> None:
        self._board = board
        self._value = value
        self._telling = board.tell()

    def __await__(self) -> Generator[Any, None, R]:
        if self._telling is not None:
            yield from asyncio.shield(self._telling).__await__()
        else:
            yield from self._board.hands.settle().__await__()
        return self._value


class Collector(Protocol):
    """What takes the tasks of a file that is being loaded."""

    @property
    def origin(self) -> str | None: ...

    def collect(self, task: Task) -> None: ...

    def expect(self, decorator: object, name: object) -> None:
        """A definition without `execute`: it has to decorate one, or is told as forgotten."""

    def met(self, decorator: object) -> None: ...


collecting: ContextVar[Collector | None] = ContextVar("collecting", default=None)
_boards: list[Board] = []
_unclaimed: dict[str, Task] = {}


def boards() -> tuple[Board, ...]:
    """Those of all drivers; that of the one in force is the last."""
    return tuple(_boards)


def board_in_force() -> Board:
    """That of the driver that was set last, or, where there is none, of `sqlite:///tasks.db`, which is set thereby."""
    if not _boards:
        set_driver(SQLiteDriver())
    return _boards[-1]


def board_of(driver: TaskDriver | ManagerDriver) -> Board:
    """That of a driver, whether or not it is in force; one that was never set is set thereby."""
    if not is_set(driver):
        set_driver(driver)
    return next(one for one in _boards if one.driver is driver)


def is_set(driver: TaskDriver | ManagerDriver) -> bool:
    """Whether it was set, and so has a board, though another one may be in force."""
    return any(one.driver is driver for one in _boards)


def current_driver() -> TaskDriver | None:
    """The driver in force; None before any was set."""
    return _boards[-1].driver if _boards else None


def set_driver(driver: TaskDriver | ManagerDriver) -> Told[None]:
    """Puts a driver in force: tasks defined from now on are its, and those defined before any was set.

    Takes effect at the call. A driver of your own is told of its tasks' schedules in the background, or when this is
    awaited. Raises `UsageError` for what is no driver, naming the method that is missing.
    """
    checked = driver if isinstance(driver, ManagerDriver) else check_driver(driver)
    board = next((one for one in _boards if one.driver is checked), None)
    if board is None:
        board = Board(checked)
        try:
            for task in _unclaimed.values():
                board.add(task)
        except UsageError:
            board.forget()
            raise
        _unclaimed.clear()
    else:
        _boards.remove(board)
    _boards.append(board)
    return Told(board, None)


def forget_tasks() -> None:
    """Forgets every task and driver, as if nothing had been defined. It stops none, and what a store has stays."""
    for board in _boards:
        board.forget()
    _boards.clear()
    _unclaimed.clear()


def put_up(given: Task) -> None:
    """Puts a task on the board in force, or keeps it for the first one."""
    if _boards:
        _boards[-1].add(given)
        _boards[-1].tell()
    elif given.name in _unclaimed:
        raise UsageError(f"there is a task {given.name!r} already, and it stays; name this one otherwise")
    else:
        _unclaimed[given.name] = given
