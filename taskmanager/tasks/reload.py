"""Hot reload: the folders that were loaded are watched, and loaded again when a file in them is saved.

The file system rings (through `watchfiles`); what has changed is told by reading the files, so a ring too many does
nothing. Every half second they are read unasked: a folder that was moved away and back, or one on a network, rings
for nobody.

* *A save is taken when it is done.* Editors save in steps: they empty a file and write it again, or write another and
  move it into place. So a load waits until nothing has changed for a moment. A file that is gone, has become empty, or
  is not Python may be half saved: it is given half a second more of silence before it is taken as it is.
* *No gap.* A load (see `discovery`) puts new functions in the places of the old ones, in one go, in the worker's own
  event loop. The imports run there too, and while they do nothing else does: one that takes long is told in the log.
* *Several processes* reload each by itself, and one is the first. A job that another emits for a task that is defined
  in its files and not yet here is no job without a handler: such a one makes us read the files at once.
* *The driver may be away* while its schedules change: it is told again until it has heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from taskmanager.clock import monotonic
from taskmanager.errors import UsageError
from taskmanager.manager import TaskManager
from taskmanager.tasks.board import Board, boards
from taskmanager.tasks.discovery import Folder, Loading
from taskmanager.tasks.driver import TaskDriver
from taskmanager.tasks.managed import ManagerDriver
from taskmanager.tasks.texts import Texts, tree_of

__all__ = ["Watching", "watching"]

log = logging.getLogger("taskmanager")

LOOK_S = 0.5
"""The files are read after so long, rung for or not."""
QUIET_S = 0.05
"""A save is done when nothing has changed for so long."""
DONE_S = 0.5
"""One that looks half done is taken after so much silence; and files that never rest, after so long."""
SLOW_S = 1.0
"""A load that took so long is told: the worker stood still meanwhile."""
_GATHER_MS, _STEP_MS = 100, 20
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0

_GONE = object()

Served = TaskManager | ManagerDriver | TaskDriver
Fresh = dict[Folder, Texts]


def watching(served: Served | None = None, *, app: Path | None = None) -> Watching:
    """`async with watching():` reloads the folders of `load_tasks` while it lasts, in the event loop that serves them.

    With `served`, a driver or its TaskManager, only that one's folders. Where `app`, a file, changes, the log says that
    this needs a restart. Raises `UsageError` where no folder was loaded, or `watchfiles` is not installed.
    """
    try:
        from watchfiles import awatch
    except ImportError:
        raise UsageError("to watch files, watchfiles is needed: pip install 'taskmanager[reload]'") from None
    found = Watching(served, app, awatch)
    if not found.folders():
        raise UsageError(
            "a reload watches the folders that load_tasks has loaded, and none has been; "
            'call load_tasks("app/tasks") where the application is defined'
        )
    return found


class Watching:
    """See `watching` and the module's law."""

    def __init__(self, served: Served | None, app: Path | None, awatch: Callable[..., AsyncGenerator[Any]]) -> None:
        self._served, self._app, self._awatch = served, app, awatch
        self._app_was = _stamp(app)
        self._is_deaf = False
        self._tellings: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._duty: asyncio.Task[None] | None = None

    def folders(self) -> list[Folder]:
        """The folders that are watched: also those that have been loaded since."""
        known = [folder for board in self._boards() for folder in board.folders.values()]
        return [folder for folder in known if isinstance(folder, Folder)]

    def _boards(self) -> list[Board]:
        served = self._served
        return [board for board in boards() if served is None or served is board.driver or served is _manager_of(board)]

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._duty = self._loop.create_task(self._watch(), name="taskmanager-reload")
        for board in self._boards():
            board.hands.seekers.append(self._seek)
        log.info("watching %s", ", ".join(str(folder.place) for folder in self.folders()))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for board in boards():
            if self._seek in board.hands.seekers:
                board.hands.seekers.remove(self._seek)
        ending = [*self._tellings, *([] if self._duty is None else [self._duty])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    # ---- watching

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow()
            except FileNotFoundError:
                await asyncio.sleep(QUIET_S)  # a folder went as it was about to be watched
            except OSError as error:
                log.warning("saved files do not ring (%s); they are read every %g s instead", error, LOOK_S)
                self._is_deaf = True
            except Exception:
                log.exception("reloading failed; trying again in %g s", LOOK_S)
                await asyncio.sleep(LOOK_S)

    async def _follow(self) -> None:
        """Looks at each ring and each half second, until there are other folders to be watched."""
        there = self._there()
        if not there or self._is_deaf:
            await self._look()
            await asyncio.sleep(LOOK_S)
            return
        rings = self._awatch(
            *there,
            watch_filter=lambda _, path: path.endswith(".py"),
            debounce=_GATHER_MS,
            step=_STEP_MS,
            rust_timeout=round(LOOK_S * 1000),
            yield_on_timeout=True,
        )
        async with aclosing(rings):
            await self._look()
            async for _ in rings:
                await self._look()
                if self._there() != there:
                    return

    def _there(self) -> dict[Path, tuple[int, int]]:
        """The folders that exist, and which they are: one that was made anew has to be watched anew."""
        places = [folder.place for folder in self.folders() if folder.place.is_dir()]
        return {place: ((stat := place.stat()).st_dev, stat.st_ino) for place in places}

    async def _look(self) -> None:
        if (stamp := _stamp(self._app)) != self._app_was:
            self._app_was = stamp
            log.warning("%s was changed: that takes a restart; only the files of tasks are reloaded", self._app)
        if self._fresh():
            self._load(await self._done())

    def _fresh(self) -> Fresh:
        """What the folders say now that they did not when they were loaded."""
        now = {folder: folder.read() for folder in self.folders()}
        return {folder: texts for folder, texts in now.items() if texts != folder.texts}

    async def _done(self) -> Fresh:
        """The same, when it is done."""
        began = last = monotonic()
        fresh = self._fresh()
        while fresh:
            await asyncio.sleep(QUIET_S)
            now, found = monotonic(), self._fresh()
            if found != fresh:
                last, fresh = now, found
            if any(_half_done(folder, texts) for folder, texts in fresh.items()):
                if now - last >= DONE_S:
                    break
                if now - began >= DONE_S and (whole := _whole(fresh)):
                    return whole  # one that is being saved again and again holds up no other
            elif now - last >= QUIET_S or now - began >= DONE_S:
                break
        return fresh

    def _seek(self) -> None:
        """A job has come for a task that is not defined here: perhaps its file has just been saved.

        What may be half done stays as it was.
        """
        if asyncio.get_running_loop() is not self._loop:
            return
        try:
            if whole := _whole(self._fresh()):
                self._load(whole)
        except Exception:
            log.exception("reloading failed")

    # ---- loading

    def _load(self, fresh: Fresh) -> None:
        began = monotonic()
        reports = {folder: folder.load(texts) for folder, texts in fresh.items()}
        if any(report.dropped for report in reports.values()):
            # A task that went from one folder may have been refused in another, because it was still there.
            refusing = [folder for folder in self.folders() if folder.has_refused]
            reports |= {folder: folder.load(folder.texts) for folder in refusing}
        if (took_s := monotonic() - began) > SLOW_S:
            log.warning("loading took %.1f s, in which nothing else ran; what a file imports runs in the loop", took_s)
        for folder, report in reports.items():
            if report.changed or report.dropped:
                log.info("reloaded %s: %s", report.folder, _in_words(report))
            telling = asyncio.get_running_loop().create_task(self._tell(folder, report))
            self._tellings.add(telling)
            telling.add_done_callback(self._tellings.discard)

    async def _tell(self, folder: Folder, report: Loading) -> None:
        """Until the driver has heard."""
        telling: Any = report
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await telling
                return
            except Exception as error:
                log.warning("telling the driver of %s again in %g s (%s)", report.folder, pause_s, error)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            telling = folder.tell()


def _manager_of(board: Board) -> TaskManager | None:
    return board.driver.manager if isinstance(board.driver, ManagerDriver) else None


def _whole(fresh: Fresh) -> Fresh:
    """The same, with what may be half done as it was before."""
    whole: Fresh = {}
    for folder, texts in fresh.items():
        undone = _half_done(folder, texts)
        taken = {path: text for path, text in texts.items() if path not in undone}
        taken |= {path: folder.texts[path] for path in undone if path in folder.texts}
        if taken != folder.texts:
            whole[folder] = dict(sorted(taken.items()))
    return whole


def _half_done(folder: Folder, texts: Texts) -> set[Path]:
    """The changed files that are gone, have become empty, or are not Python."""
    before = folder.texts
    changed = {path for path in texts.keys() | before.keys() if texts.get(path, _GONE) != before.get(path, _GONE)}
    return {path for path in changed if _is_half_done(texts.get(path), before.get(path))}


def _is_half_done(text: bytes | None, before: bytes | None) -> bool:
    return text is None or bool(before and not text.strip()) or tree_of(text) is None


def _in_words(report: Loading) -> str:
    parts = {"changed": report.changed, "gone": report.dropped}
    return "; ".join(f"{', '.join(names)} {word}" for word, names in parts.items() if names)


def _stamp(path: Path | None) -> tuple[int, int] | None:
    """What changes with a file; None for one that is not there."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size)
