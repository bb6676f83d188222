"""Claims: as many jobs as there are free slots, from the queues in turn, and nothing while nothing can be had.

A queue is *promising* until a claim says that nothing claimable is left there; the engine's wait (a new tide, a nearer due
moment) makes it promising again. Promising queues take turns, so none starves: each round goes on where the last ended,
and free slots are shared among them before anyone takes the rest.

A claim says what the worker holds and is answered with what else is under its lease first, so a claim that is repeated
after a lost reply, or made after a cancelled one, strands nothing.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from taskmanager.engine import Claimed
from taskmanager.resend import resend
from taskmanager.worker.alarm import Alarm

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")

_BROKEN_PAUSE_S = 1.0


class Fetcher:
    """The claiming duty of one worker; see the module's law."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._alarm = Alarm(worker.connection)
        self._promising: dict[str, None] = {}
        self._tides: dict[str, int] = {}
        self._horizons: dict[str, int] = {}
        self._full = False
        self._stopping = False

    def nudge(self, queue: str) -> None:
        """There may be something for us in this queue, which is served from now on if it was not."""
        self._promising.setdefault(queue)
        self._alarm.ring()

    def freed(self) -> None:
        """A slot is free again."""
        if self._full or self._promising:
            self._alarm.ring()

    def stop(self) -> None:
        """No new claims; `run` returns when the one in flight is answered."""
        self._stopping = True
        self._alarm.ring()

    async def run(self) -> None:
        while not self._stopping:
            try:
                if self._promising and self._worker.free > 0:
                    await self._round()
                else:
                    await self._sleep()
            except Exception:
                # A fault of a store must not end the duty; it is looked at again, without spinning.
                log.exception("claiming failed; trying again in %s s", _BROKEN_PAUSE_S)
                await asyncio.sleep(_BROKEN_PAUSE_S)

    async def _sleep(self) -> None:
        if self._worker.free <= 0:
            # Only a freed slot, or the stop, makes a difference now.
            self._full = True
            await self._alarm.sleep({}, None)
            self._full = False
            return
        until = min(self._horizons.values(), default=None)
        changed = await self._alarm.sleep(self._tides, until)
        if changed is None:
            return
        if not changed and until is not None:
            changed = [queue for queue, horizon in self._horizons.items() if horizon <= until]
        for queue in changed:
            self._promising.setdefault(queue)

    async def _round(self) -> None:
        """One claim a promising queue, the free slots shared out."""
        turn = list(self._promising)
        for place, queue in enumerate(turn):
            free = self._worker.free
            if free <= 0 or self._stopping:
                return
            del self._promising[queue]
            share = -(-free // (len(turn) - place))
            answer = await self._claim(queue, share)
            if answer.more:
                self._promising[queue] = None

    async def _claim(self, queue: str, limit: int) -> Claimed:
        worker, settings = self._worker, self._worker.settings
        suspect_losses = max(1, settings.max_stalled - 1)

        async def claim() -> Claimed:
            engine = await worker.connection.engine()
            return await engine.claim(queue, worker.name, worker.holds(queue), limit, settings.lease_ms, suspect_losses)

        answer = await resend(claim, worker.runtime.rng, for_s=None)
        self._tides[queue] = answer.tide
        # A schedule whose next occurrence is not computed yet says 0; the janitor will tell of it soon.
        moments = [moment for moment in (answer.due_at, answer.schedule_at or None) if moment is not None]
        if moments:
            self._horizons[queue] = min(moments)
        else:
            self._horizons.pop(queue, None)
        worker.notice(queue, answer)
        worker.take(queue, answer)
        return answer
