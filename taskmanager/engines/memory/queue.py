"""One queue's state and its moves.

Every live job stands in exactly one place: a line (waiting), the delays (delayed) or a lease (active). Finished ones
lie by state in the order of their ends. Who takes a job out of one place puts it into the next in the same call, and
each change of state is looked up in the table of legal moves.

The counters only grow and are all that outlives an empty queue (see `store`). One counter, the tide, also numbers the
places in the lines: whatever becomes waiting makes it grow, which is just what a tide has to tell.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection
from typing import Any, TypeVar

from taskmanager.engine import AWAITED_MS, DUE_LIMIT, NOTHING, REPLAY_MS, Answer, Batch
from taskmanager.engines.memory.lines import Delays, Lines
from taskmanager.engines.memory.records import (
    LEGAL,
    Counters,
    DeadLetters,
    Lease,
    Opening,
    Outcome,
    Replay,
    WindowKey,
    check,
)
from taskmanager.errors import InvariantError
from taskmanager.job import Edge, Fact, FollowUp, Kind, LogLine, State, StoredJob, StoredSchedule
from taskmanager.policy.lifecycle import BORN, GONE

__all__ = ["Queue"]

A = TypeVar("A", bound=Answer)


class Queue:
    """All that the memory engine knows of one queue. Used under the store's lock only."""

    def __init__(self, name: str, counters: Counters, dead_letters: DeadLetters) -> None:
        self.name = name
        self.emissions, self.tide, self.claims, self.revisions = counters
        self.dead_letters = dead_letters
        self.jobs: dict[str, StoredJob] = {}
        self.lines = Lines()
        self.delays = Delays()
        self.leases: dict[str, Lease] = {}
        self.finished: dict[State, dict[int, StoredJob]] = {
            State.COMPLETED: {},
            State.FAILED: {},
            State.CANCELLED: {},
        }
        self.paused = False
        self.schedules: dict[str, StoredSchedule] = {}
        self.schedule_at: int | None = None
        self.live_of: dict[str, int] = {}
        self.windows: dict[WindowKey, Opening] = {}
        self.windows_of: dict[int, list[WindowKey]] = {}
        self.outcomes: OrderedDict[int, Outcome] = OrderedDict()
        self.replays: OrderedDict[tuple[str, str], Replay] = OrderedDict()
        self.logs: dict[str, deque[LogLine]] = {}
        self.ended: list[int] = []
        self.has_marks = False  # whether an active job may bear a cancel mark; a beat that finds none takes it back

    def counters(self) -> Counters:
        return Counters(self.emissions, self.tide, self.claims, self.revisions)

    def is_blank(self) -> bool:
        """Nothing is left but the counters."""
        return not (self.jobs or self.schedules or self.paused or self.windows or self.outcomes or self.replays)

    # ---- answers

    def tail(self, worker: str | None) -> tuple[int, int | None, int | None, int | None]:
        """The end of every answer: tide, due_at, schedule_at, lease_at."""
        first = self.delays.first() if self.delays.heap else None
        lease_at = None
        for owner, lease in self.leases.items():
            if owner != worker and (lease_at is None or lease.expires_at < lease_at):
                lease_at = lease.expires_at
        return self.tide, None if first is None else first.run_at, self.schedule_at, lease_at

    def replayed(self, kind: type[A], verb: str, batch: Batch, now: int) -> A | None:
        """The stored answer where this call is the caller's last one again; None for a new call."""
        self.forget_replays(now)
        last = self.replays.get((batch.caller, verb))
        if last is None or batch.number > last.number:
            return None
        if batch.number < last.number or not isinstance(last.answer, kind):
            raise InvariantError(
                f"{verb} number {batch.number} of caller {batch.caller!r} on queue {self.name!r} came after number"
                f" {last.number}; a caller numbers its calls upwards and has one in flight"
            )
        return last.answer

    def remember(self, verb: str, batch: Batch, now: int, answer: Answer) -> None:
        key = (batch.caller, verb)
        self.replays[key] = Replay(batch.number, now, answer)
        self.replays.move_to_end(key)

    def forget_replays(self, now: int) -> None:
        """Callers lie in the order of their last calls, so the old ones are in front."""
        while self.replays and next(iter(self.replays.values())).at + REPLAY_MS <= now:
            self.replays.popitem(last=False)

    def forget_outcomes(self, now: int) -> None:
        while self.outcomes and next(iter(self.outcomes.values())).until <= now:
            self.outcomes.popitem(last=False)

    def tell(
        self, facts: list[Fact], now: int, kind: Kind, job: StoredJob, detail: dict[str, Any] | None = None
    ) -> None:
        facts.append(Fact(now, kind, self.name, job.event, job.id, None, None, detail))

    # ---- moves

    def move(self, job: StoredJob, step: Kind, to: State) -> None:
        if (job.state, step, to) not in LEGAL:
            check(job.state, step, to)
        job.state = to

    def line_up(self, job: StoredJob, step: Kind) -> None:
        """Waiting, at the end of its priority."""
        self.move(job, step, State.WAITING)
        self.tide = job.order = self.tide + 1
        self.lines.append(job)

    def place(self, job: StoredJob, step: Kind, now: int) -> None:
        """Delayed where its time is to come, else waiting."""
        if job.run_at > now:
            self.move(job, step, State.DELAYED)
            self.delays.add(job)
        else:
            self.line_up(job, step)

    def take_out(self, job: StoredJob) -> None:
        """Out of the place of a waiting or delayed job; the caller puts it into another."""
        (self.lines if job.state is State.WAITING else self.delays).remove(job)

    def make_due(self, now: int, facts: list[Fact]) -> None:
        """What is due stands in line, at most `DUE_LIMIT` jobs a call."""
        if not self.delays.heap:
            return
        for _ in range(DUE_LIMIT):
            job = self.delays.first()
            if job is None or job.run_at > now:
                return
            self.make_one_due(job, now, facts)

    def make_one_due(self, job: StoredJob, now: int, facts: list[Fact]) -> None:
        self.delays.remove(job)
        self.line_up(job, Kind.DUE)
        self.tell(facts, now, Kind.DUE, job)

    # ---- ends

    def finish(self, job: StoredJob, step: Kind, to: State, now: int, transient: Collection[State] = NOTHING) -> None:
        """Ends a job that is already out of its place; a recorded follow-up takes its id over."""
        self.move(job, step, to)
        job.finished_at = now
        serial = job.serial
        self.end_serial(serial, to)
        if job.schedule is not None:
            self.count_live(job.schedule, -1)
        if job.awaited:
            self.keep_outcome(job, now)
        follow_up = job.follow_up
        if follow_up is not None:
            job.follow_up = None
            self.forget(job)
            self.succeed(job, follow_up, now)
        elif to in transient:
            self.forget(job)
        else:
            self.finished[to][serial] = job

    def end_serial(self, serial: int, to: State) -> None:
        """That job (or follow-up) lives no more: its trailing window is over, its leading one if it came to nothing."""
        self.ended.append(serial)
        for key in self.windows_of.pop(serial, ()):
            opening = self.windows.get(key)
            if (
                opening is not None
                and opening.serial == serial
                and (opening.until is None or to is not State.COMPLETED)
            ):
                del self.windows[key]

    def keep_outcome(self, job: StoredJob, now: int) -> None:
        self.forget_outcomes(now)
        self.outcomes[job.serial] = Outcome(now + AWAITED_MS, job)
        self.outcomes.move_to_end(job.serial)

    def forget(self, job: StoredJob) -> None:
        """The record of a finished job goes, with its logs and its dead letter. An awaited outcome stays."""
        check(job.state, GONE, GONE)
        del self.jobs[job.id]
        self.finished[job.state].pop(job.serial, None)
        self.logs.pop(job.id, None)
        self.recall_dead_letter(job)

    def recall_dead_letter(self, job: StoredJob) -> None:
        if job.dead_letter is None:
            return
        stream = self.dead_letters[job.dead_letter.stream]
        del stream[self.name, job.serial]
        if not stream:
            del self.dead_letters[job.dead_letter.stream]

    # ---- follow-ups, windows, schedules

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

    def succeed(self, job: StoredJob, follow_up: FollowUp, now: int) -> None:
        """The follow-up becomes the job of its id. A trailing window that it was recorded under is then its own."""
        heir = self.jobs[job.id] = self.render(job, follow_up, now)
        check(BORN, Kind.FOLLOW_UP, heir.state)
        if heir.state is State.DELAYED:
            self.delays.add(heir)
        else:
            self.tide = heir.order = self.tide + 1
            self.lines.append(heir)
        window = heir.window
        if window is not None and window.edge is Edge.TRAILING:
            self.open_window(
                (heir.event, window.key, window.edge), Opening(heir.id, heir.serial, follow_up.first_at, None)
            )

    def open_window(self, key: WindowKey, opening: Opening) -> None:
        self.windows[key] = opening
        theirs = [one for one in self.windows_of.get(opening.serial, ()) if one != key and one in self.windows]
        self.windows_of[opening.serial] = [*theirs, key]

    def count_live(self, schedule: str, change: int) -> None:
        """Counts a schedule's live jobs, also while it is not registered."""
        count = self.live_of.get(schedule, 0) + change
        if count:
            self.live_of[schedule] = count
        else:
            del self.live_of[schedule]

    def look_ahead(self) -> None:
        """Keeps `schedule_at`; whoever changed a schedule calls this."""
        self.schedule_at = min((one.next_at or 0 for one in self.schedules.values()), default=None)
