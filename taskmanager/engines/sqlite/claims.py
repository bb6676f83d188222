"""Claims: handing out under a lease, keeping the lease, and taking over what a lost worker held.

A lease is one record a worker and queue. It counts while the worker holds something there, and ends when it is reaped,
not when its time passes: until then its holder may extend and settle. What a worker has under its lease but does not
name was handed out by an answer that never came; it is handed out again, under the same number.

Handing out reads the line step by step and stops when it has enough, so its cost is that of what it hands out, not of
what waits. A row that cannot be read ends as a failed job on the way, and the line goes on behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from taskmanager.engine import DUE_LIMIT, LOG_LINES, Journal, cut_line
from taskmanager.engines.rules.claims import claim_of, expire, report
from taskmanager.engines.rules.records import LEGAL, check
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.ends import Handed, PlainRun
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import damage_of, job_of, json_of, options_of, plain
from taskmanager.job import DEFAULT_OPTIONS, Claim, ErrorInfo, Fact, Kind, LogLine, Progress, State, StoredJob, build

__all__ = ["claim", "extend", "reap"]

Row = tuple[Any, ...]
Held = tuple[int, int, int]
"""Of what is under a lease: its claim, whether it was reaped, and whether it is marked to be cancelled."""


def claim(
    queue: Queue,
    worker: str,
    holds: Collection[int],
    limit: int,
    lease_ms: int,
    suspect_losses: int,
    handed: Handed,
    now: int,
    facts: list[Fact],
) -> tuple[list[Claim], bool]:
    """What the worker gets, and whether claimable jobs are left for it. What is new is noted in `handed`."""
    lease, held = _held(queue, worker)
    jobs, more = _given_before(queue, lease, held, False, holds, limit)
    if not queue.paused:
        hand_out = _HandOut(queue, lease, suspect_losses, now, facts)
        more = hand_out.fill(jobs, limit) or more
        if hand_out.runs:
            lease = _keep(queue, worker, lease, now + lease_ms)
            hand_out.write(lease)
            handed |= hand_out.runs
            return jobs, more
    if held:
        _keep(queue, worker, lease, now + lease_ms)
    return jobs, more


class _HandOut:
    """One pass along the line: the claims go into `jobs`, what is known of them into `runs`."""

    def __init__(self, queue: Queue, lease: int | None, suspect_losses: int, now: int, facts: list[Fact]) -> None:
        self.queue = queue
        self.runs: Handed = {}
        self._lease = lease
        self._suspect_losses = suspect_losses
        self._now = now
        self._facts = facts
        self._holds_suspect: bool | None = None
        self._expired: list[int] = []
        self._damaged: list[int] = []

    def fill(self, jobs: list[Claim], limit: int) -> bool:
        """Fills `jobs` up to `limit`; says whether claimable jobs are left."""
        if not self.queue.states[State.WAITING]:
            return False
        if (State.WAITING, Kind.STARTED, State.ACTIVE) not in LEGAL:
            check(State.WAITING, Kind.STARTED, State.ACTIVE)
        line = self.queue.file.execute(sql.FIND_WAITING, (self.queue.number,))
        more, size = False, max(1, limit - len(jobs) + 1)
        while not more and (rows := line.fetchmany(size)):
            more = self._take(rows, jobs, limit)
        line.close()  # nothing may be written to the jobs before
        self._end()
        return more

    def _take(self, rows: list[Row], jobs: list[Claim], limit: int) -> bool:
        """From these of the line; whether there was one that there is no room for."""
        queue, now, bound, runs = self.queue, self._now, self._suspect_losses, self.runs
        name = queue.name
        for row in rows:
            (
                place, id, serial, event, data, options, priority, attempt, failures, losses,
                created_at, run_at, schedule, expires_at,
            ) = row  # fmt: skip
            try:
                if type(data) is not bytes or type(id) is not str or type(event) is not str:
                    raise TypeError
                is_suspect = losses >= bound
                is_over = expires_at is not None and expires_at < now
                chosen = DEFAULT_OPTIONS if options is None else options_of(options)
                attempt += 1
                if type(attempt + failures + serial) is not int:
                    raise TypeError
            except (TypeError, ValueError, msgspec.MsgspecError):
                self._damaged.append(place)
                continue
            if len(jobs) >= limit or len(self._expired) >= DUE_LIMIT:
                if is_suspect and self._has_suspect():
                    continue
                return True
            if is_over:
                self._expired.append(place)
                continue
            if is_suspect:
                if self._has_suspect():
                    continue
                self._holds_suspect = True
            queue.claims = number = queue.claims + 1
            runs[number] = build(PlainRun, (place, number, id, serial, event, attempt, failures, losses, now))
            told = (
                number, id, serial, name, event, data, chosen, priority, attempt, failures, losses,
                created_at, run_at, schedule, now,
            )  # fmt: skip
            jobs.append(build(Claim, told))
        return False

    def write(self, lease: int) -> None:
        """Stretch by stretch: jobs that lie side by side, in the order in which they were taken, are one row's cost."""
        queue, now = self.queue, self._now
        stretches: list[Row] = []
        shift = first = last = None
        for claim, run in self.runs.items():
            place = run.place
            if claim - place != shift:
                if shift is not None:
                    stretches.append((lease, shift, now, first, last))
                shift, first = claim - place, place
            last = place
        stretches.append((lease, shift, now, first, last))
        queue.file.executemany(sql.PUT_CLAIM, stretches)
        queue.states[State.WAITING] -= len(self.runs)
        queue.states[State.ACTIVE] += len(self.runs)

    def _has_suspect(self) -> bool:
        if self._holds_suspect is None:
            found = (self._lease, self._suspect_losses)
            self._holds_suspect = bool(self.queue.file.execute(sql.HAS_SUSPECT, found).fetchone()[0])
        return self._holds_suspect

    def _end(self) -> None:
        """Ends what cannot be handed out any more."""
        queue, now, facts = self.queue, self._now, self._facts
        for row in self._rows(self._expired):
            expire(queue, queue.take_in(row), now, facts)
        for row in self._rows(self._damaged):
            _condemn(queue, row, now, facts)

    def _rows(self, places: list[int]) -> list[Row]:
        if not places:
            return []
        return self.queue.file.execute(sql.GET_PLACES + " ORDER BY priority DESC, line", (json_of(places),)).fetchall()


