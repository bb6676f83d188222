"""Whatever befalls the workers, each job runs to its end, under one claim at a time, and is accounted for."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulation import Simulation
from taskmanager import Job
from tests.worker.worlds import app, found, kinds, lose_replies, mute, unmute

NODE = st.integers(0, 2)
ACCIDENT = st.one_of(
    st.tuples(st.just("crash"), NODE),
    st.tuples(st.just("boot"), NODE),
    st.tuples(st.just("stop"), NODE),
    st.tuples(st.just("mute"), NODE),
    st.tuples(st.sampled_from(["claim", "settle", "extend", "reap"]), NODE),
    st.tuples(st.just("jump"), st.integers(1, 60)),
    st.tuples(st.just("emit"), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.floats(0.1, 20)),
)


def befall(sim: Simulation, accident: tuple[str, Any], muted: set[str]) -> None:
    what, value = accident
    if what == "emit":
        sim.emit("work", id=str(value))
    elif what == "wait":
        sim.advance(value)
    elif what == "jump":
        sim.jump(value)
    else:
        node = sim.nodes[value]
        if what == "boot":
            sim.run(node.boot())
        elif not node.is_up:
            return
        elif what == "crash":
            muted.discard(node.name)
            node.crash()
        elif what == "stop" and node.name not in muted:
            sim.run(node.stop())
        elif what == "mute" and node.name not in muted:
            muted.add(node.name)
            mute(sim, node)
        elif what in {"claim", "settle", "extend", "reap"} and node.name not in muted:
            lose_replies(sim, node, what, 1)


@given(st.lists(ACCIDENT, max_size=25))
def test_after_any_accidents_every_job_has_run_to_its_end(accidents: list[tuple[str, Any]]) -> None:
    tm = app(lease=5, grace=1, concurrency=2, max_stalled=1000)

    @tm.handler("work")
    async def work(job: Job[Any]) -> int:
        await asyncio.sleep(7)
        return job.attempt

    with Simulation(tm, workers=3) as sim:
        muted: set[str] = set()
        for accident in accidents:
            befall(sim, accident, muted)
        for node in sim.nodes:
            if node.is_up and node.name in muted:
                unmute(sim, node)
            sim.run(node.boot())
        sim.run_until_idle()
        ids = {step.job_id for step in sim.timeline if step.job_id is not None}
        for job_id in ids:
            job = found(sim.job(job_id))
            assert job.state == "completed"
            assert job.result == job.attempt
            # Every hand-out ends in exactly one of the ways that are steps; a loss may have come before the start.
            open_runs = 0
            for kind in kinds(sim, job_id):
                open_runs += (kind == "started") - (kind in {"completed", "released", "stalled", "cancelled"})
                assert open_runs <= 1
