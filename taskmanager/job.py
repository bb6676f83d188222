"""The words of the domain: states, steps, and the records that engines keep.

Everything here is plain data and knows nothing of engines, clocks or handlers. Moments are integers, milliseconds since
the epoch (`_at`); durations end in their unit (`_ms`). Payloads are encoded JSON (`bytes`): an engine never looks
inside.

Four numbers identify things, and none of them is a timestamp:

* `serial`: a job's own number in its queue, given when it is admitted (or recorded as a follow-up) and kept for life. A
  handle belongs to a serial, so it never touches a later job of the same id.
* `emission`: the number of the emission whose content the job now carries. It is the serial until a later emission
  replaces the content; ties between equal `run_at` go by it, and listings are newest emission first.
* `order`: the place in the line, given anew each time the job becomes waiting. Lower goes first within a priority.
* `claim`: the number of one hand-out, never given twice in a queue. With the worker's incarnation it is the fence.

None of these records is changed by whoever is given it. What is made seldom is frozen besides; what is made once a job
is not, because Python makes a frozen dataclass five times as slowly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

build = tuple.__new__
"""`build(Record, (...))` makes a NamedTuple by places in half the time; it is what a NamedTuple's constructor calls."""


class State(StrEnum):
    """Where a job is in its life. The first three are *live*, the last three *finished*."""

    WAITING = "waiting"
    DELAYED = "delayed"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LIVE = frozenset({State.WAITING, State.DELAYED, State.ACTIVE})
FINISHED = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class Kind(StrEnum):
    """What can happen, in the words of the timeline and of `TaskManager.on`."""

    EMITTED = "emitted"
    DUPLICATE = "duplicate"
    REPLACED = "replaced"
    FOLLOW_UP = "follow_up"
    DEBOUNCED = "debounced"
    DUE = "due"
    STARTED = "started"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    RETRIED = "retried"
    FAILED = "failed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    STALLED = "stalled"
    REQUEUED = "requeued"
    PROGRESS = "progress"
    SCHEDULED = "scheduled"
    PAUSED = "paused"
    RESUMED = "resumed"


class Reason(StrEnum):
    """Why a job ended as it did, where the state alone does not say. A handler's `Discard` adds its own words."""

    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    STALLED = "stalled"
    DATA = "data"
    RESULT = "result"
    REQUESTED = "requested"
    DELETED = "deleted"
    GONE = "gone"
    DEBOUNCED = "debounced"


class Edge(StrEnum):
    """Which emission of a debounce window runs: the first or the last."""

    LEADING = "leading"
    TRAILING = "trailing"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """What a handler raised: the type's name, its message, and a trimmed traceback."""

    type: str
    message: str
    traceback: str | None = None

    def __str__(self) -> str:
        return " ".join(f"{self.type}: {self.message}".splitlines()).strip()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What an emission itself decides about its runs; None leaves it to the worker that runs it."""

    retry_count: int | None = None
    retry_delay_ms: int | None = None
    timeout_ms: int | None = None


DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True, slots=True)
class Window:
    """A debounce window as an emission asks for it: everything is a number or a key, nothing is left to decide."""

    key: str
    edge: Edge
    window_ms: int
    max_wait_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """How long (ms) and how many finished jobs of a state a queue keeps; None is without end."""

    age_ms: int | None
    count: int | None


@dataclass(slots=True)
class Emission:
    """One validated emission, ready for an engine. At most one of `delay_ms` and `run_at` is set."""

    event: str
    id: str
    data: bytes = b"{}"
    priority: int = 0
    delay_ms: int = 0
    run_at: int | None = None
    expires_ms: int | None = None
    expires_at: int | None = None
    options: RunOptions = DEFAULT_OPTIONS
    window: Window | None = None
    replace: bool = False
    awaited: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A schedule as its registration asks for it; `pattern` and `timezone` are already known to be valid.

    `not_before` (ms) bounds the first occurrence; `immediate` adds one run when the name is new or the pattern changed.
    `origin` is a mark of whoever registered it, by which that one finds its own again; None for no mark.
    """

    name: str
    event: str
    pattern: str
    timezone: str
    data: bytes = b"{}"
    priority: int = 0
    options: RunOptions = DEFAULT_OPTIONS
    expires_ms: int | None = None
    catch_up: str = "latest"
    misfire_grace_ms: int = 60_000
    overlap: str = "allow"
    immediate: bool = False
    not_before_ms: int = 0
    not_before_at: int | None = None
    origin: str | None = None