def _condemn(queue: Queue, row: Row, now: int, facts: list[Fact]) -> None:
    """A job that cannot be read cannot be run: it ends failed, with what could be read of it."""
    job = queue.take_in(row)
    job.reason = f"damaged row: {damage_of(row)}"
    job.error = ErrorInfo("DamagedRow", job.reason)
    job.state, job.attempt, job.finished_at = State.ACTIVE, job.attempt + 1, now
    queue.states[State.WAITING] -= 1
    queue.states[State.ACTIVE] += 1
    detail = {"error": str(job.error), "reason": job.reason}
    queue.tell(facts, now, Kind.FAILED, job, detail)
    queue.finish(job, Kind.FAILED, State.FAILED, now)


def reap(
    queue: Queue, worker: str, holds: Collection[int], limit: int, lease_ms: int, now: int
) -> tuple[list[Claim], bool]:
    """Moves jobs of leases that have run out to this worker, oldest claim first; says whether more are left."""
    lease, held = _held(queue, worker)
    jobs, more = _given_before(queue, lease, held, True, holds, limit)
    room = max(0, limit - len(jobs))
    lapsed = queue.file.execute(sql.FIND_LAPSED, (queue.number, worker, now, room + 1)).fetchall()
    taken = lapsed[:room]
    if taken:
        mine = _keep(queue, worker, lease, now + lease_ms)
        first = queue.claims + 1
        queue.claims += len(taken)
        queue.tide += sum(losses > 0 for _, _, losses in taken)  # suspects: their worker may now be handed another
        rows = [(mine, number, place) for number, (place, _, _) in enumerate(taken, first)]
        queue.file.executemany(sql.PUT_REAPED, rows)
        jobs += _as_claims(queue, mine, [number for _, number, _ in rows])
    elif held:
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
    lease, rows = _held(queue, worker)
    if lease is None:
        return sorted(set(holds)), [], False
    _keep(queue, worker, lease, now + lease_ms)
    if journal:
        _write_down(queue, lease, journal, now, facts)
    held = set(holds)
    lost = sorted(held.difference(number for number, _, _ in rows))
    cancelled = [number for number, reaped, marked in rows if marked and not reaped and number in held]
    return lost, cancelled, any(number not in held for number, reaped, _ in rows if not reaped)


