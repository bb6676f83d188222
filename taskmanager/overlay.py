"""Names of ours over a context of somebody else's.

What lies below is not changed and not copied: names are read from it and written to it, as attributes or, where it is a
mapping, as its items; both spellings work on either. Names of ours are read first, and cannot be replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, ClassVar

from taskmanager.errors import UsageError

__all__ = ["Overlay", "has"]


class Overlay:
    """See the module's law. A subclass says which names are its own, and why these stay as they are."""

    __slots__ = ("_below",)

    own: ClassVar[tuple[str, ...]]
    stays: ClassVar[str]

    def __init__(self, below: Any, **own: Any) -> None:
        for name, value in own.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_below", {} if below is None else below)

    def __getattr__(self, name: str) -> Any:
        below = object.__getattribute__(self, "_below")
        if isinstance(below, Mapping):
            try:
                return below[name]
            except KeyError:
                raise AttributeError(f"ctx has no {name!r}") from None
        return getattr(below, name)

    def __setattr__(self, name: str, value: object) -> None:
        self._refuse_own(name)
        if isinstance(self._below, MutableMapping):
            self._below[name] = value
        else:
            setattr(self._below, name, value)

    def __delattr__(self, name: str) -> None:
        self._refuse_own(name)
        if isinstance(self._below, MutableMapping):
            if name not in self._below:
                raise AttributeError(f"ctx has no {name!r}")
            del self._below[name]
        else:
            delattr(self._below, name)

    def __getitem__(self, name: str) -> Any:
        if name in self.own:
            return getattr(self, name)
        if isinstance(self._below, Mapping):
            return self._below[name]
        try:
            return getattr(self._below, name)
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def __contains__(self, name: object) -> bool:
        return name in self.own or has(self._below, name)

    def __iter__(self) -> Iterator[str]:
        names = self._below if isinstance(self._below, (Mapping, Overlay)) else vars(self._below)
        yield from dict.fromkeys((*self.own, *names))

    def get(self, name: str, default: Any = None) -> Any:
        """The item or attribute, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def __repr__(self) -> str:
        return f"<ctx over {self._below!r}>"

    def _refuse_own(self, name: str) -> None:
        if name in self.own:
            raise UsageError(f"ctx.{name} {self.stays}")


def has(context: object, name: object) -> bool:
    """Whether there is something under that name, as an item of a mapping or as an attribute of anything else."""
    if isinstance(context, (Mapping, Overlay)):
        return name in context
    return isinstance(name, str) and hasattr(context, name)
