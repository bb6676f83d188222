"""The port: everything a store must do, and promise.

An engine does three kinds of thing atomically: it **admits** (is this id, window or place already held?), it **claims**
(hands out under a lease), and it **settles** (writes a decision if the claim still stands). All else is a read or a
comparison of due times. Backoff, cron, jitter, budgets and retention limits arrive here as numbers, already computed.

What every engine promises, for every verb:

* *One call is one atomic effect on one queue.* It happens wholly or not at all, and takes effect at one moment `now`.
* *Safe to send twice.* `enqueue`, `settle`, `cancel` and `control` carry a `Batch`: each caller numbers its calls per
  verb and queue from 1 and has one in flight; the engine keeps number and answer of the last until 60 s after it, and
  gives the same answer again, marked `replayed`. `claim` and `reap` say what the worker holds and first hand out again
  what else is under its lease; `advance` compares a revision; `extend` and `prune` repeat harmlessly.
* *In turn.* A worker's `settle` and a `claim` that it makes meanwhile take effect in that order.
* *Fenced.* `extend` and `settle` name claims. A stale one is answered `LOST` and nothing of it is written.
* *A lease ends when it is reaped*, not when its time passes. One lease per worker and queue holds all its jobs there.
* *Due first.* `enqueue` and `claim` first make due what is due in the queue, at most `DUE_LIMIT` jobs, in the order of
  (run_at, emission). Reads treat a delayed job whose time has come as waiting.
* *Facts.* Each answer tells what happened, in order. They may be made when somebody looks at them first.
* *Errors.* A store's own exceptions surface as `EngineUnavailable` or `UsageError`, nothing else.

Retention of 0 arrives as `transient`: the finished states whose jobs are removed by the write that ends them. An
awaited job is the exception: its outcome stays readable by its serial for `AWAITED_MS` beyond its end.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from taskmanager.job import (
    Claim,
    Emission,
    Fact,
    Kind,
    LogLine,
    Plan,
    Progress,
    State,
    StoredJob,
    StoredSchedule,
    Transition,
)
from taskmanager.job import Limit as Limit

DUE_LIMIT = 1000
"""How many jobs one call makes due, removes or requeues at most."""
REPLAY_MS = 60_000
"""How long after a caller's last call its answer is kept, in engine time."""
AWAITED_MS = 60_000
"""How long beyond its end an awaited outcome stays readable, in engine time."""
LOG_LINES = 1000
"""Lines kept per job; the oldest go first."""
LINE_BYTES = 8192
"""A log line is cut at this many bytes of UTF-8."""
ATTEMPTS_KEPT = 100
"""Ended attempts kept per job; the oldest go first."""

NOTHING: frozenset[State] = frozenset()


def cut_line(line: str) -> str:
    """A log line as far as it is kept: whole characters, at most `LINE_BYTES`."""
    if len(line) * 4 <= LINE_BYTES:
        return line
    return line.encode(errors="replace")[:LINE_BYTES].decode(errors="ignore")


class Batch(NamedTuple):
    """Who calls, and the caller's number of this call (per verb and queue, from 1)."""

    caller: str
    number: int


class JobRef(NamedTuple):
    """A job by id, or one certain job by id and serial."""

    id: str
    serial: int | None = None


class Journal(NamedTuple):
    """One log line or one progress report of a running claim; `number` counts them per claim from 1."""

    claim: int
    number: int
    entry: str | Progress


class Settlement(NamedTuple):
    """How one claim ends. `duration_ms` is the handler's run; `unstarted_ms` the wait for it in the worker's hands."""

    claim: int
    transition: Transition
    duration_ms: int = 0
    unstarted_ms: int = 0


class Verdict(NamedTuple):
    """What became of one emission. `serial` is None where no job belongs to it (`debounced` at the leading edge,
    `scheduled`).
    """

    status: Kind
    id: str
    serial: int | None


