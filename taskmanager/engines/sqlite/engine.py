"""The SQLite engine: the port's verbs, each one transaction on one queue.

A verb runs where it is called, without a thread: a transaction takes less time than a hop to a thread and back. What it
never does is wait there. Where another process writes at that moment, or holds the file locked, the verb gives its loop
back, tries again soon, and after `wait` seconds raises `EngineUnavailable`. The tries are short and evenly spread, so
whoever waits gets his turn between two transactions of any other. Only for a simulation, whose time stands still
during a call, does it wait where it is (and then it never suspends).

Time comes from the injected clock, once a verb, after the transaction has begun: so what happened first is first.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TypeVar

from taskmanager.clock import Clock, SystemClock, monotonic
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
from taskmanager.engines.rules.admit import admit
from taskmanager.engines.rules.control import Call, Ruling, cancel, control
from taskmanager.engines.rules.reads import get
from taskmanager.engines.rules.schedules import advance, register
from taskmanager.engines.sqlite import reads, replays
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.address import Address
from taskmanager.engines.sqlite.claims import claim, extend, reap
from taskmanager.engines.sqlite.ends import Handed, Overtaken
from taskmanager.engines.sqlite.prune import prune
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.settle import settle
from taskmanager.engines.sqlite.store import Store, store_of
from taskmanager.engines.sqlite.trouble import Busy, locked
from taskmanager.job import DeadLetter, Emission, Fact, LogLine, Plan, State, StoredJob

__all__ = ["SqliteEngine"]

A = TypeVar("A", bound=Answer)
T = TypeVar("T")
Facts = list[Fact]
_PAUSE_S = 0.001
_LONGEST_PAUSE_S = 0.02
_PATIENT_S = 0.2
"""How long a busy file is tried again as often as can be; after that it is no neighbour's write but a lock."""


