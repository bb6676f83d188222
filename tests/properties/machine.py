"""Random programs over an engine and its model: what callers, workers, operators and janitors do, in any order.

The world is small on purpose, so that things meet: two ids, two events, two keys, two workers. A worker that
neither beats nor settles for a lease is dead to the others, who reap it; when it moves again it is a zombie, and
nothing it does with its old claims may change anything.
"""

from __future__ import annotations

import random
from dataclasses import astuple, replace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from taskmanager.engine import (
    Await,
    Command,
    Delete,
    JobRef,
    Journal,
    Limit,
    Pause,
    Promote,
    Purge,
    Requeue,
    RequeueAll,
    Resume,
    Settlement,
    Unschedule,
)
from taskmanager.job import Claim, Edge, Emission, ErrorInfo, Plan, Progress, RunOptions, State, StoredJob, Window
from taskmanager.policy import lifecycle
from taskmanager.policy.retry import Retry
from tests.engines.conformance.builders import LEASE_MS
from tests.engines.conformance.world import Factory
from tests.properties.moves import MOVES
from tests.properties.pair import Pair
from tests.properties.shelf import FAR

IDS, EVENTS, WORKERS = ("a", "b"), ("send", "other"), ("w1", "w2")
NAMES = ("nightly", "weekly")
VERBS = ("enqueue", "settle", "cancel", "control")
ENDED = (State.COMPLETED, State.FAILED, State.CANCELLED)
TERMS = lifecycle.Terms(Retry(2, delay=0.03, backoff="fixed"), dead_letter="dlq")
BOOM = ErrorInfo("ValueError", "boom")
OUTCOMES: tuple[lifecycle.Outcome, ...] = (
    lifecycle.Returned(b"1"),
    lifecycle.Raised(BOOM),
    lifecycle.Raised(BOOM, retryable=False),
    lifecycle.Stopped(),
    lifecycle.Postponed(20),
    lifecycle.Refused("unwanted"),
    lifecycle.Unhandled("nobody"),
    lifecycle.Returned(skipped=True),
    lifecycle.CancelHeard(),
)

windows = st.builds(
    Window,
    key=st.sampled_from("kl"),
    edge=st.sampled_from(Edge),
    window_ms=st.sampled_from((20, 60)),
    max_wait_ms=st.sampled_from((None, 80)),
).map(lambda window: window if window.edge == Edge.TRAILING else Window(window.key, window.edge, window.window_ms))
delays = st.sampled_from((0, 0, 10, 50))
expiries = st.sampled_from((None, None, 5, 70))
emissions = st.builds(
    Emission,
    event=st.sampled_from(EVENTS),
    id=st.sampled_from(IDS),
    data=st.sampled_from((b"1", b"2")),
    priority=st.sampled_from((0, 0, 1)),
    delay_ms=delays,
    expires_ms=expiries,
    options=st.sampled_from((RunOptions(), RunOptions(retry_count=1))),
    window=st.none() | windows,
    replace=st.booleans(),
    awaited=st.booleans(),
)
plans = st.builds(
    Plan,
    name=st.sampled_from(NAMES),
    event=st.just("send"),
    pattern=st.sampled_from(("0 * * * *", "5 * * * *")),
    timezone=st.just("UTC"),
    overlap=st.sampled_from(("allow", "skip")),
    immediate=st.booleans(),
    not_before_ms=st.sampled_from((0, 30)),
)
workers = st.sampled_from(WORKERS)
ids = st.sampled_from(IDS)
transients = st.sampled_from(((), (), ENDED, (State.COMPLETED,)))
picks = st.integers(0, 5)


