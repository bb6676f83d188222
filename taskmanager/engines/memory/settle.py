"""Settling: a decision is written if its claim still stands. What it then makes of the job is `rules.settle`."""

from __future__ import annotations

from collections.abc import Collection

from taskmanager.engine import Settlement
from taskmanager.engines.memory.queue import Queue
from taskmanager.engines.memory.records import Lease
from taskmanager.engines.rules.settle import write
from taskmanager.job import Fact, State, StoredJob

__all__ = ["settle"]


def settle(
    queue: Queue,
    worker: str,
    settlements: Collection[Settlement],
    transient: Collection[State],
    now: int,
    facts: list[Fact],
) -> list[State | None]:
    """The states the jobs got, in the order of the settlements; None where the claim was lost."""
    lease = queue.leases.get(worker)
    if lease is None:
        return [None] * len(settlements)
    verdicts: list[State | None] = []
    for settlement in settlements:
        job = _release(lease, settlement.claim)
        if job is None:
            verdicts.append(None)
            continue
        verdicts.append(write(queue, worker, job, settlement, transient, now, facts))
    if not lease:
        del queue.leases[worker]
    return verdicts


def _release(lease: Lease, number: int) -> StoredJob | None:
    """The job of that claim, no longer under the lease."""
    if lease.heard:
        lease.heard.pop(number, None)
    job = lease.claims.pop(number, None)
    return lease.reaped.pop(number, None) if job is None else job
