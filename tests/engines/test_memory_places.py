"""Whatever is done to a memory store, each job stands in exactly one place, and all that is counted twice agrees."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from taskmanager.engine import (
    Batch,
    Command,
    Delete,
    JobRef,
    Journal,
    Promote,
    Purge,
    Requeue,
    RequeueAll,
    Settlement,
    Unschedule,
)
from taskmanager.engines.memory import MemoryEngine
from taskmanager.engines.memory.queue import Queue
from taskmanager.job import (
    FINISHED,
    Edge,
    Emission,
    ErrorInfo,
    Kind,
    Limit,
    Plan,
    Progress,
    State,
    Transition,
    Window,
)
from tests.engines.test_memory_store import Clock, run

BOOM = ErrorInfo("ValueError", "boom")
ENDS = [
    Transition(Kind.COMPLETED, State.COMPLETED),
    Transition(Kind.FAILED, State.FAILED, failures=1, error=BOOM, dead_letter="dlq"),
    Transition(Kind.RETRIED, State.DELAYED, delay_ms=3, failures=1, error=BOOM, superseded=State.FAILED),
    Transition(Kind.RELEASED, State.WAITING),
    Transition(Kind.STALLED, State.WAITING, losses=1),
    Transition(Kind.CANCELLED, State.CANCELLED, reason="requested"),
]
IDS = [*"abcd", "plan@immediate", "plan@1"]
WORKERS = ["w1", "w2", "w3"]


class Program:
    """A random sequence of verbs by careless callers: they forget what they hold, and send things twice."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.clock = Clock()
        self.engine = MemoryEngine(self.clock)
        self.numbers: Counter[tuple[str, str]] = Counter()
        self.claims: list[int] = []
        self.serials: list[JobRef] = []

    def batch(self, caller: str, verb: str) -> Batch:
        self.numbers[caller, verb] += self.rng.random() < 0.9 or not self.numbers[caller, verb]
        return Batch(caller, self.numbers[caller, verb])

    def ref(self) -> JobRef:
        return self.rng.choice([JobRef(self.rng.choice(IDS)), *self.serials[-20:]])

    def holds(self) -> list[int]:
        return [claim for claim in self.claims[-10:] if self.rng.random() < 0.7]

    def transient(self) -> frozenset[State]:
        return FINISHED if self.rng.random() < 0.2 else frozenset()

    def emission(self, id: str | None = None) -> Emission:
        rng = self.rng
        edge = rng.choice([None, None, *Edge])
        return Emission(
            rng.choice(["e", "f"]),
            id or rng.choice(IDS),
            priority=rng.choice([0, 0, 5]),
            delay_ms=rng.choice([0, 0, 4]),
            expires_ms=rng.choice([None, None, 5]),
            window=None if edge is None else Window(rng.choice("kl"), edge, 5, rng.choice([None, 8])),
            replace=rng.random() < 0.4,
            awaited=rng.random() < 0.3,
        )

    def emit(self) -> None:
        plan = Plan("plan", "e", self.rng.choice(["* * * * *", "@daily"]), "UTC", immediate=True, overlap="skip")
        entries = [plan if self.rng.random() < 0.1 else self.emission() for _ in range(3)]
        answer = run(self.engine.enqueue("q", entries, self.batch("c", "enqueue")))
        self.serials += [JobRef(one.id, one.serial) for one in answer.verdicts if one.serial is not None]

    def claim(self) -> None:
        answer = run(self.engine.claim("q", self.rng.choice(WORKERS), self.holds(), self.rng.randint(0, 3), 6, 2))
        self.claims += [claim.number for claim in answer.jobs]

    def reap(self) -> None:
        answer = run(self.engine.reap("q", self.rng.choice(WORKERS), self.holds(), self.rng.randint(0, 3), 6))
        self.claims += [claim.number for claim in answer.jobs]

    def extend(self) -> None:
        entries: list[str | Progress] = ["line", Progress(0.5)]
        journal = [Journal(claim, 1, self.rng.choice(entries)) for claim in self.holds()]
        run(self.engine.extend("q", self.rng.choice(WORKERS), self.holds(), 6, journal))

    def settle(self) -> None:
        worker = self.rng.choice(WORKERS)
        settlements = [Settlement(claim, self.rng.choice(ENDS)) for claim in self.holds()]
        run(self.engine.settle("q", worker, settlements, self.batch(worker, "settle"), self.transient()))

    def cancel(self) -> None:
        run(self.engine.cancel("q", self.ref(), self.batch("c", "cancel"), self.transient()))

    def control(self) -> None:
        ref, state = self.ref(), self.rng.choice(list(State))
        commands: list[Command] = [Promote(ref), Requeue(ref), RequeueAll("e", 2), Delete(ref), Unschedule("plan")]
        command = self.rng.choice([*commands, Purge(state, 1)])
        run(self.engine.control("q", command, self.batch("c", "control"), self.transient()))

    def advance(self) -> None:
        for schedule in run(self.engine.schedules("q")).schedules:
            now = run(self.engine.now())
            run(self.engine.advance("q", "plan", schedule.revision, now, now + 9, [self.emission("plan@1")], 0))

    def prune(self) -> None:
        run(self.engine.prune("q", {state: Limit(20, 2) for state in FINISHED}, 2))

    def step(self) -> None:
        verbs: list[Callable[[], None]] = [self.emit, self.claim, self.settle, self.cancel, self.control]
        self.rng.choice([*verbs, *verbs[:3], self.reap, self.extend, self.advance, self.prune])()
        self.clock.ms += self.rng.choice([0, 0, 1, 3])


