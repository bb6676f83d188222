"""One queue as the rules see it: above what a store gives them, below what follows from that for every store.

A job's state says where it stands: a line, the delays, a lease, or among the finished. `move` changes the state, `put`
lets the job stand where its state says. The records that a store gives are the truth until the end of the verb, so what
a rule changes in one is told to the store: by `put`, or by `note` for a job that stays where it is.

The counters only grow. One of them, the tide, also numbers the places in the lines, for whatever becomes waiting makes
it grow.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Protocol

from taskmanager.engine import NOTHING, Batch, JobRef
from taskmanager.engines.rules.records import Opening, WindowKey, check
from taskmanager.errors import InvariantError
from taskmanager.job import Edge, Fact, FollowUp, Kind, State, StoredJob, StoredSchedule
from taskmanager.policy.lifecycle import BORN

__all__ = ["Queue"]


class Queue(Protocol):
    """What a verb knows of its queue. A store's own derives from it."""

    name: str
    emissions: int
    tide: int
    revisions: int
    paused: bool

    # ---- jobs: what a store gives

    @abstractmethod
    def job(self, id: str) -> StoredJob | None: ...

    @abstractmethod
    def standing(self, state: State, limit: int, now: int, event: str | None = None) -> list[StoredJob]:
        """The first jobs of a state: next to be handed out, next to become due, or oldest end first.

        `event` leaves out the jobs of others; it may be asked of finished states.
        """

    @abstractmethod
    def add(self, job: StoredJob) -> None:
        """A new job, which stands where its state says."""

    @abstractmethod
    def move(self, job: StoredJob, step: Kind, to: State) -> None:
        """Changes the state, if the table of moves has it."""

    @abstractmethod
    def put(self, job: StoredJob) -> None:
        """The job, with whatever was changed of it, stands where its state says; it may be there already."""

    @abstractmethod
    def forget(self, job: StoredJob) -> None:
        """The record of a finished job goes, with its logs and its dead letter. An awaited outcome stays."""

    @abstractmethod
    def revive(self, job: StoredJob) -> None:
        """A finished job is about to live again: out of its place, without its outcome and its dead letter."""

    # ---- jobs: what a store need not hear that finds it in its rows

    def note(self, job: StoredJob) -> None:
        """A mark or the follow-up was changed of a job that stays where it is."""
        return

    def take_out(self, job: StoredJob) -> None:
        """Out of the place of a waiting or delayed job; the caller puts it into another."""
        return

    def post(self, job: StoredJob) -> None:
        """The job has a dead letter, which is in its stream from now on."""
        return

    def count_live(self, schedule: str, change: int) -> None:
        """So many more jobs of a schedule live, whether or not it is registered."""
        return

    def text(self, text: str) -> str:
        """A text as the store can hold it."""
        return text

    # ---- windows, outcomes, schedules

    @abstractmethod
    def window(self, key: WindowKey) -> Opening | None: ...

    @abstractmethod
    def open_window(self, key: WindowKey, opening: Opening) -> None: ...

    @abstractmethod
    def end_serial(self, serial: int, to: State) -> None:
        """That job (or follow-up) lives no more: its trailing window is over, its leading one if it came to nothing."""

    @abstractmethod
    def outcome(self, ref: JobRef, now: int) -> StoredJob | None:
        """How an awaited job ended, while that is kept."""

    @abstractmethod
    def keep_outcome(self, job: StoredJob, now: int) -> None: ...

    @abstractmethod
    def schedule(self, name: str) -> StoredSchedule | None: ...

    @abstractmethod
    def put_schedule(self, schedule: StoredSchedule) -> None: ...

    @abstractmethod
    def drop_schedule(self, name: str) -> bool:
        """Whether there was one of that name."""

    @abstractmethod
    def is_live(self, schedule: str) -> bool:
        """Whether a job of that schedule is not finished."""

    # ---- what follows: calls

    def is_again(self, verb: str, batch: Batch, last: int) -> bool:
        """Whether a call is its caller's last one of that verb, numbered `last`, once more."""
        if batch.number < last:
            raise InvariantError(
                f"{verb} number {batch.number} of caller {batch.caller!r} on queue {self.name!r} came after number"
                f" {last}; a caller numbers its calls upwards and has one in flight"
            )
        return batch.number == last

    # ---- what follows: moves

    def tell(
        self, facts: list[Fact], now: int, kind: Kind, job: StoredJob, detail: dict[str, Any] | None = None
    ) -> None:
        facts.append(Fact(now, kind, self.name, job.event, job.id, None, None, detail))

    def line_up(self, job: StoredJob, step: Kind) -> None:
        """Waiting, at the end of its priority."""
        self.move(job, step, State.WAITING)
        self.tide = job.order = self.tide + 1
        self.put(job)

    def delay(self, job: StoredJob, step: Kind) -> None:
        self.move(job, step, State.DELAYED)
        self.put(job)

    def place(self, job: StoredJob, step: Kind, now: int) -> None:
        """Delayed where its time is to come, else waiting."""
        if job.run_at > now:
            self.delay(job, step)
        else:
            self.line_up(job, step)

    def make_one_due(self, job: StoredJob, now: int, facts: list[Fact]) -> None:
        self.take_out(job)
        self.line_up(job, Kind.DUE)
        self.tell(facts, now, Kind.DUE, job)

    # ---- what follows: ends

    def finish(self, job: StoredJob, step: Kind, to: State, now: int, transient: Collection[State] = NOTHING) -> None:
        """Ends a job that is already out of its place; a recorded follow-up takes its id over."""
        self.move(job, step, to)
        job.finished_at = now
        self.end_serial(job.serial, to)
        if job.schedule is not None:
            self.count_live(job.schedule, -1)
        follow_up = job.follow_up
        if follow_up is not None:
            job.follow_up = None
        if job.awaited:
            self.keep_outcome(job, now)
        if follow_up is not None:
            self.forget(job)
            self._succeed(job, follow_up, now)
        elif to in transient:
            self.forget(job)
        else:
            self.put(job)

    def render(self, job: StoredJob, follow_up: FollowUp, now: int) -> StoredJob:
        """The job that a follow-up is, or will be: the same id and count of losses, all else its own."""
        content, run_at = follow_up.content, follow_up.run_at
        return StoredJob(
            id=job.id,
            queue=self.name,
            event=content.event,
            data=content.data,
            state=State.DELAYED if run_at is not None and run_at > now else State.WAITING,
            priority=content.priority,
            serial=follow_up.serial,
            emission=follow_up.emission,
            order=0,
            created_at=follow_up.created_at,
            run_at=follow_up.created_at if run_at is None else run_at,
            options=content.options,
            expires_at=follow_up.expires_at,
            losses=job.losses,
            window=content.window,
            awaited=follow_up.awaited,
        )

    def _succeed(self, job: StoredJob, follow_up: FollowUp, now: int) -> None:
        """The follow-up becomes the job of its id. A trailing window that it was recorded under is then its own."""
        heir = self.render(job, follow_up, now)
        check(BORN, Kind.FOLLOW_UP, heir.state)
        if heir.state is State.WAITING:
            self.tide = heir.order = self.tide + 1
        self.add(heir)
        window = heir.window
        if window is not None and window.edge is Edge.TRAILING:
            key = (heir.event, window.key, window.edge)
            self.open_window(key, Opening(heir.id, heir.serial, follow_up.first_at, None))