# ---- leases


def _held(queue: Queue, worker: str) -> tuple[int | None, list[Held]]:
    """The worker's lease, if it has one, and what is under it, in claim order."""
    row = queue.file.execute(sql.GET_LEASE, (queue.number, worker)).fetchone()
    if row is None:
        return None, []
    return row[0], queue.file.execute(sql.FIND_HELD, row).fetchall()


def _keep(queue: Queue, worker: str, lease: int | None, expires_at: int) -> int:
    """Renews or makes the lease of a worker that holds something."""
    if lease is None:
        lease = queue.file.execute(sql.ADD_LEASE, (queue.number, worker, expires_at)).fetchall()[0][0]
    else:
        queue.file.execute(sql.KEEP_LEASE, (expires_at, lease))
    return lease


def _given_before(
    queue: Queue, lease: int | None, held: list[Held], was_reaped: bool, holds: Collection[int], limit: int
) -> tuple[list[Claim], bool]:
    """What is under the lease and not in the worker's hands, in claim order, and whether that is not all of it."""
    if lease is None or not held:
        return [], False
    mine = set(holds)
    given = [claim for claim, reaped, _ in held if claim not in mine and reaped == was_reaped]
    return _as_claims(queue, lease, given[:limit]) if given else [], len(given) > limit


def _as_claims(queue: Queue, lease: int, numbers: list[int]) -> list[Claim]:
    rows = queue.file.execute(sql.GET_HELD, (lease, json_of(numbers))).fetchall()
    return [claim_of(job_of(row[:-1], queue.name)) for row in sorted(rows, key=lambda row: int(row[-1]))]


# ---- the journal


def _write_down(queue: Queue, lease: int, journal: Sequence[Journal], now: int, facts: list[Fact]) -> None:
    """The entries of claims that stand, each once."""
    numbers = json_of(sorted({entry.claim for entry in journal}))
    rows = queue.file.execute(sql.GET_HEARD, (lease, numbers)).fetchall()
    heard: dict[int, int] = {}
    jobs: dict[int, StoredJob] = {}
    for last, *row in rows:
        job = queue.take_in(tuple(row))
        heard[job.claim], jobs[job.claim] = last, job
    lines: dict[int, list[LogLine]] = {}
    for number, nth, entry in journal:
        if number not in jobs or nth <= heard[number]:
            continue
        heard[number], job = nth, jobs[number]
        if isinstance(entry, Progress):
            report(queue, job, entry, now, facts)
        else:
            lines.setdefault(number, []).append(LogLine(now, job.attempt, cut_line(entry)))
    told = [(heard[number], json_of(job.progress), queue.place_of(job)) for number, job in jobs.items()]
    queue.file.executemany(sql.PUT_HEARD, told)
    for number, added in lines.items():
        _add_lines(queue, jobs[number].serial, added)


def _add_lines(queue: Queue, serial: int, lines: list[LogLine]) -> None:
    last = queue.file.execute(sql.LAST_LINE, (queue.number, serial)).fetchone()[0] or 0
    rows = [
        (queue.number, serial, nth, line.at, line.attempt, plain(line.message))
        for nth, line in enumerate(lines, last + 1)
    ]
    queue.file.executemany(sql.ADD_LINE, rows)
    if last + len(lines) > LOG_LINES:
        queue.file.execute(sql.TRIM_LINES, (queue.number, serial, last + len(lines) - LOG_LINES))
