"""`taskmanager run`: an application's worker, for real, in this process or in several.

What goes wrong with what was asked for is one line on stderr and exit code 2, and so is a store that cannot be used. A
store that cannot be reached is exit code 1. What the application's own code raises keeps its traceback.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from inspect import signature
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taskmanager.manager import TaskManager
    from taskmanager.tasks.driver import TaskDriver

__all__ = ["run"]

AppName = Annotated[
    str,
    typer.Argument(
        metavar="APP",
        help="The application: path/to/file.py:name or package.module:name, where name is a TaskManager, a driver of "
        "tasks, or a function that builds one.",
    ),
]
Processes = Annotated[
    int, typer.Option("--processes", "-p", min=1, max=1000, help="How many worker processes run side by side.")
]
Burst = Annotated[bool, typer.Option("--burst", metavar="", help="End when nothing is left to do.")]
Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="URL",
        help="Where the jobs are, for an application that does not say: TASKMANAGER_URL for this run.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", metavar="", help="Log warnings and errors only.")]
Reload = Annotated[
    bool,
    typer.Option(
        "--reload",
        metavar="",
        help="Reload the files of tasks, in the folders that `load_tasks` has loaded, when they are saved.",
    ),
]


def run(
    app: AppName,
    processes: Processes = 1,
    burst: Burst = False,
    db: Db = None,
    quiet: Quiet = False,
    reload: Reload = False,
) -> None:
    """Runs an application's **worker**: its handlers and schedules, for real.

    It serves until SIGINT (Ctrl-C) or SIGTERM; running handlers then get the application's `grace`, which a second
    signal cuts short; a third ends the process. With `--burst` it ends by itself when no job waits, runs or is delayed.

    Examples:

    * `taskmanager run shop.py:tm`

    * `taskmanager run shop.py:tm --db redis://localhost:6379/1 --processes 4`

    * `taskmanager run bot.py:driver --reload`
    """
    if db is not None:
        os.environ["TASKMANAGER_URL"] = db
    level = logging.WARNING if quiet else logging.INFO
    if processes > 1:
        from taskmanager.commands.processes import supervise

        raise typer.Exit(supervise(serve, (app, burst, level, db, reload), processes, until_done=burst))
    raise typer.Exit(serve(app, burst, level, db, reload))


def serve(target: str, burst: bool, level: int, db: str | None, reload: bool = False) -> int:
    """One worker in this process, until it is stopped; the exit code."""
    from taskmanager.errors import EngineUnavailable, UsageError
    from taskmanager.manager import TaskManager, run_beside

    logging.basicConfig(level=level, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    try:
        found = _application(target, db)
        beside = _reloading(target, found) if reload else nullcontext()
        if isinstance(found, TaskManager):
            logging.getLogger("taskmanager").info("serving %s on %s", target, _without_login(found.db))
            run_beside(found, beside, burst=burst)
        else:
            _serve_driver(target, found, burst, db, beside)
    except UsageError as error:
        typer.echo(f"taskmanager run: {error}", err=True)
        return 2
    except EngineUnavailable as error:
        typer.echo(f"taskmanager run: {error}", err=True)
        return 1
    return 0


def _application(target: str, db: str | None) -> TaskManager | TaskDriver:
    from taskmanager.errors import UsageError
    from taskmanager.manager import TaskManager
    from taskmanager.target import load_served
    from taskmanager.tasks.driver import is_driver

    found = load_served(target)
    tm = _built(target, found) if callable(found) else found
    if is_driver(tm):
        return tm
    if not isinstance(tm, TaskManager):
        raise UsageError(f"{target} must build a TaskManager, got {tm!r}")
    if db is not None and tm.db != db:
        raise UsageError(f"{target} names its own store, {_without_login(tm.db)}; leave out its `db`, or --db here")
    return tm


def _reloading(target: str, served: TaskManager | TaskDriver) -> AbstractAsyncContextManager[object]:
    from taskmanager.target import file_of
    from taskmanager.tasks.reload import watching

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # what was reloaded is told by ourselves
    return watching(served, app=file_of(target))


def _serve_driver(
    target: str, driver: TaskDriver, burst: bool, db: str | None, beside: AbstractAsyncContextManager[object]
) -> None:
    from taskmanager.errors import UsageError
    from taskmanager.tasks.serving import serve_driver

    if burst or db is not None:
        option = "--burst" if burst else "--db"
        raise UsageError(f"{target} is a driver without a TaskManager, {driver!r}; leave out {option}")
    logging.getLogger("taskmanager").info("serving the driver %s", target)
    serve_driver(driver, beside)


def _built(target: str, build: Callable[..., object]) -> object:
    from taskmanager.errors import UsageError

    try:
        signature(build).bind()
    except TypeError as error:
        raise UsageError(f"{target} must build a TaskManager when called without arguments; it has {error}") from None
    return build()


def _without_login(db: object) -> str:
    return re.sub(r"//[^@/]*@", "//***@", str(db))
