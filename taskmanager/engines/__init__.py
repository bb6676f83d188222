"""The engines, each a home of the port's verbs, and the table that finds one by its URL.

An engine's package is imported when its URL is seen, so nobody pays for a store that he does not use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from taskmanager.clock import Clock
from taskmanager.engine import Engine
from taskmanager.errors import UsageError

__all__ = ["Options", "is_in_process", "open_engine"]


class Options(NamedTuple):
    """What opens a store beside its address.

    `clock` is for engines whose time is not a server's, and for simulations. `prefix` begins the keys in a store that
    others may use too. `rings` is where the blocking reads go (a URL or a client), None for the store's own address.
    """

    clock: Clock | None = None
    prefix: str = "taskmanager"
    rings: Any = None


def open_engine(
    store: Any, clock: Clock | None = None, field: str = "db", *, prefix: str = "taskmanager", rings: Any = None
) -> Engine:
    """The engine of a URL, or of a `redis.asyncio.Redis` client, not yet connected; for the rest see `Options`.

    `memory://` is a store of its own each time, `memory://name` is shared in the process. Raises `UsageError` for
    anything else, under the name of the `field` that gave it.
    """
    options = Options(clock, prefix, rings)
    if not isinstance(store, str):
        return _client(store, options, field)
    scheme, separator, rest = store.partition("://")
    scheme = scheme.lower()
    if not separator:
        raise UsageError(f"{field} must be a URL, one of {ACCEPTED}; got {store!r}")
    if scheme not in SCHEMES:
        raise UsageError(f"{field} must be one of {ACCEPTED}; got the scheme {scheme!r}")
    if rings is not None and SCHEMES[scheme][1] is not _redis:
        raise UsageError(
            f"streamdb is a second connection to a Redis server; with {field} {store!r} it must be left out"
        )
    return SCHEMES[scheme][1](f"{scheme}://{rest}", options, field)


def is_in_process(store: Any) -> bool:
    """Whether what a `db` names is kept in the memory of a process, so that no other process can share it."""
    if not isinstance(store, str):
        return type(store).__module__.startswith("fakeredis.")
    scheme, _, rest = store.partition("://")
    if scheme.lower() == "sqlite":
        from taskmanager.engines.sqlite.address import Address

        return Address.of(rest).path is None
    return scheme.lower() in ("memory", "fakeredis")


def _memory(url: str, options: Options, field: str) -> Engine:
    from taskmanager.engines.memory import MemoryEngine, shared_store

    name = url.removeprefix("memory://")
    return MemoryEngine(options.clock, shared_store(name) if name else None)


def _sqlite(url: str, options: Options, field: str) -> Engine:
    from taskmanager.engines.sqlite import SqliteEngine

    return SqliteEngine.of(url.removeprefix("sqlite://"), options.clock, field)


def _redis(url: str, options: Options, field: str) -> Engine:
    from taskmanager.engines.redis import redis_engine

    return redis_engine(url, options.prefix, options.clock, options.rings, field)


def _client(client: object, options: Options, field: str) -> Engine:
    if not type(client).__module__.startswith(("redis.", "fakeredis.")):
        raise UsageError(f"{field} must be a URL, one of {ACCEPTED}, or a redis.asyncio.Redis client; got {client!r}")
    from taskmanager.engines.redis import redis_engine

    return redis_engine(client, options.prefix, options.clock, options.rings, field)


SCHEMES: dict[str, tuple[str, Callable[[str, Options, str], Engine]]] = {
    # scheme: (what its URLs look like, what opens them)
    "memory": ("memory:// or memory://name", _memory),
    "sqlite": ("sqlite:// (in memory) or sqlite:///file.db", _sqlite),
    "redis": ("redis://host:port/database", _redis),
    "rediss": ("rediss:// (with TLS)", _redis),
    "unix": ("unix:///path/of/socket", _redis),
    "fakeredis": ("fakeredis://", _redis),
}
ACCEPTED = ", ".join(form for form, _ in SCHEMES.values())
