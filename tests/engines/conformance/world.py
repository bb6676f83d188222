"""One engine under a clock that moves by hand, with the verbs in short form.

The world numbers its batches and remembers what each worker holds, as a correct caller would; a test that plays a lost
reply says so by giving `batch` or `holds` itself. Every answer passes through `Moves`, so each test of the suite also
proves that nothing happened outside the lifecycle's table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from taskmanager.engine import (
    DUE_LIMIT,
    NOTHING,
    Advanced,
    Batch,
    Claimed,
    Command,
    Controlled,
    Engine,
    Enqueued,
    Extended,
    Journal,
    Limit,
    Pruned,
    Settled,
    Settlement,
)
from taskmanager.job import Claim, Emission, Plan, State, StoredJob, StoredSchedule, Transition
from tests.engines.conformance.builders import LEASE_MS, QUEUE, START_MS, ref
from tests.engines.conformance.moves import Moves

EVERYTHING = 1_000_000


class ManualClock:
    """Says what it was told."""

    def __init__(self, now_us: int = START_MS * 1000) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def advance(self, ms: float) -> None:
        self._now_us += round(ms * 1000)


Factory = Callable[[ManualClock], AbstractAsyncContextManager[Engine]]


class World:
    engine: Engine

    def __init__(self, factory: Factory) -> None:
        self.clock = ManualClock()
        self.moves = Moves()
        self._factory = factory
        self._numbers: dict[tuple[str, str, str], int] = {}
        self._held: dict[tuple[str, str], set[int]] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with self._factory(self.clock) as self.engine:
            yield

    # ---- time

    @property
    def now(self) -> int:
        return self.clock.now_us() // 1000

    def at(self, ms: int) -> int:
        """The moment `ms` after the world began."""
        return START_MS + ms

    def advance(self, ms: float) -> None:
        self.clock.advance(ms)

    # ---- write

    def batch(self, verb: str, caller: str = "caller", queue: str = QUEUE) -> Batch:
        """The caller's next number for that verb and queue."""
        self._numbers[caller, verb, queue] = number = self._numbers.get((caller, verb, queue), 0) + 1
        return Batch(caller, number)

    def held(self, worker: str = "w", queue: str = QUEUE) -> set[int]:
        return self._held.setdefault((queue, worker), set())

    async def enqueue(self, *entries: Emission | Plan, queue: str = QUEUE, batch: Batch | None = None) -> Enqueued:
        answer = await self.engine.enqueue(queue, entries, batch or self.batch("enqueue", queue=queue))
        for verdict in answer.verdicts:
            if verdict.serial is not None:
                self.moves.serials.add((queue, verdict.id, verdict.serial))
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def claim(
        self,
        limit: int = 100,
        worker: str = "w",
        *,
        holds: Collection[int] | None = None,
        lease_ms: int = LEASE_MS,
        suspect_losses: int = 2,
        queue: str = QUEUE,
    ) -> Claimed:
        held = self.held(worker, queue)
        answer = await self.engine.claim(
            queue, worker, held.copy() if holds is None else holds, limit, lease_ms, suspect_losses
        )
        held.update(claim.number for claim in answer.jobs)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def extend(
        self,
        *journal: Journal,
        worker: str = "w",
        holds: Collection[int] | None = None,
        lease_ms: int = LEASE_MS,
        queue: str = QUEUE,
    ) -> Extended:
        holds = self.held(worker, queue).copy() if holds is None else holds
        answer = await self.engine.extend(queue, worker, holds, lease_ms, journal)
        self.held(worker, queue).difference_update(answer.lost)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def settle(
        self,
        *settlements: Settlement,
        worker: str = "w",
        batch: Batch | None = None,
        transient: Collection[State] = NOTHING,
        queue: str = QUEUE,
    ) -> Settled:
        batch = batch or self.batch("settle", worker, queue)
        answer = await self.engine.settle(queue, worker, settlements, batch, transient)
        self.held(worker, queue).difference_update(settlement.claim for settlement in settlements)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def cancel(
        self,
        id: str = "x",
        serial: int | None = None,
        *,
        batch: Batch | None = None,
        transient: Collection[State] = NOTHING,
        queue: str = QUEUE,
    ) -> Controlled:
        answer = await self.engine.cancel(queue, ref(id, serial), batch or self.batch("cancel", queue=queue), transient)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def control(
        self,
        command: Command,
        *,
        batch: Batch | None = None,
        transient: Collection[State] = NOTHING,
        queue: str = QUEUE,
    ) -> Controlled:
        answer = await self.engine.control(queue, command, batch or self.batch("control", queue=queue), transient)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def reap(
        self,
        limit: int = 100,
        worker: str = "reaper",
        *,
        holds: Collection[int] | None = None,
        lease_ms: int = LEASE_MS,
        queue: str = QUEUE,
    ) -> Claimed:
        held = self.held(worker, queue)
        answer = await self.engine.reap(queue, worker, held.copy() if holds is None else holds, limit, lease_ms)
        held.update(claim.number for claim in answer.jobs)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def advance_schedule(
        self,
        schedule: StoredSchedule,
        *occurrences: Emission,
        place: int | None = None,
        next_at: int | None = None,
        dropped: int = 0,
        queue: str = QUEUE,
    ) -> Advanced:
        """Advances by the revision that was read; the place is now unless another is given."""
        place = self.now if place is None else place
        answer = await self.engine.advance(
            queue, schedule.plan.name, schedule.revision, place, next_at, occurrences, dropped
        )
        await self.moves.follow(self.engine, queue, answer)
        return answer

    async def prune(
        self, limits: Mapping[State, Limit] | None = None, limit: int = DUE_LIMIT, queue: str = QUEUE
    ) -> Pruned:
        answer = await self.engine.prune(queue, limits or {}, limit)
        await self.moves.follow(self.engine, queue, answer)
        return answer

    # ---- sentences made of verbs

    async def add(self, id: str = "x", **fields: Any) -> int:
        """Emits one job and gives its serial."""
        [verdict] = (await self.enqueue(Emission(**{"event": "send", "id": id} | fields))).verdicts
        assert verdict.serial is not None
        return verdict.serial

    async def take(self, worker: str = "w", **options: Any) -> Claim:
        """Claims the next job, which there must be."""
        [claim] = (await self.claim(1, worker, **options)).jobs
        return claim

    async def end(self, claim: Claim, how: Transition, worker: str = "w", **options: Any) -> State | None:
        """Settles one claim."""
        [verdict] = (await self.settle(Settlement(claim.number, how), worker=worker, **options)).verdicts
        return verdict

    async def run(self, how: Transition, id: str = "x", **fields: Any) -> int:
        """Emits a job, claims it (it must be next) and ends its run; gives its serial."""
        serial = await self.add(id, **fields)
        claim = await self.take()
        assert claim.id == id
        await self.end(claim, how)
        return serial

    async def lose(self, how: Transition, worker: str = "w") -> None:
        """Lets the worker's lease run out, reaps all it held and settles that."""
        self.advance(LEASE_MS)
        reaped = (await self.reap()).jobs
        self.held(worker).clear()
        await self.settle(*(Settlement(claim.number, how) for claim in reaped), worker="reaper")

    # ---- read

    async def find(self, id: str = "x", serial: int | None = None, queue: str = QUEUE) -> StoredJob | None:
        return await self.engine.get(queue, ref(id, serial))

    async def job(self, id: str = "x", serial: int | None = None, queue: str = QUEUE) -> StoredJob:
        job = await self.find(id, serial, queue)
        assert job is not None, f"no job {id!r} of serial {serial}"
        return job

    async def schedule(self, name: str = "nightly", queue: str = QUEUE) -> StoredSchedule:
        [schedule] = [one for one in (await self.engine.schedules(queue)).schedules if one.plan.name == name]
        return schedule

    async def states(self, queue: str = QUEUE) -> dict[str, State]:
        return {job.id: job.state for job in await self.engine.list(queue, None, EVERYTHING, None)}

    async def line(self, worker: str = "w") -> list[str]:
        """The ids in the order in which they are handed out."""
        ids: list[str] = []
        while claims := (await self.claim(EVERYTHING, worker)).jobs:
            ids += [claim.id for claim in claims]
        return ids

    async def picture(self) -> dict[str, Any]:
        """All that reads can tell, also of every job that is still readable by its serial."""
        return {"queues": await self.engine.queues()} | {
            queue: await self._picture_of(queue) for queue in sorted({QUEUE, *await self.engine.queues()})
        }

    async def _picture_of(self, queue: str) -> Sequence[Any]:
        jobs = await self.engine.list(queue, None, EVERYTHING, None)
        serials = [(id, serial) for where, id, serial in sorted(self.moves.serials) if where == queue]
        return (
            list(jobs),
            await self.engine.count(queue),
            {job.id: list(await self.engine.logs(queue, job.id)) for job in jobs},
            sorted((await self.engine.schedules(queue)).schedules, key=lambda schedule: schedule.plan.name),
            {key: await self.engine.get(queue, ref(*key)) for key in serials},
        )
