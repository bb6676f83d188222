"""The server that a BullMQ queue is on: how it is named, a client for it, and its exceptions in our words.

BullMQ's own clients go on for five minutes where nobody answers. Ours are made here, so that a call ends within
seconds, and the name that messages give the server holds no password. redis-py looks at its words when it connects, and
then fails in words of its own; so they are looked at here, when a server is named.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from taskmanager.errors import EngineFull, EngineUnavailable, TaskManagerError, UsageError
from taskmanager.policy.checks import check_names, check_number, check_whole

__all__ = ["REPLY_S", "Server"]

REPLY_S = 5.0
"""How long a server may take to answer, in seconds, before it is taken to be gone."""
BLOCKING_S = 20.0
"""The same for a worker's client, whose reads wait on the server for up to 10 s until there is something."""
_OURS = ("retry", "retry_on_error", "retry_on_timeout", "decode_responses", "connection_pool")
_DEFAULTS = {name: one.default for name, one in inspect.signature(Redis).parameters.items() if name not in _OURS}
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
            self._words = _checked(words if connection is None else connection)
        else:
            raise UsageError(f"connection must be {_FORMS}, got {_shown(connection)}")
        address = self._address()
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
            raise self._refused(error) from error

    def _address(self) -> Mapping[str, Any]:
        """Where the server is. Making a client and a connection, which is not opened, refuses what they cannot take."""
        pool = self.client().connection_pool
        try:
            pool.make_connection()
        except (TypeError, ValueError, AttributeError, OSError, redis_errors.RedisError) as error:
            raise self._refused(error) from error
        address: Mapping[str, Any] = pool.connection_kwargs
        return address

    def _refused(self, error: Exception) -> UsageError:
        got = ", ".join(self._words) if self._url is None else _shown(self._url)
        return UsageError(f"connection must be {_FORMS}, got {got}: {error}")

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


def _checked(words: Mapping[str, Any]) -> Mapping[str, Any]:
    """Words of redis-py with values that they may have; where it takes None by default, None."""
    check_names(words, "connection", _DEFAULTS)
    for name, value in words.items():
        if value is None and _DEFAULTS[name] is None:
            continue
        for names, check in _CHECKS:
            if name in names:
                check(value, name)
    return dict(words)


def _check_text(value: object, name: str) -> None:
    """Its value is not told, for it may be a secret."""
    if not isinstance(value, str) or not value:
        got = "an empty one" if value == "" else f"a value of type {type(value).__name__}"
        raise UsageError(f"{name} must be a text, got {got}")


def _check_secret(value: object, name: str) -> None:
    if not isinstance(value, (str, bytes)):
        raise UsageError(f"{name} must be a text or bytes, got a value of type {type(value).__name__}")


def _check_switch(value: object, name: str) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, got {value!r}")


def _check_seconds(value: object, name: str) -> None:
    if value is not None:
        check_number(value, name, 0.001)


_CHECKS: tuple[tuple[tuple[str, ...], Callable[[Any, str], object]], ...] = (
    (("host", "unix_socket_path", "encoding", "encoding_errors", "client_name"), _check_text),
    (("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path", "ssl_ciphers"), _check_text),
    (("username", "password", "ssl_password", "ssl_ca_data"), _check_secret),
    (("port",), lambda value, name: check_whole(value, name, 1, 65_535)),
    (("db",), lambda value, name: check_whole(value, name, 0, 1 << 31)),
    (("max_connections", "socket_read_size"), lambda value, name: check_whole(value, name, 1, 1 << 31)),
    (("protocol",), lambda value, name: check_whole(value, name, 2, 3)),
    (("socket_timeout", "socket_connect_timeout"), _check_seconds),
    (("health_check_interval",), lambda value, name: check_number(value, name, 0)),
    (("ssl", "ssl_check_hostname", "single_connection_client", "legacy_responses"), _check_switch),
    (("socket_keepalive", "auto_close_connection_pool"), _check_switch),
)
"""Words of redis-py, and what is asked of their values; of what is not here, redis-py asks all there is to ask."""


def _shown(connection: object) -> str:
    """A connection for a message, without what is secret in it."""
    if not isinstance(connection, str):
        return f"a {type(connection).__name__}"
    before, login, address = connection.rpartition("@")
    return repr(f"{before.partition('://')[0]}://***@{address}" if login else address)
