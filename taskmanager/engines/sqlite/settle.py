"""Settling: a decision is written if its claim still stands. What it then makes of the job is `rules.settle`.

Most runs end at their first attempt with nothing to be compared: those go the short way (`ends`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskmanager.engine import Settlement
from taskmanager.engines.rules.settle import write
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.ends import PlainRun, end_plainly
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import json_of
from taskmanager.job import FINISHED, Fact, State, StoredJob

__all__ = ["settle"]


def settle(
    queue: Queue,
    worker: str,
    settlements: Sequence[Settlement],
    transient: Collection[State],
    now: int,
    facts: list[Fact],
) -> list[State | None]:
    """The states the jobs got, in the order of the settlements; None where the claim was lost."""
    lease = queue.file.execute(sql.GET_LEASE, (queue.number, worker)).fetchone()
    if lease is None or not settlements:
        return [None] * len(settlements)
    ends, jobs = _runs(queue, lease[0], settlements, transient)
    verdicts: list[State | None] = []
    for settlement in settlements:
        end = ends.pop(settlement.claim, None)
        if end is not None:
            verdicts.append(end_plainly(queue, worker, end, settlement, now, facts))
            continue
        job = jobs.pop(settlement.claim, None)
        if job is None:
            verdicts.append(None)
            continue
        verdicts.append(write(queue, worker, job, settlement, transient, now, facts))
    return verdicts


def _runs(
    queue: Queue, lease: int, settlements: Sequence[Settlement], transient: Collection[State]
) -> tuple[dict[int, PlainRun], dict[int, StoredJob]]:
    """What stands of what is settled, by claim: the runs that end plainly, and the records of the others."""
    to = {settlement.claim: settlement.transition.to for settlement in settlements}
    plain_ends: dict[int, PlainRun] = {}
    others: list[int] = []
    for claim, place, *columns in queue.file.execute(sql.GET_RUNS, (lease, json_of(list(to)))).fetchall():
        run = PlainRun(place, *columns)
        if to[claim] in FINISHED and to[claim] not in transient and run.ends_plainly():
            plain_ends[claim] = run
        else:
            others.append(place)
    rows = queue.file.execute(sql.GET_PLACES, (json_of(others),)).fetchall() if others else []
    return plain_ends, {job.claim: job for job in queue.take_in_all(rows)}
