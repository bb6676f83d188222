"""One engine and one model, driven side by side: each call goes to both, and both must answer and be alike.

The engine is driven by hand where it never suspends, else by an event loop of its own. What a call names by a number
(serials, claims, revisions) is said in the model's numbers and translated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, TypeVar

from taskmanager.engine import (
    DUE_LIMIT,
    REPLAY_MS,
    Answer,
    Await,
    Batch,
    Command,
    Delete,
    Engine,
    JobRef,
    Journal,
    Limit,
    Promote,
    Requeue,
    Settlement,
)
from taskmanager.errors import InvariantError
from taskmanager.job import Claim, Emission, Plan, State, StoredJob
from tests.engines.conformance.builders import LEASE_MS, START_MS
from tests.engines.conformance.conftest import ENGINES
from tests.engines.conformance.world import Factory, ManualClock
from tests.properties.compare import Comparison, Disagreement, equal
from tests.properties.laws import Laws
from tests.properties.model import Model
from tests.properties.shelf import QUEUE
from tests.servers import Servers

T = TypeVar("T")
SUSPECT_LOSSES = 2
Refs = Promote | Requeue | Delete | Await


def each_empty(engine: str, servers: Servers) -> Factory:
    """Opens an empty store anew for each program: a server is shared, and is emptied first."""
    return lambda clock: ENGINES[engine](servers)(clock)


class Sent(NamedTuple):
    """A call that can be sent again."""

    mine: Callable[[], Answer]
    theirs: Callable[[], Coroutine[Any, Any, Answer]]
    at: int


class Pair:
    engine: Engine

    def __init__(self, factory: Factory) -> None:
        self.clock = ManualClock()
        self.model = Model(START_MS)
        self.comparison = Comparison()
        self.laws = Laws()
        self.hands: dict[str, dict[int, Claim]] = {}
        self.past: list[int] = []
        self.sent: dict[str, Sent] = {}
        self.lower: Callable[[], Coroutine[Any, Any, Answer]] | None = None
        self.serials: list[tuple[str, int]] = []
        self._numbers: dict[str, int] = {}
        self._runner: asyncio.Runner | None = None
        self._opened: AbstractAsyncContextManager[Engine] = factory(self.clock)
        self.engine = self.drive(self._opened.__aenter__())

    def close(self) -> None:
        self.drive(self._opened.__aexit__(None, None, None))
        if self._runner is not None:
            self._runner.close()

    def drive(self, work: Coroutine[Any, Any, T]) -> T:
        if not hasattr(self, "engine") or self.engine.suspends:
            self._runner = self._runner or asyncio.Runner()
            return self._runner.run(work)
        try:
            work.send(None)
        except StopIteration as ended:
            value: T = ended.value
            return value
        raise AssertionError("the engine says that it never suspends, and did")

    # ---- both at once

    def both(self, mine: Callable[[], Answer], theirs: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        before = self.picture()
        expected, got = mine(), self.drive(theirs())
        self.comparison.answers(expected, got)
        self.laws.follow(before, got, self.compare())
        return expected

    def numbered(
        self, verb: str, call: Callable[[Batch], tuple[Callable[[], Answer], Callable[[], Coroutine[Any, Any, Answer]]]]
    ) -> Answer:
        self._numbers[verb] = number = self._numbers.get(verb, 0) + 1
        mine, theirs = call(Batch(f"{verb}er", number))
        answer = self.both(mine, theirs)
        self.sent[verb] = Sent(mine, theirs, self.model.now)
        return answer

    def recent(self, verb: str) -> Sent | None:
        """The last call of that verb, while it may be sent again."""
        sent = self.sent.get(verb)
        return sent if sent is not None and self.laws.latest - sent.at < REPLAY_MS else None

    def send_again(self, verb: str) -> None:
        """The last call of that verb once more: the same answer, and nothing changes."""
        sent = self.recent(verb)
        if sent is None:
            return
        before = self.picture()
        expected, got = sent.mine(), self.drive(sent.theirs())
        if not got.replayed:
            raise Disagreement(f"{verb} sent again is not the same call: {got}")
        self.comparison.answers(expected, got)
        equal(f"after {verb} was sent again", before, self.compare())

    def send_older(self, verb: str) -> None:
        """A number below the last is refused, and nothing changes."""
        sent = self.recent(verb)
        if sent is None:
            return
        batch, before = Batch(f"{verb}er", self._numbers[verb] - 1), self.picture()
        calls: dict[str, Callable[[], Coroutine[Any, Any, Answer]]] = {
            "enqueue": lambda: self.engine.enqueue(QUEUE, [Emission("send", "older")], batch),
            "settle": lambda: self.engine.settle(QUEUE, "w1", [], batch),
            "cancel": lambda: self.engine.cancel(QUEUE, JobRef("a"), batch),
            "control": lambda: self.engine.control(QUEUE, Delete(JobRef("a")), batch),
        }
        try:
            answer = self.drive(calls[verb]())
        except InvariantError:
            equal(f"after {verb} was sent late", before, self.compare())
        else:
            raise Disagreement(f"{verb} took the number {batch.number} again: {answer}")

    # ---- the verbs, in the model's numbers

    def pass_time(self, ms: int) -> None:
        self.clock.advance(ms)
        self.model.now += ms
        self.laws.pass_time(self.model.now)
        self.compare()

    def enqueue(self, *entries: Emission | Plan) -> Answer:
        return self.numbered(
            "enqueue",
            lambda batch: (
                lambda: self.model.enqueue(entries, batch),
                lambda: self.engine.enqueue(QUEUE, entries, batch),
            ),
        )

    def claim(self, worker: str, limit: int, *, forgetting: bool = False) -> None:
        held = [] if forgetting else list(self.hands.get(worker, {}))
        theirs = self.claims_of(held)
        self.take(
            worker,
            self.both(
                lambda: self.model.claim(worker, held, limit, LEASE_MS, SUSPECT_LOSSES),
                lambda: self.engine.claim(QUEUE, worker, theirs, limit, LEASE_MS, SUSPECT_LOSSES),
            ),
        )

    def reap(self, worker: str, limit: int, *, forgetting: bool = False) -> None:
        held = [] if forgetting else list(self.hands.get(worker, {}))
        theirs = self.claims_of(held)
        self.take(
            worker,
            self.both(
                lambda: self.model.reap(worker, held, limit, LEASE_MS),
                lambda: self.engine.reap(QUEUE, worker, theirs, limit, LEASE_MS),
            ),
        )

    def take(self, worker: str, answer: Any) -> None:
        for claim in answer.jobs:
            self.hands.setdefault(worker, {})[claim.number] = claim
            if claim.number not in self.past:
                self.past.append(claim.number)

    def extend(self, worker: str, journal: Sequence[Journal], *, forgetting: bool = False) -> None:
        held = [] if forgetting else list(self.hands.get(worker, {}))
        theirs = self.claims_of(held)
        their_journal = [entry._replace(claim=self.comparison.claims[entry.claim]) for entry in journal]
        answer: Any = self.both(
            lambda: self.model.extend(worker, held, LEASE_MS, journal),
            lambda: self.engine.extend(QUEUE, worker, theirs, LEASE_MS, their_journal),
        )
        for number in answer.lost:
            self.hands[worker].pop(number, None)

    def settle(self, worker: str, settlements: Sequence[Settlement], transient: Collection[State]) -> Answer:
        theirs = [one._replace(claim=self.comparison.claims[one.claim]) for one in settlements]
        states = sorted(transient)
        answer = self.numbered(
            "settle",
            lambda batch: (
                lambda: self.model.settle(worker, settlements, batch, states),
                lambda: self.engine.settle(QUEUE, worker, theirs, batch, states),
            ),
        )
        for one in settlements:
            self.hands.get(worker, {}).pop(one.claim, None)
        return answer

    def cancel(self, ref: JobRef, transient: Collection[State]) -> None:
        states = sorted(transient)
        their_ref = self.ref_of(ref)
        self.numbered(
            "cancel",
            lambda batch: (
                lambda: self.model.cancel(ref, batch, states),
                lambda: self.engine.cancel(QUEUE, their_ref, batch, states),
            ),
        )

    def control(self, command: Command) -> None:
        theirs = command
        if isinstance(command, Refs):
            theirs = command._replace(ref=self.ref_of(command.ref))
        self.numbered(
            "control",
            lambda batch: (
                lambda: self.model.control(command, batch, []),
                lambda: self.engine.control(QUEUE, theirs, batch),
            ),
        )

    def advance(
        self, name: str, revision: int, place: int, next_at: int | None, due: Sequence[Emission], dropped: int
    ) -> None:
        theirs = self.comparison.revisions[revision]
        self.both(
            lambda: self.model.advance(name, revision, place, next_at, due, dropped),
            lambda: self.engine.advance(QUEUE, name, theirs, place, next_at, due, dropped),
        )

    def prune(self, limits: Mapping[State, Limit], limit: int = DUE_LIMIT) -> None:
        self.both(lambda: self.model.prune(limits, limit), lambda: self.engine.prune(QUEUE, limits, limit))

    # ---- numbers

    def claims_of(self, numbers: Collection[int]) -> list[int]:
        return [self.comparison.claims[number] for number in numbers]

    def ref_of(self, ref: JobRef) -> JobRef:
        return JobRef(ref.id, None if ref.serial is None else self.comparison.serials[ref.serial])

    # ---- reading

    def picture(self) -> list[StoredJob]:
        return list(self.drive(self.engine.list(QUEUE, None, 10**6, None)))

    def compare(self) -> list[StoredJob]:
        """Everything that can be read of the one and the other; gives the engine's jobs."""
        model, seen = self.model, self.picture()
        self.comparison.jobs(model.listing(), seen)
        self.line(seen)
        count = self.drive(self.engine.count(QUEUE))
        common = model.common()
        equal("counts", model.counts(), count.states)
        equal("paused", model.paused, count.paused)
        for name in ("due_at", "schedule_at", "lease_at"):
            equal(f"the count's {name}", common[name], getattr(count, name))
        for job in seen:
            equal(f"log of {job.id!r}", model.logs(job.id), list(self.drive(self.engine.logs(QUEUE, job.id))))
        schedules = self.drive(self.engine.schedules(QUEUE)).schedules
        self.comparison.schedules(model.registered(), sorted(schedules, key=lambda one: one.plan.name))
        equal("queues", [QUEUE] if model.is_queue() else [], list(self.drive(self.engine.queues())))
        equal("now", model.now, self.drive(self.engine.now()))
        self.by_serial()
        return seen

    def line(self, seen: Sequence[StoredJob]) -> None:
        """Who waits, in the order in which they are handed out; an overdue job has no place yet."""
        waiting = {job.id for job in self.model.in_state(State.WAITING)}
        theirs = sorted((job for job in seen if job.id in waiting), key=lambda job: (-job.priority, job.order))
        equal("line", [job.id for job in self.model.line()], [job.id for job in theirs])

    def by_serial(self) -> None:
        """The follow-ups and awaited outcomes: what only its serial still finds."""
        model = self.model
        found = [(job.id, job.follow_up.serial) for job in model.jobs if job.follow_up is not None]
        found += [(kept.job.id, kept.job.serial) for kept in model.kept if model.now < kept.until]
        for id, serial in found:
            got = self.drive(self.engine.get(QUEUE, JobRef(id, self.comparison.serials[serial])))
            self.comparison.optional_job(model.get(id, serial), got)
