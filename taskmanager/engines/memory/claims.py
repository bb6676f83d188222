"""Claims: handing out under a lease, keeping the lease, and taking over what a lost worker held.

A lease is one record a worker and queue. It exists while the worker holds something there, and ends when it is reaped,
not when its time passes: until then its holder may extend and settle. What a worker has under its lease but does not
name was handed out by an answer that never came; it is handed out again, under the same number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from taskmanager.engine import DUE_LIMIT, LOG_LINES, Journal, cut_line
from taskmanager.engines.memory.lines import Line
from taskmanager.engines.memory.queue import Queue
from taskmanager.engines.memory.records import Lease
from taskmanager.engines.rules.claims import claim_of, expire, report
from taskmanager.engines.rules.records import LEGAL, check
from taskmanager.job import Claim, Fact, Kind, LogLine, Progress, State, StoredJob

__all__ = ["claim", "extend", "reap"]


def claim(
    queue: Queue,
    worker: str,
    holds: Collection[int],
    limit: int,
    lease_ms: int,
    suspect_losses: int,
    now: int,
    facts: list[Fact],
) -> tuple[list[Claim], bool]:
    """What the worker gets, and whether claimable jobs are left for it."""
    lease = queue.leases.get(worker) or Lease()
    jobs, more = _given_before(lease.claims, holds, limit)
    if not queue.paused:
        _hand_out(queue, worker, lease, jobs, limit, suspect_losses, now, facts)
        more = more or _is_claimable_left(queue, lease, suspect_losses, now)
    _keep(queue, worker, lease, now + lease_ms)
    return jobs, more


def reap(
    queue: Queue, worker: str, holds: Collection[int], limit: int, lease_ms: int, now: int
) -> tuple[list[Claim], bool]:
    """Moves jobs of leases that have run out to this worker, oldest claim first; says whether more are left."""
    lease = queue.leases.get(worker) or Lease()
    jobs, more = _given_before(lease.reaped, holds, limit)
    lapsed = [
        (number, owner, is_reaped)
        for owner, other in queue.leases.items()
        if owner != worker and other.expires_at <= now
        for is_reaped, held in ((False, other.claims), (True, other.reaped))
        for number in held
    ]
    lapsed.sort()
    room = max(0, limit - len(jobs))
    for number, owner, is_reaped in lapsed[:room]:
        other = queue.leases[owner]
        job = (other.reaped if is_reaped else other.claims).pop(number)
        other.heard.pop(number, None)
        if not other:
            del queue.leases[owner]
        if job.losses:
            queue.tide += 1  # it counts as a suspect, and its worker may now be handed another
        queue.claims = job.claim = queue.claims + 1
        job.reaped = True
        lease.reaped[job.claim] = job
        jobs.append(claim_of(job))
    _keep(queue, worker, lease, now + lease_ms)
    return jobs, more or len(lapsed) > room


def extend(
    queue: Queue,
    worker: str,
    holds: Collection[int],
    lease_ms: int,
    journal: Sequence[Journal],
    now: int,
    facts: list[Fact],
) -> tuple[list[int], list[int], bool]:
    """The claims lost, the claims whose jobs are to be cancelled, and whether there are others under the lease."""
    lease = queue.leases.get(worker)
    if lease is None:
        return sorted(set(holds)), [], False
    lease.expires_at = now + lease_ms
    for entry in journal:
        job = lease.claims.get(entry.claim)
        if job is not None and entry.number > lease.heard.get(entry.claim, 0):
            lease.heard[entry.claim] = entry.number
            _write_down(queue, job, entry.entry, now, facts)
    # The ordinary beat names just what is there, in its order: compared without hashing, whatever the number.
    is_as_known = not lease.reaped and (*lease.claims,) == tuple(holds)
    if is_as_known and not queue.has_marks:
        return [], [], False
    held = set(holds)
    marked = [number for number, job in lease.claims.items() if job.cancel_requested]
    queue.has_marks = bool(marked) or any(
        job.cancel_requested for other in queue.leases.values() for job in other.claims.values()
    )
    lost = sorted(held - lease.claims.keys() - lease.reaped.keys())
    return lost, [number for number in marked if number in held], not lease.claims.keys() <= held


def _given_before(claims: dict[int, StoredJob], holds: Collection[int], limit: int) -> tuple[list[Claim], bool]:
    """What is under the lease and not in the worker's hands, in claim order, and whether that is not all of it."""
    if not claims or (len(claims) == len(holds) and claims.keys() == set(holds)):
        return [], False
    held = set(holds)
    numbers = [number for number in claims if number not in held]
    return [claim_of(claims[number]) for number in numbers[:limit]], len(numbers) > limit


def _hand_out(
    queue: Queue,
    worker: str,
    lease: Lease,
    jobs: list[Claim],
    limit: int,
    suspect_losses: int,
    now: int,
    facts: list[Fact],
) -> None:
    """Fills `jobs` up to `limit` from the lines, in one pass."""
    if (State.WAITING, Kind.STARTED, State.ACTIVE) not in LEGAL:
        check(State.WAITING, Kind.STARTED, State.ACTIVE)
    holds_suspect: bool | None = None
    expired = 0
    for rank in queue.lines.ranks:
        line = queue.lines.by_priority[rank]
        skipped: list[StoredJob] = []
        while line and len(jobs) < limit and expired < DUE_LIMIT:
            job = line.popitem(last=False)[1]
            if job.expires_at is not None and job.expires_at < now:
                expired += 1
                expire(queue, job, now, facts)
                continue
            if job.losses >= suspect_losses:
                if holds_suspect is None:
                    holds_suspect = _holds_suspect(lease, suspect_losses)
                if holds_suspect:
                    skipped.append(job)
                    continue
                holds_suspect = True
            queue.claims = job.claim = queue.claims + 1
            job.state = State.ACTIVE
            job.attempt += 1
            job.worker = worker
            job.started_at = now
            job.cancel_requested = job.requeued = job.reaped = False
            lease.claims[job.claim] = job
            jobs.append(claim_of(job))
        if skipped:
            _put_back(line, skipped)


def _put_back(line: Line, skipped: list[StoredJob]) -> None:
    """To the places where they were: all before whatever is left."""
    for job in reversed(skipped):
        line[job.order] = job
        line.move_to_end(job.order, last=False)


def _holds_suspect(lease: Lease, suspect_losses: int) -> bool:
    return any(job.losses >= suspect_losses for job in lease.claims.values())


def _is_claimable_left(queue: Queue, lease: Lease, suspect_losses: int, now: int) -> bool:
    """Anything but suspects behind the one that the worker holds. What is due but not made so counts."""
    if queue.delays.heap:
        first = queue.delays.first()
        if first is not None and first.run_at <= now:
            return True
    holds_suspect: bool | None = None
    for job in queue.lines:
        if job.losses < suspect_losses:
            return True
        if holds_suspect is None:
            holds_suspect = _holds_suspect(lease, suspect_losses)
        if not holds_suspect:
            return True
    return False


def _keep(queue: Queue, worker: str, lease: Lease, expires_at: int) -> None:
    """Renews or makes the lease of a worker that holds something."""
    if lease:
        lease.expires_at = expires_at
        queue.leases[worker] = lease


def _write_down(queue: Queue, job: StoredJob, entry: str | Progress, now: int, facts: list[Fact]) -> None:
    if isinstance(entry, Progress):
        report(queue, job, entry, now, facts)
        return
    queue.logs.setdefault(job.id, deque(maxlen=LOG_LINES)).append(LogLine(now, job.attempt, cut_line(entry)))
