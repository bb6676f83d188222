"""What holds in every world, whatever its program: read off the timeline, the records, and what the handlers saw."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise

from taskmanager.job import Kind, State
from taskmanager.steps import Step
from tests.properties.laws import Broken
from tests.properties.world import CONCURRENCY, LEASE, RETRIES, RETRY_DELAY, TIMEOUT, Played

ENDS_OF_RUN = frozenset(
    {Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED, Kind.RETRIED, Kind.RELEASED, Kind.STALLED, Kind.SKIPPED}
)
TERMINAL = {Kind.COMPLETED: State.COMPLETED, Kind.FAILED: State.FAILED, Kind.CANCELLED: State.CANCELLED}


def check(played: Played) -> None:
    stories: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for step in played.timeline:
        if step.job_id is not None and step.queue is not None:
            stories[step.queue, step.job_id].append(step)
    for (_, id), story in stories.items():
        _one_run_at_a_time(id, story)
        if id not in played.promoted:
            _nothing_early(id, story)
        _budget(id, story)
        _backoff(id, story)
        if not played.slept:
            _timeout(id, story)
    _each_run_is_told(played)
    _slots(played)
    _occurrences(played)
    _records_say_the_same(played, stories)
    if not played.absent:
        _nobody_is_lost(played)


def _one_run_at_a_time(id: str, story: list[Step]) -> None:
    """Each run ends once and before the next begins."""
    running: int | None = None
    for step in story:
        if step.kind == Kind.STARTED:
            if running is not None:
                raise Broken(f"{id!r} was started again while attempt {running} ran: {story}")
            running = step.attempt
        elif step.kind in ENDS_OF_RUN and step.attempt is not None:
            if running is not None and step.attempt != running:
                raise Broken(f"attempt {step.attempt} of {id!r} ended, and attempt {running} ran: {story}")
            running = None
    if running is not None:
        raise Broken(f"attempt {running} of {id!r} never ended: {story}")


def _nothing_early(id: str, story: list[Step]) -> None:
    """No start before the moment that the last emission or retry named."""
    due: datetime | None = None
    for step in story:
        delay = None if step.detail is None else step.detail.get("delay")
        if delay is not None and step.kind not in (Kind.FOLLOW_UP, Kind.DUPLICATE):
            due = step.at + timedelta(seconds=delay)
        elif step.kind in (Kind.REPLACED, Kind.REQUEUED) or step.kind in TERMINAL:
            due = None
        elif step.kind in (Kind.STARTED, Kind.DUE) and due is not None and step.at < due:
            raise Broken(f"{id!r} was {step.kind} at {step.at}, and due at {due}: {story}")


def _budget(id: str, story: list[Step]) -> None:
    """A run of errors ends a job at the end of its budget: never later, and not before it is spent."""
    failures = 0
    for step in story:
        detail = step.detail or {}
        raised = str(detail.get("error", "")).startswith(("ValueError", "TimeoutError"))
        failures += raised
        if failures > RETRIES + 1:
            raise Broken(f"{id!r} failed {failures} times: {story}")
        if step.kind in (Kind.REPLACED, Kind.REQUEUED, Kind.DEBOUNCED) or step.kind in TERMINAL:
            failures = 0


def _backoff(id: str, story: list[Step]) -> None:
    """Retry n waits delay * 2 ** (n - 1), where n counts what was raised, and nothing else."""
    possible = {0}
    for step in story:
        detail = step.detail or {}
        if step.kind == Kind.RETRIED and "error" in detail and not detail["error"].startswith("RetryLater"):
            possible = {count + 1 for count in possible}
            possible = {count for count in possible if detail["delay"] == RETRY_DELAY * 2 ** (count - 1)}
            if not possible:
                raise Broken(f"a retry of {id!r} waits {detail['delay']} s: {story}")
        elif step.kind == Kind.DEBOUNCED and not detail:
            possible |= {0}  # dropped at a leading edge, or the new content of a job that waits
        elif step.kind in (Kind.REPLACED, Kind.REQUEUED, Kind.DEBOUNCED) or step.kind in TERMINAL:
            possible = {0}


def _timeout(id: str, story: list[Step]) -> None:
    for step in story:
        duration = (step.detail or {}).get("duration", 0)
        if step.event == "work" and duration > TIMEOUT:
            raise Broken(f"a run of {id!r} took {duration} s, and {TIMEOUT} are allowed: {story}")


def _each_run_is_told(played: Played) -> None:
    """A handler runs once for each `started`, and for nothing else; a crash may come between the two."""
    told = Counter((str(step.job_id), step.attempt or 0) for step in played.timeline.only(kind=Kind.STARTED))
    seen = Counter((str(run.job_id), run.attempt) for run in played.runs)
    if seen - told or (not played.absent and told - seen):
        raise Broken(f"handlers saw {seen - told} more, and {told - seen} less than the timeline tells")


def _slots(played: Played) -> None:
    """A worker never runs more at a time than it has slots."""
    running: dict[str, set[tuple[str | None, str | None]]] = defaultdict(set)
    for step in played.timeline:
        key = (step.queue, step.job_id)
        if step.kind == Kind.STARTED and step.worker is not None:
            for claims in running.values():
                claims.discard(key)
            running[step.worker].add(key)
            if len(running[step.worker]) > CONCURRENCY:
                raise Broken(f"{step.worker} runs {running[step.worker]} at {step.at}")
        elif step.kind in ENDS_OF_RUN and step.attempt is not None:
            for claims in running.values():
                claims.discard(key)


def _occurrences(played: Played) -> None:
    """Each minute is decided once, in order, and never before it has come."""
    decided = [step for step in played.timeline.only(event="tick") if step.kind in (Kind.SCHEDULED, Kind.SKIPPED)]
    decided = [step for step in decided if step.attempt is None]
    names = [str(step.job_id) for step in decided]
    if len(set(names)) < len(names) or names != sorted(names):
        raise Broken(f"occurrences were decided twice or out of order: {names}")
    for step, name in zip(decided, names, strict=True):
        moment = datetime.fromisoformat(name.partition("@")[2])
        if step.at < moment:
            raise Broken(f"{name} was decided at {step.at}")
    minutes = [datetime.fromisoformat(name.partition("@")[2]) for name in names]
    for before, after in pairwise(minutes):
        if after - before != timedelta(minutes=1):
            raise Broken(f"no occurrence was decided between {before} and {after}")


def _records_say_the_same(played: Played, stories: dict[tuple[str, str], list[Step]]) -> None:
    """Whoever is still kept has ended, as the last end in its story says."""
    for record in played.records:
        if record.state not in TERMINAL.values():
            if record.state == State.WAITING and record.queue == "default":
                raise Broken(f"the world is idle, and {record.id!r} waits")
            if record.state in (State.ACTIVE, State.DELAYED):
                raise Broken(f"the world is idle, and {record.id!r} is {record.state}")
            continue
        ends = [TERMINAL[Kind(step.kind)] for step in stories[record.queue, record.id] if step.kind in TERMINAL]
        if not ends or ends[-1] != record.state:
            raise Broken(f"{record.id!r} is {record.state}, and its story ends with {ends[-1:]}")


def _nobody_is_lost(played: Played) -> None:
    """Where every worker is there, no lease runs out."""
    stalled = played.timeline.only(kind=Kind.STALLED)
    if len(stalled):
        raise Broken(f"a worker that beats every {LEASE / 5} s lost a lease: {stalled}")
