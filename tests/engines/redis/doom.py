"""A wrapper on the port that kills its own process, with SIGKILL, at a named point of an engine call or a handler.

Death comes between two lines of a program and not "at some time", so what must follow is known: after a claim whose
reply was not looked at, the job is under a dead worker's lease; after a settle whose reply was not looked at, it is
over. What each call did is written to the diary *before* that, so the account is complete.

It knows the port's verbs and nothing of any store.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Sequence
from enum import StrEnum
from time import monotonic
from typing import Any

from taskmanager.engine import NOTHING, Batch, Claimed, Engine, Enqueued, Extended, Journal, Settled, Settlement
from taskmanager.job import Emission, Plan, State
from tests.engines.redis.diary import Diary, Phase


class Point(StrEnum):
    """Where a worker dies."""

    CLAIM_REPLY = "claim-reply"  # jobs were handed out; the worker never learns of it
    MID_HANDLER = "mid-handler"  # before the side effect
    AFTER_EFFECT = "after-effect"  # the side effect is done, the handler has not returned
    EMIT_REPLY = "emit-reply"  # a handler's emission is stored, nobody here knows
    BEFORE_SETTLE = "before-settle"  # the handler has returned; nothing is stored
    SETTLE_REPLY = "settle-reply"  # it is stored that the job ended; nobody here knows
    REAP_REPLY = "reap-reply"  # another dead worker's jobs were taken over; nobody here knows


class Doom:
    """The end of one process: at the `nth` time that `point` is reached. Without a point it never comes."""

    def __init__(self, diary: Diary, point: Point | None, nth: int) -> None:
        self._diary = diary
        self._point = point
        self._left = nth

    def at(self, point: Point) -> None:
        if point is not self._point:
            return
        self._left -= 1
        if self._left == 0:
            self._diary.write(Phase.KILLED, detail=point)
            os.kill(os.getpid(), signal.SIGKILL)


class DoomedEngine:
    """An engine of a doomed process; see the module's law. What is not here goes straight to the inner one."""

    def __init__(self, inner: Engine, diary: Diary, doom: Doom, lease_s: float) -> None:
        self._inner = inner
        self._diary = diary
        self._doom = doom
        self._lease_s = lease_s
        self._jobs: dict[tuple[str, int], tuple[str, int, bool]] = {}
        self._told: set[tuple[str, int]] = set()
        self._renewed: dict[str, float] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def fork(self) -> DoomedEngine:
        """The heartbeat's: it shares what is known of the jobs."""
        other = DoomedEngine(self._inner.fork(), self._diary, self._doom, self._lease_s)
        other._jobs, other._told, other._renewed = self._jobs, self._told, self._renewed
        return other

    async def enqueue(self, queue: str, entries: Sequence[Emission | Plan], batch: Batch) -> Enqueued:
        answer = await self._inner.enqueue(queue, entries, batch)
        self._doom.at(Point.EMIT_REPLY)
        return answer

    async def claim(
        self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int
    ) -> Claimed:
        asked = monotonic()
        answer = await self._inner.claim(queue, worker, holds, limit, lease_ms, suspect_losses)
        self._renew(queue, holds, asked)
        self._take(queue, answer, Phase.HELD)
        if answer.jobs:
            self._doom.at(Point.CLAIM_REPLY)
        return answer

    async def reap(self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Claimed:
        answer = await self._inner.reap(queue, worker, holds, limit, lease_ms)
        self._take(queue, answer, Phase.REAPED)
        if answer.jobs:
            self._doom.at(Point.REAP_REPLY)
        return answer

    async def extend(
        self, queue: str, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal] = ()
    ) -> Extended:
        asked = monotonic()
        answer = await self._inner.extend(queue, worker, holds, lease_ms, journal)
        self._renew(queue, holds, asked)
        for number in answer.lost:
            self._lost(queue, number)
        return answer

    async def settle(
        self,
        queue: str,
        worker: str,
        settlements: Sequence[Settlement],
        batch: Batch,
        transient: Collection[State] = NOTHING,
    ) -> Settled:
        self._doom.at(Point.BEFORE_SETTLE)
        answer = await self._inner.settle(queue, worker, settlements, batch, transient)
        for settlement, state in zip(settlements, answer.verdicts, strict=True):
            if state is None:
                self._lost(queue, settlement.claim)
            else:
                job, attempt, was_reaped = self._jobs[queue, settlement.claim]
                self._diary.write(Phase.FREED if was_reaped else Phase.SETTLED, job, attempt, state)
        self._doom.at(Point.SETTLE_REPLY)
        return answer

    # ---- the account

    def _take(self, queue: str, answer: Claimed, phase: Phase) -> None:
        for claim in answer.jobs:
            self._jobs[queue, claim.number] = (claim.id, claim.attempt, phase is Phase.REAPED)
            self._diary.write(phase, claim.id, claim.attempt)

    def _lost(self, queue: str, number: int) -> None:
        if (queue, number) in self._jobs and (queue, number) not in self._told:
            self._told.add((queue, number))
            job, attempt, _ = self._jobs[queue, number]
            self._diary.write(Phase.LOST, job, attempt)

    def _renew(self, queue: str, holds: Collection[int], asked: float) -> None:
        """A lease that was not renewed in time explains a second run as a kill does."""
        renewed = self._renewed.get(queue, asked)
        if holds and monotonic() - renewed > self._lease_s:
            self._diary.write(Phase.LATE)
        self._renewed[queue] = asked
