"""The files of one folder as modules: found, compiled, run, and each one's definitions collected.

They are modules of a private package, so they clobber nobody's and nobody theirs. They import one another and their
helpers relatively (`from ._shared import rates`), everything else as ever. They are compiled from the texts that the
load has read, so a file that is saved meanwhile is taken as it was, and by the next load as it is. Python's own cache
is left out: it goes by the second in which a file was saved, and a reload may be quicker.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from weakref import WeakValueDictionary

from taskmanager.tasks.board import collecting
from taskmanager.tasks.definitions import Task
from taskmanager.tasks.texts import Texts, is_helper, module_name

__all__ = ["Package", "Source"]


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
        self._texts: Texts = {}
        self._forgotten: dict[str, ModuleType] = {}
        self._stale: set[str] = set()
        self._bringers: dict[str, str] = {}
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

    def forget(self, texts: Texts, kept: Container[str], *, helpers: bool) -> None:
        """All files but those of these stems are to be imported anew, with these texts, and if so, the helpers too.

        A helper that is the same stays as it is, with what it holds, unless it brought tasks to a file that runs anew.
        """
        self._run, self._texts, self._forgotten = {}, texts, {}
        for name, module in [(name, module) for name, module in sys.modules.items() if self._has(name)]:
            path = Path(module.__file__ or "")
            if self.is_task(path):
                stays = path.stem in kept
            else:
                bringer = self._bringers.get(name)
                stays = not helpers and name not in self._stale and (bringer is None or bringer in kept)
            if not stays:
                self._forgotten[name] = module
                del sys.modules[name]
                self._bind(name, None)
        self._stale.clear()

    def restore(self) -> None:
        """Of what could not be imported anew the earlier module is in force again: whoever runs may still ask for it.

        The next load tries again.
        """
        for name, module in self._forgotten.items():
            if name not in sys.modules and Path(module.__file__ or "") in self._texts:
                sys.modules[name] = module
                self._bind(name, module)
                self._stale.add(name)
        self._forgotten = {}

    def find(self, *names: str) -> Path | None:
        """The file, or the `__init__.py` of the folder, that is a module of that name in here, or deeper."""
        *folders, name = names
        folder = self._place.joinpath(*folders)
        direct = (folder / f"{name}.py", folder / name / "__init__.py")
        spelt = () if folders else (self._place / f"{stem}.py" for stem in self._stems() if module_name(stem) == name)
        return next((path for path in (*direct, *spelt) if path.is_file()), None)

    def text(self, path: Path) -> bytes | None:
        """What the load has read of a file; None where it has not, or could not."""
        return self._texts.get(path)

    def is_task(self, path: Path) -> bool:
        """Whether a file is one of those that define tasks, and none that they import."""
        return path.parent == self._place and not is_helper(path)

    @contextmanager
    def bringing(self, name: str) -> Iterator[None]:
        """Around the run of a helper: what it defines is its importer's, and where that runs anew, so does this."""
        importer = collecting.get()
        if not isinstance(importer, Source):
            yield
            return
        before = len(importer.tasks), len(importer.open)
        self._bringers.pop(name, None)
        yield
        if before != (len(importer.tasks), len(importer.open)):
            self._bringers[name] = Path(importer.module.__file__ or "").stem

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
        return f"{self._name}.{module_name(stem)}"

    def _has(self, name: str) -> bool:
        return name.startswith(f"{self._name}.")

    def _bind(self, name: str, module: ModuleType | None) -> None:
        """Its package names it as Python would have it: `from . import name` asks there first."""
        parent, _, leaf = name.rpartition(".")
        names = vars(sys.modules.get(parent, self._forgotten.get(parent)))
        if module is not None:
            names[leaf] = module
        elif isinstance(names.get(leaf), ModuleType):
            del names[leaf]


class _Loader(SourceFileLoader):
    """Compiles a file from its text each time, and collects what a task file defines."""

    def __init__(self, package: Package, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        self._package = package
        self._file = path

    def get_code(self, fullname: str) -> CodeType | None:
        text = self._package.text(self._file)
        return self.source_to_code(self.get_data(self.path) if text is None else text, self.path)

    def exec_module(self, module: ModuleType) -> None:
        if self._package.is_task(self._file):
            around = self._package.collecting(module, self._file.stem)
        else:
            around = self._package.bringing(module.__name__)
        with around:
            super().exec_module(module)


class _Finder:
    """Finds the modules of our packages and no others."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        top, *names = fullname.split(".")
        package = _packages.get(top) if names else None
        found = None if package is None else package.find(*names)
        if package is None or found is None:
            return None
        inner = [str(found.parent)] if found.name == "__init__.py" else None
        loader = _Loader(package, fullname, found)
        return importlib.util.spec_from_file_location(fullname, found, loader=loader, submodule_search_locations=inner)


_FINDER = _Finder()
_packages: WeakValueDictionary[str, Package] = WeakValueDictionary()
