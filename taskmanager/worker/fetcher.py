"""Claims: as many jobs as there are free slots, from the queues in turn, and nothing while nothing can be had.

A queue is *promising* until a claim says that nothing claimable is left there; the engine's wait (a new tide, a nearer
due moment) makes it promising again. Promising queues take turns, so none starves: each round goes on where the last
ended, and free slots are shared among them before anyone takes the rest. A worker that is never without work never
waits, so it glances at the quiet queues between its rounds: a flooded queue must not hide the others.

Moments of the engine are compared by the engine alone. What our own clock makes of its last answer may be wrong by as
much as the engine's clock was set back, and is never waited for.

A claim says what the worker holds and is answered with what else is under its lease first, so a claim that is repeated
after a lost reply, or made after a cancelled one, strands nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from taskmanager.clock import monotonic
from taskmanager.engine import Claimed, Engine
from taskmanager.errors import EngineUnavailable
from taskmanager.resend import resend
from taskmanager.worker.alarm import Alarm

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")

_BROKEN_PAUSE_S = 1.0
_LAST_ANSWER_S = 1.0
"""How long a stop waits for a store that does not answer the claim in flight, which may have brought something."""
_LONG_AGO = 0
"""A moment that has passed by any clock: who waits until then only looks."""
_GLANCE_S, _GLANCE_ROUNDS = 0.05, 16
"""A busy worker glances at the quiet queues after so long, or so many rounds, whichever comes first."""


class Fetcher:
    """The claiming duty of one worker; see the module's law."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._alarm = Alarm(worker.connection)
        self._promising: dict[str, None] = {}
        self._tides: dict[str, int] = {}
        self._due: dict[str, int] = {}
        self._full = False
        self._stopping = False
        self._stopped_s = 0.0
        self._heard = (0, 0.0)
        self._glanced_s = 0.0
        self._rounds = 0
        self._glances = 0

    def nudge(self, queue: str) -> None:
        """There may be something for us in this queue, which is served from now on if it was not."""
        self._promising.setdefault(queue)
        self._alarm.ring()

    def freed(self) -> None:
        """A slot is free again."""
        if self._full:
            self._alarm.ring()

    def stop(self) -> None:
        """No new claims; `run` returns when the one in flight is answered, or the store stays away."""
        self._stopping, self._stopped_s = True, monotonic()
        self._alarm.ring()

    async def run(self) -> None:
        while not self._stopping:
            try:
                if self._promising and self._worker.free > 0:
                    if self._is_glance_due():
                        await self._glance()
                    await self._round()
                else:
                    await self._sleep()
            except Exception:
                if self._stopping:
                    return  # what a claim may have brought that was not answered is left to the lease
                # A fault of a store must not end the duty; it is looked at again, without spinning.
                log.exception("claiming failed; trying again in %s s", _BROKEN_PAUSE_S)
                await asyncio.sleep(_BROKEN_PAUSE_S)

    async def _sleep(self) -> None:
        if self._worker.free <= 0:
            # Only a freed slot, or the stop, makes a difference now.
            self._full = True
            await self._alarm.until_rung()
            self._full = False
            return
        # Who wakes for one queue looks at all of them before its first turn, and again before its second: more may have
        # come while the first claim was under way.
        self._glances = 2
        until = min(self._due.values()) if self._due else None
        changed = await self._alarm.sleep(self._tides, until)
        if changed is None:
            return
        if not changed and until is not None:
            changed = [queue for queue, due_at in self._due.items() if due_at <= until]
        for queue in changed:
            self._promising.setdefault(queue)

    def _is_glance_due(self) -> bool:
        """Counts a round. There is nothing to glance at where every queue is promising, as where there is but one."""
        self._rounds += 1
        self._glances -= 1
        if self._tides.keys() <= self._promising.keys():
            return False
        return self._glances >= 0 or self._rounds >= _GLANCE_ROUNDS or monotonic() - self._glanced_s >= _GLANCE_S

    async def _glance(self) -> None:
        """What has come meanwhile for the queues that are not promising; asks without waiting, and not every time."""
        quiet = {queue: tide for queue, tide in self._tides.items() if queue not in self._promising}
        self._rounds, self._glanced_s = 0, monotonic()
        now = self._worker.runtime.engine_now(*self._heard)  # at worst wrong by a step of the clock: one idle claim
        try:
            changed = await (await self._worker.connection.engine()).wait(quiet, _LONG_AGO)
        except EngineUnavailable:
            return
        awake = [queue for queue in quiet if queue in changed or self._due.get(queue, now + 1) <= now]
        # They have had no turn lately, so theirs comes first.
        self._promising = dict.fromkeys([*awake, *self._promising])

    async def _round(self) -> None:
        """One claim a promising queue, the free slots shared out."""
        turn = list(self._promising)
        for place, queue in enumerate(turn):
            free = self._worker.free
            if free <= 0 or self._stopping:
                return
            del self._promising[queue]
            share = -(-free // (len(turn) - place))
            if not self._worker.runtime.simulated:
                share = min(share, self._portion(free))
            try:
                answer = await self._claim(queue, share)
            except Exception:
                self._promising[queue] = None  # nobody would watch a queue that has not been answered for yet
                raise
            if answer.more:
                self._promising[queue] = None

    def _portion(self, free: int) -> int:
        """How many of the free slots one claim may fill: while its jobs run and are settled, the next are fetched.

        Where handlers wait for something, a slot that became free is not to wait for many others. Where they do not,
        they are over by now, and the work is in the calls: few large ones.
        """
        slots = self._worker.settings.concurrency
        if 4 * self._worker.running > slots:
            return max(1, free // 3)
        return max(-(-slots // 3), free // 2)

    async def _claim(self, queue: str, limit: int) -> Claimed:
        worker, settings = self._worker, self._worker.settings
        suspect_losses = max(1, settings.max_stalled - 1)

        def claim(engine: Engine) -> Awaitable[Claimed]:
            return engine.claim(queue, worker.name, worker.holds(queue), limit, settings.lease_ms, suspect_losses)

        answer = await resend(worker.connection, claim, worker.runtime.rng, for_s=None, is_over=self._is_given_up)
        self._tides[queue] = answer.tide
        received_s = monotonic()
        self._heard = (answer.now, received_s)
        if answer.due_at is None:
            self._due.pop(queue, None)
        else:
            self._due[queue] = answer.due_at
        worker.notice(queue, answer)
        worker.take(queue, answer, received_s)
        return answer

    def _is_given_up(self) -> bool:
        return self._stopping and monotonic() - self._stopped_s > _LAST_ANSWER_S
