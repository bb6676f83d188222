"""Finding the application that a command line names: `path/to/file.py:name` or `package.module:name`.

It is a `TaskManager`, a driver of tasks (which stands for the TaskManager that it is over, where it is over one), or a
function that builds either.

Whatever is wrong with the name is a `UsageError` that says what was looked for and what is there. What the
application's own code raises while it is imported is a `BrokenApplication`, whose text is what its author needs: the
traceback from the application's first line on.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from taskmanager.errors import TaskManagerError, UsageError
from taskmanager.manager import TaskManager
from taskmanager.tasks import ManagerDriver, TaskDriver
from taskmanager.tasks.driver import is_driver

__all__ = ["BrokenApplication", "file_of", "load_application", "load_served"]

_FORMS = "path/to/file.py:name or package.module:name"
_LOADERS = (__file__, "<frozen importlib", importlib.__file__)
"""The files that a traceback of an import begins with."""


class BrokenApplication(Exception):
    """An application that cannot be imported; see the module's law."""


def load_application(target: str) -> TaskManager | Callable[[], TaskManager]:
    """The `TaskManager` of that name, or the function that builds one; `UsageError` where there is none."""
    found = load_served(target)
    if isinstance(found, TaskManager):
        return found
    if not callable(found):
        raise UsageError(
            f"{target} is a driver without a TaskManager, {found!r}; only one that has one can be simulated"
        )
    return found


def load_served(target: str) -> TaskManager | TaskDriver | Callable[[], Any]:
    """The same, or a driver that has no TaskManager: it can be served, not simulated."""
    place, separator, name = target.rpartition(":")
    if not separator or not place or not name:
        raise UsageError(f"APP must be {_FORMS}, got {target!r}")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else _from_import(place)
    except TaskManagerError:
        raise  # in our words already
    except Exception as error:
        raise BrokenApplication(_own_traceback(error)) from error
    try:
        found: Any = reduce(getattr, name.split("."), module)
    except AttributeError:
        raise UsageError(f"{place} has no {name!r}; {_candidates(module)}") from None
    found = manager_of(found)
    if isinstance(found, TaskManager) or is_driver(found):
        return found
    if not callable(found):
        shown = type(found).__name__
        raise UsageError(
            f"{target} must be a TaskManager or a function that builds one, got a {shown}; {_candidates(module)}"
        )
    build: Callable[[], Any] = found
    _check_builder(target, build)

    @functools.wraps(build)
    def built(*args: Any, **options: Any) -> Any:
        return manager_of(build(*args, **options))

    return built


def _own_traceback(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_LOADERS):
        trace = trace.tb_next
    return "".join(traceback.format_exception(error.with_traceback(trace))).rstrip()


def _check_builder(target: str, build: Callable[..., object]) -> None:
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise UsageError(f"{target} must build a TaskManager when called without arguments; it has {error}") from None
    if inspect.iscoroutinefunction(inspect.unwrap(build)):
        raise UsageError(f"{target} must be a plain function that builds a TaskManager; it is an async one")


def file_of(target: str) -> Path | None:
    """The file of a target that has been loaded; None where it has none."""
    place = target.rpartition(":")[0]
    file = place if place.endswith(".py") else getattr(sys.modules.get(place), "__file__", None)
    return None if file is None else Path(file).resolve()


def manager_of(found: Any) -> Any:
    """The TaskManager of a driver that is over one; anything else as it is."""
    return found.manager if isinstance(found, ManagerDriver) else found


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {str(path)!r}; APP is {_FORMS}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # as `python path/to/file.py` does, so that it finds its neighbours
    name = path.stem if path.stem not in sys.modules else f"__taskmanager_app__.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and postponed annotations look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _from_import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # a module that the application itself imports
        raise UsageError(f"there is no module {name!r}, neither in {here} nor installed; APP is {_FORMS}") from None


def _candidates(module: ModuleType) -> str:
    names = sorted(name for name, value in vars(module).items() if isinstance(manager_of(value), TaskManager))
    return f"it has the TaskManager {', '.join(map(repr, names))}" if names else "it has no TaskManager by any name"
