"""The `ctx` of a handler: your own context, plus `emit`.

Your object is not changed and not copied: names are read from it and written to it, as attributes or, where it is a
mapping, as its items; both spellings work on either. Only `emit` and `emit_many` are ours, and a context that has an
`emit` already is refused, because one of the two would be silently hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

from taskmanager.errors import UsageError

_OWN = ("emit", "emit_many")


def check_context(value: object) -> None:
    """Raises `UsageError` for a context with an `emit` of its own."""
    for name in _OWN:
        if (isinstance(value, Mapping) and name in value) or (not isinstance(value, Mapping) and hasattr(value, name)):
            raise UsageError(f"ctx must not have its own {name!r}: handlers call ctx.{name}(...) to emit; rename it")


class Context:
    """See the module's law."""

    __slots__ = ("_inner", "emit", "emit_many")

    emit: Callable[..., Any]
    emit_many: Callable[..., Any]

    def __init__(self, inner: Any, emit: Callable[..., Any], emit_many: Callable[..., Any]) -> None:
        object.__setattr__(self, "_inner", {} if inner is None else inner)
        object.__setattr__(self, "emit", emit)
        object.__setattr__(self, "emit_many", emit_many)

    def __getattr__(self, name: str) -> Any:
        inner = object.__getattribute__(self, "_inner")
        if isinstance(inner, Mapping):
            try:
                return inner[name]
            except KeyError:
                raise AttributeError(f"ctx has no {name!r}") from None
        return getattr(inner, name)

    def __setattr__(self, name: str, value: object) -> None:
        _refuse_own(name)
        if isinstance(self._inner, MutableMapping):
            self._inner[name] = value
        else:
            setattr(self._inner, name, value)

    def __delattr__(self, name: str) -> None:
        _refuse_own(name)
        if isinstance(self._inner, MutableMapping):
            if name not in self._inner:
                raise AttributeError(f"ctx has no {name!r}")
            del self._inner[name]
        else:
            delattr(self._inner, name)

    def __getitem__(self, name: str) -> Any:
        if name in _OWN:
            return getattr(self, name)
        if isinstance(self._inner, Mapping):
            return self._inner[name]
        try:
            return getattr(self._inner, name)
        except AttributeError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def __contains__(self, name: object) -> bool:
        if isinstance(self._inner, Mapping):
            return name in _OWN or name in self._inner
        return isinstance(name, str) and (name in _OWN or hasattr(self._inner, name))

    def __iter__(self) -> Iterator[str]:
        names = self._inner if isinstance(self._inner, Mapping) else vars(self._inner)
        yield from (*_OWN, *names)

    def get(self, name: str, default: Any = None) -> Any:
        """The item or attribute, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def __repr__(self) -> str:
        return f"<ctx over {self._inner!r}>"


def _refuse_own(name: str) -> None:
    if name in _OWN:
        raise UsageError(f"ctx.{name} cannot be replaced: handlers call it to emit")