@dataclass(slots=True)
class StoredSchedule:
    """A registered schedule. `place` is the newest occurrence already decided (or the registration).

    `revision` grows with every registration and every advance: it is what an advance compares. `next_at` is the next
    occurrence, None until the first advance has computed it. `dropped` counts what catch-up left out and no admitted
    occurrence has told yet. `live` counts its jobs that are not finished.
    """

    plan: Plan
    place: int
    revision: int
    next_at: int | None = None
    dropped: int = 0
    live: int = 0


@dataclass(slots=True)
class AttemptInfo:
    """One ended hand-out. `outcome` is the step that ended it."""

    number: int
    worker: str
    started_at: int
    ended_at: int
    outcome: str
    error: ErrorInfo | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The entry a failed job left in a dead-letter stream, written together with the failure."""

    stream: str
    reason: str
    at: int
    attempts: int


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's log."""

    at: int
    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run says it is: a fraction from 0 to 1, and a note."""

    fraction: float
    note: str | None = None


@dataclass(slots=True)
class StoredJob:
    """A job as an engine keeps it. Engines own these; whoever asks gets a copy."""

    id: str
    queue: str
    event: str
    data: bytes
    state: State
    priority: int
    serial: int
    emission: int
    order: int
    created_at: int
    run_at: int
    options: RunOptions
    expires_at: int | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    max_attempts: int | None = None
    schedule: str | None = None
    window: Window | None = None
    awaited: bool = False
    requeued: bool = False
    cancel_requested: bool = False
    worker: str | None = None
    claim: int = 0
    reaped: bool = False
    started_at: int | None = None
    finished_at: int | None = None
    result: bytes | None = None
    error: ErrorInfo | None = None
    reason: str | None = None
    attempts: list[AttemptInfo] = field(default_factory=list)
    progress: Progress | None = None
    follow_up: FollowUp | None = None
    dead_letter: DeadLetter | None = None


@dataclass(slots=True)
class FollowUp:
    """The one emission recorded while its job runs; it becomes the job of that id when the run ends.

    `run_at` is None where it is to wait at once. `first_at` is when its trailing window opened, else its recording.
    """

    content: Emission
    serial: int
    emission: int
    created_at: int
    first_at: int
    run_at: int | None
    expires_at: int | None
    awaited: bool


class Fact(NamedTuple):
    """One thing that happened, as an engine or a worker reports it: the raw form of a `Step`.

    `at` is the engine's time in milliseconds. `detail` holds numbers of seconds and one-line texts, or is None.
    """

    at: int
    kind: Kind
    queue: str
    event: str | None = None
    job_id: str | None = None
    attempt: int | None = None
    worker: str | None = None
    detail: dict[str, Any] | None = None


@dataclass(slots=True)
class Transition:
    """What becomes of an active job: the value that `policy.lifecycle.decide` returns and an engine writes.

    `kind` is the step it makes, `to` the next state, `delay_ms` how long until it is due again. Where `to` is not a
    finished state two things may overrule it inside the engine, by comparison alone: a cancel mark makes it
    `cancelled`, a recorded follow-up makes it `superseded`. `failures` and `losses` are added to the job's counts.
    `dead_letter` names the stream that gets an entry in the same write.
    """

    kind: Kind
    to: State
    delay_ms: int = 0
    failures: int = 0
    losses: int = 0
    reason: str | None = None
    error: ErrorInfo | None = None
    result: bytes | None = None
    dead_letter: str | None = None
    superseded: State = State.CANCELLED
    max_attempts: int | None = None


class Claim(NamedTuple):
    """One job as handed to a worker: all that a run and `decide` need."""

    number: int
    id: str
    serial: int
    queue: str
    event: str
    data: bytes
    options: RunOptions
    priority: int
    attempt: int
    failures: int
    losses: int
    created_at: int
    run_at: int
    schedule: str | None
    claimed_at: int
