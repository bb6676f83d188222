"""The model's `claim`, `extend`, `settle` and `reap`: hand-outs, fences and ends."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from taskmanager.engine import (
    ATTEMPTS_KEPT,
    LOG_LINES,
    Batch,
    Claimed,
    Extended,
    Journal,
    Settled,
    Settlement,
)
from taskmanager.job import (
    FINISHED,
    AttemptInfo,
    Claim,
    DeadLetter,
    Edge,
    Kind,
    LogLine,
    Reason,
    State,
    StoredJob,
    Transition,
)
from tests.properties.admission import Admission
from tests.properties.shelf import FAR, QUEUE, Held


@dataclass
class Runs(Admission):
    def handed(self, job: StoredJob) -> Claim:
        assert job.started_at is not None
        return Claim(
            number=job.claim,
            id=job.id,
            serial=job.serial,
            queue=QUEUE,
            event=job.event,
            data=job.data,
            options=job.options,
            priority=job.priority,
            attempt=job.attempt,
            failures=job.failures,
            losses=job.losses,
            created_at=job.created_at,
            run_at=job.run_at,
            schedule=job.schedule,
            claimed_at=job.started_at,
        )

    # ---- claim

    def claim(self, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int) -> Claimed:
        self.make_due()
        runs = [job for job in self.claims(worker) if not job.reaped]
        orphans = [job for job in runs if job.claim not in holds]
        out = orphans[:limit]
        if not self.paused:
            while len(out) < limit and (job := self.first_for(worker, suspect_losses, cancelling=True)):
                self.hand_out(job, worker)
                out.append(job)
        self.renew(worker, lease_ms)
        left = not self.paused and self.first_for(worker, suspect_losses) is not None
        self.refused[worker] = suspect_losses
        return Claimed(**self.common(worker), jobs=[self.handed(job) for job in out], more=left or len(orphans) > limit)

    def first_for(self, worker: str, suspect_losses: int, *, cancelling: bool = False) -> StoredJob | None:
        """Who is next for that worker; a suspect is passed over while it holds one."""
        for job in self.line():
            if cancelling and job.expires_at is not None and self.now > job.expires_at:
                self.finish(job, State.CANCELLED, Reason.EXPIRED)
                self.tell(Kind.CANCELLED, job.event, job.id, detail={"reason": "expired"})
            elif job.losses < suspect_losses or not self.holds_suspect(worker, suspect_losses):
                return job
        return None

    def holds_suspect(self, worker: str, suspect_losses: int) -> bool:
        return any(job.losses >= suspect_losses and not job.reaped for job in self.claims(worker))

    def hand_out(self, job: StoredJob, worker: str) -> None:
        job.state, job.worker, job.claim = State.ACTIVE, worker, self.next()
        job.attempt += 1
        job.started_at = self.now
        job.cancel_requested = job.requeued = job.reaped = False

    def renew(self, worker: str, lease_ms: int) -> None:
        if self.claims(worker):
            self.leases[worker] = self.now + lease_ms

    def release_lease(self, worker: str) -> None:
        if not self.claims(worker):
            self.leases.pop(worker, None)

    def reap(self, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Claimed:
        again = [job for job in self.claims(worker) if job.reaped and job.claim not in holds]
        silent = [holder for holder, until in self.leases.items() if holder != worker and until <= self.now]
        lost = sorted((job for holder in silent for job in self.claims(holder)), key=lambda job: job.claim)
        taken = lost[: max(0, limit - len(again))]
        for job in taken:
            job.claim, job.reaped = self.next(), True
            self.reapers[job.claim] = worker
        for holder in silent:
            self.release_lease(holder)
        self.renew(worker, lease_ms)
        out = [*again[:limit], *taken]
        more = len(again) + len(lost) > limit
        return Claimed(**self.common(worker), jobs=[self.handed(job) for job in out], more=more)

    # ---- extend

    def extend(self, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal]) -> Extended:
        held = self.claims(worker)
        self.renew(worker, lease_ms)
        for entry in journal:
            job = self.of_claim(worker, entry.claim)
            if job is not None and entry.number > self.written.get(entry.claim, 0):
                self.written[entry.claim] = entry.number
                self.write(job, entry, worker)
        runs = [job for job in held if not job.reaped]
        return Extended(
            **self.common(worker),
            lost=sorted(set(holds) - {job.claim for job in held}),
            cancelled=[job.claim for job in runs if job.cancel_requested and job.claim in holds],
            beyond=any(job.claim not in holds for job in runs),
        )

    def write(self, job: StoredJob, entry: Journal, worker: str) -> None:
        if isinstance(entry.entry, str):
            lines = self.lines.setdefault(job.serial, [])
            lines.append(LogLine(self.now, job.attempt, entry.entry))
            del lines[:-LOG_LINES]
            return
        job.progress = entry.entry
        detail = {"fraction": entry.entry.fraction, "note": entry.entry.note}
        self.tell(Kind.PROGRESS, job.event, job.id, attempt=job.attempt, worker=worker, detail=detail)

    # ---- settle

    def settle(
        self, worker: str, settlements: Sequence[Settlement], batch: Batch, transient: Sequence[State]
    ) -> Settled:
        def work() -> Settled:
            bound = self.refused.get(worker, FAR)
            held_suspect = self.holds_suspect(worker, bound)
            verdicts = [self.settle_one(worker, one, transient) for one in settlements]
            if held_suspect and not self.holds_suspect(worker, bound) and not self.paused:
                self.tide += any(job.losses >= bound for job in self.line())
            self.release_lease(worker)
            return Settled(**self.common(worker), verdicts=verdicts)

        answer: Settled = self.once("settle", batch, work)
        return answer

    def settle_one(self, worker: str, one: Settlement, transient: Sequence[State]) -> State | None:
        job = self.of_claim(worker, one.claim)
        if job is None:
            return None
        how = one.transition
        to, kind, reason, dead_letter = self.ruling(job, how)
        self.history(job, one, kind)
        job.failures += how.failures
        job.losses += how.losses
        if how.max_attempts is not None:
            job.max_attempts = how.max_attempts
        job.error = None if to == State.COMPLETED else how.error or job.error
        job.result = how.result
        self.tell_end(job, worker, one, kind, reason, to)
        job.worker, job.reaped = None, False
        if to == State.DELAYED:
            job.state, job.run_at = State.DELAYED, self.now + how.delay_ms
        elif to == State.WAITING:
            self.to_line(job)
        else:
            self.end_run(job, to, reason, dead_letter, transient)
        return to

    def ruling(self, job: StoredJob, how: Transition) -> tuple[State, Kind, str | None, str | None]:
        """What the decision comes to, where a cancel mark or a follow-up overrules it."""
        if how.to in FINISHED:
            return how.to, how.kind, how.reason, how.dead_letter
        if job.cancel_requested:
            return State.CANCELLED, Kind.CANCELLED, Reason.REQUESTED, None
        if job.follow_up is not None:
            kind = Kind.FAILED if how.superseded == State.FAILED else Kind.CANCELLED
            return how.superseded, kind, Reason.SUPERSEDED, None
        return how.to, how.kind, how.reason, None

    def history(self, job: StoredJob, one: Settlement, kind: Kind) -> None:
        assert job.started_at is not None
        assert job.worker is not None
        info = AttemptInfo(
            job.attempt, job.worker, job.started_at + one.unstarted_ms, self.now, kind, one.transition.error
        )
        job.attempts = [*job.attempts, info][-ATTEMPTS_KEPT:]

    def tell_end(self, job: StoredJob, worker: str, one: Settlement, kind: Kind, reason: str | None, to: State) -> None:
        how = one.transition
        detail: dict[str, Any] = {}
        if not job.reaped:
            detail["duration"] = one.duration_ms / 1000
        if how.error is not None:
            detail["error"] = str(how.error)
        if reason is not None:
            detail["reason"] = str(reason)
        if to == State.DELAYED:
            detail["delay"] = how.delay_ms / 1000
        self.tell(kind, job.event, job.id, attempt=job.attempt, worker=worker, detail=detail or None)

    def end_run(
        self, job: StoredJob, to: State, reason: str | None, stream: str | None, transient: Sequence[State]
    ) -> None:
        recorded, heir = job.follow_up, None
        if recorded is not None:
            heir = self.follow_up_as_job(job)
        job.follow_up = None
        if stream is not None:
            why = reason or (job.error.type if job.error is not None else "")
            job.dead_letter = DeadLetter(stream, why, self.now, job.attempt)
        self.finish(job, to, reason)
        if heir is None:
            self.drop_if_transient(job, transient)
            return
        self.remove(job)
        self.jobs.append(heir)
        if heir.state == State.WAITING:
            self.to_line(heir)
        window = heir.window
        if window is not None and window.edge == Edge.TRAILING and recorded is not None:
            self.hold(Held(window.edge, heir.event, window.key, heir.serial, recorded.first_at))
