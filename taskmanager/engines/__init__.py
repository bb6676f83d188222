"""The engines, each a home of the port's verbs, and the table that finds one by its URL."""

from __future__ import annotations

from collections.abc import Callable

from taskmanager.clock import Clock
from taskmanager.engine import Engine
from taskmanager.engines.memory import MemoryEngine, shared_store
from taskmanager.errors import UsageError

__all__ = ["open_engine"]


def open_engine(url: str, clock: Clock | None = None, field: str = "db") -> Engine:
    """The engine of a URL, not yet connected; `clock` is for engines whose time is not a server's.

    `memory://` is a store of its own each time, `memory://name` is shared in the process. Raises `UsageError` for a URL
    of another form, under the name of the `field` that gave it.
    """
    if not isinstance(url, str):
        raise UsageError(f"{field} must be a URL, one of {ACCEPTED}; got {url!r}")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise UsageError(f"{field} must be a URL, one of {ACCEPTED}; got {url!r}")
    if scheme not in SCHEMES:
        raise UsageError(f"{field} must be one of {ACCEPTED}; got the scheme {scheme!r}")
    return SCHEMES[scheme][1](rest, clock)


def _memory(name: str, clock: Clock | None) -> Engine:
    return MemoryEngine(clock, shared_store(name) if name else None)


SCHEMES: dict[str, tuple[str, Callable[[str, Clock | None], Engine]]] = {
    # scheme: (what its URLs look like, what opens them)
    "memory": ("memory:// or memory://name", _memory),
}
ACCEPTED = ", ".join(form for form, _ in SCHEMES.values())
