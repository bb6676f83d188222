"""One queue within one transaction: what the verbs see of it, and what they leave to be written.

A verb reads what it needs, decides in Python, and writes at its end: `save` sends what was marked (`add`, `put`,
`note`, `forget`) in a few batches, so a call of a thousand entries is a handful of statements. Until then the records
in `jobs` are the truth, and whoever asks the file about jobs in the middle of a verb calls `flush` before.

The state of a row says where its job stands: each line, heap and list is a partial index. The counters only grow and
stay with the queue's name for ever; one of them, the tide, also numbers the places in the lines, for whatever becomes
waiting makes it grow.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

from taskmanager.engine import AWAITED_MS, DUE_LIMIT, JobRef
from taskmanager.engines.rules import queue as rules
from taskmanager.engines.rules.records import LEGAL, Opening, WindowKey, check
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.rows import (
    LARGE_BYTES,
    PLACES,
    ends_of,
    job_of,
    json_of,
    new_row,
    packed,
    plain,
    schedule_of,
    unpacked,
    whole_row,
)
from taskmanager.job import FINISHED, Fact, Kind, State, StoredJob, StoredSchedule, build
from taskmanager.policy.lifecycle import GONE

__all__ = ["Queue"]

_STATES = tuple(State)
_STANDING = {State.WAITING: (sql.TAKE_WAITING, sql.TAKE_OVERDUE), State.DELAYED: (sql.TAKE_DELAYED,)}
"""What gives the first jobs of a state, one after the other."""


class Queue(rules.Queue):
    """All that a verb knows of its queue; good for one transaction."""

    def __init__(self, file: sqlite3.Connection, name: str, row: tuple[Any, ...]) -> None:
        self.file = file
        self.name = name
        self._row = row
        (
            self.number, self.paused, self.emissions, self.tide, self.claims, self.revisions, self.ends,
            waiting, delayed, active, completed, failed, cancelled, self.schedule_at, self._has_windows,
        ) = row  # fmt: skip
        self.states = dict(zip(_STATES, (waiting, delayed, active, completed, failed, cancelled), strict=True))
        self.jobs: dict[str, StoredJob | None] = {}
        self.ended: list[int] = []
        self._places: dict[str, int] = {}
        self._born: dict[str, StoredJob] = {}
        self._rewritten: dict[str, StoredJob] = {}
        self._noted: dict[str, StoredJob] = {}
        self._gone: list[int] = []
        self._without_lines: list[int] = []
        self._end_of: dict[str, int] = {}

    # ---- jobs

    def take_in(self, row: tuple[Any, ...]) -> StoredJob:
        """The record of a row, which from now on is the one of its id."""
        job = self.jobs[row[2]] = job_of(row, self.name)
        self._places[job.id] = row[0]
        if job.id != row[2]:  # a damaged id is known by what can be read of it
            self.jobs[job.id] = job
        return job

    def take_in_all(self, rows: Iterable[tuple[Any, ...]]) -> list[StoredJob]:
        return [self.take_in(row) for row in rows]

    def standing(self, state: State, limit: int, now: int, event: str | None = None) -> list[StoredJob]:
        self.flush()
        asked = {"queue": self.number, "state": state.value, "now": now, "event": event, "limit": limit}
        if state in FINISHED:
            asked["first"], asked["last"] = ends_of(self.number, state)
        rows: list[tuple[Any, ...]] = []
        for statement in _STANDING.get(state, (sql.TAKE_FINISHED,)):
            rows += self.file.execute(statement, asked | {"limit": limit - len(rows)}).fetchall()
        return self.take_in_all(rows)

    def text(self, text: str) -> str:
        return plain(text)

    def expect(self, ids: Collection[str]) -> None:
        """Reads the jobs of these ids at once, and remembers which are not there."""
        if len(ids) == 1:
            return  # that one is read as well when it is asked for
        self.jobs |= dict.fromkeys(ids)
        self.take_in_all(self.file.execute(sql.FIND_JOBS, (self.number, json_of(list(ids)))))

    def job(self, id: str) -> StoredJob | None:
        if id not in self.jobs:
            self.jobs[id] = None
            row = self.file.execute(sql.FIND_JOB, (self.number, id)).fetchone()
            if row is not None:
                self.take_in(row)
        return self.jobs[id]

    def place_of(self, job: StoredJob) -> int:
        return self._places[job.id]

    def add(self, job: StoredJob) -> None:
        self.jobs[job.id] = self._born[job.id] = job
        self.states[job.state] += 1

    def put(self, job: StoredJob) -> None:
        """To be written whole: a job that is not active any more, or never was."""
        if job.state in FINISHED:
            self._end_of[job.id] = ends_of(self.number, job.state)[0] + self.ends
        if job.id not in self._born:
            self._rewritten[job.id] = job

    def note(self, job: StoredJob) -> None:
        if job.id not in self._born:
            self._noted[job.id] = job

    def flush(self) -> None:
        """Writes what was left to be written of the jobs."""
        file, number, places = self.file, self.number, self._places
        if self._gone:
            file.executemany(sql.DROP_JOB, [(place,) for place in self._gone])
            self._gone.clear()
        if self._without_lines:
            if file.execute(sql.HAS_LINES, (number,)).fetchone()[0]:
                file.executemany(sql.DROP_LINES, [(number, serial) for serial in self._without_lines])
            self._without_lines.clear()
        if self._noted:
            noted = [job for id, job in self._noted.items() if id not in self._rewritten]
            file.executemany(sql.NOTE_JOB, [self._note_row(job) for job in noted])
            self._noted.clear()
        if self._rewritten:
            rows = [whole_row(job, number, self._end_of.get(id), places[id]) for id, job in self._rewritten.items()]
            file.executemany(sql.PUT_JOB, rows)
            self._have_places(self._rewritten)
            self._rewritten.clear()
            file.executemany(sql.ADD_END, [(end, places[id]) for id, end in self._end_of.items()])
            self._end_of.clear()
        if self._born:
            file.executemany(sql.ADD_JOB, [new_row(job, number) for job in self._born.values()])
            self._have_places(self._born)
            self._born.clear()

    def _have_places(self, jobs: dict[str, StoredJob]) -> None:
        """Notes where these were written, and puts there what is too large for their rows."""
        places, first = self._places, self.number << PLACES
        large = []
        for id, job in jobs.items():
            place = places[id] = first | job.emission
            if len(job.data) > LARGE_BYTES:
                large.append((place, job.data))
        if large:
            self.file.executemany(sql.PUT_PAYLOAD, large)

    def save(self) -> None:
        """Writes all that is left to be written."""
        self.flush()
        row = (
            self.number, self.paused, self.emissions, self.tide, self.claims, self.revisions, self.ends,
            *self.states.values(), self.schedule_at,
        )  # fmt: skip
        if row != self._row[:-1]:
            self.file.execute(sql.PUT_QUEUE, (*row[1:], self.number))

    def _note_row(self, job: StoredJob) -> tuple[Any, ...]:
        return 1 if job.awaited else 0, 1 if job.cancel_requested else 0, json_of(job.follow_up), self._places[job.id]

    # ---- answers

    def tail(self, worker: str | None) -> tuple[int, int | None, int | None, int | None]:
        """The end of every answer: tide, due_at, schedule_at, lease_at. Asked when all is saved."""
        due_at = lease_at = None
        if self.states[State.DELAYED]:
            found = self.file.execute(sql.NEXT_DUE, (self.number,)).fetchone()
            due_at = None if found is None else found[0]
        if self.states[State.ACTIVE]:
            lease_at = self.file.execute(sql.NEXT_LEASE, (self.number, worker or "")).fetchone()[0]
        return self.tide, due_at, self.schedule_at, lease_at

    # ---- moves

    def move(self, job: StoredJob, step: Kind, to: State) -> None:
        if (job.state, step, to) not in LEGAL:
            check(job.state, step, to)
        self.states[job.state] -= 1
        self.states[to] += 1
        job.state = to

    def make_due(self, now: int, facts: list[Fact]) -> None:
        """What is due stands in line, at most `DUE_LIMIT` jobs a call. Before anything else in a verb."""
        if not self.states[State.DELAYED]:
            return
        rows = self.file.execute(sql.FIND_DUE, (self.number, now, DUE_LIMIT)).fetchall()
        if not rows:
            return
        check(State.DELAYED, Kind.DUE, State.WAITING)
        tide = self.tide
        self.file.executemany(sql.PUT_DUE, [(tide + nth, row[0]) for nth, row in enumerate(rows, 1)])
        facts += [build(Fact, (now, Kind.DUE, self.name, row[2], row[1], None, None, None)) for row in rows]
        self.tide += len(rows)
        self.states[State.DELAYED] -= len(rows)
        self.states[State.WAITING] += len(rows)

    # ---- ends

    def end_serial(self, serial: int, to: State) -> None:
        self.ends += 1
        self._end_serials([serial], to)

    def end_plainly(self, serials: list[int], to: State) -> None:
        """Active jobs that nobody has looked at, whose ends are counted already."""
        self.states[State.ACTIVE] -= len(serials)
        self.states[to] += len(serials)
        self._end_serials(serials, to)

    def _end_serials(self, serials: list[int], to: State) -> None:
        self.ended += serials
        if self._has_windows:
            over = [(self.number, serial, to is not State.COMPLETED) for serial in serials]
            self.file.executemany(sql.END_WINDOWS, over)

    def forget(self, job: StoredJob) -> None:
        check(job.state, GONE, GONE)
        self.states[job.state] -= 1
        for marked in (self.jobs, self._rewritten, self._noted, self._end_of):
            marked.pop(job.id, None)
        self.jobs[job.id] = None
        self._gone.append(self._places.pop(job.id))
        self._without_lines.append(job.serial)

    def forget_all(self, state: State, jobs: list[tuple[int, int]]) -> None:
        """`forget` for jobs of a finished state that nobody has looked at: their places and serials."""
        if jobs:
            check(state, GONE, GONE)
            self.states[state] -= len(jobs)
            self._gone += [place for place, _ in jobs]
            self._without_lines += [serial for _, serial in jobs]

    def revive(self, job: StoredJob) -> None:
        self.file.execute(sql.DROP_END, (self._places[job.id],))
        self.file.execute(sql.DROP_OUTCOME, (self.number, job.serial))

    # ---- windows, outcomes, schedules

    def window(self, key: WindowKey) -> Opening | None:
        row = self.file.execute(sql.GET_WINDOW, (self.number, *key)).fetchone()
        return None if row is None else Opening(*row)

    def open_window(self, key: WindowKey, opening: Opening) -> None:
        self.file.execute(sql.PUT_WINDOW, (self.number, *key, *opening))
        self._has_windows = True

    def outcome(self, ref: JobRef, now: int) -> StoredJob | None:
        if ref.serial is None:
            return None
        row = self.file.execute(sql.GET_OUTCOME, (self.number, ref.serial, ref.id, now)).fetchone()
        return None if row is None else unpacked(row[0], StoredJob)

    def keep_outcome(self, job: StoredJob, now: int) -> None:
        row = (self.number, job.serial, job.id, now + AWAITED_MS, packed(job))
        self.file.execute(sql.PUT_OUTCOME, row)

    def schedule(self, name: str) -> StoredSchedule | None:
        row = self.file.execute(sql.GET_SCHEDULE, (self.number, name)).fetchone()
        return None if row is None else schedule_of(row)

    def put_schedule(self, schedule: StoredSchedule) -> None:
        plan, place = schedule.plan, schedule.place
        row = (self.number, plan.name, json_of(plan), place, schedule.revision, schedule.next_at, schedule.dropped)
        self.file.execute(sql.PUT_SCHEDULE, row)
        self._look_ahead()

    def drop_schedule(self, name: str) -> bool:
        count = self.file.execute(sql.DROP_SCHEDULE, (self.number, name)).rowcount
        self._look_ahead()
        return count > 0

    def _look_ahead(self) -> None:
        self.schedule_at = self.file.execute(sql.NEXT_SCHEDULE, (self.number,)).fetchone()[0]

    def is_live(self, schedule: str) -> bool:
        self.flush()
        return bool(self.file.execute(sql.COUNT_LIVE, (self.number, schedule)).fetchone()[0])