class EngineMachine(RuleBasedStateMachine):
    """`factory` opens the engine; a test sets it in a subclass."""

    factory: ClassVar[Factory]
    pair: Pair
    stepped_back: bool

    @initialize()
    def open(self) -> None:
        self.pair = Pair(type(self).factory)
        self.rng = random.Random(0)
        self.entries: dict[int, int] = {}
        self.revisions: list[tuple[str, int]] = []
        self.steps = 0
        self.stepped_back = False

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.pair.close()

    @rule(names=st.lists(st.sampled_from(sorted(MOVES)), min_size=1, max_size=12))
    def play(self, names: list[str]) -> None:
        for name in names:
            MOVES[name](self)

    # ---- callers

    @rule(entry=emissions)
    def emit(self, entry: Emission) -> None:
        self.pair.enqueue(entry)

    @rule(id=ids, window=windows, delay_ms=delays)
    def emit_debounced(self, id: str, window: Window, delay_ms: int) -> None:
        self.pair.enqueue(Emission("send", id, window=Window("k", *astuple(window)[1:]), delay_ms=delay_ms))

    @precondition(lambda self: self.running())
    @rule(pick=picks, entry=emissions)
    def emit_what_runs(self, pick: int, entry: Emission) -> None:
        running = self.running()
        self.pair.enqueue(replace(entry, id=running[pick % len(running)].id))

    @rule(entries=st.lists(emissions | plans, max_size=3))
    def emit_many(self, entries: list[Emission | Plan]) -> None:
        self.pair.enqueue(*entries)

    @rule(plan=plans)
    def register(self, plan: Plan) -> None:
        self.pair.enqueue(plan)

    @rule(id=ids, pick=picks, certain=st.booleans(), transient=transients)
    def cancel(self, id: str, pick: int, certain: bool, transient: tuple[State, ...]) -> None:
        self.pair.cancel(self.ref(id, pick, certain), transient)

    @rule(verb=st.sampled_from(VERBS))
    def send_again(self, verb: str) -> None:
        self.pair.send_again(verb)

    @rule(verb=st.sampled_from(VERBS))
    def send_older(self, verb: str) -> None:
        self.pair.send_older(verb)

    def ref(self, id: str, pick: int, certain: bool) -> JobRef:
        """A job by id, or by a serial: its own, its follow-up's or an older one of that id."""
        if not certain:
            return JobRef(id)
        model = self.pair.model
        found = [job.serial for job in model.jobs if job.id == id]
        found += [job.follow_up.serial for job in model.jobs if job.id == id and job.follow_up is not None]
        found += [kept.job.serial for kept in model.kept if kept.job.id == id]
        return JobRef(id, found[pick % len(found)] if found else 10**8)

    # ---- workers

    def running(self) -> list[StoredJob]:
        return [job for job in self.pair.model.jobs if job.state == State.ACTIVE]

    def holders(self) -> list[str]:
        """Who has claims in hand, whether or not they still stand."""
        return [worker for worker in WORKERS if self.pair.hands.get(worker)]

    @rule(worker=workers, limit=st.integers(0, 3))
    def claim(self, worker: str, limit: int) -> None:
        self.pair.claim(worker, limit)

    @rule(worker=workers, limit=st.integers(1, 3))
    def claim_after_a_lost_reply(self, worker: str, limit: int) -> None:
        self.pair.claim(worker, limit, forgetting=True)

    @rule(worker=workers, lines=st.lists(st.sampled_from(("a line", Progress(0.5, "half"), Progress(1.0))), max_size=2))
    def extend(self, worker: str, lines: list[str | Progress]) -> None:
        journal = []
        reaped = {job.claim for job in self.pair.model.jobs if job.reaped}
        for claim in self.pair.hands.get(worker, {}).keys() - reaped:
            for entry in lines:
                self.entries[claim] = number = self.entries.get(claim, 0) + 1
                journal.append(Journal(claim, number, entry))
        self.pair.extend(worker, journal)
        if len(lines) == 2:
            self.pair.extend(worker, journal)

    @rule(outcome=st.sampled_from(OUTCOMES), transient=transients)
    def work(self, outcome: lifecycle.Outcome, transient: tuple[State, ...]) -> None:
        """One job from the claim to its end."""
        self.pair.claim("w1", 1)
        self.end("w1", list(self.pair.hands.get("w1", {}).values())[-1:], outcome, transient)

    @precondition(lambda self: self.holders())
    @rule(pick=picks, outcome=st.sampled_from(OUTCOMES), transient=transients)
    def settle(self, pick: int, outcome: lifecycle.Outcome, transient: tuple[State, ...]) -> None:
        holders = self.holders()
        worker = holders[pick % len(holders)]
        held = list(self.pair.hands[worker].values())
        self.end(worker, [held[pick % len(held)]], outcome, transient)

    @precondition(lambda self: self.holders())
    @rule(pick=picks, outcome=st.sampled_from(OUTCOMES), transient=transients)
    def settle_all(self, pick: int, outcome: lifecycle.Outcome, transient: tuple[State, ...]) -> None:
        holders = self.holders()
        worker = holders[pick % len(holders)]
        self.end(worker, list(self.pair.hands[worker].values()), outcome, transient)

    def end(self, worker: str, claims: list[Claim], outcome: lifecycle.Outcome, transient: tuple[State, ...]) -> None:
        reaped = {job.claim for job in self.pair.model.jobs if job.reaped}
        settlements = []
        for claim in claims:
            how = lifecycle.Lost() if claim.number in reaped else outcome
            ran = 0 if claim.number in reaped else max(0, self.pair.model.now - claim.claimed_at)
            settlements.append(Settlement(claim.number, lifecycle.decide(claim, how, TERMS, self.rng), ran))
        self.pair.settle(worker, settlements, transient)

    @precondition(lambda self: self.pair.past)
    @rule(worker=workers, pick=picks, outcome=st.sampled_from(OUTCOMES))
    def settle_a_stale_claim(self, worker: str, pick: int, outcome: lifecycle.Outcome) -> None:
        self.settle_stale(worker, pick, outcome)

    def settle_stale(self, worker: str, pick: int, outcome: lifecycle.Outcome) -> None:
        """Of another worker, settled already, or reaped: nothing is written."""
        standing = {job.claim for job in self.pair.model.claims(worker)}
        stale = [number for number in self.pair.past if number not in standing]
        if not stale:
            return
        number = stale[-1 - pick % len(stale)]
        claim = Claim(number, "a", 0, "q", "send", b"", RunOptions(), 0, 1, 0, 0, 0, 0, None, 0)
        before = self.pair.picture()
        self.pair.settle(worker, [Settlement(number, lifecycle.decide(claim, outcome, TERMS, self.rng))], ())
        assert self.pair.picture() == before
        self.pair.extend(worker, [Journal(number, 10**6, "late")], forgetting=True)

    @rule(worker=workers, limit=st.integers(1, 3), forgetting=st.booleans())
    def reap(self, worker: str, limit: int, forgetting: bool) -> None:
        self.pair.reap(worker, limit, forgetting=forgetting)

    @rule(worker=workers)
    def a_lease_runs_out(self, worker: str) -> None:
        """Everybody falls silent for a lease; one comes back, reaps and settles what was lost."""
        self.pair.pass_time(LEASE_MS)
        self.pair.reap(worker, 5)
        reaped = {job.claim for job in self.pair.model.claims(worker) if job.reaped}
        lost = [claim for number, claim in self.pair.hands.get(worker, {}).items() if number in reaped]
        self.end(worker, lost, lifecycle.Lost(), ())

    # ---- operators

    @rule(id=ids, pick=picks, certain=st.booleans(), kind=st.sampled_from((Promote, Requeue, Delete, Await)))
    def control_one(self, id: str, pick: int, certain: bool, kind: type[Promote | Requeue | Delete | Await]) -> None:
        self.pair.control(kind(self.ref(id, pick, certain)))

    @rule(
        command=st.sampled_from(
            (Pause(), Resume(), RequeueAll(None), RequeueAll("send", 1), *map(Purge, State), *map(Unschedule, NAMES))
        )
    )
    def control(self, command: Command) -> None:
        self.pair.control(command)

    # ---- janitors

    @rule(pick=picks, count=st.integers(0, 2), late=st.booleans(), dropped=st.sampled_from((0, 0, 2)))
    def advance(self, pick: int, count: int, late: bool, dropped: int) -> None:
        self.advance_one(pick, count, late=late, dropped=dropped)

    def advance_one(self, pick: int, count: int, *, late: bool, dropped: int) -> None:
        """By the revision that is, or (`late`) by one that was read before."""
        schedules = self.pair.model.schedules
        if not schedules:
            return
        schedule = schedules[pick % len(schedules)]
        name = schedule.plan.name
        self.revisions.append((name, schedule.revision))
        if late:
            name, revision = self.revisions[pick % len(self.revisions)]
        else:
            revision = schedule.revision
        now = self.pair.model.now
        self.steps += 1
        occurrences = [
            Emission("send", f"{name}@{now}-{self.steps}-{number}", run_at=now - number) for number in range(count)
        ]
        self.pair.advance(name, revision, now, now + 100, occurrences, dropped)

    @precondition(lambda self: not self.stepped_back)
    @rule(age=st.sampled_from((None, 0, 40)), count=st.sampled_from((None, 0, 1)), limit=st.sampled_from((1, 1000)))
    def prune(self, age: int | None, count: int | None, limit: int) -> None:
        self.pair.prune({state: Limit(age, count) for state in ENDED}, limit)

    # ---- time

    @rule(ms=st.sampled_from((1, 5, 10, 20, 50, 100, LEASE_MS - 1, LEASE_MS)))
    def pass_time(self, ms: int) -> None:
        self.pair.pass_time(ms)

    @rule(pick=picks, off_by=st.sampled_from((-1, 0, 0, 1)))
    def pass_to_a_moment(self, pick: int, off_by: int) -> None:
        """To where something is due, runs out or opens, or one beside it: faults live at the edges."""
        self.pass_to_a_moment_at(pick, off_by)

    def pass_to_a_moment_at(self, pick: int, off_by: int) -> None:
        model = self.pair.model
        moments = {job.run_at for job in model.jobs} | {job.expires_at for job in model.jobs if job.expires_at}
        moments |= {one.until for one in model.windows if one.until < FAR} | set(model.leases.values())
        ahead = sorted(moment for moment in moments if moment > model.now)
        if ahead:
            self.pair.pass_time(max(0, ahead[pick % len(ahead)] + off_by - model.now))

    @rule(ms=st.sampled_from((60_000, 59_999)))
    def pass_long(self, ms: int) -> None:
        self.pair.pass_time(ms)

    @rule(ms=st.sampled_from((1, 15)))
    def step_back(self, ms: int) -> None:
        model = self.pair.model
        ended = [kept.until for kept in model.kept] + [window.until for window in model.windows]
        if any(model.now - ms < until <= model.now for until in ended):
            return  # whether a window or an outcome that ran out is back again, or was pruned, is nobody's promise
        self.stepped_back = True  # ages and ends are no longer in one order, so prunes may differ in whom they take
        self.pair.pass_time(-ms)


def machine_of(opens: Factory) -> type[EngineMachine]:
    """The machine over the engine that `opens` opens."""

    class Machine(EngineMachine):
        factory = staticmethod(opens)  # type: ignore[assignment]  # a bare function would become a method

    return Machine
