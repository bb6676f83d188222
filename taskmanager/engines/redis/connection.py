"""The way to a server: connections, scripts by their names, and redis-py's exceptions in our words.

A call takes an idle connection or makes one, so as many calls may be in flight as there are callers. What a server or
a network did to an idle connection shows only when it is used again: the first failure on such a one is repeated at
once on a new one, which is safe because every verb may be sent twice.
"""

from __future__ import annotations

import asyncio
from typing import Any

from redis import exceptions as redis_errors

from taskmanager.engines.redis.address import Address
from taskmanager.engines.redis.scripts import Script
from taskmanager.errors import EngineFull, EngineUnavailable, InvariantError, TaskManagerError, UsageError

__all__ = ["Connections", "translate"]

_TRY_AGAIN = ("BUSY", "LOADING", "READONLY", "MISCONF", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "UNBLOCKED", "UNKILLABLE")
"""Errors of a server that may answer better later, by the first word."""


class Connections:
    """The connections to one address. Used in one event loop."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[Any] = []
        self._closed = False

    async def run(self, script: Script, *arguments: Any) -> Any:
        """The answer of a script; `arguments` begin with its number of keys."""
        try:
            return await self.ask("EVALSHA", script.sha, *arguments)
        except redis_errors.NoScriptError:
            return await self.ask("EVAL", script.text, *arguments)

    async def ask(self, *command: Any) -> Any:
        """The answer of one command. Raises redis-py's exceptions; see `translate`."""
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._talk(connection, command)
            except redis_errors.ConnectionError as error:
                if isinstance(error, (redis_errors.AuthenticationError, redis_errors.BusyLoadingError)):
                    raise
        return await self._talk(self.address.connect(), command)

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect()

    async def _talk(self, connection: Any, command: tuple[Any, ...]) -> Any:
        try:
            await connection.send_command(*command)
            answer = await connection.read_response()
        except redis_errors.ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            # Also where the caller was cancelled: an answer may still be under way, which nobody else must read.
            await _let_go(connection)
            raise
        self._idle.append(connection)
        return answer


async def _let_go(connection: Any) -> None:
    try:
        await asyncio.shield(connection.disconnect(nowait=True))
    except (redis_errors.RedisError, OSError):
        return


def translate(error: Exception, address: Address) -> TaskManagerError:
    """A store's exception as one of ours."""
    text = f"{address.name}: {error}"
    word = str(error).split(" ", 1)[0]
    match error:
        case redis_errors.AuthenticationError() | redis_errors.AuthorizationError() | redis_errors.NoPermissionError():
            return UsageError(f"{text}; db must carry a user name and password that the server accepts")
        case redis_errors.OutOfMemoryError():
            return EngineFull(f"{text}; raise the server's maxmemory, or let workers finish what is stored")
        case redis_errors.ReadOnlyError():
            return EngineUnavailable(f"{text}; this server is a replica: give db the address of the primary")
        case redis_errors.MovedError() | redis_errors.ClusterCrossSlotError():
            return UsageError(f"{text}; db must be one server, not a node of a Redis Cluster")
        case redis_errors.ResponseError() if word == "OOM":
            return EngineFull(f"{text}; raise the server's maxmemory, or let workers finish what is stored")
        case redis_errors.ResponseError() if word == "NOAUTH":
            return UsageError(f"{text}; db must carry the server's password")
        case redis_errors.ResponseError() if word not in _TRY_AGAIN:
            return InvariantError(f"{text}; keys of this prefix are not as this version writes them")
        case _:
            return EngineUnavailable(text or repr(error))
