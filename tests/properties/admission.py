"""The model's `enqueue` and `advance`: debounce first, then identity; a registration keeps or loses its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from taskmanager.engine import Advanced, Batch, Enqueued, Verdict
from taskmanager.job import FINISHED, Edge, Emission, FollowUp, Kind, Plan, State, StoredJob
from tests.properties.shelf import QUEUE, Held, Registered, Shelf


@dataclass
class Admission(Shelf):
    def enqueue(self, entries: Sequence[Emission | Plan], batch: Batch) -> Enqueued:
        def work() -> Enqueued:
            self.make_due()
            verdicts = [self.register(one) if isinstance(one, Plan) else self.debounce(one) for one in entries]
            return Enqueued(**self.common(), verdicts=verdicts)

        answer: Enqueued = self.once("enqueue", batch, work)
        return answer

    # ---- debounce

    def debounce(self, entry: Emission) -> Verdict:
        window = entry.window
        if window is None:
            return self.identify(entry)
        held = self.window(window.edge, entry.event, window.key)
        if window.edge == Edge.TRAILING:
            return self.debounce_trailing(entry, held)
        if held is not None and self.now < held.until:
            self.tell(Kind.DEBOUNCED, entry.event, entry.id)
            return Verdict(Kind.DEBOUNCED, entry.id, None)
        return self.open(entry, self.identify(entry))

    def window(self, edge: Edge, event: str, key: str) -> Held | None:
        return next((one for one in self.windows if (one.edge, one.event, one.key) == (edge, event, key)), None)

    def open(self, entry: Emission, verdict: Verdict) -> Verdict:
        if verdict.status != Kind.DUPLICATE:
            assert entry.window is not None
            assert verdict.serial is not None
            held = Held(entry.window.edge, entry.event, entry.window.key, verdict.serial, self.now)
            if held.edge == Edge.LEADING:
                held.until = self.now + entry.window.window_ms
            self.hold(held)
        return verdict

    def debounce_trailing(self, entry: Emission, held: Held | None) -> Verdict:
        window = entry.window
        assert window is not None
        asked = self.moment(entry)
        job = None if held is None else self.holder(held)
        if held is None or job is None:
            return self.open(
                entry, self.identify(replace(entry, delay_ms=0, run_at=max(self.now + window.window_ms, asked)))
            )
        if job.state == State.ACTIVE:
            recorded = job.follow_up
            first = self.now if recorded is None else recorded.first_at
            return self.record(job, entry, max(self.moved(entry, first), asked), first)
        if job.state == State.DELAYED:
            if job.attempt > 0:
                held.opened_at = self.now
            run_at = max(self.moved(entry, held.opened_at), asked, self.now)
            self.take_content(job, entry)
            job.run_at = run_at
            if run_at <= self.now:
                self.to_line(job)
        else:
            run_at = self.now
            changes_line = job.priority != entry.priority
            self.take_content(job, entry)
            if changes_line:
                self.to_line(job)
        self.tell(Kind.DEBOUNCED, entry.event, job.id, detail=self.later(run_at))
        return Verdict(Kind.DEBOUNCED, job.id, job.serial)

    def holder(self, held: Held) -> StoredJob | None:
        """The live job of a trailing window: its own, or the running one that has it as a follow-up."""
        for job in self.unfinished():
            if job.serial == held.serial or (job.follow_up is not None and job.follow_up.serial == held.serial):
                return job
        return None

    def moved(self, entry: Emission, first: int) -> int:
        assert entry.window is not None
        quiet = self.now + entry.window.window_ms
        return quiet if entry.window.max_wait_ms is None else min(quiet, first + entry.window.max_wait_ms)

    # ---- identity

    def moment(self, entry: Emission) -> int:
        return self.now + entry.delay_ms if entry.run_at is None else entry.run_at

    def expiry(self, entry: Emission) -> int | None:
        if entry.expires_at is not None:
            return entry.expires_at
        return None if entry.expires_ms is None else self.now + entry.expires_ms

    def identify(
        self, entry: Emission, kind: Kind = Kind.EMITTED, schedule: str | None = None, dropped: int = 0
    ) -> Verdict:
        job = self.of_id(entry.id)
        if job is not None and job.state in FINISHED:
            self.remove(job)
            job = None
        if job is None:
            job = self.admit(entry, schedule)
            detail = self.later(job.run_at) or {}
            if dropped:
                detail["dropped"] = dropped
            self.tell(kind, entry.event, entry.id, detail=detail or None)
            return Verdict(kind, entry.id, job.serial)
        if job.state == State.ACTIVE:
            trails = entry.window is not None and entry.window.edge == Edge.TRAILING
            return self.record(job, entry, self.moment(entry), self.now if trails else None)
        if not entry.replace:
            job.awaited |= entry.awaited
            self.tell(Kind.DUPLICATE, entry.event, entry.id)
            return Verdict(Kind.DUPLICATE, entry.id, job.serial)
        self.take_content(job, entry)
        self.place(job, self.moment(entry))
        self.tell(Kind.REPLACED, entry.event, entry.id, detail=self.later(job.run_at))
        return Verdict(Kind.REPLACED, entry.id, job.serial)

    def admit(self, entry: Emission, schedule: str | None) -> StoredJob:
        number = self.next()
        job = StoredJob(
            id=entry.id,
            queue=QUEUE,
            event=entry.event,
            data=entry.data,
            state=State.WAITING,
            priority=entry.priority,
            serial=number,
            emission=number,
            order=0,
            created_at=self.now,
            run_at=0,
            options=entry.options,
            expires_at=self.expiry(entry),
            schedule=schedule,
            window=entry.window,
            awaited=entry.awaited,
        )
        self.jobs.append(job)
        self.place(job, self.moment(entry))
        return job

    def place(self, job: StoredJob, run_at: int) -> None:
        job.run_at = run_at
        if run_at > self.now:
            job.state = State.DELAYED
        else:
            self.to_line(job)

    def take_content(self, job: StoredJob, entry: Emission) -> None:
        """All of the later emission but its id and its time."""
        job.event, job.data, job.priority, job.options = entry.event, entry.data, entry.priority, entry.options
        job.expires_at = self.expiry(entry)
        job.emission = self.next()
        job.attempt = job.failures = 0
        job.max_attempts = None
        job.requeued = False
        job.awaited |= entry.awaited
        if entry.window is not None:
            job.window = entry.window

    def record(self, job: StoredJob, entry: Emission, run_at: int, first_at: int | None) -> Verdict:
        """As the one follow-up of a running job; `first_at` is when the trailing window that it has opened."""
        old = job.follow_up
        due = run_at if run_at > self.now else None
        if old is not None:
            same = (entry.event, entry.data, entry.priority, entry.options, self.expiry(entry), due)
            was = old.content
            if same == (was.event, was.data, was.priority, was.options, old.expires_at, old.run_at):
                old.awaited |= entry.awaited
                self.tell(Kind.DUPLICATE, entry.event, job.id)
                return Verdict(Kind.DUPLICATE, job.id, old.serial)
        number = self.next()
        window = entry.window
        if window is None and old is not None and old.content.event == entry.event:
            window = old.content.window
        job.follow_up = FollowUp(
            content=replace(entry, window=window),
            serial=number if old is None else old.serial,
            emission=number,
            created_at=self.now if old is None else old.created_at,
            first_at=first_at or (self.now if old is None else old.first_at),
            run_at=due,
            expires_at=self.expiry(entry),
            awaited=entry.awaited or (old is not None and old.awaited),
        )
        self.tell(Kind.FOLLOW_UP, entry.event, job.id, detail=self.later(due))
        return Verdict(Kind.FOLLOW_UP, job.id, job.follow_up.serial)

    # ---- schedules

    def schedule(self, name: str) -> Registered | None:
        return next((one for one in self.schedules if one.plan.name == name), None)

    def register(self, plan: Plan) -> Verdict:
        old = self.schedule(plan.name)
        if old is not None and (old.plan.pattern, old.plan.timezone) == (plan.pattern, plan.timezone):
            old.plan, old.revision = plan, self.next()
            return Verdict(Kind.SCHEDULED, plan.name, None)
        if old is not None:
            self.schedules.remove(old)
        bound = self.now + plan.not_before_ms if plan.not_before_at is None else plan.not_before_at
        place = bound - 1 if bound > self.now else self.now
        self.schedules.append(Registered(plan, place, self.next()))
        if plan.immediate and (old is None or old.plan.pattern != plan.pattern):
            run = Emission(
                plan.event,
                f"{plan.name}@immediate",
                plan.data,
                plan.priority,
                options=plan.options,
                expires_ms=plan.expires_ms,
            )
            self.identify(run, Kind.SCHEDULED, plan.name)
        return Verdict(Kind.SCHEDULED, plan.name, None)

    def advance(
        self, name: str, revision: int, place: int, next_at: int | None, occurrences: Sequence[Emission], dropped: int
    ) -> Advanced:
        schedule = self.schedule(name)
        if schedule is None or schedule.revision != revision:
            return Advanced(**self.common(), moved=False)
        schedule.place, schedule.next_at, schedule.revision = place, next_at, self.next()
        schedule.dropped += dropped
        for occurrence in occurrences:
            if schedule.plan.overlap == "skip" and self.live_of(name):
                self.tell(Kind.SKIPPED, occurrence.event, occurrence.id)
                continue
            verdict = self.identify(occurrence, Kind.SCHEDULED, name, schedule.dropped)
            if verdict.status == Kind.SCHEDULED:
                schedule.dropped = 0
        return Advanced(**self.common(), moved=True)
