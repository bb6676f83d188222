"""`taskmanager run`: an application's worker, for real, in this process or in several.

What goes wrong with what was asked for is one line on stderr and exit code 2, and so is a store that cannot be used. A
store that cannot be reached is exit code 1. What the application's own code raises keeps its traceback.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from taskmanager.manager import TaskManager
    from taskmanager.tasks.driver import TaskDriver
    from taskmanager.tasks.reload import Watching

__all__ = ["run"]

_THREADS_S = 5.0
"""How long threads that handlers left behind may still take at the end of the process."""

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
    arguments = app, burst, level, db, processes, reload
    if processes > 1:
        from taskmanager.commands.processes import supervise

        raise typer.Exit(supervise(serve, arguments, processes, until_done=burst))
    raise typer.Exit(serve(*arguments))


def serve(
    target: str,
    burst: bool,
    level: int,
    db: str | None,
    processes: int,
    reload: bool,
    began: Callable[[float], None] = lambda _: None,
) -> int:
    """One worker in this process, until it is stopped; the exit code. It calls `began` with its grace in seconds."""
    logging.basicConfig(level=level, format="%(asctime)s %(process)d %(levelname)s %(message)s")
    code = 1
    try:
        code = _served(target, burst, db, processes, reload, began)
    finally:
        _leave_threads(code)
    return code


def _served(
    target: str, burst: bool, db: str | None, processes: int, reload: bool, began: Callable[[float], None]
) -> int:
    from taskmanager.errors import EngineUnavailable, UsageError
    from taskmanager.manager import TaskManager
    from taskmanager.target import BrokenApplication

    try:
        found = _application(target, db)
        beside = _reloading(target, found) if reload else None
        if isinstance(found, TaskManager):
            _serve_manager(target, found, burst, processes, began, beside)
        else:
            _serve_driver(target, found, burst, db, began, beside)
    except BrokenApplication as error:
        typer.echo(str(error), err=True)
        return 2
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

    if db is not None and not db.strip():
        raise UsageError(
            f"--db must be a URL such as redis://localhost:6379/1, got {db!r}; leave it out for the default"
        )
    found = load_served(target)
    tm = _built(found) if callable(found) else found
    if is_driver(tm):
        return tm
    if not isinstance(tm, TaskManager):
        raise UsageError(f"{target} must build a TaskManager, got {tm!r}")
    if db is not None and tm.db != db:
        raise UsageError(f"{target} names its own store, {_without_login(tm.db)}; leave out its `db`, or --db here")
    return tm


def _reloading(target: str, served: TaskManager | TaskDriver) -> Watching:
    from taskmanager.target import file_of
    from taskmanager.tasks.reload import watching

    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # what was reloaded is told by ourselves
    return watching(served, app=file_of(target))


def _serve_manager(
    target: str,
    tm: TaskManager,
    burst: bool,
    processes: int,
    began: Callable[[float], None],
    beside: Watching | None,
) -> None:
    from taskmanager.errors import UsageError
    from taskmanager.manager import app_of, run
    from taskmanager.seat import is_alone

    if processes > 1 and is_alone(app_of(tm)):
        raise UsageError(
            f"{target} keeps its jobs in the memory of a process, {_without_login(tm.db)}, so each of {processes} "
            "processes would have jobs of its own; name a store that they share, a file or a server, or leave out "
            "--processes"
        )

    def tell() -> None:
        logging.getLogger("taskmanager").info("serving %s on %s", target, _without_login(tm.db))
        began(app_of(tm).settings.grace_ms / 1000)

    run(tm, burst=burst, began=tell, beside=beside)


def _serve_driver(
    target: str,
    driver: TaskDriver,
    burst: bool,
    db: str | None,
    began: Callable[[float], None],
    beside: Watching | None,
) -> None:
    from taskmanager.errors import UsageError
    from taskmanager.tasks.serving import serve_driver

    if burst or db is not None:
        option = "--burst" if burst else "--db"
        raise UsageError(f"{target} is a driver without a TaskManager, {driver!r}; leave out {option}")

    def tell() -> None:
        logging.getLogger("taskmanager").info("serving the driver %s", target)
        began(0)

    serve_driver(driver, tell, beside)


def _built(build: Callable[[], object]) -> object:
    built = build()
    if inspect.iscoroutine(built):
        built.close()  # refused: nobody will await it, and Python need not warn of that as well
    return built


def _leave_threads(code: int) -> None:
    """The process ends as usual, but threads that handlers left behind do not keep it for ever."""
    threads = [one for one in threading.enumerate() if not one.daemon and one is not threading.main_thread()]
    if not threads:
        return

    def end() -> None:
        names = ", ".join(sorted(one.name for one in threads if one.is_alive()))
        logging.getLogger("taskmanager").warning("threads that do not end are left behind: %s", names)
        os._exit(code)

    timer = threading.Timer(_THREADS_S, end)
    timer.daemon = True
    timer.start()


def _without_login(db: object) -> str:
    return re.sub(r"//[^@/]*@", "//***@", str(db))
