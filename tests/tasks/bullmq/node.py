"""The Node side of a queue: the real BullMQ, installed once for the machine, in a process that is told what to do."""

from __future__ import annotations

import asyncio
import getpass
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.processes import Guarded, remove

BULLMQ = "6.7.0"
IOREDIS = "5.9.2"
_SCRIPT = Path(__file__).with_name("node_side.mjs")
_WITHIN_S = 20.0


def installed() -> Path:
    """The folder whose `node_modules` has BullMQ. It is kept outside the tree, for the next run of the tests."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        raise FileNotFoundError(
            f"{' and '.join(missing)} not on PATH; install them (Debian: apt-get install nodejs npm)"
        )
    name = f"taskmanager-tests-{getpass.getuser()}-bullmq-{BULLMQ}-ioredis-{IOREDIS}"
    home = Path(tempfile.gettempdir()) / name
    if not home.is_dir():
        made = Path(tempfile.mkdtemp(prefix=f"{name}-"))
        command = [
            "npm",
            "install",
            "--silent",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--prefix",
            str(made),
        ]
        done = subprocess.run(
            [*command, f"bullmq@{BULLMQ}", f"ioredis@{IOREDIS}"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"npm could not install BullMQ:\n{done.stdout}{done.stderr}")
        try:
            made.rename(home)  # all of it at once: another process of the tests may be at it too
        except OSError:
            shutil.rmtree(made)
    return home


class NodeSide:
    """One Node process with a queue and, once told to `work`, a worker. Calls return when Node has done it."""

    def __init__(self, home: Path, port: int, queue: str = "commandkit-tasks") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="taskmanager-node-"))
        self._said = self._folder / "stderr"
        command = [shutil.which("node") or "node", str(_SCRIPT), str(home), str(port), queue]
        self._child = Guarded(command, pipes=True, output=self._said, folder=self._folder)
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.runs: list[dict[str, Any]] = []
        self._ran = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    async def tell(self, command: str, **words: Any) -> Any:
        """Node's answer to a command of the script; `RuntimeError` with what it raised."""
        assert self._child.process.stdin is not None
        self._child.process.stdin.write(json.dumps({"say": command, **words}) + "\n")
        self._child.process.stdin.flush()
        answer = await asyncio.wait_for(self._answers.get(), _WITHIN_S)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["answer"]

    async def ran(self, count: int) -> list[dict[str, Any]]:
        """What its worker has run, once that are so many."""
        async with asyncio.timeout(_WITHIN_S):
            while len(self.runs) < count:
                self._ran.clear()
                await self._ran.wait()
        return self.runs

    async def __aenter__(self) -> Self:
        await self.tell("hello")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._child.process.stdin is not None
        self._child.process.stdin.close()  # at the end of its input it ends
        try:
            await asyncio.wait_for(self._reader, _WITHIN_S)
        finally:
            self._child.end()
            remove(self._folder)

    async def _read(self) -> None:
        assert self._child.process.stdout is not None
        while line := await asyncio.to_thread(self._child.process.stdout.readline):
            said = json.loads(line)
            if "ran" in said:
                self.runs.append(said)
                self._ran.set()
            else:
                self._answers.put_nowait(said)
        self._answers.put_nowait({"error": f"node ended; it said:\n{self._said.read_text()[-2000:]}"})
