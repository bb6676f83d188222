"""The server that a BullMQ queue is on: how it is named, a client for it, and its exceptions in our words.

BullMQ's own clients go on for five minutes where nobody answers. Ours are made here, so that a call ends within
seconds, and the name that messages give the server holds no password.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from taskmanager.errors import EngineFull, EngineUnavailable, TaskManagerError, UsageError
from taskmanager.policy.checks import check_names

__all__ = ["REPLY_S", "Server"]

REPLY_S = 5.0
"""How long a server may take to answer, in seconds, before it is taken to be gone."""
BLOCKING_S = 20.0
"""The same for a worker's client, whose reads wait on the server for up to 10 s until there is something."""
_OURS = ("retry", "retry_on_error", "retry_on_timeout", "decode_responses", "connection_pool")
_ACCEPTED = tuple(name for name in inspect.signature(Redis).parameters if name not in _OURS)
_FORMS = "a URL such as redis://user:password@host:6379/0 or a mapping such as {'host': ..., 'port': ...}"


class Server:
    """One server and database. Raises `UsageError` for a connection that cannot be meant."""

    def __init__(self, connection: object, words: Mapping[str, Any]) -> None:
        if connection is not None and words:
            raise UsageError(f"connection must be given once, got {_shown(connection)} and {', '.join(words)}")
        self._url: str | None = None
        self._words: Mapping[str, Any] = {}
        if isinstance(connection, str):
            self._url = connection
        elif connection is None or isinstance(connection, Mapping):
            self._words = words if connection is None else connection
            check_names(self._words, "connection", _ACCEPTED)
        else:
            raise UsageError(f"connection must be {_FORMS}, got {_shown(connection)}")
        address = self.client().connection_pool.connection_kwargs  # making one refuses what it cannot take
        place = address.get("path") or f"{address.get('host')}:{address.get('port', 6379)}"
        self.name = f"the BullMQ server at {place}"

    def client(self, *, waits: bool = False) -> Any:
        """A new client, not connected yet; one that `waits` is for a worker."""
        bounds: dict[str, Any] = {
            "decode_responses": True,
            "socket_connect_timeout": REPLY_S,
            "socket_timeout": BLOCKING_S if waits else REPLY_S,
            "retry": Retry(ExponentialBackoff(cap=0.4, base=0.05), 3),
        }
        try:
            if self._url is None:
                return Redis(**{**bounds, **self._words})
            database = urlsplit(self._url).path.strip("/")
            if not self._url.startswith("unix:") and database and not database.isdecimal():
                raise ValueError(f"the database must be a number, got {database!r}")
            return Redis.from_url(self._url, **bounds)
        except (TypeError, ValueError) as error:
            raise UsageError(f"connection must be {_FORMS}, got {_shown(self._url)}: {error}") from error

    async def greet(self) -> None:
        """Raises `EngineUnavailable` where nobody answers, `UsageError` where it does not let us in."""
        client = self.client()
        try:
            with self.in_our_words():
                await client.ping()
        finally:
            await client.aclose()

    @contextmanager
    def in_our_words(self) -> Iterator[None]:
        """What redis-py raises within, as one of our errors."""
        try:
            yield
        except (redis_errors.RedisError, OSError, TimeoutError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> TaskManagerError:
        text = f"{self.name}: {error or type(error).__name__}"
        for kinds, words, make, advice in _MEANINGS:
            if isinstance(error, kinds) or str(error).startswith(words):
                return make(text + advice)
        return EngineUnavailable(text)


_Meaning = tuple[tuple[type[Exception], ...], tuple[str, ...], type[TaskManagerError], str]
_MEANINGS: tuple[_Meaning, ...] = (
    # classes of redis-py, or first words of the message; ours; what to do
    (
        (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.NoPermissionError),
        ("NOAUTH", "WRONGPASS", "NOPERM"),
        UsageError,
        "; connection must carry a username and password that the server accepts",
    ),
    ((redis_errors.OutOfMemoryError,), ("OOM",), EngineFull, "; raise the server's maxmemory"),
    (
        (redis_errors.ReadOnlyError,),
        ("READONLY",),
        EngineUnavailable,
        "; this server is a replica: give connection the address of the primary",
    ),
    ((), ("DB index", "invalid DB index"), UsageError, "; connection must name one of its databases"),
    ((), ("WRONGTYPE",), UsageError, "; another program writes under this prefix and queue: give one of its own"),
)


def _shown(connection: object) -> str:
    """A connection for a message, without what is secret in it."""
    if not isinstance(connection, str):
        return f"a {type(connection).__name__}"
    before, login, address = connection.rpartition("@")
    return repr(f"{before.partition('://')[0]}://***@{address}" if login else address)
