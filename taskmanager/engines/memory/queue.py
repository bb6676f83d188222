"""One queue's state and its moves.

Every live job stands in exactly one place: a line (waiting), the delays (delayed) or a lease (active). Finished ones
lie by state in the order of their ends. Who takes a job out of one place puts it into the next in the same call, and
each change of state is looked up in the table of legal moves.

The counters only grow and are all that outlives an empty queue (see `store`). One counter, the tide, also numbers the
places in the lines: whatever becomes waiting makes it grow, which is just what a tide has to tell.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import TypeVar

from taskmanager.engine import AWAITED_MS, DUE_LIMIT, REPLAY_MS, Answer, Batch, JobRef
from taskmanager.engines.memory.lines import Delays, Lines
from taskmanager.engines.memory.records import Counters, DeadLetters, Lease, Outcome, Replay
from taskmanager.engines.rules import queue as rules
from taskmanager.engines.rules.records import LEGAL, Opening, WindowKey, check
from taskmanager.job import DeadLetter, Fact, Kind, LogLine, State, StoredJob, StoredSchedule, build
from taskmanager.policy.lifecycle import GONE

__all__ = ["Queue"]

A = TypeVar("A", bound=Answer)
WAITING, DELAYED = State.WAITING, State.DELAYED  # a look-up in an Enum costs a call


class Queue(rules.Queue):
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
        if last is None or not self.is_again(verb, batch, last.number):
            return None
        assert isinstance(last.answer, kind)
        return last.answer

    def remember(self, verb: str, batch: Batch, now: int, answer: Answer) -> None:
        key = (batch.caller, verb)
        self.replays[key] = build(Replay, (batch.number, now, answer))
        self.replays.move_to_end(key)

    def forget_replays(self, now: int) -> None:
        """Callers lie in the order of their last calls, so the old ones are in front."""
        while self.replays and next(iter(self.replays.values())).at + REPLAY_MS <= now:
            self.replays.popitem(last=False)

    def forget_outcomes(self, now: int) -> None:
        while self.outcomes and next(iter(self.outcomes.values())).until <= now:
            self.outcomes.popitem(last=False)

    # ---- jobs

    def job(self, id: str) -> StoredJob | None:
        return self.jobs.get(id)

    def standing(self, state: State, limit: int, now: int, event: str | None = None) -> list[StoredJob]:
        jobs = self.in_state(state, now)
        return list(islice(jobs if event is None else (job for job in jobs if job.event == event), limit))

    def in_state(self, state: State, now: int) -> Iterator[StoredJob]:
        """The jobs of one state: next to be handed out, next to become due, or oldest end first."""
        match state:
            case State.WAITING:
                return chain(self.lines, (job for job in self.delays if job.run_at <= now))
            case State.DELAYED:
                return (job for job in self.delays if job.run_at > now)
            case State.ACTIVE:
                leases = self.leases.values()
                return (job for lease in leases for held in (lease.claims, lease.reaped) for job in held.values())
            case _:
                return iter(self.finished[state].values())

    def add(self, job: StoredJob) -> None:
        self.jobs[job.id] = job
        self.put(job)
        if job.schedule is not None:
            self.count_live(job.schedule, 1)

    def move(self, job: StoredJob, step: Kind, to: State) -> None:
        if (job.state, step, to) not in LEGAL:
            check(job.state, step, to)
        job.state = to

    def put(self, job: StoredJob) -> None:
        if job.state is WAITING:
            self.lines.append(job)
        elif job.state is DELAYED:
            self.delays.add(job)
        else:
            self.finished[job.state][job.serial] = job

    def take_out(self, job: StoredJob) -> None:
        (self.lines if job.state is State.WAITING else self.delays).remove(job)

    def note(self, job: StoredJob) -> None:
        self.has_marks = self.has_marks or job.cancel_requested

    def make_due(self, now: int, facts: list[Fact]) -> None:
        """What is due stands in line, at most `DUE_LIMIT` jobs a call."""
        if not self.delays.heap:
            return
        for _ in range(DUE_LIMIT):
            job = self.delays.first()
            if job is None or job.run_at > now:
                return
            self.make_one_due(job, now, facts)

    def forget(self, job: StoredJob) -> None:
        if (job.state, GONE, GONE) not in LEGAL:
            check(job.state, GONE, GONE)
        del self.jobs[job.id]
        self.finished[job.state].pop(job.serial, None)
        if self.logs:
            self.logs.pop(job.id, None)
        if job.dead_letter is not None:
            self._recall(job.dead_letter, job.serial)

    def revive(self, job: StoredJob) -> None:
        del self.finished[job.state][job.serial]
        self.outcomes.pop(job.serial, None)
        if job.dead_letter is not None:
            self._recall(job.dead_letter, job.serial)
        if job.schedule is not None:
            self.count_live(job.schedule, 1)

    def post(self, job: StoredJob) -> None:
        assert job.dead_letter is not None
        self.dead_letters.setdefault(job.dead_letter.stream, {})[self.name, job.serial] = (job.id, job.dead_letter)

    def _recall(self, letter: DeadLetter, serial: int) -> None:
        """Takes the dead letter of that job out of its stream."""
        stream = self.dead_letters[letter.stream]
        del stream[self.name, serial]
        if not stream:
            del self.dead_letters[letter.stream]

    # ---- windows, outcomes, schedules

    def window(self, key: WindowKey) -> Opening | None:
        return self.windows.get(key)

    def open_window(self, key: WindowKey, opening: Opening) -> None:
        self.windows[key] = opening
        theirs = [one for one in self.windows_of.get(opening.serial, ()) if one != key and one in self.windows]
        self.windows_of[opening.serial] = [*theirs, key]

    def end_serial(self, serial: int, to: State) -> None:
        self.ended.append(serial)
        for key in self.windows_of.pop(serial, ()):
            opening = self.windows.get(key)
            if (
                opening is not None
                and opening.serial == serial
                and (opening.until is None or to is not State.COMPLETED)
            ):
                del self.windows[key]

    def outcome(self, ref: JobRef, now: int) -> StoredJob | None:
        kept = None if ref.serial is None else self.outcomes.get(ref.serial)
        return None if kept is None or kept.until <= now or kept.job.id != ref.id else kept.job

    def keep_outcome(self, job: StoredJob, now: int) -> None:
        self.forget_outcomes(now)
        self.outcomes[job.serial] = Outcome(now + AWAITED_MS, job)
        self.outcomes.move_to_end(job.serial)

    def schedule(self, name: str) -> StoredSchedule | None:
        return self.schedules.get(name)

    def put_schedule(self, schedule: StoredSchedule) -> None:
        self.schedules[schedule.plan.name] = schedule
        self._look_ahead()

    def drop_schedule(self, name: str) -> bool:
        known = self.schedules.pop(name, None)
        self._look_ahead()
        return known is not None

    def _look_ahead(self) -> None:
        self.schedule_at = min([one.next_at or 0 for one in self.schedules.values()], default=None)

    def is_live(self, schedule: str) -> bool:
        return schedule in self.live_of

    def count_live(self, schedule: str, change: int) -> None:
        count = self.live_of.get(schedule, 0) + change
        if count:
            self.live_of[schedule] = count
        else:
            del self.live_of[schedule]