def check_places(queue: Queue) -> None:
    placed = {
        State.WAITING: list(queue.lines),
        State.DELAYED: list(queue.delays.jobs.values()),
        State.ACTIVE: [job for lease in queue.leases.values() for job in (lease.claims | lease.reaped).values()],
    } | {state: list(jobs.values()) for state, jobs in queue.finished.items()}
    assert {state: sorted(job.id for job in jobs) for state, jobs in placed.items()} == {
        state: sorted(id for id, job in queue.jobs.items() if job.state is state) for state in State
    }
    for jobs in placed.values():
        assert all(queue.jobs[job.id] is job for job in jobs)
    for rank, line in queue.lines.by_priority.items():
        assert [(job.priority, job.order) for job in line.values()] == [(rank, order) for order in sorted(line)]
    assert all(emission == job.emission for emission, job in queue.delays.jobs.items())
    assert set(queue.delays.heap) >= {(job.run_at, job.emission) for job in queue.delays.jobs.values()}
    assert all(lease.claims.keys() >= lease.heard.keys() and lease for lease in queue.leases.values())


def check_counts(queue: Queue) -> None:
    live = [job for job in queue.jobs.values() if job.state not in FINISHED]
    assert queue.live_of == Counter(job.schedule for job in live if job.schedule is not None)
    assert all(job.follow_up is None for job in queue.jobs.values() if job.state is not State.ACTIVE)
    serials = {job.serial for job in live} | {job.follow_up.serial for job in live if job.follow_up is not None}
    assert queue.windows_of.keys() <= serials
    trailing = [opening for key, opening in queue.windows.items() if key[2] is Edge.TRAILING]
    assert all(opening.serial in serials for opening in trailing)
    assert queue.logs.keys() <= queue.jobs.keys()
    letters = {serial: entry for (_, serial), (_, entry) in queue.dead_letters.get("dlq", {}).items()}
    assert letters == {job.serial: job.dead_letter for job in queue.jobs.values() if job.dead_letter is not None}


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 120))
def test_each_job_stands_in_one_place_and_what_is_counted_agrees(seed: int, steps: int) -> None:
    program = Program(random.Random(seed))
    for _ in range(steps):
        program.step()
        queue = program.engine.store.queues.get("q")
        if queue is not None:
            check_places(queue)
            check_counts(queue)
