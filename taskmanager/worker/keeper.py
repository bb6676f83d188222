"""The heartbeat: one call a queue keeps all of this worker's jobs there, however long they run.

It runs beside the event loop (see `Runtime.keep`), so a handler that blocks the loop keeps its lease. But a loop that
never turns again is a hung process, and others must get its jobs: the beats stop `max_block` after the loop last
turned.

What a beat brings back is carried to the loop: claims that were lost, cancels to pass on, and word that the engine has
more under our lease than we know of, which is what a lost reply leaves behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from taskmanager.clock import monotonic
from taskmanager.engine import Engine, Extended
from taskmanager.errors import TaskManagerError
from taskmanager.runtime import Keep, Pulse
from taskmanager.worker.attempt import Ending

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")


class Keeper:
    """The heartbeat of one worker; see the module's law."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._beat_s = worker.settings.beat_s
        self._turned_s = monotonic()
        self._ticked_s = monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turning: asyncio.TimerHandle | None = None
        self._keep: Keep | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._turned_s = self._ticked_s = monotonic()
        if not self._worker.runtime.simulated:
            self._turn()
        self._keep = self._worker.runtime.keep(await self._worker.connection.engine(), self._beating)

    async def stop(self) -> None:
        if self._turning is not None:
            self._turning.cancel()
        if self._keep is not None:
            await self._keep.stop()

    @property
    def is_late(self) -> bool:
        """Whether beats were missed: this process was frozen, and its own leases may have run out meanwhile."""
        return self._worker.runtime.was_frozen(self._ticked_s, 2 * self._beat_s)

    async def beat(self, engine: Engine) -> None:
        """One beat: a call for each queue in which something is held."""
        self._ticked_s = monotonic()
        worker = self._worker
        for queue in worker.held_queues():
            holds = worker.holds(queue)
            answer = await engine.extend(queue, worker.name, holds, worker.settings.lease_ms)
            assert self._loop is not None
            if asyncio.get_running_loop() is self._loop:
                self.hear(queue, answer)
            else:
                with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
                    self._loop.call_soon_threadsafe(self.hear, queue, answer)

    def hear(self, queue: str, answer: Extended) -> None:
        """Passes on what a beat brought back; on the worker's loop."""
        worker = self._worker
        for number in answer.lost:
            attempt = worker.attempt(queue, number)
            if attempt is not None and not attempt.settled and attempt.ending is not Ending.LOST:
                log.warning("the lease on job %r in queue %r was lost", attempt.claim.id, queue)
                attempt.end(Ending.LOST)
        for number in answer.cancelled:
            if (attempt := worker.attempt(queue, number)) is not None and not attempt.settled:
                attempt.end(Ending.CANCEL)
        if answer.beyond:
            worker.fetcher.nudge(queue)
        worker.notice(queue, answer)

    async def _beating(self, engine: Engine, pulse: Pulse) -> None:
        while True:
            await pulse(self, self._beat_s, is_idle=self._worker.holds_nothing)
            if not self._worker.runtime.simulated and self._is_hung():
                continue
            try:
                await self.beat(engine)
            except TaskManagerError as error:
                log.warning("a heartbeat failed (%s); the next follows in %s s", error, self._beat_s)

    def _is_hung(self) -> bool:
        return monotonic() - self._turned_s > self._worker.settings.max_block_ms / 1000

    def _turn(self) -> None:
        """The loop shows that it turns."""
        assert self._loop is not None
        self._turned_s = monotonic()
        self._turning = self._loop.call_later(self._beat_s, self._turn)
