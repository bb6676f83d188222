"""An operator's word: cancel, and one function a command, found by the command's type.

What a state does not allow is refused by naming the state, and nothing is changed. A delayed job whose time has come is
waiting here too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

from taskmanager.engine import (
    Await,
    Command,
    Delete,
    JobRef,
    Pause,
    Promote,
    Purge,
    Requeue,
    RequeueAll,
    Resume,
    Unschedule,
)
from taskmanager.engines.rules.queue import Queue
from taskmanager.engines.rules.reads import find, recorded, state_at
from taskmanager.engines.rules.records import check
from taskmanager.job import FINISHED, Fact, Kind, Reason, State, StoredJob

__all__ = ["Call", "Ruling", "cancel", "control"]


class Call(NamedTuple):
    """What every command needs beside the queue."""

    now: int
    facts: list[Fact]
    transient: Collection[State]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a command came to; the fields of `Controlled`, its job not yet copied."""

    job: StoredJob | None = None
    refused: State | None = None
    count: int = 0
    changed: bool = False


def cancel(queue: Queue, ref: JobRef, call: Call) -> Ruling:
    """Ends a job that does not run, marks one that does, and drops its follow-up."""
    job = find(queue, ref)
    if job is None:
        return _drop_recorded(queue, ref, Reason.REQUESTED, call)
    if job.state is State.ACTIVE:
        changed = not job.cancel_requested or job.follow_up is not None
        job.cancel_requested = True
        queue.note(job)
        if job.follow_up is not None:
            _drop_follow_up(queue, job, Reason.REQUESTED, call)
        return Ruling(job, changed=changed)
    if job.state in FINISHED:
        return Ruling(job, refused=None if job.state is State.CANCELLED else job.state)
    _end(queue, job, Reason.REQUESTED, call)
    return Ruling(job, changed=True)


def control(queue: Queue, command: Command, call: Call) -> Ruling:
    return COMMANDS[type(command)](queue, command, call)


def _pause(queue: Queue, command: Pause, call: Call) -> Ruling:
    if queue.paused:
        return Ruling()
    queue.paused = True
    call.facts.append(Fact(call.now, Kind.PAUSED, queue.name))
    return Ruling(changed=True)


def _resume(queue: Queue, command: Resume, call: Call) -> Ruling:
    if not queue.paused:
        return Ruling()
    queue.paused = False
    queue.tide += 1  # what waited through the pause is claimable now
    call.facts.append(Fact(call.now, Kind.RESUMED, queue.name))
    return Ruling(changed=True)


def _promote(queue: Queue, command: Promote, call: Call) -> Ruling:
    job = find(queue, command.ref)
    if job is None:
        return Ruling()
    state = state_at(job, call.now)
    if state is not State.DELAYED:
        return Ruling(job, refused=None if state is State.WAITING else state)
    job.run_at = call.now
    queue.make_one_due(job, call.now, call.facts)
    return Ruling(job, changed=True)


def _requeue(queue: Queue, command: Requeue, call: Call) -> Ruling:
    job = find(queue, command.ref)
    if job is None:
        return Ruling()
    if job.state is State.FAILED:
        _run_again(queue, job, call)
        return Ruling(job, changed=True)
    state = state_at(job, call.now)
    return Ruling(job, refused=None if state is State.WAITING and job.requeued else state)


def _requeue_all(queue: Queue, command: RequeueAll, call: Call) -> Ruling:
    chosen = queue.standing(State.FAILED, command.limit, call.now, command.event)
    for job in chosen:
        _run_again(queue, job, call)
    return Ruling(count=len(chosen), changed=bool(chosen))


def _run_again(queue: Queue, job: StoredJob, call: Call) -> None:
    queue.revive(job)
    job.failures = job.losses = 0
    job.error = job.reason = job.finished_at = job.dead_letter = None
    job.requeued = True
    queue.line_up(job, Kind.REQUEUED)
    queue.tell(call.facts, call.now, Kind.REQUEUED, job)


