"""The files of one folder as modules: found, compiled, run, and each one's definitions collected.

They are modules of a private package, so they clobber nobody's and nobody theirs. They import one another and their
helpers relatively (`from ._shared import rates`), everything else as ever. They are compiled from their text each time:
Python's own cache goes by the second in which a file was saved, and a reload may be quicker.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import sys
import traceback
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from weakref import WeakValueDictionary

from taskmanager.tasks.board import collecting
from taskmanager.tasks.definitions import Task

__all__ = ["Package", "Source", "is_helper", "line_of"]


@dataclass(slots=True)
class Source:
    """A file that was run: its module, and its definitions, each with its line.

    `open` are decorators that have not met a function: definitions that somebody forgot to finish.
    """

    module: ModuleType
    origin: str
    tasks: list[tuple[Task, int | None]] = field(default_factory=list)
    open: dict[object, tuple[object, int | None]] = field(default_factory=dict)

    def collect(self, task: Task) -> None:
        self.tasks.append((task, self._line()))

    def expect(self, decorator: object, name: object) -> None:
        self.open[decorator] = name, self._line()

    def met(self, decorator: object) -> None:
        self.open.pop(decorator, None)

    def _line(self) -> int | None:
        """The line of the file that is being run now."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_filename != self.module.__file__:
            frame = frame.f_back
        return None if frame is None else frame.f_lineno


class Package:
    """See the module's law. `place` is the folder; what its files define bears the `origin`."""

    _numbers = itertools.count(1)

    def __init__(self, place: Path, origin: str) -> None:
        self._place = place
        self._origin = origin
        self._run: dict[str, Source] = {}
        self._name = f"_taskmanager_tasks_{next(Package._numbers)}"
        package = sys.modules[self._name] = ModuleType(self._name)
        package.__path__ = []  # a package has one; where its modules are, the finder says
        _packages[self._name] = self
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)

    def run(self, stem: str) -> Source:
        """Runs the file of that stem, if no other has imported it since `forget`, and raises what it raises."""
        importlib.import_module(self._module(stem))
        return self._run[stem]

    def forget(self, kept: Container[str]) -> None:
        """All modules but those of these stems are imported anew; who runs holds on to what it has."""
        self._run = {}
        for name in [name for name in sys.modules if name.startswith(f"{self._name}.")]:
            if not any(name == self._module(stem) for stem in self._stems() if stem in kept):
                del sys.modules[name]

    def restore(self, source: Source) -> None:
        """An earlier module is in force again."""
        sys.modules[source.module.__name__] = source.module

    def find(self, name: str) -> Path | None:
        """The file, or the `__init__.py` of the folder, that is a module of that name in here."""
        direct = (self._place / f"{name}.py", self._place / name / "__init__.py")
        spelt = (self._place / f"{stem}.py" for stem in self._stems() if _module_name(stem) == name)
        return next((path for path in (*direct, *spelt) if path.is_file()), None)

    @contextmanager
    def collecting(self, module: ModuleType, stem: str) -> Iterator[None]:
        """Around the run of a file: what it defines is its own, and is kept when it ends well."""
        source = Source(module, self._origin)
        token = collecting.set(source)
        try:
            yield
        finally:
            collecting.reset(token)
        self._run[stem] = source

    def _stems(self) -> list[str]:
        return sorted(path.stem for path in self._place.glob("*.py"))

    def _module(self, stem: str) -> str:
        return f"{self._name}.{_module_name(stem)}"


class _Loader(SourceFileLoader):
    """Compiles a file from its text each time, and collects what a task file defines."""

    def __init__(self, package: Package, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        self._package = package
        self._file = path

    def get_code(self, fullname: str) -> CodeType | None:
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        if is_helper(self._file):
            super().exec_module(module)  # what it defines is its importer's
            return
        with self._package.collecting(module, self._file.stem):
            super().exec_module(module)


class _Finder:
    """Finds the modules of our packages and no others."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        parent, _, name = fullname.rpartition(".")
        package = _packages.get(parent)
        found = None if package is None else package.find(name)
        if package is None or found is None:
            return None
        inner = [str(found.parent)] if found.name == "__init__.py" else None
        loader = _Loader(package, fullname, found)
        return importlib.util.spec_from_file_location(fullname, found, loader=loader, submodule_search_locations=inner)


_FINDER = _Finder()
_packages: WeakValueDictionary[str, Package] = WeakValueDictionary()


def is_helper(path: Path) -> bool:
    """Whether a file is for task files to import and is none itself."""
    return path.name.startswith("_")


def line_of(error: BaseException, path: Path) -> int | None:
    """The line of that file at which it happened."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def _module_name(stem: str) -> str:
    return stem.replace(".", "_")
