"""The server that all are measured on, and the processes that play on it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from time import monotonic, sleep
from typing import Any

from redis import Redis

from tests.benchmarks.redis_peers.peer import Figures
from tests.processes import Guarded

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 300.0
_LEAVES_IN_S = 2.0

PYTHON = (sys.executable, "-m", "tests.benchmarks.redis_peers")


class Failed(Exception):
    """A peer gave no figures; says what it said instead."""


class Stage:
    """One Redis, by its URL. `commands` are the words that start a process of each peer."""

    def __init__(self, url: str, commands: Mapping[str, Sequence[str]]) -> None:
        self.url = url
        self._commands = commands
        self._server: Any = Redis.from_url(url, decode_responses=True, protocol=2)

    @property
    def version(self) -> str:
        told = self._server.info("server")
        return f"{told.get('server_name', 'redis')} {told.get('valkey_version', told['redis_version'])}"

    @property
    def is_used(self) -> bool:
        """Whether somebody's data is on it."""
        return bool(self._server.info("keyspace"))

    def empty(self) -> None:
        """No key is left, nor any script."""
        self._server.flushall()
        self._server.script_flush()

    def cpu_s(self) -> float:
        """What the server has used so far, in seconds."""
        told = self._server.info("cpu")
        return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])

    def memory(self) -> int:
        """What the server holds, in bytes, once it has let go of the clients that left."""
        deadline = monotonic() + _LEAVES_IN_S
        while self._server.info("clients")["connected_clients"] > 1 and monotonic() < deadline:
            sleep(0.01)
        return int(self._server.info("memory")["used_memory"])

    def sizes(self) -> list[int]:
        """The bytes of every key that is left."""
        return [int(self._server.memory_usage(key, samples=0) or 0) for key in self._server.scan_iter(count=1000)]

    def play(self, peer: str, command: str, *numbers: float) -> Figures:
        """What one process of the peer tells when it has done that."""
        with self.begin(peer, command, *numbers) as player:
            return player.figures()

    def begin(self, peer: str, command: str, *numbers: float) -> Player:
        return Player([*self._commands[peer], self.url, command, *map(str, numbers)])


class Player:
    """A process under way."""

    def __init__(self, words: Sequence[str]) -> None:
        self._folder = TemporaryDirectory()
        self._errors = Path(self._folder.name) / "stderr"
        self._child = Guarded(words, output=self._errors, pipes=True, cwd=ROOT)
        self._limit = Timer(LIMIT_S, self._child.process.kill)
        self._limit.daemon = True
        self._limit.start()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_: object) -> None:
        self._limit.cancel()
        self._child.end(gently=False)
        self._folder.cleanup()

    def ready(self) -> None:
        """Returns when the worker serves."""
        while self._line() != "ready\n":
            pass

    def figures(self) -> Figures:
        """Returns when it has ended."""
        while not (line := self._line()).startswith("{"):
            pass
        self._child.process.wait()
        return {str(key): float(value) for key, value in json.loads(line).items()}

    def _line(self) -> str:
        assert self._child.process.stdout is not None, "the child has pipes"
        line: str = self._child.process.stdout.readline()
        if not line:
            raise Failed(self._errors.read_text(encoding="utf-8", errors="replace").strip()[-600:] or "it ended")
        return line
