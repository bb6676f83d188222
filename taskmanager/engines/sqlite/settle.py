"""Settling: a decision is written if its claim still stands. What it then makes of the job is `rules.settle`.

Most runs end at their first attempt with nothing to be compared: those go the short way (`ends`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from taskmanager.engine import Settlement
from taskmanager.engines.rules.settle import write
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.ends import Ends, Handed, PlainRun
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import json_of
from taskmanager.job import FINISHED, Fact, State, StoredJob

__all__ = ["settle"]


def settle(
    queue: Queue,
    worker: str,
    settlements: Sequence[Settlement],
    transient: Collection[State],
    handed: Handed,
    now: int,
    facts: list[Fact],
) -> list[State | None]:
    """The states the jobs got, in the order of the settlements; None where the claim was lost.

    What is settled is taken out of `handed`. Raises `Overtaken` where that was not true any more: again, then.
    """
    lease = queue.file.execute(sql.GET_LEASE, (queue.number, worker)).fetchone()
    if lease is None or not settlements:
        return [None] * len(settlements)
    runs, jobs = _runs(queue, lease[0], settlements, transient, handed)
    ends = Ends(queue, worker, lease[0], now, facts)
    verdicts: list[State | None] = []
    for settlement in settlements:
        run = runs.pop(settlement.claim, None)
        if run is not None:
            verdicts.append(ends.add(run, settlement))
            continue
        job = jobs.pop(settlement.claim, None)
        if job is None:
            verdicts.append(None)
            continue
        verdicts.append(write(queue, worker, job, settlement, transient, now, facts))
    ends.write()
    return verdicts


def _runs(
    queue: Queue, lease: int, settlements: Sequence[Settlement], transient: Collection[State], handed: Handed
) -> tuple[dict[int, PlainRun], dict[int, StoredJob]]:
    """What stands of what is settled, by claim: the runs that end plainly, and the records of the others."""
    runs: dict[int, PlainRun] = {}
    unknown: dict[int, bool] = {}
    for claim, transition, _, _ in settlements:
        if claim in runs or claim in unknown:
            continue  # named twice: the first counts
        run = handed.pop(claim, None)
        is_end = transition.to in FINISHED and transition.to not in transient
        if run is not None and is_end:
            runs[claim] = run
        else:
            unknown[claim] = is_end
    if not unknown:
        return runs, {}
    others: list[int] = []
    for *columns, is_plain in queue.file.execute(sql.GET_RUNS, (lease, json_of(list(unknown)))).fetchall():
        run = PlainRun(*columns)
        if is_plain and unknown[run.claim] and run.is_sound():
            runs[run.claim] = run
        else:
            others.append(run.place)
    rows = queue.file.execute(sql.GET_PLACES, (json_of(others),)).fetchall() if others else []
    return runs, {job.claim: job for job in queue.take_in_all(rows)}
