"""One queue within one transaction: what the verbs see of it, and what they leave to be written.

A verb reads what it needs, decides in Python, and writes at its end: `save` sends what was marked (`add`, `rewrite`,
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

from taskmanager.engine import AWAITED_MS, DUE_LIMIT, NOTHING
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.rows import PLACES, job_of, json_of, new_row, packed, whole_row
from taskmanager.errors import InvariantError
from taskmanager.job import Edge, Fact, FollowUp, Kind, State, StoredJob
from taskmanager.policy.lifecycle import BORN, GONE, MOVES

__all__ = ["LEGAL", "Queue", "check", "check_move", "render"]

LEGAL = frozenset((start, step, end) for (start, step), ends in MOVES.items() for end in ends)
"""The table of legal moves, flat: one look-up a move."""
_STATES = tuple(State)
_tuple = tuple.__new__


def check(start: str, step: str, end: str) -> None:
    """Raises `InvariantError` for a move that is not in the table."""
    if (start, step, end) not in LEGAL:
        legal = ", ".join(sorted(MOVES.get((start, step), ()))) or "nowhere"
        raise InvariantError(f"no step {step} leads from {start} to {end}; by the table of moves it leads to: {legal}")


def check_move(start: State, step: Kind, to: State) -> None:
    """`check`, at the price of a look-up."""
    if (start, step, to) not in LEGAL:
        check(start, step, to)


class Queue:
    """All that a verb knows of its queue; good for one transaction."""

    def __init__(self, file: sqlite3.Connection, name: str, row: tuple[Any, ...]) -> None:
        self.file = file
        self.name = name
        self._row = row
        (
            self.number, self.paused, self.emissions, self.tide, self.claims, self.revisions, self.ends,
            waiting, delayed, active, completed, failed, cancelled, self.schedule_at,
        ) = row  # fmt: skip
        self.states = dict(zip(_STATES, (waiting, delayed, active, completed, failed, cancelled), strict=True))
        self.jobs: dict[str, StoredJob | None] = {}
        self.ended: list[int] = []
        self._places: dict[str, int] = {}
        self._born: dict[str, StoredJob] = {}
        self._rewritten: dict[str, StoredJob] = {}
        self._plain_ends: list[tuple[Any, ...]] = []
        self._noted: dict[str, StoredJob] = {}
        self._gone: list[int] = []
        self._without_lines: list[int] = []
        self._end_of: dict[str, int] = {}
        self._has_windows: bool | None = None

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

    def expect(self, ids: Collection[str]) -> None:
        """Reads the jobs of these ids at once, and remembers which are not there."""
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

    def rewrite(self, job: StoredJob) -> None:
        """To be written whole: a job that is not active any more, or never was."""
        if job.id not in self._born:
            self._rewritten[job.id] = job

    def note(self, job: StoredJob) -> None:
        """To be written where it stays: a mark, a follow-up."""
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
        if self._plain_ends:
            file.executemany(sql.PUT_END, self._plain_ends)
            self._plain_ends.clear()
        if self._rewritten:
            rows = [whole_row(job, number, self._end_of.get(id), places[id]) for id, job in self._rewritten.items()]
            file.executemany(sql.PUT_JOB, rows)
            places.update((id, number << PLACES | job.emission) for id, job in self._rewritten.items())
            self._rewritten.clear()
        if self._born:
            file.executemany(sql.ADD_JOB, [new_row(job, number) for job in self._born.values()])
            places.update((id, number << PLACES | job.emission) for id, job in self._born.items())
            self._born.clear()

    def save(self) -> None:
        """Writes all that is left to be written."""
        self.flush()
        row = (
            self.number, self.paused, self.emissions, self.tide, self.claims, self.revisions, self.ends,
            *self.states.values(), self.schedule_at,
        )  # fmt: skip
        if row != self._row:
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

    def tell(
        self, facts: list[Fact], now: int, kind: Kind, job: StoredJob, detail: dict[str, Any] | None = None
    ) -> None:
        facts.append(Fact(now, kind, self.name, job.event, job.id, None, None, detail))

    # ---- moves

    def move(self, job: StoredJob, step: Kind, to: State) -> None:
        check_move(job.state, step, to)
        self.states[job.state] -= 1
        self.states[to] += 1
        job.state = to

    def line_up(self, job: StoredJob, step: Kind) -> None:
        """Waiting, at the end of its priority."""
        self.move(job, step, State.WAITING)
        self.tide = job.order = self.tide + 1
        self.rewrite(job)

    def put(self, job: StoredJob, step: Kind, now: int) -> None:
        """Delayed where its time is to come, else waiting."""
        if job.run_at > now:
            self.move(job, step, State.DELAYED)
            self.rewrite(job)
        else:
            self.line_up(job, step)

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
        facts += [_tuple(Fact, (now, Kind.DUE, self.name, row[2], row[1], None, None, None)) for row in rows]
        self.tide += len(rows)
        self.states[State.DELAYED] -= len(rows)
        self.states[State.WAITING] += len(rows)

    def make_one_due(self, job: StoredJob, now: int, facts: list[Fact]) -> None:
        self.line_up(job, Kind.DUE)
        self.tell(facts, now, Kind.DUE, job)

    # ---- ends

    def end(self, serial: int, to: State, row: tuple[Any, ...]) -> None:
        """Ends an active job that nobody has looked at: `row` is what `PUT_END` takes."""
        self.states[State.ACTIVE] -= 1
        self.states[to] += 1
        self.ends += 1
        self.end_serial(serial, to)
        self._plain_ends.append(row)

    def finish(self, job: StoredJob, step: Kind, to: State, now: int, transient: Collection[State] = NOTHING) -> None:
        """Ends a job; a recorded follow-up takes its id over."""
        self.move(job, step, to)
        job.finished_at = now
        self.ends += 1
        self.end_serial(job.serial, to)
        follow_up, job.follow_up = job.follow_up, None
        if job.awaited:
            self.keep_outcome(job, now)
        if follow_up is not None:
            self.forget(job)
            self.succeed(job, follow_up, now)
        elif to in transient:
            self.forget(job)
        else:
            self._end_of[job.id] = self.ends
            self.rewrite(job)

    def end_serial(self, serial: int, to: State) -> None:
        """That job (or follow-up) lives no more: its trailing window is over, its leading one if it came to nothing."""
        self.ended.append(serial)
        if self._has_windows is None:
            self._has_windows = bool(self.file.execute(sql.HAS_WINDOWS, (self.number,)).fetchone()[0])
        if self._has_windows:
            self.file.execute(sql.END_WINDOWS, (self.number, serial, to is not State.COMPLETED))

    def keep_outcome(self, job: StoredJob, now: int) -> None:
        row = (self.number, job.serial, job.id, now + AWAITED_MS, packed(job))
        self.file.execute(sql.PUT_OUTCOME, row)

    def forget(self, job: StoredJob) -> None:
        """The record of a finished job goes, with its logs and its dead letter. An awaited outcome stays."""
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

    # ---- follow-ups, windows, schedules

    def succeed(self, job: StoredJob, follow_up: FollowUp, now: int) -> None:
        """The follow-up becomes the job of its id. A trailing window that it was recorded under is then its own."""
        heir = render(self.name, job, follow_up, now)
        check(BORN, Kind.FOLLOW_UP, heir.state)
        if heir.state is State.WAITING:
            self.tide = heir.order = self.tide + 1
        self.add(heir)
        window = heir.window
        if window is not None and window.edge is Edge.TRAILING:
            self.open_window((heir.event, window.key, window.edge), heir.id, heir.serial, follow_up.first_at, None)

    def open_window(self, key: tuple[str, str, Edge], id: str, serial: int, first_at: int, until: int | None) -> None:
        event, name, edge = key
        self.file.execute(sql.PUT_WINDOW, (self.number, event, name, edge.value, id, serial, first_at, until))
        self._has_windows = True

    def live_of(self, schedule: str) -> int:
        """How many jobs of a schedule are not finished, also where it is not registered any more."""
        self.flush()
        count: int = self.file.execute(sql.COUNT_LIVE, (self.number, schedule)).fetchone()[0]
        return count

    def look_ahead(self) -> None:
        """Keeps `schedule_at`; whoever changed a schedule calls this."""
        self.schedule_at = self.file.execute(sql.NEXT_SCHEDULE, (self.number,)).fetchone()[0]


def render(queue: str, job: StoredJob, follow_up: FollowUp, now: int) -> StoredJob:
    """The job that a follow-up is, or will be: the same id and count of losses, all else its own."""
    content, run_at = follow_up.content, follow_up.run_at
    return StoredJob(
        id=job.id,
        queue=queue,
        event=content.event,
        data=content.data,
        state=State.DELAYED if run_at is not None and run_at > now else State.WAITING,
        priority=content.priority,
        serial=follow_up.serial,
        emission=follow_up.emission,
        order=0,
        created_at=follow_up.created_at,
        run_at=follow_up.created_at if run_at is None else run_at,
        options=content.options,
        expires_at=follow_up.expires_at,
        losses=job.losses,
        window=content.window,
        awaited=follow_up.awaited,
    )
