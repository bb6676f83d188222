"""A wire to a server that can be made to fail: it loses requests and replies, delays, resets, and freezes.

It understands as much of the protocol as it needs to see single commands, and pairs each with its reply, so that
"executed, but the answer never came" can be had for a certain command, a certain number of times, or by chance.

It runs in a thread and loop of its own: a handler that blocks the test's loop does not hold up the wire, and every
method here is a plain call from the test. Chance is a seeded `Random`; which command meets which draw still depends on
the order in which the server is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import re
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.engines.redis.resp import PUSH, frame_end, words_of
from tests.servers import HOST

_HEADER = re.compile(rb"^-- (\w+): ", re.MULTILINE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of no time: close() sends RST


class Fate(Enum):
    """What becomes of one command."""

    LOSE_REQUEST = "the server never sees it; the connection closes"
    LOSE_REPLY = "the server does it; the connection closes in place of its answer"
    RESET = "the server never sees it; the connection is reset"
    SILENCE = "the server does it; from then on the connection is open and says nothing"
    DELAY = "the answer comes late"


class Command(NamedTuple):
    """A command as the wire sees it. `scripts` are the names in the headers of the script it runs (`-- claim: ...`),
    where the wire has seen that script.
    """

    name: str
    words: list[bytes]
    scripts: frozenset[str]


@dataclass
class Rule:
    """A fate for commands that match: each with probability `rate`, `times` in all; `met` are those that met it.

    `of` are names of commands, in capitals, or of scripts.
    """

    fate: Fate
    of: tuple[str, ...] = ()
    rate: float = 1.0
    times: int | None = None
    delay_s: float = 0.0
    where: Callable[[Command], bool] = lambda command: True
    met: list[Command] = field(default_factory=list)

    def fits(self, command: Command) -> bool:
        named = not self.of or any(word == command.name or word in command.scripts for word in self.of)
        return named and (self.times is None or len(self.met) < self.times) and self.where(command)


class _Link:
    """One client's connection and ours to the server for it."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.fates: deque[Rule | None] = deque()
        self.silent = False
        self.tasks: list[asyncio.Task[None]] = []


