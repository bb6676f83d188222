"""Whole applications for random programs: handlers that sleep, fail, emit and are cut off, and what is done to them.

A program is a list of acts, plain data, so that it can be drawn, shrunk, repeated and played on every engine. A world
that has played one gives its timeline, its records, and what the handlers themselves saw of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from simulation import Simulation, Timeline
from taskmanager import Debounce, Discard, Job, RetryLater, TaskManager, UsageError
from taskmanager.records import JobRecord

RETRIES, RETRY_DELAY, TIMEOUT, CONCURRENCY, LEASE = 2, 5, 20, 2, 15
QUEUES = ("default", "other")
WORKERS = 2
MAX_STEPS = 3000  # far more than any program takes: a world that never ends is a finding, not a wait
Act = tuple[Any, ...]
Program = Sequence[Act]


@dataclass
class Run:
    """One run as its handler saw it; `ended_at` is None where it never came to its end."""

    job_id: str
    attempt: int
    started_at: datetime
    ended_at: datetime | None = None


@dataclass
class Played:
    """What is left of a world: `promoted` are the ids that an operator ran early, `absent` whether a
    worker ever was, `slept` whether the whole world did.
    """

    timeline: Timeline
    records: list[JobRecord]
    runs: list[Run]
    promoted: set[str] = field(default_factory=set)
    absent: bool = False
    slept: bool = False


def application(runs: list[Run], now: Callable[[], datetime]) -> TaskManager:
    tm = TaskManager(
        db="memory://",
        concurrency=CONCURRENCY,
        lease=LEASE,
        processor={"retry": {"max_retries": RETRIES, "delay": RETRY_DELAY}},
        queues=QUEUES,
    )

    @tm.handler("work", timeout=TIMEOUT)
    async def work(job: Job[Any], ctx: Any) -> int:
        run = Run(job.id, job.attempt, now())
        runs.append(run)
        data = job.data
        await job.logger(f"attempt {job.attempt}")
        await asyncio.sleep(data.get("sleep", 0))
        for child in range(data.get("children", 0)):
            await ctx.emit("child", {"of": job.id, "number": child}, queue="other")
        run.ended_at = now()
        if job.attempt <= data.get("later", 0):
            raise RetryLater(7)
        if job.attempt <= data.get("later", 0) + data.get("fails", 0):
            raise ValueError("not yet")
        if data.get("discards"):
            raise Discard("unwanted")
        await job.progress(1.0)
        return job.attempt

    @tm.handler("child", queue="other")
    def child(job: Job[Any]) -> None:
        runs.append(Run(job.id, job.attempt, now()))
        time.sleep(1)
        runs[-1].ended_at = now()

    @tm.handler("tick", repeat={"pattern": "* * * * *", "overlap": "skip", "catch_up": "all"})
    async def tick(job: Job[Any]) -> None:
        run = Run(job.id, job.attempt, now())
        runs.append(run)
        await asyncio.sleep(3)
        run.ended_at = now()

    return tm


# ---- programs

ids = st.sampled_from(("a", "b", "c"))
debounces = st.sampled_from((None, None, 30, Debounce(20, edge="trailing", max_wait=50)))
works = st.fixed_dictionaries(
    {"sleep": st.sampled_from((0, 1, 8, 8, 19, 25, 40))},
    optional={
        "fails": st.sampled_from((1, 2, 9, 9)),
        "later": st.sampled_from((1, 2)),
        "children": st.sampled_from((1, 3)),
        "discards": st.just(True),
    },
)
options = st.fixed_dictionaries(
    {},
    optional={
        "delay": st.sampled_from((0, 10, 70)),
        "priority": st.sampled_from((-1, 1)),
        "attempts": st.sampled_from((0, 1)),
        "expires": st.sampled_from((5, 60)),
        "replace": st.booleans(),
    },
)
acts = st.one_of(
    st.tuples(st.just("emit"), ids, works, options, debounces),
    st.tuples(st.just("emit"), ids, works, options, debounces),
    st.tuples(st.just("advance"), st.sampled_from((0.5, 1, 5, 12, 30, 65))),
    st.tuples(st.just("advance"), st.sampled_from((0.5, 1, 5, 12, 30, 65))),
    st.tuples(st.sampled_from(("cancel", "retry", "promote", "delete")), ids),
    st.tuples(st.sampled_from(("pause", "resume", "retry_all", "reboot"))),
    st.tuples(st.just("crash"), st.integers(0, WORKERS - 1)),
    st.tuples(st.just("jump"), st.sampled_from((10, 200))),
)
programs = st.lists(acts, min_size=1, max_size=14)


def play(program: Program, engine: str = "memory://") -> Played:
    """Plays a program, mends what is broken, runs until nothing is left to do, and looks."""
    runs: list[Run] = []
    worlds: list[Simulation] = []
    played = Played(Timeline(), [], runs)

    def build() -> TaskManager:
        return application(runs, lambda: worlds[0].now)

    sim = Simulation(build, start="2026-03-28T00:00:30Z", seed=7, workers=WORKERS, engine=engine, max_steps=MAX_STEPS)
    worlds.append(sim)
    with sim:
        for act in program:
            _carry_out(sim, act, played)
        sim.start()
        sim.resume_queue()
        sim.run_until_idle()
        played.timeline = sim.timeline
        played.records = [job for queue in QUEUES for job in sim.jobs(queue, limit=1000)]
    return played


def _carry_out(sim: Simulation, act: Act, played: Played) -> None:
    match act:
        case ("emit", id, data, given, debounce):
            try:
                sim.emit("work", data, id=id, debounce=debounce, **given)
            except UsageError as refused:  # pragma: no cover - every drawn emission is legal
                raise AssertionError(f"a legal emission was refused: {act}") from refused
        case ("advance", seconds):
            sim.advance(seconds)
        case ("crash", number):
            played.absent = True
            sim.nodes[number].crash()
        case ("reboot",):
            sim.start()
        case ("jump", seconds):
            played.absent = played.slept = True
            sim.jump(timedelta(seconds=seconds))
        case ("pause",):
            sim.pause_queue()
        case ("resume",):
            sim.resume_queue()
        case ("retry_all",):
            sim.retry_all()
        case (operation, id):
            if operation == "promote":
                played.promoted.add(id)
            _operate(sim, operation, id)


def _operate(sim: Simulation, operation: str, id: str) -> None:
    """An operator's word; a state that does not allow it is a refusal, which changes nothing."""
    calls = {"cancel": sim.cancel, "retry": sim.retry, "promote": sim.promote, "delete": sim.delete_job}
    before = len(sim.timeline), sim.job(id)
    try:
        calls[operation](id)
    except UsageError:
        assert (len(sim.timeline), sim.job(id)) == before
