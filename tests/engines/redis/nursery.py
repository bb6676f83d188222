"""The tests' end of the nursery: workers as objects, whose births and deaths can be awaited."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.engines.redis.worker_process import Spec
from tests.processes import Guarded

_ROOT = Path(__file__).resolve().parents[3]
_PATIENCE_S = 20.0


class Child:
    """One worker process. `ended` is its exit status, negative for the signal that killed it."""

    def __init__(self, nursery: Nursery, spec: Spec) -> None:
        loop = asyncio.get_running_loop()
        self.spec = spec
        self.born: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._nursery = nursery

    @property
    def pid(self) -> int:
        return self.born.result()

    async def tell(self, number: signal.Signals) -> None:
        pid = await self.born
        self._nursery.order(pid=pid, signal=number.value)

    async def stop(self) -> int:
        """Asks it to stop gracefully; its exit status."""
        await self.tell(signal.SIGTERM)
        return await self.over()

    async def over(self) -> int:
        """Its exit status, once it has ended."""
        async with asyncio.timeout(_PATIENCE_S):
            return await self.ended


class Nursery:
    """See the module's law. `said` is what went to standard error, by the nursery and all its children."""

    def __init__(self, folder: Path) -> None:
        self._output = folder / "nursery.log"
        self._guarded = Guarded(
            [sys.executable, "-m", "tests.engines.redis.worker_process"], output=self._output, pipes=True, cwd=_ROOT
        )
        assert self._guarded.process.stdin is not None
        assert self._guarded.process.stdout is not None
        self._orders = self._guarded.process.stdin
        self._words = self._guarded.process.stdout
        self._buffer = b""
        self._names = itertools.count()
        self._unborn: dict[int, Child] = {}
        self._living: dict[int, Child] = {}

    @property
    def said(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def spawn(self, spec: Spec) -> Child:
        name = next(self._names)
        child = self._unborn[name] = Child(self, spec)
        self.order(name=name, spec=spec)
        return child

    def order(self, **order: object) -> None:
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()

    def hear(self) -> None:
        """Reads what the nursery has to tell; called when there is something to read."""
        received = os.read(self._words.fileno(), 65_536)
        if not received:
            asyncio.get_running_loop().remove_reader(self._words.fileno())
            for child in (*self._unborn.values(), *self._living.values()):
                for awaited in (child.born, child.ended):
                    if not awaited.done():
                        awaited.set_exception(RuntimeError(f"the nursery ended; it said:\n{self.said[-4000:]}"))
                        awaited.exception()
            return
        *words, self._buffer = (self._buffer + received).split(b"\n")
        for word in map(json.loads, words):
            if "born" in word:
                child = self._living[word["born"]] = self._unborn.pop(word["name"])
                child.born.set_result(word["born"])
            else:
                self._living.pop(word["died"]).ended.set_result(word["status"])

    def listen(self) -> None:
        asyncio.get_running_loop().add_reader(self._words.fileno(), self.hear)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._words.fileno())
        self._orders.close()  # it kills what it has, and ends
        try:
            self._guarded.process.wait(_PATIENCE_S)
        finally:
            self._guarded.end(gently=False)


@asynccontextmanager
async def nursery(folder: Path) -> AsyncIterator[Nursery]:
    """A nursery of this event loop; all its children are dead when it is left."""
    opened = Nursery(folder)
    opened.listen()
    try:
        yield opened
    finally:
        opened.close()
