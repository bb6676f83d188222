"""A great backlog, waiting and delayed, slows no verb: no script looks at more than a thousand jobs.

The server's own slow log is the judge: no command may take longer than 25 ms, whatever lies there.
"""

from __future__ import annotations

import pytest

from taskmanager.engine import (
    Batch,
    Engine,
    JobRef,
    Journal,
    Limit,
    Promote,
    Purge,
    Requeue,
    RequeueAll,
    Settlement,
)
from taskmanager.job import FINISHED, Emission, ErrorInfo, Kind, State, Transition
from tests.engines.redis.ground import opened
from tests.servers import Server

QUEUE, WORKER, LEASE_MS = "q", "w", 15_000
SLOW_US = 25_000
CHUNK = 1000
CLAIMED = 200
ENDS = [
    Transition(Kind.COMPLETED, State.COMPLETED),
    Transition(Kind.FAILED, State.FAILED, failures=1, error=ErrorInfo("ValueError", "boom"), dead_letter="dlq"),
    Transition(Kind.RETRIED, State.DELAYED, delay_ms=1, failures=1),
    Transition(Kind.RELEASED, State.WAITING),
]


class Caller:
    """Numbers its calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.number = 0

    def batch(self) -> Batch:
        self.number += 1
        return Batch("caller", self.number)

    async def fill(self, jobs: int, prefix: str, delay_ms: int) -> None:
        for start in range(0, jobs, CHUNK):
            entries = [
                Emission("send", f"{prefix}{number}", delay_ms=delay_ms) for number in range(start, start + CHUNK)
            ]
            await self.engine.enqueue(QUEUE, entries, self.batch())

    async def use_every_verb(self) -> None:
        engine = self.engine
        await engine.enqueue(QUEUE, [Emission("send", "new"), Emission("send", "w5", replace=True)], self.batch())
        for _ in range(3):
            claims = (await engine.claim(QUEUE, WORKER, (), CLAIMED, LEASE_MS, 2)).jobs
            numbers = [claim.number for claim in claims]
            await engine.extend(QUEUE, WORKER, numbers, LEASE_MS, [Journal(number, 1, "log") for number in numbers])
            settlements = [Settlement(number, ENDS[place % 4]) for place, number in enumerate(numbers)]
            await engine.settle(QUEUE, WORKER, settlements, self.batch())
        await engine.reap(QUEUE, "other", (), CHUNK, LEASE_MS)
        await engine.cancel(QUEUE, JobRef("d7"), self.batch())
        await engine.control(QUEUE, Promote(JobRef("d8")), self.batch())
        failed = await engine.list(QUEUE, State.FAILED, 5, None)
        await engine.control(QUEUE, Requeue(JobRef(failed[0].id)), self.batch())
        await engine.control(QUEUE, RequeueAll("send"), self.batch())
        await engine.control(QUEUE, RequeueAll("unknown"), self.batch())
        for state in (State.WAITING, State.DELAYED, State.COMPLETED):
            await engine.control(QUEUE, Purge(state), self.batch())
            assert len(await engine.list(QUEUE, state, 50, None)) >= (0 if state in FINISHED else 50)
        await engine.prune(QUEUE, dict.fromkeys(FINISHED, Limit(0, 0)))
        await engine.count(QUEUE)
        await engine.get(QUEUE, JobRef("w99"))


async def test_no_verb_is_slow_whatever_the_backlog(server: Server, request: pytest.FixtureRequest) -> None:
    jobs = 500_000 if request.config.getoption("--nightly") else 25_000
    async with opened(server.url) as engine:
        caller = Caller(engine)
        await caller.fill(jobs, "w", 0)
        await caller.fill(jobs, "d", 3_600_000)
        server.ask("CONFIG", "SET", "slowlog-log-slower-than", SLOW_US)
        server.ask("SLOWLOG", "RESET")
        await caller.use_every_verb()
        assert server.ask("SLOWLOG", "GET", 10) == []
        counts = (await engine.count(QUEUE)).states
        assert counts[State.DELAYED] > jobs - 2 * CHUNK
        assert counts[State.WAITING] > jobs - 5 * CHUNK
    server.empty()