@dataclass(slots=True)
class Answer:
    """What every write tells: the engine's time, what happened, and what to wait for.

    `tide` grows whenever something becomes claimable in the queue; a later `wait` compares it. `due_at` is the next
    delayed job's `run_at`, `schedule_at` the next occurrence (0: a schedule whose next is not computed yet), `lease_at`
    the first lease of *another* worker to run out; None where there is none. `born` is another number where the queue
    is another one than before, because somebody emptied the store; engines whose stores cannot be emptied say 0.
    """

    now: int
    facts: Sequence[Fact]
    tide: int
    due_at: int | None
    schedule_at: int | None
    lease_at: int | None
    replayed: bool = field(default=False, kw_only=True)
    born: int = field(default=0, kw_only=True)


@dataclass(slots=True)
class Enqueued(Answer):
    verdicts: list[Verdict]


@dataclass(slots=True)
class Claimed(Answer):
    """`more` says that claimable jobs are left."""

    jobs: list[Claim]
    more: bool


@dataclass(slots=True)
class Extended(Answer):
    """`lost` and `cancelled` are claim numbers; `beyond` says the lease covers claims the worker did not name."""

    lost: list[int]
    cancelled: list[int]
    beyond: bool


@dataclass(slots=True)
class Settled(Answer):
    """For each settlement the state the job got, or None: the claim was lost and nothing was written."""

    verdicts: list[State | None]


@dataclass(slots=True)
class Advanced(Answer):
    """`moved` is False where the schedule is gone or another worker was first: then nothing was written."""

    moved: bool


@dataclass(slots=True)
class Pruned(Answer):
    """`next_at` is when the next job outlives its retention, None where none will.

    `room` is how many more jobs may end before a limit on their number is passed, None where there is no such limit.
    """

    removed: int
    more: bool
    next_at: int | None
    room: int | None


@dataclass(slots=True)
class Controlled(Answer):
    """`job` as it then is, or None where there is none; `refused` is the state that does not allow the command."""

    job: StoredJob | None = None
    refused: State | None = None
    count: int = 0
    changed: bool = False


class Pause(NamedTuple):
    """Claims of the queue hand out nothing until `Resume`."""


class Resume(NamedTuple):
    """Ends a pause."""


class Promote(NamedTuple):
    """A delayed job is waiting now."""

    ref: JobRef


class Requeue(NamedTuple):
    """A failed job is waiting again, with a fresh budget."""

    ref: JobRef


class RequeueAll(NamedTuple):
    """`Requeue` for up to `limit` failed jobs (of one event), oldest end first.

    An engine may stop sooner, but not at none while there are any.
    """

    event: str | None
    limit: int = DUE_LIMIT


class Delete(NamedTuple):
    """Removes a job that is not active; a live one is thereby cancelled."""

    ref: JobRef


class Purge(NamedTuple):
    """`Delete` for up to `limit` jobs of one state, in the order in which they stand there.

    That is: next to be handed out, next to become due, or oldest end first.
    """

    state: State
    limit: int = DUE_LIMIT


class Unschedule(NamedTuple):
    """Removes a schedule; jobs it has admitted are ordinary jobs."""

    name: str


class Await(NamedTuple):
    """Somebody waits for this job's outcome: keep it `AWAITED_MS` beyond the end."""

    ref: JobRef


Command = Pause | Resume | Promote | Requeue | RequeueAll | Delete | Purge | Unschedule | Await


class Timetable(NamedTuple):
    """A queue's schedules, and the engine's time at which they were read."""

    now: int
    schedules: Sequence[StoredSchedule]


@dataclass(slots=True)
class Count:
    """A queue at a glance, delayed jobs whose time has come counted as waiting."""

    states: dict[State, int]
    paused: bool
    due_at: int | None
    schedule_at: int | None
    lease_at: int | None