class Proxy:
    """See the module's law. A context manager; `url` is where clients connect.

    `commands` counts what clients sent by name, `log` keeps it; `sent` and `received` count bytes from and to them.
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.target = port
        self.port = 0
        self.rules: list[Rule] = []
        self.commands: Counter[str] = Counter()
        self.log: list[Command] = []
        self.connections = 0
        self.sent = self.received = 0
        self._rng = random.Random(seed)
        self._scripts: dict[str, frozenset[str]] = {}
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._accepting: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None
        self._thawed = asyncio.Event()
        self._thawed.set()

    @property
    def url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    # ---- what a test says

    def rule(self, fate: Fate, *of: str, rate: float = 1.0, times: int | None = None, **more: Any) -> Rule:
        """Adds a rule; the first that fits and whose draw succeeds decides."""
        rule = Rule(fate, of, rate, times, **more)
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """No rule any more, and a frozen wire goes on."""
        self.rules.clear()
        self._call(self._thaw())

    def freeze(self) -> None:
        """Half open: every connection stays as it is and nothing passes, nor for new ones, until `heal`."""
        self._call(self._freeze())

    def cut(self, *, reset: bool = True) -> None:
        """Ends every connection; new ones may come."""
        self._call(self._cut(reset))

    def refuse(self) -> None:
        """Ends every connection and listens no longer, until `accept`."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Listens again, on the same port."""
        self._call(self._listen())

    def clear(self) -> None:
        """Counts anew."""
        self.commands.clear()
        self.log.clear()
        self.sent = self.received = 0

    # ---- life

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._call(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        listener = self._listener = socket.create_server((HOST, self.port), backlog=200)
        self.port = listener.getsockname()[1]
        listener.setblocking(False)
        self._accepting = self._loop.create_task(self._accept(listener))

    async def _refuse(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._cut(reset=True)

    async def _cut(self, reset: bool) -> None:
        tasks = [task for link in tuple(self._links) for task in link.tasks]
        for link in tuple(self._links):
            if reset:
                link.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _freeze(self) -> None:
        self._thawed.clear()

    async def _thaw(self) -> None:
        self._thawed.set()

    # ---- connections

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            client, _ = await self._loop.sock_accept(listener)
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            link = _Link(client)
            self._links.add(link)
            link.tasks.append(self._loop.create_task(self._serve(link)))

    async def _serve(self, link: _Link) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setblocking(False)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways: list[asyncio.Task[None]] = []
        try:
            await self._loop.sock_connect(server, (HOST, self.target))
            ways = [
                self._loop.create_task(self._requests(link, server)),
                self._loop.create_task(self._replies(link, server)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the server is down: its client's connection ends, as it would
        finally:
            for way in ways:
                way.cancel()
            server.close()
            link.client.close()
            self._links.discard(link)
            for way in ways:
                # The other side went away, or we ended it: both are ordinary ends of a wire.
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await way

    async def _requests(self, link: _Link, server: socket.socket) -> None:
        """Forwards one command after another, until one of them meets its fate on the way."""
        buffer = bytearray()
        while received := await self._loop.sock_recv(link.client, 1 << 18):
            await self._thawed.wait()
            buffer += received
            self.sent += len(received)
            start, forward = 0, bytearray()
            while start < len(buffer) and (end := frame_end(buffer, start)) is not None:
                rule = self._judge(buffer[start:end])
                if rule is not None and rule.fate in (Fate.LOSE_REQUEST, Fate.RESET):
                    await self._loop.sock_sendall(server, forward)
                    if rule.fate is Fate.RESET:
                        link.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    return
                link.fates.append(rule)
                forward += buffer[start:end]
                start = end
            del buffer[:start]
            await self._loop.sock_sendall(server, forward)

    async def _replies(self, link: _Link, server: socket.socket) -> None:
        """Brings back one reply after another, until one of them meets its fate on the way."""
        buffer = bytearray()
        while received := await self._loop.sock_recv(server, 1 << 18):
            await self._thawed.wait()
            buffer += received
            start, forward = 0, bytearray()
            while start < len(buffer) and (end := frame_end(buffer, start)) is not None:
                is_pushed = buffer[start] == PUSH or not link.fates
                rule = None if is_pushed else link.fates.popleft()
                if rule is not None and rule.fate is Fate.LOSE_REPLY:
                    await self._loop.sock_sendall(link.client, forward)
                    return
                if rule is not None and rule.fate is Fate.SILENCE:
                    link.silent = True
                if rule is not None and rule.fate is Fate.DELAY:
                    await self._loop.sock_sendall(link.client, forward)
                    forward.clear()
                    await asyncio.sleep(rule.delay_s)
                if not link.silent:
                    forward += buffer[start:end]
                start = end
            del buffer[:start]
            self.received += len(forward)
            await self._loop.sock_sendall(link.client, forward)

    # ---- fate

    def _judge(self, frame: bytearray) -> Rule | None:
        words = words_of(frame)
        command = Command(words[0].decode().upper(), words, self._named(words))
        self.commands[command.name] += 1
        self.log.append(command)
        for rule in tuple(self.rules):
            if rule.fits(command) and self._rng.random() < rule.rate:
                rule.met.append(command)
                return rule
        return None

    def _named(self, words: list[bytes]) -> frozenset[str]:
        """The names of the script that a command runs or loads."""
        name = words[0].upper()
        if name == b"EVALSHA":
            return self._scripts.get(words[1].decode().lower(), frozenset())
        source = words[1] if name == b"EVAL" else words[2] if [name, *words[1:2]] == [b"SCRIPT", b"LOAD"] else None
        if source is None:
            return frozenset()
        # SHA1 is the server's name for a script, nothing secret.
        names = frozenset(header.decode() for header in _HEADER.findall(source))
        return self._scripts.setdefault(hashlib.sha1(source, usedforsecurity=False).hexdigest(), names)
