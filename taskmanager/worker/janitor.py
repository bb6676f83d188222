"""What must happen whether or not anybody runs a job: schedules advance, dead workers' jobs come back, old jobs go.

Each duty sleeps until the moment the engine last named for it. Every worker does all of them for its queues; the engine
lets each occurrence through once and each lost job to one reaper, so doing them twice is harmless.

A lease or a finished job that nobody told us of is found by looking around once a lease, which is soon enough: a lease
cannot have run out before that look, so a killed worker's jobs are noticed at the moment its lease ends.

A worker that was frozen itself beats before it looks at leases, and takes nobody's jobs for one beat: what looks like
everybody's death was its own absence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from taskmanager.clock import iso
from taskmanager.engine import DUE_LIMIT, Advanced, Answer, Claimed, Engine, Pruned, Settled
from taskmanager.errors import EngineUnavailable
from taskmanager.job import FINISHED, Emission, Kind, State, StoredSchedule
from taskmanager.policy.cron import Once, catch_up, timing_of
from taskmanager.resend import resend
from taskmanager.worker.agenda import Agenda, Duty
from taskmanager.worker.alarm import Alarm

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")
T = TypeVar("T")

PRUNE_MS = 60_000
"""How often finished jobs are pruned at most, and how long one may stay beyond its retention."""
PRUNE, ADVANCE, REAP = Duty  # a look-up in an Enum costs a call
_MANY = 1 << 62
"""Room without a limit."""
_ENDS = {
    Kind.COMPLETED: State.COMPLETED,
    Kind.SKIPPED: State.COMPLETED,
    Kind.FAILED: State.FAILED,
    Kind.CANCELLED: State.CANCELLED,
}
_LOOK_MS = 15_000
"""How often to look around at least, however long the lease."""
_BROKEN_MS = 60_000
"""When a schedule that cannot be advanced is looked at again."""


class Janitor:
    """The upkeep of one worker's queues; see the module's law. All moments are engine time, in milliseconds."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._alarm = Alarm(worker.connection)
        self._agenda = Agenda()
        self._advances, self._reaps = self._agenda.says(ADVANCE), self._agenda.says(REAP)
        self._until: int | None = None
        self._pruned_at: dict[str, int] = {}
        self._broken_until: dict[str, int] = {}
        self._room: dict[str, int] = {}
        # Two at a time would each be handed what the other has taken over and not named yet.
        self._reaping = asyncio.Lock()

    def learn(self, queue: str, answer: Answer) -> None:
        """Every answer names the next moments of its queue."""
        schedule_at = answer.schedule_at
        if schedule_at is not None and queue in self._broken_until:
            # Never longer than a pause from now: the clock may have been set back since.
            schedule_at = max(schedule_at, min(self._broken_until[queue], answer.now + _BROKEN_MS))
        # Most answers name what the last one did, and for that we wake already.
        if self._advances.get(queue) != schedule_at:
            self._plan(ADVANCE, queue, schedule_at)
        if isinstance(answer, (Advanced, Pruned)):
            return  # they end no job, and do not say who asks, so the lease they name may be our own
        if self._reaps.get(queue) != answer.lease_at:
            self._plan(REAP, queue, answer.lease_at)
        if not answer.replayed and (isinstance(answer, Settled) or answer.facts):
            self._count_ends(queue, answer)

    async def run(self) -> None:
        """The duties that have a moment."""
        while True:
            until = self._until = self._agenda.first()
            if await self._alarm.sleep({}, until) is None or until is None:
                continue
            for duty, queue in self._agenda.take(until):
                try:
                    await _DUTIES[duty](self, queue)
                except EngineUnavailable as error:
                    log.warning("upkeep of queue %r failed (%s); going on", queue, error)
                    await asyncio.sleep(1.0)
                except Exception:
                    log.exception("upkeep of queue %r failed; going on", queue)
                    await asyncio.sleep(1.0)

    async def look_around(self) -> None:
        """The duty that has none: looking for what nobody told us of."""
        worker = self._worker
        period_s = min(worker.settings.lease_ms, _LOOK_MS) / 1000
        while True:
            await worker.runtime.pulse(self, period_s, keeps_fresh=False, only_others=True)
            for queue in worker.queues():
                try:
                    now = await self._reap(queue)
                except EngineUnavailable as error:
                    log.warning("looking after queue %r failed (%s); going on", queue, error)
                except Exception:
                    log.exception("looking after queue %r failed; going on", queue)
                else:
                    pruned_at = min(now, self._pruned_at.get(queue, now))  # the clock may have been set back since
                    prune_at = max(now, pruned_at + PRUNE_MS)
                    self._agenda.hasten(PRUNE, queue, prune_at)
                    self._wake_for(prune_at)

    def _count_ends(self, queue: str, answer: Answer) -> None:
        """Jobs that ended by our own calls: they go when their time is over, or when there are too many."""
        if isinstance(answer, Settled):
            ended = [state for state in answer.verdicts if state in FINISHED]
        else:
            ended = [state for fact in answer.facts if (state := _ENDS.get(fact.kind)) is not None]
        if not ended:
            return
        limits, pruned_at = self._worker.settings.limits, self._pruned_at.get(queue, 0)
        room = self._room[queue] = self._room.get(queue, 0) - len(ended)
        if room < 0:
            prune_at = max(answer.now, pruned_at) + PRUNE_MS
        else:
            ages = [age for state in set(ended) if (age := limits[state].age_ms) is not None]
            if not ages:
                return
            prune_at = max(answer.now + min(ages), pruned_at + PRUNE_MS)
        self._agenda.hasten(PRUNE, queue, prune_at)
        self._wake_for(prune_at)

    def _plan(self, duty: Duty, queue: str, moment: int | None) -> None:
        self._agenda.put(duty, queue, moment)
        if moment is not None:
            self._wake_for(moment)

    def _wake_for(self, moment: int) -> None:
        if self._until is None or moment < self._until:
            self._until = moment
            self._alarm.ring()

    def _ask(self, call: Callable[[Engine], Awaitable[T]]) -> Awaitable[T]:
        """Of a store that is away, until it answers."""
        return resend(self._worker.connection, call, self._worker.runtime.rng, for_s=None)

    # ---- schedules

    async def _advance(self, queue: str) -> None:
        now, schedules = await self._ask(lambda engine: engine.schedules(queue))
        for schedule in schedules:
            if schedule.next_at is not None and schedule.next_at > now:
                self._agenda.hasten(ADVANCE, queue, schedule.next_at)
                continue
            try:
                self._worker.notice(queue, await self._advance_one(queue, schedule, now))
            except Exception:
                log.exception("schedule %r in queue %r cannot be advanced", schedule.plan.name, queue)
                self._broken_until[queue] = now + _BROKEN_MS
                self._agenda.put(ADVANCE, queue, now + _BROKEN_MS)

    async def _advance_one(self, queue: str, schedule: StoredSchedule, now: int) -> Advanced:
        plan = schedule.plan
        timing = timing_of(plan.pattern, plan.timezone)
        if isinstance(timing, Once) and schedule.next_at is None and schedule.place >= timing.at:
            log.warning(
                "%r in queue %r was registered after its date, %s: it does not run", plan.name, queue, iso(timing.at)
            )
        decided = catch_up(timing, schedule.place, now, plan.catch_up, plan.misfire_grace_ms)
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

        def advance(engine: Engine) -> Awaitable[Advanced]:
            return engine.advance(
                queue, plan.name, schedule.revision, decided.place, decided.next_at, occurrences, decided.dropped
            )

        return await self._ask(advance)

    # ---- lost leases

    async def _reap(self, queue: str) -> int:
        """Takes over and settles what was lost; answers the engine's time."""
        async with self._reaping:
            return await self._reap_in_turn(queue)

    async def _reap_in_turn(self, queue: str) -> int:
        worker = self._worker
        if worker.keeper.is_late:
            await worker.keeper.beat(await worker.connection.engine())
            now = await self._ask(lambda engine: engine.now())
            self._agenda.put(REAP, queue, now + round(worker.settings.beat_s * 1000))
            return now

        def reap(engine: Engine) -> Awaitable[Claimed]:
            return engine.reap(queue, worker.name, worker.holds(queue), DUE_LIMIT, worker.settings.lease_ms)

        while True:
            answer = await self._ask(reap)
            worker.notice(queue, answer)
            for claim in answer.jobs:
                log.warning("the lease on job %r in queue %r ran out", claim.id, queue)
                worker.hold_lost(claim)
                worker.executor.settle_lost(claim)
            if not answer.more:
                return answer.now

    # ---- retention

    async def _prune(self, queue: str) -> None:
        worker = self._worker
        answer = await self._ask(lambda engine: engine.prune(queue, worker.settings.limits))
        self._pruned_at[queue] = answer.now
        self._room[queue] = _MANY if answer.room is None else answer.room
        if answer.more:
            self._agenda.put(PRUNE, queue, answer.now)
        elif answer.next_at is not None:
            self._agenda.put(PRUNE, queue, max(answer.next_at, answer.now + PRUNE_MS))
        worker.notice(queue, answer)


_DUTIES = {ADVANCE: Janitor._advance, REAP: Janitor._reap, PRUNE: Janitor._prune}