class Engine(Protocol):
    """One connection to one store. All moments are engine time, in milliseconds since the epoch."""

    @property
    def suspends(self) -> bool:
        """False where no verb but the waits ever suspends, so that a caller may drive it by hand."""

    async def open(self, *, simulated: bool = False) -> None:
        """Connects, and marks the store real or simulated. `UsageError` where it already bears the other mark."""

    async def close(self) -> None: ...

    def fork(self) -> Engine:
        """Another connection to the same store, for another thread (the heartbeat's)."""

    async def forget(self, *, everything: bool) -> None:
        """For a world that begins in a simulated store: forgets what callers were answered in the last one, or all that
        is there.
        """

    # ---- write

    async def enqueue(self, queue: str, entries: Sequence[Emission | Plan], batch: Batch) -> Enqueued:
        """Admits emissions, registers plans, in order; one verdict an entry."""

    async def claim(
        self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int
    ) -> Claimed:
        """Hands out up to `limit` jobs (an engine may stop at `DUE_LIMIT`) under the worker's lease, which it renews.

        What is under its lease and not in `holds` comes first and counts. Of jobs with at least `suspect_losses` lost
        leases a worker holds one at a time; others behind them are handed out meanwhile. Each new hand-out counts an
        attempt. A job past its `expires_at` is cancelled instead.
        """

    async def extend(
        self, queue: str, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal] = ()
    ) -> Extended:
        """The heartbeat: renews the lease, appends the journal of claims that stand, brings back cancel marks."""

    async def settle(
        self,
        queue: str,
        worker: str,
        settlements: Sequence[Settlement],
        batch: Batch,
        transient: Collection[State] = NOTHING,
    ) -> Settled:
        """Writes decisions whose claims stand. A recorded follow-up takes the place of a job that ends."""

    async def cancel(self, queue: str, ref: JobRef, batch: Batch, transient: Collection[State] = NOTHING) -> Controlled:
        """Waiting or delayed: cancelled at once. Active: marked, and its follow-up dropped. Cancelled: unchanged."""

    async def reap(self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Claimed:
        """Takes over up to `limit` jobs of leases that have run out: each gets a new claim under this worker's lease.

        They are not to be run: the worker settles them as lost. `holds` are the reaped claims it has in hand; others
        it was given before come first. `claim` never hands them out. Like `claim` it renews the lease of a worker that
        holds something, whether or not anything was taken over: who asks is alive.
        """

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
        """If the schedule still has `revision`: moves its place and admits the occurrences, in one step."""

    async def prune(self, queue: str, limits: Mapping[State, Limit], limit: int = DUE_LIMIT) -> Pruned:
        """Removes finished jobs beyond their limits, oldest end first, and whatever the engine kept for a while."""

    async def control(
        self, queue: str, command: Command, batch: Batch, transient: Collection[State] = NOTHING
    ) -> Controlled:
        """An operator's word; what a state does not allow is `refused` and changes nothing."""

    # ---- wait: may return early for no reason, correctness never depends on it

    async def wait(self, seen: Mapping[str, int], until: int | None) -> Collection[str]:
        """Returns when a queue's tide is no longer the one seen, when one has something due earlier than `until`, or at
        `until`; at once where that has passed by the engine's clock.
        """

    async def wait_ended(self, queue: str, ref: JobRef, until: int) -> None:
        """Returns when the job of that id and serial has ended, or at `until`."""

    # ---- read

    async def get(self, queue: str, ref: JobRef) -> StoredJob | None:
        """A copy. By serial also a recorded follow-up, and an awaited outcome that outlived its job."""

    async def list(self, queue: str, state: State | None, limit: int, after: int | None) -> Sequence[StoredJob]:
        """Copies, newest emission first, those with an emission number below `after`."""

    async def count(self, queue: str) -> Count: ...

    async def logs(self, queue: str, id: str) -> Sequence[LogLine]: ...

    async def schedules(self, queue: str) -> Timetable: ...

    async def queues(self) -> Sequence[str]:
        """Every queue that holds a job, a schedule or a pause, in sorted order."""

    async def now(self) -> int: ...