class SqliteEngine:
    """One connection to a store: of a file, or of its own memory."""

    def __init__(self, clock: Clock | None = None, store: Store | None = None) -> None:
        self.store = store_of(Address(None)) if store is None else store
        self._clock: Clock = SystemClock() if clock is None else clock
        self._is_simulated = False
        self._is_open = False
        self._rng: random.Random | None = None
        self._handed: dict[tuple[str, str], Handed] = {}

    @staticmethod
    def of(rest: str, clock: Clock | None, field: str) -> SqliteEngine:
        """The engine of a URL, by what stands behind `sqlite://`."""
        return SqliteEngine(clock, store_of(Address.of(rest, field)))

    @property
    def suspends(self) -> bool:
        """A file may be busy with another process; a simulation waits for it on the spot."""
        return self.store.address.path is not None and not self._is_simulated

    async def open(self, *, simulated: bool = False) -> None:
        def check() -> None:
            self.store.connect()
            self.store.refuse_other(simulated)
            self.store.stand_still(simulated)

        await self._hold(check)
        self._is_simulated = simulated

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self.store.leave()

    def fork(self) -> SqliteEngine:
        engine = SqliteEngine(self._clock, self.store)
        engine._is_simulated = self._is_simulated
        return engine

    async def forget(self, *, everything: bool) -> None:
        assert self._is_simulated, "only a simulated store forgets"
        work = partial(_forget, everything)
        await self._hold(lambda: self.store.write(work, self._is_simulated, brings_work=False))

    # ---- write

    async def enqueue(self, queue: str, entries: Sequence[Emission | Plan], batch: Batch) -> Enqueued:
        def effect(home: Queue, now: int, facts: Facts) -> Enqueued:
            known = replays.find(home, Enqueued, "enqueue", batch, now)
            if known is not None:
                return known
            home.make_due(now, facts)
            home.expect({entry.id for entry in entries if isinstance(entry, Emission)})
            verdicts = [
                admit(home, entry, now, facts) if isinstance(entry, Emission) else register(home, entry, now, facts)
                for entry in entries
            ]
            home.save()
            answer = Enqueued(now, facts, *home.tail(None), verdicts)
            replays.keep(home, "enqueue", batch, now, answer)
            return answer

        return await self._write(queue, effect, brings_work=True)

    async def claim(
        self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int
    ) -> Claimed:
        handed = self._handed_to(queue, worker, holds, limit)

        def effect(home: Queue, now: int, facts: Facts) -> Claimed:
            home.make_due(now, facts)
            jobs, more = claim(home, worker, holds, limit, lease_ms, suspect_losses, handed, now, facts)
            home.save()
            tail = home.tail(worker)
            is_overdue = tail[1] is not None and tail[1] <= now
            return Claimed(now, facts, *tail, jobs, more or (is_overdue and not home.paused))

        return await self._write(queue, effect, brings_work=True)

    async def extend(
        self, queue: str, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal] = ()
    ) -> Extended:
        def effect(home: Queue, now: int, facts: Facts) -> Extended:
            lost, cancelled, beyond = extend(home, worker, holds, lease_ms, journal, now, facts)
            home.save()
            return Extended(now, facts, *home.tail(worker), lost, cancelled, beyond)

        return await self._write(queue, effect)

    async def settle(
        self,
        queue: str,
        worker: str,
        settlements: Sequence[Settlement],
        batch: Batch,
        transient: Collection[State] = NOTHING,
    ) -> Settled:
        handed = self._handed.get((queue, worker), {})

        def effect(home: Queue, now: int, facts: Facts) -> Settled:
            known = replays.find(home, Settled, "settle", batch, now)
            if known is not None:
                return known
            verdicts = settle(home, worker, settlements, transient, handed, now, facts)
            home.save()
            answer = Settled(now, facts, *home.tail(worker), verdicts)
            replays.keep(home, "settle", batch, now, answer)
            return answer

        try:
            return await self._write(queue, effect)
        except Overtaken:  # nothing was written, and nothing is remembered of them
            return await self._write(queue, effect)

    async def cancel(self, queue: str, ref: JobRef, batch: Batch, transient: Collection[State] = NOTHING) -> Controlled:
        return await self._rule(queue, "cancel", batch, transient, lambda home, call: cancel(home, ref, call))

    async def reap(self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Claimed:
        def effect(home: Queue, now: int, facts: Facts) -> Claimed:
            jobs, more = reap(home, worker, holds, limit, lease_ms, now)
            home.save()
            return Claimed(now, facts, *home.tail(worker), jobs, more)

        return await self._write(queue, effect)

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
        def effect(home: Queue, now: int, facts: Facts) -> Advanced:
            home.expect({occurrence.id for occurrence in occurrences})
            moved = advance(home, name, revision, place, next_at, occurrences, dropped, now, facts)
            home.save()
            return Advanced(now, facts, *home.tail(None), moved)

        return await self._write(queue, effect, brings_work=True)

    async def prune(self, queue: str, limits: Mapping[State, Limit], limit: int = DUE_LIMIT) -> Pruned:
        def effect(home: Queue, now: int, facts: Facts) -> Pruned:
            removed, more, next_at, room = prune(home, limits, limit, now)
            home.save()
            return Pruned(now, facts, *home.tail(None), removed, more, next_at, room)

        return await self._write(queue, effect)

    async def control(
        self, queue: str, command: Command, batch: Batch, transient: Collection[State] = NOTHING
    ) -> Controlled:
        return await self._rule(queue, "control", batch, transient, lambda home, call: control(home, command, call))

    # ---- wait

    async def wait(self, seen: Mapping[str, int], until: int | None) -> Collection[str]:
        self._join()
        is_attended = self.store.watch(seen)
        try:
            if seen:
                await self._read(lambda file: self.store.tell(file, seen))
            return await self.store.waiters.wait(seen, until, self._clock.now_us)
        finally:
            self.store.unwatch(seen, is_attended)

    async def wait_ended(self, queue: str, ref: JobRef, until: int) -> None:
        serial = await self._read(lambda file: reads.live_serial(file, queue, ref))
        if serial is None:
            await asyncio.sleep(0)
            return
        is_attended = self.store.await_end(queue, ref, serial)
        try:
            if await self._read(lambda file: reads.live_serial(file, queue, ref)) == serial:
                await self.store.waiters.wait_ended(queue, serial, until, self._clock.now_us)
        finally:
            self.store.unawait_end(queue, ref, serial, is_attended)

    # ---- read

    async def get(self, queue: str, ref: JobRef) -> StoredJob | None:
        def look(home: Queue, now: int) -> StoredJob | None:
            job = get(home, ref, now)
            return None if job is None else reads.seen_at(job, now)

        return await self._look(queue, look, None)

    async def list(self, queue: str, state: State | None, limit: int, after: int | None) -> Sequence[StoredJob]:
        return await self._look(queue, lambda home, now: reads.listing(home, state, limit, after, now), [])

    async def count(self, queue: str) -> Count:
        nothing = Count(dict.fromkeys(State, 0), False, None, None, None)
        return await self._look(queue, reads.count, nothing)

    async def logs(self, queue: str, id: str) -> Sequence[LogLine]:
        return await self._look(queue, lambda home, now: reads.logs(home, id), [])

    async def schedules(self, queue: str) -> Timetable:
        return Timetable(self._now(), await self._look(queue, lambda home, now: reads.schedules(home), []))

    async def queues(self) -> Sequence[str]:
        return await self._read(lambda file: [row[0] for row in file.execute(sql.LIST_QUEUES)])

    async def now(self) -> int:
        return self._now()

    async def dead_letters(self, stream: str) -> Sequence[tuple[str, int, DeadLetter]]:
        """The entries of a dead-letter stream, oldest first: job id, serial, entry."""
        return await self._read(lambda file: reads.dead_letters(file, stream))

    # ---- the frame of a verb

    def _now(self) -> int:
        return self._clock.now_us() // 1000

    def _handed_to(self, queue: str, worker: str, holds: Collection[int], limit: int) -> Handed:
        """What is remembered of the worker's hand-outs: at most, about, what it says it holds, and what it now gets."""
        handed = self._handed.setdefault((queue, worker), {})
        if len(handed) > 2 * (len(holds) + limit):
            held = set(holds)
            for claim in [claim for claim in handed if claim not in held]:
                del handed[claim]
        return handed

    def _join(self) -> None:
        if not self._is_open:
            self._is_open = True
            self.store.join()

    async def _write(self, queue: str, effect: Callable[[Queue, int, Facts], A], *, brings_work: bool = False) -> A:
        def verb() -> A:
            home: Queue

            def work(file: sqlite3.Connection) -> A:
                nonlocal home
                row = file.execute(sql.GET_QUEUE, (queue,)).fetchone()
                home = Queue(file, queue, row or file.execute(sql.ADD_QUEUE, (queue,)).fetchall()[0])
                return effect(home, self._now(), [])

            store = self.store
            answer = store.write(work, self._is_simulated, brings_work=brings_work)
            waiters = store.waiters
            waiters.notice(queue, answer)
            if waiters.awaited:
                for serial in home.ended:
                    waiters.ended(queue, serial)
            return answer

        return await self._hold(verb)

    async def _rule(
        self,
        queue: str,
        verb: str,
        batch: Batch,
        transient: Collection[State],
        rule: Callable[[Queue, Call], Ruling],
    ) -> Controlled:
        def effect(home: Queue, now: int, facts: Facts) -> Controlled:
            known = replays.find(home, Controlled, verb, batch, now)
            if known is not None:
                return known
            ruling = rule(home, Call(now, facts, transient))
            home.save()
            job = None if ruling.job is None else reads.seen_at(ruling.job, now)
            answer = Controlled(now, facts, *home.tail(None), job, ruling.refused, ruling.count, ruling.changed)
            replays.keep(home, verb, batch, now, answer)
            return answer

        return await self._write(queue, effect)

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await self._hold(lambda: self.store.read(work))

    async def _look(self, queue: str, look: Callable[[Queue, int], T], nothing: T) -> T:
        """A read of one queue; `nothing` where there is none of that name."""

        def work(file: sqlite3.Connection) -> T:
            row = file.execute(sql.GET_QUEUE, (queue,)).fetchone()
            return nothing if row is None else look(Queue(file, queue, row), self._now())

        return await self._read(work)

    async def _hold(self, work: Callable[[], T]) -> T:
        """Does something with the store in hand, as soon as nobody else has the file."""
        self._join()
        began_s: float | None = None
        while True:
            try:
                with self.store.lock:
                    return work()
            except Busy as busy:
                now_s = monotonic()
                began_s = now_s if began_s is None else began_s
                path, waited_s = self.store.address.path, now_s - began_s
                if self._is_simulated or path is None:
                    raise locked(path or "", self.store.address.wait_s) from busy
                if waited_s >= self.store.address.wait_s and not self.store.is_moving_log:
                    raise locked(path, waited_s) from busy
            pause_s = _PAUSE_S if waited_s < _PATIENT_S else _LONGEST_PAUSE_S
            self._rng = self._rng or random.Random()
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.5))


def _forget(everything: bool, file: sqlite3.Connection) -> None:
    for (table,) in file.execute(sql.TABLES).fetchall():
        if everything or table == "replays":
            file.execute(f"DELETE FROM {table}")
