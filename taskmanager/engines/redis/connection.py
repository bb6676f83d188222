"""The way to a server: connections, scripts by their names, and redis-py's exceptions in our words.

A call takes an idle connection or makes one, so as many calls may be in flight as there are callers. What a server or
a network did to an idle connection shows only when it is used again: the first failure on such a one is repeated at
once on a new one, which is safe because every verb may be sent twice.

Calls that are to take effect in the order in which they are made share one connection, a lane, and do not wait for one
another's answers.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

from hiredis import pack_command
from redis import exceptions as redis_errors

from taskmanager.engines.redis.address import REPLY_S, Address
from taskmanager.engines.redis.scripts import Script
from taskmanager.errors import EngineFull, EngineUnavailable, InvariantError, TaskManagerError, UsageError

__all__ = ["Connections", "Lane", "is_at_work", "translate"]


class Connections:
    """The connections to one address. Those of an event loop that is gone are of no use to the next, and forgotten."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._idle: list[Any] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, script: Script, *arguments: Any) -> Any:
        """The answer of a script; `arguments` begin with its number of keys."""
        return await _run(self.ask, script, *arguments)

    async def ask(self, *command: Any) -> Any:
        """The answer of one command. Raises redis-py's exceptions; see `translate`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._idle = loop, []
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
        if asyncio.get_running_loop() is self._loop:
            for connection in idle:
                await connection.disconnect()

    async def _talk(self, connection: Any, command: tuple[Any, ...]) -> Any:
        try:
            # Not redis-py's own time-out: on Python 3.11 it may swallow a cancellation (cpython gh-86296).
            async with asyncio.timeout(REPLY_S):
                await _send(connection, command, self.address)
                answer = await connection.read_response()
        except redis_errors.ResponseError:
            self._idle.append(connection)
            raise
        except TimeoutError:
            await _let_go(connection)
            raise redis_errors.TimeoutError(f"no reply within {REPLY_S:g} s") from None
        except BaseException:
            # Also where the caller was cancelled: an answer may still be under way, which nobody else must read.
            await _let_go(connection)
            raise
        self._idle.append(connection)
        return answer


class Lane:
    """One connection to an address, for calls that take effect in the order in which they are made."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connection: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing = asyncio.Lock()
        self._last: asyncio.Future[None] | None = None
        self._known: set[str] = set()

    async def run(self, script: Script, *arguments: Any) -> Any:
        """See `Connections.run`. A script goes as text first: were it unknown, the call behind would overtake it."""
        if script.sha in self._known:
            return await _run(self.ask, script, *arguments)
        self._known.add(script.sha)
        return await self.ask("EVAL", script.text, *arguments)

    async def ask(self, *command: Any) -> Any:
        """See `Connections.ask`."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._connection, self._last, self._writing = loop, None, None, asyncio.Lock()
        was_idle = self._connection is not None
        try:
            return await self._talk(command, loop)
        except redis_errors.ConnectionError as error:
            if not was_idle or isinstance(error, (redis_errors.AuthenticationError, redis_errors.BusyLoadingError)):
                raise
        return await self._talk(command, loop)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and asyncio.get_running_loop() is self._loop:
            await connection.disconnect()

    async def _talk(self, command: tuple[Any, ...], loop: asyncio.AbstractEventLoop) -> Any:
        answered: asyncio.Future[None] = loop.create_future()
        connection = None
        try:
            async with asyncio.timeout(REPLY_S):
                async with self._writing:
                    if self._connection is None:
                        self._connection = self.address.connect()
                    connection = self._connection
                    before, self._last = self._last, answered
                    await _send(connection, command, self.address)
                if before is not None:
                    await asyncio.wait((before,))
                if self._connection is not connection:
                    raise redis_errors.ConnectionError("the connection was lost to an earlier call")
                return await connection.read_response()
        except redis_errors.ResponseError:
            raise
        except BaseException as error:
            # Answers are told apart by their order alone, so without this one those behind it are lost too.
            if connection is not None:
                if self._connection is connection:
                    self._connection = None
                await _let_go(connection)
            if isinstance(error, TimeoutError):
                raise redis_errors.TimeoutError(f"no reply within {REPLY_S:g} s") from None
            raise
        finally:
            answered.set_result(None)


async def _send(connection: Any, command: tuple[Any, ...], address: Address) -> None:
    if address.is_fake:
        await connection.send_command(*command)
    else:
        # redis-py packs in Python, which costs more than all else here; hiredis does it in C.
        await connection.send_packed_command(pack_command(command), check_health=False)


async def _run(ask: Callable[..., Awaitable[Any]], script: Script, *arguments: Any) -> Any:
    try:
        return await ask("EVALSHA", script.sha, *arguments)
    except redis_errors.NoScriptError:
        return await ask("EVAL", script.text, *arguments)


def is_at_work(task: asyncio.Task[Any] | None) -> bool:
    """Whether a task of ours goes on: it has not ended, and its event loop is the one that runs."""
    return task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop()


async def _let_go(connection: Any) -> None:
    try:
        await asyncio.shield(connection.disconnect(nowait=True))
    except (redis_errors.RedisError, OSError):
        return


def translate(error: Exception, address: Address) -> TaskManagerError:
    """A store's exception as one of ours; what a server may say for the first time is taken for a bad moment."""
    said = str(error) or type(error).__name__
    if (wrapped := _IN_SCRIPT.match(said)) is not None:
        said = wrapped[1]
    text = f"{address.name}: {said}"
    for kinds, words, make, advice in _MEANINGS:
        if isinstance(error, kinds) or said.startswith(words):
            return make(text + advice)
    return EngineUnavailable(text)


_IN_SCRIPT = re.compile(
    r"(?:ERR )?Error running script .*@user_script: ?\d+: -?((?:[A-Z]{3,}|The user executing) .*)$", re.DOTALL
)
"""What a command answered that a script called, as servers before 7.0 pass it on; Lua's own errors begin small."""
_Meaning = tuple[tuple[type[Exception], ...], tuple[str, ...], type[TaskManagerError], str]
_MEANINGS: tuple[_Meaning, ...] = (
    # classes of redis-py, or first words of the message (it cuts off the codes that it knows); ours; what to do
    (
        (redis_errors.NoPermissionError,),
        ("NOPERM", "The user executing the script", "ACL failure in script"),
        UsageError,
        "; the server's user lacks a right: the README says which ones it needs",
    ),
    (
        (redis_errors.AuthenticationError, redis_errors.AuthorizationError),
        ("NOAUTH", "WRONGPASS"),
        UsageError,
        "; db must carry a user name and password that the server accepts",
    ),
    (
        (redis_errors.OutOfMemoryError,),
        ("OOM",),
        EngineFull,
        "; raise the server's maxmemory, or let workers finish what is stored",
    ),
    (
        (redis_errors.ReadOnlyError,),
        ("READONLY",),
        EngineUnavailable,
        "; this server is a replica: give db the address of the primary",
    ),
    (
        (redis_errors.MovedError, redis_errors.ClusterCrossSlotError, redis_errors.ClusterDownError),
        ("CLUSTERDOWN",),
        EngineUnavailable,
        "; db must be one server, not a node of a Redis Cluster",
    ),
    ((), ("DB index", "invalid DB index"), UsageError, "; db must name one of its databases"),
    ((), ("WRONGTYPE",), UsageError, "; another program writes under this prefix: give one of its own"),
    ((), ("ERR Error running script", "Error running script"), InvariantError, ""),
)
