"""What must happen whether or not anybody runs a job: schedules advance, dead workers' jobs come back, old jobs go.

Each duty sleeps until the moment the engine last named for it. Every worker does all of them for its queues; the engine
lets each occurrence through once and each lost job to one reaper, so doing them twice is harmless.

A lease that we have not heard of is found by looking once a lease: it cannot have run out before that look, so a killed
worker's jobs are noticed at the moment its lease ends. A worker that was frozen itself beats before it looks, and takes
nobody's jobs for one beat: what looks like everybody's death was its own absence.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from taskmanager.clock import iso
from taskmanager.engine import DUE_LIMIT, Advanced, Answer, Claimed, Engine
from taskmanager.job import Emission, StoredSchedule
from taskmanager.policy.cron import Cron, catch_up
from taskmanager.resend import resend
from taskmanager.worker.alarm import Alarm

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")

PRUNE_MS = 60_000
"""How often finished jobs are pruned at most, and how long after its end one may stay beyond its retention."""
_BROKEN_MS = 60_000
"""When a schedule that cannot be advanced is looked at again."""


class Janitor:
    """The upkeep of one worker's queues; see the module's law. All moments are engine time, in milliseconds."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._alarm = Alarm(worker.connection)
        self._schedule_at: dict[str, int] = {}
        self._lease_at: dict[str, int] = {}
        self._prune_at: dict[str, int] = {}

    def learn(self, queue: str, answer: Answer) -> None:
        """Every answer names the next moments of its queue."""
        nearer = _note(self._schedule_at, queue, answer.schedule_at)
        nearer |= _note(self._lease_at, queue, answer.lease_at)
        if nearer:
            self._alarm.ring()

    def prune_soon(self, queue: str, now: int) -> None:
        """Jobs have ended in this queue."""
        at = now + PRUNE_MS
        if self._prune_at.get(queue, at + 1) > at:
            self._prune_at[queue] = at
            self._alarm.ring()

    async def run(self) -> None:
        """The duties that have a moment."""
        while True:
            moments = (*self._schedule_at.values(), *self._lease_at.values(), *self._prune_at.values())
            until = min(moments, default=None)
            if await self._alarm.sleep({}, until) is None or until is None:
                continue
            try:
                await self._do_what_is_due()
            except Exception:
                log.exception("upkeep failed; going on")
                await asyncio.sleep(1.0)

    async def look_out(self) -> None:
        """The duty that has none: looking for leases that nobody told us of."""
        worker = self._worker
        while True:
            await worker.runtime.pulse(self, worker.settings.lease_ms / 1000)
            for queue in worker.queues():
                try:
                    await self._reap(queue)
                except Exception:
                    log.exception("looking for lost jobs in queue %r failed; going on", queue)

    async def _do_what_is_due(self) -> None:
        engine = await self._worker.connection.engine()
        now = await resend(engine.now, self._worker.runtime.rng, for_s=None)
        for queue in _due(self._schedule_at, now):
            await self._advance(engine, queue)
        for queue in _due(self._lease_at, now):
            await self._reap(queue)
        for queue in _due(self._prune_at, now):
            await self._prune(engine, queue)

    # ---- schedules

    async def _advance(self, engine: Engine, queue: str) -> None:
        rng = self._worker.runtime.rng
        schedules = await resend(lambda: engine.schedules(queue), rng, for_s=None)
        now = await resend(engine.now, rng, for_s=None)
        self._schedule_at.pop(queue, None)
        broken = False
        for schedule in schedules:
            if schedule.next_at is None or schedule.next_at <= now:
                try:
                    self._worker.notice(queue, await self._advance_one(engine, queue, schedule, now))
                except Exception:
                    log.exception("schedule %r in queue %r cannot be advanced", schedule.plan.name, queue)
                    broken = True
            else:
                _note(self._schedule_at, queue, min(schedule.next_at, self._schedule_at.get(queue, schedule.next_at)))
        if broken:
            self._schedule_at[queue] = now + _BROKEN_MS

    async def _advance_one(self, engine: Engine, queue: str, schedule: StoredSchedule, now: int) -> Advanced:
        plan = schedule.plan
        cron = Cron.parse(plan.pattern, plan.timezone)
        decided = catch_up(cron, schedule.place, now, plan.catch_up, plan.misfire_grace_ms)
        occurrences = [
            Emission(
                plan.event,
                f"{plan.name}@{iso(moment)}",
                plan.data,
                plan.priority,
                run_at=moment,
                expires_ms=plan.expires_ms,
                options=plan.options,
            )
            for moment in decided.due
        ]

        async def advance() -> Advanced:
            return await engine.advance(
                queue, plan.name, schedule.revision, decided.place, decided.next_at, occurrences, decided.dropped
            )

        return await resend(advance, self._worker.runtime.rng, for_s=None)

    # ---- lost leases

    async def _reap(self, queue: str) -> None:
        worker = self._worker
        engine = await worker.connection.engine()
        if worker.keeper.is_late:
            await worker.keeper.beat(engine)
            now = await resend(engine.now, worker.runtime.rng, for_s=None)
            self._lease_at[queue] = now + round(worker.settings.beat_s * 1000)
            return

        async def reap() -> Claimed:
            return await engine.reap(queue, worker.name, worker.holds(queue), DUE_LIMIT, worker.settings.lease_ms)

        more = True
        while more:
            answer = await resend(reap, worker.runtime.rng, for_s=None)
            self._lease_at.pop(queue, None)
            worker.notice(queue, answer)
            for claim in answer.jobs:
                log.warning("the lease on job %r in queue %r ran out", claim.id, queue)
                worker.hold_lost(claim)
                worker.executor.settle_lost(claim)
            more = answer.more

    # ---- retention

    async def _prune(self, engine: Engine, queue: str) -> None:
        worker = self._worker
        answer = await resend(lambda: engine.prune(queue, worker.settings.limits), worker.runtime.rng, for_s=None)
        self._prune_at.pop(queue, None)
        if answer.more:
            self._prune_at[queue] = answer.now
        elif answer.next_at is not None:
            self._prune_at[queue] = max(answer.next_at, answer.now + PRUNE_MS)
        worker.notice(queue, answer)


def _note(moments: dict[str, int], queue: str, moment: int | None) -> bool:
    """Keeps the queue's moment; True where it is nearer than what was known."""
    known = moments.get(queue)
    if moment is None:
        moments.pop(queue, None)
        return False
    moments[queue] = moment
    return known is None or moment < known


def _due(moments: dict[str, int], now: int) -> list[str]:
    return [queue for queue, moment in moments.items() if moment <= now]
