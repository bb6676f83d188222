"""Where a store is: a URL, a client, or a server of our own in memory, all as one thing that makes connections.

Of a client only its address is taken. Connections are made anew, with the time-outs that are ours to choose, so its
pool, its decoding and its retries play no part; redis-py's retries are off because every verb is safe to send twice
and the callers decide how long to go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff

from taskmanager.errors import UsageError

__all__ = ["Address", "client_address", "fake_address", "url_address"]

REPLY_S = 5.0
"""How long a reply may take before the connection is taken to be dead, in seconds."""
_OURS: dict[str, Any] = {
    "decode_responses": False,
    "encoding_errors": "surrogatepass",
    "health_check_interval": 0,
    "protocol": 2,
    "retry_on_error": [],
    "socket_connect_timeout": REPLY_S,
    "socket_timeout": None,
}
_OVER_TCP = {"socket_keepalive": True}
_FORGOTTEN = ("retry", "retry_on_timeout", "himport_registry", "maint_notifications")
"""Beginnings of the options that belong to a pool or a client, and not to its address."""


@dataclass(frozen=True, slots=True)
class Address:
    """`name` is for messages and holds no password."""

    name: str
    connection_class: type[Any]
    options: Mapping[str, Any]
    is_fake: bool = False

    def connect(self) -> Any:
        """A redis-py connection that is not open yet, and waits for ever: whoever reads from it sets the time."""
        return self.connection_class(**self.options, retry=Retry(NoBackoff(), 0))


def url_address(url: str, field: str) -> Address:
    """The address of a `redis://`, `rediss://` or `unix://` URL. Raises `UsageError` for one that cannot be read."""
    try:
        database = urlsplit(url).path.strip("/")
        if not url.startswith("unix://") and database and not (database.isascii() and database.isdigit()):
            raise ValueError(f"the database must be a number, got {database!r}")
        if url.startswith("unix://") and not database:
            raise ValueError("the path of the socket is missing")
        address = _of_pool(ConnectionPool.from_url(url), url)
        address.connect()  # which refuses unknown options
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{field} must be a URL such as redis://user:password@host:6379/0, got {_without_password(url)!r}: {error}"
        ) from error
    return address


def client_address(client: object, field: str) -> Address:
    """The address of a `redis.asyncio.Redis` (or fakeredis) client. Raises `UsageError` for anything else."""
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        raise UsageError(f"{field} must name one server; ask the sentinel for the primary's address and give that")
    if not isinstance(client, Redis) or pool is None:
        raise UsageError(
            f"{field} must be a URL or a redis.asyncio.Redis client of one server, got {type(client).__module__}."
            f"{type(client).__qualname__}"
        )
    return _of_pool(pool)


def fake_address() -> Address:
    """A new server in this process's memory, kept as long as somebody refers to it. Needs fakeredis[lua]."""
    # Without lupa, fakeredis would fail at the first script only.
    if not (find_spec("fakeredis") and find_spec("lupa")):
        raise UsageError("fakeredis:// needs fakeredis and its Lua: pip install 'taskmanager[fakeredis]'")
    from fakeredis import FakeAsyncRedis, FakeServer

    return _of_pool(FakeAsyncRedis(server=FakeServer()).connection_pool, "fakeredis://")


def _of_pool(pool: Any, url: str | None = None) -> Address:
    options = {key: value for key, value in pool.connection_kwargs.items() if not key.startswith(_FORGOTTEN)}
    is_fake = pool.connection_class.__module__.startswith("fakeredis")
    if url is not None:
        name = _without_password(url)
    elif "path" in options:
        name = f"unix://{options['path']}"
    else:
        name = f"redis://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db') or 0}"
    ours = {"protocol": 2} if is_fake else _OURS if "path" in options else _OURS | _OVER_TCP
    return Address(name, pool.connection_class, options | ours, is_fake)


def _without_password(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    user = login.partition(":")[0]
    return f"{scheme}{separator}{user}:***{at}{place}" if ":" in login else url
