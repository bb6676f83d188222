"""An independent model of the engine: the contract a second time, for random programs to be checked against.

It is written from the specification and never from an engine: lists and scans, one queue, a `now` that the test moves,
and the verbs of the port with their answers. `shelf` keeps and reads, `admission` takes in, `runs` hands out and ends;
here are the operator's verbs, and the janitor's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskmanager.engine import (
    Await,
    Batch,
    Command,
    Controlled,
    Delete,
    JobRef,
    Limit,
    Pause,
    Promote,
    Pruned,
    Purge,
    Requeue,
    RequeueAll,
    Resume,
    Unschedule,
)
from taskmanager.job import FINISHED, Kind, Reason, State, StoredJob
from tests.properties.runs import Runs


@dataclass
class Model(Runs):
    # ---- cancel

    def cancel(self, ref: JobRef, batch: Batch, transient: Sequence[State]) -> Controlled:
        answer: Controlled = self.once("cancel", batch, lambda: self.controlled(**self.stop(ref, transient)))
        return answer

    def controlled(self, **said: Any) -> Controlled:
        return Controlled(**self.common(), **said)

    def stop(self, ref: JobRef, transient: Sequence[State]) -> dict[str, Any]:
        job = self.of_ref(ref)
        if job is None:
            return self.drop_certain_follow_up(ref, Reason.REQUESTED)
        match job.state:
            case State.CANCELLED:
                return {"job": self.read(job)}
            case State.COMPLETED | State.FAILED:
                return {"job": self.read(job), "refused": job.state}
            case State.ACTIVE:
                changed = not job.cancel_requested or job.follow_up is not None
                job.cancel_requested = True
                if job.follow_up is not None:
                    self.drop_follow_up(job, Reason.REQUESTED)
                return {"job": self.read(job), "changed": changed}
        self.finish(job, State.CANCELLED, Reason.REQUESTED)
        self.tell(Kind.CANCELLED, job.event, job.id, detail={"reason": "requested"})
        self.drop_if_transient(job, transient)
        return {"job": self.read(job), "changed": True}

    def drop_follow_up(self, job: StoredJob, reason: Reason) -> StoredJob:
        """Gives what it would have been, cancelled."""
        dropped = replace(
            self.follow_up_as_job(job), state=State.CANCELLED, reason=reason, finished_at=self.now, losses=job.losses
        )
        job.follow_up = None
        self.close_windows(dropped.serial, State.CANCELLED)
        if dropped.awaited:
            self.keep(dropped)
        return dropped

    def drop_certain_follow_up(self, ref: JobRef, reason: Reason) -> dict[str, Any]:
        job = self.of_id(ref.id)
        if job is None or job.follow_up is None or ref.serial != job.follow_up.serial:
            return {}
        dropped = self.drop_follow_up(job, reason)
        self.tell(Kind.CANCELLED, dropped.event, dropped.id, detail={"reason": str(reason)})
        return {"job": dropped, "changed": True}

    # ---- control

    def control(self, command: Command, batch: Batch, transient: Sequence[State]) -> Controlled:
        verb: Callable[[Any], dict[str, Any]] = getattr(self, "_" + type(command).__name__.lower())
        answer: Controlled = self.once("control", batch, lambda: self.controlled(**verb(command)))
        return answer

    def _pause(self, command: Pause) -> dict[str, Any]:
        if self.paused:
            return {}
        self.paused = True
        self.tell(Kind.PAUSED, None, None)
        return {"changed": True}

    def _resume(self, command: Resume) -> dict[str, Any]:
        if not self.paused:
            return {}
        self.paused = False
        self.tide += bool(self.line())
        self.tell(Kind.RESUMED, None, None)
        return {"changed": True}

    def _promote(self, command: Promote) -> dict[str, Any]:
        job = self.of_ref(command.ref)
        if job is None:
            return {}
        state = self.read(job).state
        if state == State.DELAYED:
            job.run_at = self.now
            self.to_line(job)
            self.tell(Kind.DUE, job.event, job.id)
            return {"job": self.read(job), "changed": True}
        return {"job": self.read(job), "refused": None if state == State.WAITING else state}

    def _requeue(self, command: Requeue) -> dict[str, Any]:
        job = self.of_ref(command.ref)
        if job is None:
            return {}
        if job.state == State.FAILED:
            self.requeue(job)
            return {"job": self.read(job), "changed": True}
        if job.state == State.WAITING and job.requeued:
            return {"job": self.read(job)}
        return {"job": self.read(job), "refused": self.read(job).state}

    def requeue(self, job: StoredJob) -> None:
        self.kept = [kept for kept in self.kept if kept.job.serial != job.serial]
        job.failures = job.losses = 0
        job.error = job.reason = job.finished_at = job.dead_letter = None
        job.requeued = True
        self.to_line(job)
        self.tell(Kind.REQUEUED, job.event, job.id)

    def _requeueall(self, command: RequeueAll) -> dict[str, Any]:
        failures = [job for job in self.by_end() if job.state == State.FAILED]
        failed = [job for job in failures if command.event in (None, job.event)][: command.limit]
        for job in failed:
            self.requeue(job)
        return {"count": len(failed), "changed": bool(failed)}

    def _delete(self, command: Delete) -> dict[str, Any]:
        job = self.of_ref(command.ref)
        if job is None:
            return self.drop_certain_follow_up(command.ref, Reason.DELETED)
        if job.state == State.ACTIVE:
            return {"job": self.read(job), "refused": job.state}
        self.delete(job)
        return {"job": self.read(job), "changed": True}

    def delete(self, job: StoredJob) -> None:
        if job.state not in FINISHED:
            self.finish(job, State.CANCELLED, Reason.DELETED)
            self.tell(Kind.CANCELLED, job.event, job.id, detail={"reason": "deleted"})
        self.remove(job)

    def _purge(self, command: Purge) -> dict[str, Any]:
        if command.state == State.ACTIVE:
            return {"refused": State.ACTIVE}
        doomed = [job for job in self.standing() if self.read(job).state == command.state][: command.limit]
        for job in doomed:
            self.delete(job)
        return {"count": len(doomed), "changed": bool(doomed)}

    def standing(self) -> list[StoredJob]:
        """All but the active ones: the lines, then who is to come by time, then the finished by their ends."""
        lines = sorted(self.in_state(State.WAITING), key=lambda job: (-job.priority, job.order))
        delays = sorted(self.in_state(State.DELAYED), key=lambda job: (job.run_at, job.emission))
        return [*lines, *delays, *self.by_end()]

    def _unschedule(self, command: Unschedule) -> dict[str, Any]:
        before = len(self.schedules)
        self.schedules = [one for one in self.schedules if one.plan.name != command.name]
        count = before - len(self.schedules)
        return {"count": count, "changed": bool(count)}

    def _await(self, command: Await) -> dict[str, Any]:
        id, serial = command.ref
        job = self.of_ref(command.ref)
        if job is not None:
            changed = not job.awaited
            job.awaited = True
            if job.state in FINISHED:
                self.keep(job)
            return {"job": self.read(job), "changed": changed}
        running = self.of_id(id)
        if running is None or running.follow_up is None or running.follow_up.serial != serial:
            found = None if serial is None else self.get(id, serial)
            if found is not None:
                self.keep(found)
            return {"job": found}
        changed = not running.follow_up.awaited
        running.follow_up.awaited = True
        return {"job": self.get(id, serial), "changed": changed}

    # ---- prune

    def prune(self, limits: Mapping[State, Limit], limit: int) -> Pruned:
        doomed = []
        for state in (State.COMPLETED, State.FAILED, State.CANCELLED):
            bound = limits.get(state, Limit(None, None))
            ends = [job for job in self.by_end() if job.state == state]
            surplus = 0 if bound.count is None else max(0, len(ends) - bound.count)
            old = sum(self.is_too_old(job, bound) for job in ends)
            doomed += ends[: max(surplus, old)]
        for job in doomed[:limit]:
            self.remove(job)
        self.kept = [kept for kept in self.kept if self.now < kept.until]
        self.forget()
        moments = [kept.until for kept in self.kept]
        for job in self.jobs:
            age = limits[job.state].age_ms if job.state in limits else None
            if age is not None and job.finished_at is not None:
                moments.append(job.finished_at + age)
        left = {state: sum(job.state == state for job in self.jobs) for state in limits}
        rooms = [max(0, bound.count - left[state]) for state, bound in limits.items() if bound.count is not None]
        return Pruned(
            **self.common(),
            removed=len(doomed[:limit]),
            more=len(doomed) > limit,
            next_at=min(moments, default=None),
            room=min(rooms, default=None),
        )

    def by_end(self) -> list[StoredJob]:
        """The finished ones, oldest end first."""
        finished = [job for job in self.jobs if job.state in FINISHED]
        return sorted(finished, key=lambda job: len(self.ended) - self.ended[::-1].index(job.serial))

    def is_too_old(self, job: StoredJob, bound: Limit) -> bool:
        return bound.age_ms is not None and job.finished_at is not None and self.now - job.finished_at >= bound.age_ms
