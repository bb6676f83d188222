"""The memory engine: the port's verbs, each under the store's lock from its first look to its answer.

It is the reference: what the others do with Lua and SQL stands here in Python, and the conformance suite holds them
all to the same answers. No verb suspends but the two waits, so a caller may also drive the rest by hand. Time comes
from the injected clock, once a verb.

A verb is the same three steps everywhere: the queue and the moment, unless the call is a replay; the effect, in one
function of a neighbouring module; the answer, remembered for its caller and told to those who wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from taskmanager.clock import Clock, SystemClock
from taskmanager.engine import (
    DUE_LIMIT,
    NOTHING,
    Advanced,
    Answer,
    Batch,
    Claimed,
    Command,
    Controlled,
    Count,
    Enqueued,
    Extended,
    JobRef,
    Journal,
    Limit,
    Pruned,
    Settled,
    Settlement,
    Timetable,
)
from taskmanager.engines.memory import reads
from taskmanager.engines.memory.claims import claim, extend, reap
from taskmanager.engines.memory.prune import prune
from taskmanager.engines.memory.queue import Queue
from taskmanager.engines.memory.settle import settle
from taskmanager.engines.memory.store import MemoryStore
from taskmanager.engines.rules.admit import admit
from taskmanager.engines.rules.control import Call, Ruling, cancel, control
from taskmanager.engines.rules.reads import get
from taskmanager.engines.rules.schedules import advance, register
from taskmanager.job import DeadLetter, Emission, Fact, LogLine, Plan, State, StoredJob

__all__ = ["MemoryEngine"]

A = TypeVar("A", bound=Answer)
Facts = list[Fact]


class MemoryEngine:
    """One connection to a store in this process: its own by default, a shared one where `store` is given."""

    suspends: bool = False

    def __init__(self, clock: Clock | None = None, store: MemoryStore | None = None) -> None:
        self.store = MemoryStore() if store is None else store
        self._clock: Clock = SystemClock() if clock is None else clock
        self._lock = self.store.lock
        self._is_simulated = False

    async def open(self, *, simulated: bool = False) -> None:
        with self._lock:
            self.store.refuse_other(simulated)
            self._is_simulated = simulated

    async def close(self) -> None:
        """Nothing to let go: the store lives as long as somebody refers to it, or as the process where it is named."""

    def fork(self) -> MemoryEngine:
        engine = MemoryEngine(self._clock, self.store)
        engine._is_simulated = self._is_simulated
        return engine

    async def forget(self, *, everything: bool) -> None:
        assert self._is_simulated, "only a simulated store forgets"
        with self._lock:
            self.store.forget(everything=everything)

    # ---- write

    async def enqueue(self, queue: str, entries: Sequence[Emission | Plan], batch: Batch) -> Enqueued:
        with self._lock:
            home, now, facts = self._enter(queue)
            if (known := home.replayed(Enqueued, "enqueue", batch, now)) is not None:
                return replace(known, replayed=True)
            home.make_due(now, facts)
            verdicts = [
                admit(home, entry, now, facts) if isinstance(entry, Emission) else register(home, entry, now, facts)
                for entry in entries
            ]
            answer = Enqueued(now, facts, *home.tail(None), verdicts)
            home.remember("enqueue", batch, now, answer)
            return self._leave(home, answer)

    async def claim(
        self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int
    ) -> Claimed:
        with self._lock:
            home, now, facts = self._enter(queue)
            home.make_due(now, facts)
            jobs, more = claim(home, worker, holds, limit, lease_ms, suspect_losses, now, facts)
            return self._leave(home, Claimed(now, facts, *home.tail(worker), jobs, more))

    async def extend(
        self, queue: str, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal] = ()
    ) -> Extended:
        with self._lock:
            home, now, facts = self._enter(queue)
            lost, cancelled, beyond = extend(home, worker, holds, lease_ms, journal, now, facts)
            return self._leave(home, Extended(now, facts, *home.tail(worker), lost, cancelled, beyond))

    async def settle(
        self,
        queue: str,
        worker: str,
        settlements: Sequence[Settlement],
        batch: Batch,
        transient: Collection[State] = NOTHING,
    ) -> Settled:
        with self._lock:
            home, now, facts = self._enter(queue)
            if (known := home.replayed(Settled, "settle", batch, now)) is not None:
                return replace(known, replayed=True)
            verdicts = settle(home, worker, settlements, transient, now, facts)
            answer = Settled(now, facts, *home.tail(worker), verdicts)
            home.remember("settle", batch, now, answer)
            return self._leave(home, answer)

    async def cancel(self, queue: str, ref: JobRef, batch: Batch, transient: Collection[State] = NOTHING) -> Controlled:
        with self._lock:
            home, now, facts = self._enter(queue)
            if (known := home.replayed(Controlled, "cancel", batch, now)) is not None:
                return replace(known, replayed=True)
            ruling = cancel(home, ref, Call(now, facts, transient))
            return self._rule(home, "cancel", batch, now, facts, ruling)

    async def reap(self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Claimed:
        with self._lock:
            home, now, facts = self._enter(queue)
            jobs, more = reap(home, worker, holds, limit, lease_ms, now)
            return self._leave(home, Claimed(now, facts, *home.tail(worker), jobs, more))

    async def advance(
        self,
        queue: str,
        name: str,
        revision: int,
        place: int,
        next_at: int | None,
        occurrences: Sequence[Emission],
        dropped: int,
    ) -> Advanced:
        with self._lock:
            home, now, facts = self._enter(queue)
            moved = advance(home, name, revision, place, next_at, occurrences, dropped, now, facts)
            return self._leave(home, Advanced(now, facts, *home.tail(None), moved))

    async def prune(self, queue: str, limits: Mapping[State, Limit], limit: int = DUE_LIMIT) -> Pruned:
        with self._lock:
            home, now, facts = self._enter(queue)
            removed, more, next_at, room = prune(home, limits, limit, now)
            answer = self._leave(home, Pruned(now, facts, *home.tail(None), removed, more, next_at, room))
            if not home.jobs:
                self.store.rest(home)
            return answer

    async def control(
        self, queue: str, command: Command, batch: Batch, transient: Collection[State] = NOTHING
    ) -> Controlled:
        with self._lock:
            home, now, facts = self._enter(queue)
            if (known := home.replayed(Controlled, "control", batch, now)) is not None:
                return replace(known, replayed=True)
            ruling = control(home, command, Call(now, facts, transient))
            return self._rule(home, "control", batch, now, facts, ruling)

    # ---- wait

    async def wait(self, seen: Mapping[str, int], until: int | None) -> Collection[str]:
        waiters = self.store.waiters
        with self._lock:
            for queue in seen:
                if not waiters.knows(queue):
                    home = self.store.queues.get(queue) or self.store.blank(queue)
                    tide, due_at, *_ = home.tail(None)
                    waiters.tell(queue, tide, due_at)
        return await waiters.wait(seen, until, self._clock.now_us)

    async def wait_ended(self, queue: str, ref: JobRef, until: int) -> None:
        def live_serial() -> int | None:
            with self._lock:
                home = self.store.queues.get(queue)
                return None if home is None else reads.live_serial(home, ref)

        serial = live_serial()
        if serial is None:
            await asyncio.sleep(0)
            return
        await self.store.waiters.wait_ended(queue, serial, until, self._clock.now_us, lambda: live_serial() != serial)

    # ---- read

    async def get(self, queue: str, ref: JobRef) -> StoredJob | None:
        with self._lock:
            home, now = self.store.queues.get(queue), self._now()
            job = None if home is None else get(home, ref, now)
            return None if job is None else reads.copy_of(job, now)

    async def list(self, queue: str, state: State | None, limit: int, after: int | None) -> Sequence[StoredJob]:
        with self._lock:
            home = self.store.queues.get(queue)
            return [] if home is None else reads.listing(home, state, limit, after, self._now())

    async def count(self, queue: str) -> Count:
        with self._lock:
            home = self.store.queues.get(queue) or self.store.blank(queue)
            return reads.count(home, self._now())

    async def logs(self, queue: str, id: str) -> Sequence[LogLine]:
        with self._lock:
            home = self.store.queues.get(queue)
            return [] if home is None else [*home.logs.get(id, ())]

    async def schedules(self, queue: str) -> Timetable:
        with self._lock:
            home = self.store.queues.get(queue)
            return Timetable(self._now(), [] if home is None else reads.schedules(home))

    async def queues(self) -> Sequence[str]:
        with self._lock:
            homes = self.store.queues.values()
            return sorted(home.name for home in homes if home.jobs or home.schedules or home.paused)

    async def now(self) -> int:
        return self._now()

    def dead_letters(self, stream: str) -> Sequence[tuple[str, int, DeadLetter]]:
        """The entries of a dead-letter stream, oldest first: job id, serial, entry."""
        with self._lock:
            entries = self.store.dead_letters.get(stream, {})
            return [(id, serial, entry) for (_, serial), (id, entry) in entries.items()]

    # ---- the frame of a verb

    def _now(self) -> int:
        return self._clock.now_us() // 1000

    def _enter(self, queue: str) -> tuple[Queue, int, Facts]:
        if self.store.is_simulated is not self._is_simulated:
            self.store.refuse_other(self._is_simulated)
            self.store.is_simulated = self._is_simulated
        now = self._clock.now_us() // 1000
        return self.store.queues.get(queue) or self.store.queue(queue, now), now, []

    def _leave(self, home: Queue, answer: A) -> A:
        waiters = self.store.waiters
        if waiters.knows(home.name):
            waiters.notice(home.name, answer)
        if home.ended:
            if waiters.awaited:
                for serial in home.ended:
                    waiters.ended(home.name, serial)
            home.ended.clear()
        return answer

    def _rule(self, home: Queue, verb: str, batch: Batch, now: int, facts: Facts, ruling: Ruling) -> Controlled:
        job = None if ruling.job is None else reads.copy_of(ruling.job, now)
        answer = Controlled(now, facts, *home.tail(None), job, ruling.refused, ruling.count, ruling.changed)
        home.remember(verb, batch, now, answer)
        return self._leave(home, answer)
