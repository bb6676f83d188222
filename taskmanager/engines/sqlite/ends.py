"""The plain end of a run: its first attempt, with nothing that another job, an asker or a reaper has to do with it.

Nearly every job ends so, and so this is the one path that reads and writes no more of a row than it must. It decides
nothing: what is to be compared before (a cancel mark, a follow-up) concerns only runs that do not finish their job, or
jobs that are not plain; those go through `settle`. The history of a run that completed its job reads from the other
columns (see `rows`), so none is written.
"""

from __future__ import annotations

from typing import NamedTuple

from taskmanager.engine import Settlement
from taskmanager.engines.rules.records import LEGAL, check
from taskmanager.engines.rules.settle import letter, told
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import attempts_text, json_of, plain
from taskmanager.job import AttemptInfo, Fact, Kind, State

__all__ = ["PlainRun", "end_plainly"]

_tuple = tuple.__new__
_COMPLETED = Kind.COMPLETED


class PlainRun(NamedTuple):
    """What the end of a run has to know of its job: the columns of `GET_RUNS`, but for the claim."""

    place: int
    id: str
    serial: int
    event: str
    attempt: int
    failures: int
    losses: int
    started_at: int
    max_attempts: int | None
    is_plain: int

    def ends_plainly(self) -> bool:
        """Whether the row is sound, and has nothing beside what is here."""
        if not self.is_plain or type(self.id) is not str or type(self.event) is not str:
            return False
        try:
            return type(self.attempt + self.failures + self.losses + self.started_at + self.serial) is int
        except TypeError:
            return False


def end_plainly(queue: Queue, worker: str, run: PlainRun, settlement: Settlement, now: int, facts: list[Fact]) -> State:
    """Writes the end of a run, of a transition that finishes the job."""
    transition = settlement.transition
    step, to, error = transition.kind, transition.to, transition.error
    if (State.ACTIVE, step, to) not in LEGAL:
        check(State.ACTIVE, step, to)
    reason = None if transition.reason is None else plain(str(transition.reason))
    detail = told(settlement, step, reason, was_reaped=False)
    facts.append(_tuple(Fact, (now, step, queue.name, run.event, run.id, run.attempt, worker, detail)))
    if run.losses:
        queue.tide += 1  # it counts as a suspect, and its worker may now be handed another
    runs = None
    if step is not _COMPLETED or error is not None or settlement.unstarted_ms:
        began_at = run.started_at + settlement.unstarted_ms
        runs = attempts_text([AttemptInfo(run.attempt, worker, began_at, now, step.value, error)])
    row = (
        to.value,
        run.failures + transition.failures,
        run.losses + transition.losses,
        run.max_attempts if transition.max_attempts is None else transition.max_attempts,
        now,
        queue.ends + 1,
        transition.result,
        None if error is None else json_of(error),
        reason,
        runs,
        worker if runs is None else None,
        run.place,
    )
    queue.end(run.serial, to, row)
    stream = transition.dead_letter
    if stream is not None:
        entry = json_of(letter(stream, reason, error, to, now, run.attempt))
        queue.file.execute(sql.PUT_LETTER, (stream, entry, run.place))
    return to
