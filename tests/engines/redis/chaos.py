"""Worlds of worker processes that are killed while they work, over any store that several processes can share.

A world emits jobs so that there is always something to do, starts workers that each die at a point of a plan, replaces
the dead, and when the plan is done lets what is left come to rest. Then the audit compares what the store tells with
what the workers wrote down. The store is a URL; nothing here knows more of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from taskmanager import JobRecord, TaskManager
from taskmanager.job import FINISHED, LIVE
from tests.engines.redis.audit import Account, Record, audit
from tests.engines.redis.diary import Phase, read
from tests.engines.redis.doom import Point
from tests.engines.redis.nursery import Child, Nursery
from tests.engines.redis.worker_process import EVENT, Spec, Work, child_of

_PAGE = 1000
_LOOK_S = 0.05
_PATIENCE_S = 30.0
NEVER_STALLED = 1_000_000


class Death(NamedTuple):
    """Where one worker ends: at the `nth` time that it reaches `point`."""

    point: Point
    nth: int


_SACRIFICE = Death(Point.MID_HANDLER, 1)


def _only_reapers(doomed: Collection[Child]) -> bool:
    """Whether all of these die of reaping: then somebody must leave them something."""
    return {child.spec["point"] for child in doomed} == {Point.REAP_REPLY}


def plan(kills: int, seed: int) -> list[Death]:
    """That many deaths, each point equally often, in an order drawn from the seed.

    Only the dead leave something to reap, so who dies of reaping comes in the first half.
    """
    rng = random.Random(seed)
    points = list(Point)
    deaths = [Death(points[n % len(points)], rng.choice((1, 1, 2, 3, 5))) for n in range(kills)]
    rng.shuffle(deaths)
    reapers = [Death(death.point, 1) for death in deaths if death.point is Point.REAP_REPLY]
    others = [death for death in deaths if death.point is not Point.REAP_REPLY]
    for reaper in reapers:
        others.insert(rng.randint(0, len(others) // 2), reaper)
    return others


def pid_of(worker: str) -> int:
    """The process of a worker, from its name: host, pid and a random end."""
    return int(worker.split("-")[-2])


class World:
    """One queue of one store, its workers, and its diary."""

    def __init__(
        self,
        url: str,
        nursery: Nursery,
        folder: Path,
        *,
        queue: str,
        lease: float = 1.0,
        workers: int = 6,
        max_stalled: int = NEVER_STALLED,
    ) -> None:
        self.queue = queue
        self.lease = lease
        self.diary = folder / f"{queue}.diary"
        self.tm = TaskManager(url)  # never started: it emits and looks
        self.expected: list[str] = []
        self._url = url
        self._nursery = nursery
        self._workers = workers
        self._max_stalled = max_stalled
        self._living: set[Child] = set()
        self._emitted = 0
        self._parents: set[str] = set()

    # ---- workers

    def spawn(self, death: Death | None = None, *, concurrency: int = 2) -> Child:
        spec = Spec(
            url=self._url,
            queue=self.queue,
            diary=str(self.diary),
            lease=self.lease,
            concurrency=concurrency,
            max_stalled=self._max_stalled,
            point=None if death is None else death.point,
            nth=1 if death is None else death.nth,
        )
        child = self._nursery.spawn(spec)
        self._living.add(child)
        return child

    def forget(self, child: Child) -> None:
        """A worker that a test has ended itself."""
        self._living.discard(child)

    async def stop(self) -> None:
        """Stops every worker gracefully."""
        statuses = await asyncio.gather(*(child.stop() for child in self._living))
        self._living.clear()
        assert set(statuses) <= {0}, f"a worker did not stop well: {statuses}\n{self._nursery.said[-4000:]}"
        await self.tm.stop()

    # ---- jobs

    async def emit(self, job_id: str, work: Work) -> None:
        await self.tm.emit(EVENT, dict(work), queue=self.queue, id=job_id)
        self.expected.append(job_id)

    async def keep_busy(self, live: int, rng: random.Random) -> None:
        """Emits until that many jobs are live; some of them emit a child."""
        counts = await self.tm.counts(self.queue)
        entries = []
        for _ in range(live - sum(counts[state] for state in LIVE)):
            self._emitted += 1
            job_id = f"job-{self._emitted}"
            data: Work = {"sleep_s": round(rng.uniform(0.0, 0.02), 3)}
            if rng.random() < 0.3:
                data["child"] = True
                self._parents.add(job_id)
            self.expected.append(job_id)
            entries.append({"event": EVENT, "data": data, "queue": self.queue, "id": job_id})
        if entries:
            await self.tm.emit_many(entries)

    async def rest(self) -> None:
        """Returns when every job is finished."""
        async with asyncio.timeout(_PATIENCE_S):
            while True:
                counts = await self.tm.counts(self.queue)
                if not any(counts[state] for state in LIVE):
                    return
                await asyncio.sleep(_LOOK_S)

    async def records(self) -> dict[str, JobRecord]:
        found: dict[str, JobRecord] = {}
        after: JobRecord | None = None
        while page := await self.tm.jobs(self.queue, limit=_PAGE, after=after):
            found.update((job.id, job) for job in page)
            after = page[-1]
        return found

    # ---- the whole of it

    async def survive(self, deaths: Sequence[Death], *, live: int = 24, seed: int = 1) -> Account:
        """Goes through all these deaths, comes to rest, and is audited."""
        rng = random.Random(seed)
        todo = list(reversed(deaths))
        doomed: set[Child] = set()
        for _ in range(min(self._workers, len(todo))):
            doomed.add(self.spawn(todo.pop()))
        if _only_reapers(doomed):
            doomed.add(self.spawn(_SACRIFICE))
        deadline = monotonic() + _PATIENCE_S + len(deaths) * self.lease / 4
        while doomed:
            await self.keep_busy(live, rng)
            await asyncio.wait([child.ended for child in doomed], timeout=_LOOK_S, return_when="FIRST_COMPLETED")
            for child in [child for child in doomed if child.ended.done()]:
                assert child.ended.result() == -9, f"a worker ended by itself:\n{self._nursery.said[-4000:]}"
                doomed.discard(child)
                self._living.discard(child)
                if todo or _only_reapers(doomed):
                    doomed.add(self.spawn(todo.pop() if todo else _SACRIFICE))
            assert monotonic() < deadline, f"not killed yet: {[child.spec['point'] for child in doomed]}"
        for _ in range(2):
            self.spawn()
        await self.rest()
        return await self.account()

    async def account(self) -> Account:
        records = await self.records()
        assert all(job.state in FINISHED for job in records.values())
        told = {
            job.id: Record(job.state, tuple((one.outcome, pid_of(one.worker)) for one in job.attempts))
            for job in records.values()
        }
        lines = read(self.diary)
        families = [line for line in lines if line.job in self._parents]
        # What a run that ended has emitted is there; what one that was killed has emitted may be.
        born = {child_of(line.job, line.attempt) for line in families if line.phase is Phase.SETTLED}
        perhaps = {child_of(line.job, line.attempt) for line in families if line.phase is Phase.RAN}
        return audit(lines, told, {*self.expected, *born, *(perhaps & told.keys())}, self.lease)