def _delete(queue: Queue, command: Delete, call: Call) -> Ruling:
    job = find(queue, command.ref)
    if job is None:
        return _drop_recorded(queue, command.ref, Reason.DELETED, call)
    if job.state is State.ACTIVE:
        return Ruling(job, refused=State.ACTIVE)
    _remove(queue, job, call)
    return Ruling(job, changed=True)


def _purge(queue: Queue, command: Purge, call: Call) -> Ruling:
    if command.state is State.ACTIVE:
        return Ruling(refused=State.ACTIVE)
    chosen = queue.standing(command.state, command.limit, call.now)
    for job in chosen:
        _remove(queue, job, call)
    return Ruling(count=len(chosen), changed=bool(chosen))


def _unschedule(queue: Queue, command: Unschedule, call: Call) -> Ruling:
    changed = queue.drop_schedule(command.name)
    return Ruling(count=int(changed), changed=changed)


def _await(queue: Queue, command: Await, call: Call) -> Ruling:
    job = find(queue, command.ref)
    if job is not None:
        changed, job.awaited = not job.awaited, True
        if changed:
            queue.note(job)
        if job.state in FINISHED:
            queue.keep_outcome(job, call.now)
        return Ruling(job, changed=changed)
    holder = queue.job(command.ref.id)
    follow_up = None if holder is None else recorded(holder, command.ref)
    if holder is not None and follow_up is not None:
        changed, follow_up.awaited = not follow_up.awaited, True
        queue.note(holder)
        return Ruling(queue.render(holder, follow_up, call.now), changed=changed)
    outcome = queue.outcome(command.ref, call.now)
    if outcome is not None:
        queue.keep_outcome(outcome, call.now)
    return Ruling(outcome)


def _end(queue: Queue, job: StoredJob, reason: Reason, call: Call) -> None:
    """Cancels a waiting or delayed job."""
    queue.take_out(job)
    job.reason = reason.value
    queue.tell(call.facts, call.now, Kind.CANCELLED, job, {"reason": job.reason})
    queue.finish(job, Kind.CANCELLED, State.CANCELLED, call.now, call.transient)


def _remove(queue: Queue, job: StoredJob, call: Call) -> None:
    """Removes a job that is not active; a live one is cancelled thereby."""
    if job.state not in FINISHED:
        _end(queue, job, Reason.DELETED, call._replace(transient=()))
    queue.forget(job)


def _drop_recorded(queue: Queue, ref: JobRef, reason: Reason, call: Call) -> Ruling:
    """The reference may be to a recorded follow-up: then that alone is dropped, and it is a step."""
    job = queue.job(ref.id)
    if job is None or recorded(job, ref) is None:
        return Ruling()
    dropped = _drop_follow_up(queue, job, reason, call)
    queue.tell(call.facts, call.now, Kind.CANCELLED, dropped, {"reason": reason.value})
    return Ruling(dropped, changed=True)


def _drop_follow_up(queue: Queue, job: StoredJob, reason: Reason, call: Call) -> StoredJob:
    """The follow-up as the cancelled job it would have been; whoever awaits it finds that."""
    assert job.follow_up is not None
    dropped = queue.render(job, job.follow_up, call.now)
    job.follow_up = None
    queue.note(job)
    check(dropped.state, Kind.CANCELLED, State.CANCELLED)
    dropped.state, dropped.reason, dropped.finished_at = State.CANCELLED, reason.value, call.now
    queue.end_serial(dropped.serial, State.CANCELLED)
    if dropped.awaited:
        queue.keep_outcome(dropped, call.now)
    return dropped


COMMANDS: dict[type, Callable[[Queue, Any, Call], Ruling]] = {
    Pause: _pause,
    Resume: _resume,
    Promote: _promote,
    Requeue: _requeue,
    RequeueAll: _requeue_all,
    Delete: _delete,
    Purge: _purge,
    Unschedule: _unschedule,
    Await: _await,
}
