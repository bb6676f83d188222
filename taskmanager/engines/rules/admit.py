"""Admission: what becomes of an emission, by its debounce window first and then by its identity.

    window  leading:  open? dropped : identity, then the window opens
            trailing: its job waits? content replaced : its job runs? follow-up : identity, then the window opens
    identity          none or finished? a new job : active? follow-up : duplicate, or replaced

Each admission draws one emission number; what keeps nothing draws none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from taskmanager.clock import later
from taskmanager.engine import Verdict
from taskmanager.engines.rules.queue import Queue
from taskmanager.engines.rules.records import LEGAL, Opening, check
from taskmanager.job import Edge, Emission, Fact, FollowUp, Kind, State, StoredJob, Window, build
from taskmanager.policy.lifecycle import BORN

__all__ = ["admit", "identify"]

OPENS = frozenset({Kind.EMITTED, Kind.REPLACED, Kind.FOLLOW_UP})
"""The verdicts that open a debounce window."""
WAITING, EMITTED = State.WAITING, Kind.EMITTED  # a look-up in an Enum costs a call


def admit(queue: Queue, entry: Emission, now: int, facts: list[Fact]) -> Verdict:
    """Decides about one emission and carries it out."""
    if entry.window is None:
        return identify(queue, entry, _moment(entry, now), now, facts)
    return EDGES[entry.window.edge](queue, entry, entry.window, now, facts)


def identify(
    queue: Queue,
    entry: Emission,
    run_at: int,
    now: int,
    facts: list[Fact],
    born: Kind = Kind.EMITTED,
    schedule: str | None = None,
    detail: dict[str, Any] | None = None,
) -> Verdict:
    """Decides by identity alone. `born`, `schedule` and `detail` are of the step that makes a new job."""
    job = queue.job(entry.id)
    if job is not None:
        if job.state is State.ACTIVE:
            return _record(queue, job, entry, run_at, now, facts)
        if job.finished_at is None:
            return _meet(queue, job, entry, run_at, now, facts)
        queue.forget(job)
    queue.emissions = serial = queue.emissions + 1
    job = StoredJob(
        entry.id,
        queue.name,
        entry.event,
        entry.data,
        WAITING,
        entry.priority,
        serial,
        serial,
        0,
        now,
        run_at,
        entry.options,
        entry.expires_at if entry.expires_ms is None else _expiry(entry, now),
        0,  # attempt, failures, losses, max_attempts: positionally, for keywords cost as much as half a job
        0,
        0,
        None,
        schedule,
        entry.window,
        entry.awaited,
    )
    if run_at > now:
        job.state = State.DELAYED
        detail = {"delay": (run_at - now) / 1000, **(detail or {})}
    else:
        queue.tide = job.order = queue.tide + 1
    if (BORN, born, job.state) not in LEGAL:
        check(BORN, born, job.state)
    queue.add(job)
    facts.append(build(Fact, (now, born, queue.name, entry.event, entry.id, None, None, detail)))
    return build(Verdict, (EMITTED, entry.id, serial))


def _meet(queue: Queue, job: StoredJob, entry: Emission, run_at: int, now: int, facts: list[Fact]) -> Verdict:
    """The job of that id is waiting or delayed."""
    if not entry.replace:
        if entry.awaited and not job.awaited:
            job.awaited = True
            queue.note(job)
        facts.append(Fact(now, Kind.DUPLICATE, queue.name, entry.event, job.id))
        return Verdict(Kind.DUPLICATE, job.id, job.serial)
    queue.take_out(job)
    _take_content(queue, job, entry, now)
    job.run_at = run_at
    queue.place(job, Kind.REPLACED, now)
    queue.tell(facts, now, Kind.REPLACED, job, _delay(run_at, now))
    return Verdict(Kind.REPLACED, job.id, job.serial)


def _record(queue: Queue, job: StoredJob, entry: Emission, run_at: int, now: int, facts: list[Fact]) -> Verdict:
    """The job of that id is active: the emission is its one follow-up, from now on."""
    later = run_at if run_at > now else None
    expires_at = _expiry(entry, now)
    recorded = job.follow_up
    if recorded is not None and _is_same(recorded, entry, later, expires_at):
        if entry.awaited and not recorded.awaited:
            recorded.awaited = True
            queue.note(job)
        facts.append(Fact(now, Kind.DUPLICATE, queue.name, entry.event, job.id))
        return Verdict(Kind.DUPLICATE, job.id, recorded.serial)
    queue.emissions = number = queue.emissions + 1
    if recorded is None:
        recorded = job.follow_up = FollowUp(entry, number, number, now, now, later, expires_at, entry.awaited)
    else:
        window = entry.window
        if window is None and entry.event == recorded.content.event:
            window = recorded.content.window  # a window is of one event, and goes with it
        recorded.content = replace(entry, window=window)
        recorded.emission = number
        recorded.run_at, recorded.expires_at = later, expires_at
        recorded.awaited = recorded.awaited or entry.awaited
    queue.note(job)
    facts.append(Fact(now, Kind.FOLLOW_UP, queue.name, entry.event, job.id, detail=_delay(run_at, now)))
    return Verdict(Kind.FOLLOW_UP, job.id, recorded.serial)


def _is_same(recorded: FollowUp, entry: Emission, run_at: int | None, expires_at: int | None) -> bool:
    content = recorded.content
    return (content.event, content.data, content.priority, content.options, recorded.run_at, recorded.expires_at) == (
        entry.event,
        entry.data,
        entry.priority,
        entry.options,
        run_at,
        expires_at,
    )


def _take_content(queue: Queue, job: StoredJob, entry: Emission, now: int) -> None:
    """A later emission's content, for a job that is out of its place: serial, birth, history and losses stay."""
    queue.emissions = job.emission = queue.emissions + 1
    job.event, job.data, job.priority, job.options = entry.event, entry.data, entry.priority, entry.options
    job.expires_at = _expiry(entry, now)
    job.attempt = job.failures = 0
    job.max_attempts = None  # told by a worker under the options that have just gone
    job.requeued = False
    job.window = entry.window or job.window
    job.awaited = job.awaited or entry.awaited


