"""What the model keeps of one queue, and the small moves that every verb is made of.

The model is the engines' contract a second time, written for the reader: one list of jobs, scans instead of indexes,
and nothing shared with any engine but the records of `taskmanager.job`. Where it and an engine differ, one is wrong.

A job on the shelf has its raw state: a delayed job whose moment has come is still `DELAYED` until a verb makes it due.
Readers see it as waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from taskmanager.engine import AWAITED_MS, DUE_LIMIT, REPLAY_MS, Answer, Batch, JobRef
from taskmanager.errors import InvariantError
from taskmanager.job import FINISHED, LIVE, Edge, Fact, Kind, LogLine, Plan, State, StoredJob, StoredSchedule

QUEUE = "q"
FAR = 10**15


@dataclass
class Held:
    """A debounce window: whose job it is, and when it opened. A trailing one ends with its job."""

    edge: Edge
    event: str
    key: str
    serial: int
    opened_at: int
    until: int = FAR


class Kept(NamedTuple):
    """An awaited outcome."""

    job: StoredJob
    until: int


@dataclass
class Registered:
    """A schedule; how many of its jobs are live is counted, never kept."""

    plan: Plan
    place: int
    revision: int
    next_at: int | None = None
    dropped: int = 0


@dataclass
class Shelf:
    """`numbers` counts emissions, places in line, claims and revisions. `tide` grows with what becomes claimable."""

    now: int
    jobs: list[StoredJob] = field(default_factory=list)
    windows: list[Held] = field(default_factory=list)
    schedules: list[Registered] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    leases: dict[str, int] = field(default_factory=dict)
    lines: dict[int, list[LogLine]] = field(default_factory=dict)
    written: dict[int, int] = field(default_factory=dict)
    reapers: dict[int, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    said: dict[tuple[str, str], tuple[int, int, Answer]] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    paused: bool = False
    numbers: int = 0
    tide: int = 0
    facts: list[Fact] = field(default_factory=list)

    # ---- numbers and facts

    def next(self) -> int:
        self.numbers += 1
        return self.numbers

    def tell(self, kind: Kind, event: str | None, id: str | None, **rest: Any) -> None:
        self.facts.append(Fact(self.now, kind, QUEUE, event, id, **rest))

    def later(self, run_at: int | None) -> dict[str, Any] | None:
        """The detail of a step that leaves a job delayed."""
        return {"delay": (run_at - self.now) / 1000} if run_at is not None and run_at > self.now else None

    def once(self, verb: str, batch: Batch, work: Callable[[], Answer]) -> Any:
        """The answer to a call that is numbered; one sent again gets the answer of then."""
        last = self.said.get((batch.caller, verb))
        if last is not None and batch.number == last[0]:
            return replace(deepcopy(last[2]), replayed=True)
        if last is not None and batch.number < last[0]:
            raise InvariantError(f"{batch} came after {last[0]}")
        answer = work()
        self.said[batch.caller, verb] = (batch.number, self.now, deepcopy(answer))
        return answer

    def forget(self) -> None:
        self.said = {key: last for key, last in self.said.items() if self.now - last[1] < REPLAY_MS}

    def common(self, worker: str | None = None) -> dict[str, Any]:
        """What each answer tells, whichever verb it is of; `worker` is who asked under a lease."""
        facts, self.facts = self.facts, []
        leases = [until for holder, until in self.leases.items() if holder != worker]
        delayed = [job.run_at for job in self.jobs if job.state == State.DELAYED]
        nexts = [schedule.next_at or 0 for schedule in self.schedules]
        return {
            "now": self.now,
            "facts": facts,
            "tide": self.tide,
            "due_at": min(delayed, default=None),
            "schedule_at": min(nexts, default=None),
            "lease_at": min(leases, default=None),
        }

    # ---- finding

    def of_id(self, id: str) -> StoredJob | None:
        return next((job for job in self.jobs if job.id == id), None)

    def of_ref(self, ref: JobRef) -> StoredJob | None:
        job = self.of_id(ref.id)
        return job if job is not None and ref.serial in (None, job.serial) else None

    def of_claim(self, worker: str, number: int) -> StoredJob | None:
        return next((job for job in self.claims(worker) if job.claim == number), None)

    def claims(self, worker: str) -> list[StoredJob]:
        """What is under a worker's lease, in claim order."""
        held = [job for job in self.jobs if job.state == State.ACTIVE and self.holder_of(job) == worker]
        return sorted(held, key=lambda job: job.claim)

    def holder_of(self, job: StoredJob) -> str | None:
        """Under whose lease it is; the record of a reaped job goes on naming who lost it."""
        return self.reapers[job.claim] if job.reaped else job.worker

    def line(self) -> list[StoredJob]:
        """Who waits, in the order of the line."""
        return sorted(self.in_state(State.WAITING), key=lambda job: (-job.priority, job.order))

    def in_state(self, state: State) -> list[StoredJob]:
        """By the raw state, oldest emission first."""
        return sorted((job for job in self.jobs if job.state == state), key=lambda job: job.emission)

    def live_of(self, name: str) -> int:
        return sum(job.schedule == name and job.state in LIVE for job in self.jobs)

    # ---- moves

    def to_line(self, job: StoredJob) -> None:
        """To the end of its priority."""
        job.state, job.order = State.WAITING, self.next()
        if not self.paused:
            self.tide += 1

    def make_due(self) -> None:
        due = [job for job in self.jobs if job.state == State.DELAYED and job.run_at <= self.now]
        for job in sorted(due, key=lambda job: (job.run_at, job.emission))[:DUE_LIMIT]:
            self.to_line(job)
            self.tell(Kind.DUE, job.event, job.id)

    def finish(self, job: StoredJob, state: State, reason: str | None) -> None:
        """Whatever ends a job, apart from the step that tells it."""
        job.state, job.reason, job.finished_at = state, reason, self.now
        self.ended.append(job.serial)
        self.close_windows(job.serial, state)
        if job.awaited:
            self.keep(job)

    def close_windows(self, serial: int, state: State) -> None:
        """A trailing window is over with its job; a leading one only where that ends failed or cancelled."""
        closes = {Edge.TRAILING} if state == State.COMPLETED else {Edge.TRAILING, Edge.LEADING}
        self.windows = [held for held in self.windows if held.serial != serial or held.edge not in closes]

    def hold(self, held: Held) -> None:
        """Opens a window, in the place of an older one of that event, key and edge."""
        key = (held.edge, held.event, held.key)
        self.windows = [one for one in self.windows if (one.edge, one.event, one.key) != key]
        self.windows.append(held)

    def keep(self, job: StoredJob) -> None:
        self.kept = [kept for kept in self.kept if kept.job.serial != job.serial]
        self.kept.append(Kept(deepcopy(job), self.now + AWAITED_MS))

    def remove(self, job: StoredJob) -> None:
        self.jobs.remove(job)
        self.lines.pop(job.serial, None)

    def drop_if_transient(self, job: StoredJob, transient: Sequence[State]) -> None:
        if job.state in transient:
            self.remove(job)

    # ---- reading

    def read(self, job: StoredJob) -> StoredJob:
        """The copy that a reader gets."""
        due = job.state == State.DELAYED and job.run_at <= self.now
        return replace(deepcopy(job), state=State.WAITING if due else job.state)

    def follow_up_as_job(self, job: StoredJob) -> StoredJob:
        """A recorded follow-up as it will be, were its job to end now."""
        recorded = job.follow_up
        assert recorded is not None
        content = recorded.content
        run_at = recorded.run_at
        return StoredJob(
            id=job.id,
            queue=QUEUE,
            event=content.event,
            data=content.data,
            state=State.DELAYED if run_at is not None and run_at > self.now else State.WAITING,
            priority=content.priority,
            serial=recorded.serial,
            emission=recorded.emission,
            order=0,
            created_at=recorded.created_at,
            run_at=recorded.created_at if run_at is None else run_at,
            options=content.options,
            expires_at=recorded.expires_at,
            losses=job.losses,
            window=content.window,
            awaited=recorded.awaited,
        )

    def get(self, id: str, serial: int | None) -> StoredJob | None:
        job = self.of_id(id)
        if job is not None and serial in (None, job.serial):
            return self.read(job)
        if job is not None and job.follow_up is not None and job.follow_up.serial == serial:
            return self.follow_up_as_job(job)
        kept = [
            kept.job for kept in self.kept if (kept.job.id, kept.job.serial) == (id, serial) and self.now < kept.until
        ]
        return deepcopy(kept[0]) if kept else None

    def listing(self) -> list[StoredJob]:
        return [self.read(job) for job in sorted(self.jobs, key=lambda job: -job.emission)]

    def counts(self) -> dict[State, int]:
        listing = self.listing()
        return {state: sum(job.state == state for job in listing) for state in State}

    def logs(self, id: str) -> list[LogLine]:
        job = self.of_id(id)
        return [] if job is None else list(self.lines.get(job.serial, []))

    def registered(self) -> list[StoredSchedule]:
        return [
            StoredSchedule(one.plan, one.place, one.revision, one.next_at, one.dropped, self.live_of(one.plan.name))
            for one in sorted(self.schedules, key=lambda one: one.plan.name)
        ]

    def is_queue(self) -> bool:
        return bool(self.jobs or self.schedules or self.paused)

    def unfinished(self) -> list[StoredJob]:
        return [job for job in self.jobs if job.state not in FINISHED]
