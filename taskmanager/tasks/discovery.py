"""Tasks in files: a folder is loaded, and loaded again, and what it defines is what there is.

* *A file is loaded whole or not at all.* What it defines is collected while it runs, and put up when it has ended
  well. One that raises is reported with its place, its half-made tasks are dropped, and the rest load. Where an
  earlier version of it was loaded, that stays.
* *A name is given once.* Files are taken in sorted order; the second of a name is refused and reported, and takes its
  turn when the first is gone.
* *Loading again is a reload.* A file whose text changed is run again, and so are those that import it; all are, where
  a helper (a name that begins with `_`, or a file in a folder within) changed. Their tasks take the places of the
  earlier ones, so at no moment is a task without its function. What is gone is taken back. Runs under way end on the
  old code.
* *The store follows.* Tasks bear the folder as their origin, so the schedules of what is gone are dropped, also when it
  went while nothing ran. While a file is broken that never loaded, nobody can tell what is gone, and nothing is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskmanager.errors import UsageError
from taskmanager.tasks.board import Board, Told, board_in_force
from taskmanager.tasks.definitions import Task
from taskmanager.tasks.sources import Package, Source
from taskmanager.tasks.texts import Texts, imports, module_name, place_of, read

__all__ = ["Folder", "Loading", "Trouble", "load_tasks"]

log = logging.getLogger("taskmanager")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a load could not do: `reason` in words, and where."""

    file: str
    line: int | None
    reason: str
    task: str | None = None

    def __str__(self) -> str:
        return f"{self.file}{'' if self.line is None else f':{self.line}'}: {self.reason}"