# ---- windows


def _lead(queue: Queue, entry: Emission, window: Window, now: int, facts: list[Fact]) -> Verdict:
    """The first emission of the window runs; whatever comes inside is dropped."""
    key = (entry.event, window.key, window.edge)
    opening = queue.window(key)
    if opening is not None and opening.until is not None and now < opening.until:
        facts.append(Fact(now, Kind.DEBOUNCED, queue.name, entry.event, entry.id))
        return Verdict(Kind.DEBOUNCED, entry.id, None)
    verdict = identify(queue, entry, _moment(entry, now), now, facts)
    if verdict.status in OPENS and verdict.serial is not None:
        queue.open_window(key, Opening(verdict.id, verdict.serial, now, now + window.window_ms))
    return verdict


def _trail(queue: Queue, entry: Emission, window: Window, now: int, facts: list[Fact]) -> Verdict:
    """The last emission of the window runs, in the first one's job."""
    key = (entry.event, window.key, window.edge)
    opening = queue.window(key)
    job = None if opening is None else queue.job(opening.id)
    if opening is not None and job is not None:
        follow_up = job.follow_up
        if job.state is not State.ACTIVE and job.serial == opening.serial:
            return _push_back(queue, job, opening, entry, window, now, facts)
        if job.serial == opening.serial or (follow_up is not None and follow_up.serial == opening.serial):
            first_at = now if follow_up is None else follow_up.first_at
            return _record(queue, job, entry, _trailing_moment(entry, window, first_at, now), now, facts)
    verdict = identify(queue, entry, _trailing_moment(entry, window, now, now), now, facts)
    if verdict.status in OPENS and verdict.serial is not None:
        queue.open_window(key, Opening(verdict.id, verdict.serial, now, None))
        job = queue.job(verdict.id)
        if job is not None and job.follow_up is not None:
            job.follow_up.first_at = now
            queue.note(job)
    return verdict


def _push_back(
    queue: Queue, job: StoredJob, opening: Opening, entry: Emission, window: Window, now: int, facts: list[Fact]
) -> Verdict:
    """The window's job is not claimed yet: it takes the content, and moves while it is still delayed."""
    if job.state is State.DELAYED and job.run_at <= now:
        queue.make_one_due(job, now, facts)
    if job.state is State.DELAYED:
        if job.attempt > 0:  # it has run since, and waits for a retry: this emission opens the window anew
            opening = opening._replace(first_at=now)
            queue.open_window((entry.event, window.key, window.edge), opening)
        queue.take_out(job)
        _take_content(queue, job, entry, now)
        job.run_at = _trailing_moment(entry, window, opening.first_at, now)
        queue.place(job, Kind.DEBOUNCED, now)
        queue.tell(facts, now, Kind.DEBOUNCED, job, _delay(job.run_at, now))
        return Verdict(Kind.DEBOUNCED, job.id, job.serial)
    if entry.priority == job.priority:
        queue.move(job, Kind.DEBOUNCED, State.WAITING)
        _take_content(queue, job, entry, now)
        queue.put(job)  # where it stands already: its order is still its own
    else:
        queue.take_out(job)
        _take_content(queue, job, entry, now)
        queue.line_up(job, Kind.DEBOUNCED)
    queue.tell(facts, now, Kind.DEBOUNCED, job)
    return Verdict(Kind.DEBOUNCED, job.id, job.serial)


EDGES: dict[Edge, Callable[[Queue, Emission, Window, int, list[Fact]], Verdict]] = {
    Edge.LEADING: _lead,
    Edge.TRAILING: _trail,
}


def _moment(entry: Emission, now: int) -> int:
    if entry.run_at is not None:
        return entry.run_at
    return later(now, entry.delay_ms) if entry.delay_ms else now


def _trailing_moment(entry: Emission, window: Window, first_at: int, now: int) -> int:
    moment = later(now, window.window_ms)
    if window.max_wait_ms is not None:
        moment = min(moment, first_at + window.max_wait_ms)
    return max(moment, _moment(entry, now))


def _expiry(entry: Emission, now: int) -> int | None:
    if entry.expires_at is not None or entry.expires_ms is None:
        return entry.expires_at
    return later(now, entry.expires_ms)


def _delay(run_at: int, now: int) -> dict[str, Any] | None:
    return {"delay": (run_at - now) / 1000} if run_at > now else None
