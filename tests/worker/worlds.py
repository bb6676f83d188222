"""Small applications and accidents for the tests of the running side.

An accident happens to a node through public names only: its heartbeat falls silent, or a reply of the engine gets lost
after the effect. What a test then looks at is the timeline and the job, as a user would.
"""

from __future__ import annotations

import asyncio
from typing import Any

from simulation import Simulation
from simulation.node import Node
from taskmanager import Job, JobRecord, TaskManager
from taskmanager.errors import EngineUnavailable
from taskmanager.worker.worker import Worker


def app(**options: Any) -> TaskManager:
    """An application over a store of its own."""
    return TaskManager("memory://", **options)


def kinds(sim: Simulation, job_id: str | None = None) -> list[str]:
    """What happened (to one job), in order, in bare words."""
    return [str(step.kind) for step in sim.timeline.only(job_id=job_id)]


def seconds(sim: Simulation, kind: str, job_id: str | None = None) -> list[float]:
    """When steps of a kind happened, in seconds since the world began."""
    start = sim.timeline[0].at
    return [(step.at - start).total_seconds() for step in sim.timeline.only(kind=kind, job_id=job_id)]


def delays(sim: Simulation) -> list[float]:
    """How long each retry was told to wait."""
    return [step.detail["delay"] for step in sim.timeline.only(kind="retried") if step.detail]


def found(record: JobRecord | None) -> JobRecord:
    assert record is not None, "the job is gone"
    return record


def worker_of(node: Node) -> Worker:
    assert node.worker is not None, f"{node.name} is down"
    return node.worker


def mute(sim: Simulation, node: Node) -> None:
    """Nothing of the node's upkeep arrives any more: no heartbeat, no look for lost jobs. It does not know."""
    worker = worker_of(node)
    wire = sim.run(worker.connection.engine())

    async def unheard(*args: object) -> None:
        raise EngineUnavailable("the wire is dead")

    vars(wire)["reap"] = vars(worker.keeper)["beat"] = unheard


def unmute(sim: Simulation, node: Node) -> None:
    """Ends `mute`: the next beat arrives."""
    worker = worker_of(node)
    del vars(worker.keeper)["beat"], vars(sim.run(worker.connection.engine()))["reap"]


def lose_replies(sim: Simulation, node: Node, verb: str, times: int) -> list[str]:
    """The next replies to a verb are lost after the effect; the caller is told of a time-out.

    The returned list grows with each reply that was lost.
    """
    wire = sim.run(worker_of(node).connection.engine())
    ask = getattr(wire, verb)
    lost: list[str] = []

    async def asked(*args: Any) -> Any:
        answer = await ask(*args)
        if len(lost) >= times:
            return answer
        lost.append(verb)
        raise EngineUnavailable(f"the reply to {verb} was lost")

    vars(wire)[verb] = asked
    return lost


def holder(sim: Simulation) -> Node:
    """The node that has a job in hand."""
    return next(node for node in sim.nodes if node.worker is not None and node.worker.attempts())


def sleeper(tm: TaskManager, sleep: float) -> list[int]:
    """A handler that sleeps so long; the attempts that reached its end."""
    ended: list[int] = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> int:
        await asyncio.sleep(sleep)
        ended.append(job.attempt)
        return job.attempt

    return ended