@dataclass(slots=True)
class Loading:
    """The report of a load. Awaiting it waits until the driver has heard, and gives the report again.

    `loaded` names the folder's tasks as they now are, `changed` those of them that are new or replaced, `dropped` those
    that are gone. `refused` are definitions that were not taken, `broken` files that could not be loaded.
    """

    folder: str
    loaded: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    refused: tuple[Trouble, ...] = ()
    broken: tuple[Trouble, ...] = ()
    _told: Told[None] | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether everything in the folder was taken."""
        return not self.refused and not self.broken

    def __await__(self) -> Generator[Any, None, Loading]:
        if self._told is not None:
            yield from self._told.__await__()
        return self


def load_tasks(folder: str | os.PathLike[str] = "app/tasks") -> Loading:
    """Loads the tasks in the files `*.py` directly inside a folder, for the driver in force; see the module's law.

    Names that begin with `_` are left out, and a missing folder is an empty one. The tasks are defined when this
    returns; where the driver runs already, awaiting the report waits until its store has heard. What is wrong in a file
    is in the report and in the log, and not raised. The store knows a folder by the last two parts of its path. Raises
    `UsageError` where `folder` is a file, or ends like another that is loaded.
    """
    if not os.fspath(folder):
        raise UsageError(f"folder must be a folder of task files such as 'app/tasks', got {folder!r}")
    board = board_in_force()
    place = Path(os.path.abspath(folder))  # and no link followed: one that points elsewhere tomorrow is the same folder
    if place.exists() and not place.is_dir():
        raise UsageError(f"folder must be a folder of task files, got the file {os.fspath(folder)!r}")
    known = board.folders.get(str(place))
    if not isinstance(known, Folder):
        name = "/".join(place.parts[-2:])
        known = Folder(board, name, place)
        if any(other.origin == known.origin for other in board.folders.values()):
            raise UsageError(
                f"folder {os.fspath(folder)!r} ends in {name!r} like one that is loaded; rename one of them"
            )
        board.folders[str(place)] = known
    return known.load()


class Folder:
    """One folder on one board. `place` is where it is; `name`, the end of that, is what the store knows it by, so that
    an application may move.
    """

    def __init__(self, board: Board, name: str, place: Path) -> None:
        self.origin = f"tasks:{name}"
        self._board = board
        self._name = name
        self._place = place
        self._package = Package(place, self.origin)
        self._sources: dict[str, Source] = {}
        self._broken: set[str] = set()
        self._tasks: dict[str, Task] = {}
        self.texts: Texts = {}
        self.has_refused = False

    @property
    def place(self) -> Path:
        return self._place

    def read(self) -> Texts:
        """What the files say now; `texts` is what they said when they were loaded."""
        return read(self._place)

    def load(self, texts: Texts | None = None) -> Loading:
        """Loads what is new or changed (as `texts` has it, where it was read before), takes back what is gone."""
        if not self._place.is_dir():
            log.warning("tasks: there is no folder %s, so there are no tasks in it", self._place)
        texts = self.read() if texts is None else texts
        stems = [path.stem for path in texts if self._package.is_task(path)]
        broken = self._run(texts, stems)
        winners, refused = self._winners()
        changed = tuple(name for name, task in winners.items() if self._tasks.get(name) is not task)
        dropped = tuple(name for name in self._tasks if name not in winners)
        for name in dropped:
            self._board.remove(name)
        for name in changed:
            self._board.put(winners[name])
        self._tasks = winners
        self.has_refused = bool(refused)
        # Where a file was saved while others were run, another process may know already what we do not.
        self._board.hands.own(self.origin, is_whole=list(self._sources) == stems and self.read() == texts)
        for trouble in refused:
            log.error("tasks: %s", trouble)
        log.info("tasks: %d in %s, %d changed, %d gone", len(winners), self._name, len(changed), len(dropped))
        told = Told(self._board, None)
        return Loading(self._name, tuple(winners), changed, dropped, tuple(refused), tuple(broken), told)

    def tell(self) -> Told[None]:
        """Tells the driver of all tasks again, where it may not have heard."""
        for task in self._tasks.values():
            self._board.put(task)
        return Told(self._board, None)

    def _run(self, texts: Texts, stems: list[str]) -> list[Trouble]:
        """Runs what is new or changed; of what is broken the earlier version stays."""
        changed = {path for path, _ in {*texts.items()} ^ {*self.texts.items()}}
        helpers = any(not self._package.is_task(path) for path in changed)
        anew = set(stems) if helpers else self._importers({path.stem for path in changed} | self._broken, texts)
        known, broken = self._sources, []
        self.texts, self._sources, self._broken = texts, {}, set()
        self._package.forget(texts, [stem for stem in stems if stem not in anew], helpers=helpers)
        for stem in stems:
            if stem not in anew:
                self._sources[stem] = known[stem]
                continue
            try:
                self._sources[stem] = self._package.run(stem)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever a file raises is its own; it must not end who loads it
                self._broken.add(stem)
                broken.append(self._trouble(stem, error, known.get(stem)))
        self._package.restore()
        return broken

    def _importers(self, stems: set[str], texts: Texts) -> set[str]:
        """These files, and those that import them, through others too."""
        task_files = [path for path in texts if self._package.is_task(path)]
        imported = {path.stem: imports(texts[path]) for path in task_files} if stems else {}
        found: set[str] = set()
        while stems - found:
            found |= stems
            names = {module_name(stem) for stem in found}
            stems = {stem for stem, used in imported.items() if used & names}
        return found

    def _trouble(self, stem: str, error: BaseException, earlier: Source | None) -> Trouble:
        path = self._place / f"{stem}.py"
        line, beginning = place_of(error, path)
        reason = f"{type(error).__name__}: {error}"
        if beginning is not None:
            reason += f" (at {beginning})"
        if isinstance(error, ModuleNotFoundError) and error.name and self._package.find(error.name) is not None:
            reason += f"; files of one folder import one another relatively: from .{error.name} import ..."
        if earlier is not None:
            self._sources[stem] = earlier
            reason += "; the version that was loaded before stays"
        trouble = Trouble(str(path), line, reason)
        log.error("tasks: %s", trouble, exc_info=error)
        return trouble

    def _winners(self) -> tuple[dict[str, Task], list[Trouble]]:
        """The first task of each name, and what is refused."""
        winners: dict[str, Task] = {}
        refused = []
        for stem, source in self._sources.items():
            path = str(self._place / f"{stem}.py")
            for task, line in source.tasks:
                reason = self._refusal(task, winners)
                if reason is None:
                    winners[task.name] = task
                else:
                    refused.append(Trouble(path, line, reason, task.name))
            for name, line in source.open.values():
                reason = f"task(name={name!r}) has no execute, and decorates no function"
                refused.append(Trouble(path, line, reason, name if isinstance(name, str) else None))
        return winners, refused

    def _refusal(self, task: Task, winners: dict[str, Task]) -> str | None:
        before = self._board.tasks.get(task.name)
        if task.name in winners or (before is not None and before is not self._tasks.get(task.name)):
            return f"there is a task {task.name!r} already, and it stays; name this one otherwise"
        return self._board.hands.refusal(task.name)
