"""The plain end of a run: its first attempt, with nothing that another job, an asker or a reaper has to do with it.

Nearly every job ends so, and so this is the one path that reads and writes no more of a row than it must. It decides
nothing: what is to be compared before (a cancel mark, a follow-up) concerns only runs that do not finish their job, or
jobs that are not plain; those go through `settle`. The history of a run that completed its job reads from the other
columns (see `rows`), so none is written.

Jobs that were handed out one after the other lie side by side, and most of them end alike: a stretch of such is one
statement. What it needs to know of them the engine remembers from when it handed them out (`Handed`), so their rows are
not read before they are written. Memory may be behind the file, by an awaiting caller or a lost lease, so the statement
compares, and where it does not meet every row that it was meant for, the verb begins again and reads (`Overtaken`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from taskmanager.engine import Settlement
from taskmanager.engines.rules.records import LEGAL, check
from taskmanager.engines.rules.settle import letter, told
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import attempts_text, ends_of, json_of, plain
from taskmanager.job import AttemptInfo, ErrorInfo, Fact, Kind, State, build

__all__ = ["Ends", "Handed", "Overtaken", "PlainRun"]

_ACTIVE, _COMPLETED = State.ACTIVE, Kind.COMPLETED  # a look-up in an Enum costs a call


class PlainRun(NamedTuple):
    """What the end of a run has to know of its job: the columns of `GET_RUNS`, but for the last."""

    place: int
    claim: int
    id: str
    serial: int
    event: str
    attempt: int
    failures: int
    losses: int
    started_at: int

    def is_sound(self) -> bool:
        if type(self.id) is not str or type(self.event) is not str:
            return False
        try:
            return type(self.attempt + self.failures + self.losses + self.started_at + self.serial) is int
        except TypeError:
            return False


Handed = dict[int, PlainRun]
"""What a worker was handed in one queue and has not settled, by claim."""


class Overtaken(Exception):
    """A run that was remembered as plain is not, or not any more."""


class _Stretch:
    """Neighbours that end alike: how they end, the first one's number, place and claim, and the serials of all."""

    __slots__ = ("claim", "end", "number", "place", "serials")

    def __init__(self, end: tuple[Any, ...], number: int, place: int, claim: int) -> None:
        self.end = end
        self.number = number
        self.place = place
        self.claim = claim
        self.serials: list[int] = []


class Ends:
    """The plain ends of one call, gathered into stretches and written at its end."""

    def __init__(self, queue: Queue, worker: str, lease: int, now: int, facts: list[Fact]) -> None:
        self._queue = queue
        self._worker = worker
        self._lease = lease
        self._now = now
        self._facts = facts
        self._letters: list[tuple[str, str | None, int]] = []
        self._stretches: list[_Stretch] = []
        self._histories: dict[tuple[int, int, Kind, ErrorInfo | None], str | None] = {}

    def add(self, run: PlainRun, settlement: Settlement) -> State:
        """The end of a run, by a transition that finishes the job."""
        queue, worker, now = self._queue, self._worker, self._now
        place, claim, id, serial, event, attempt, failures, losses, started_at = run
        transition, unstarted_ms = settlement.transition, settlement.unstarted_ms
        step, to, error = transition.kind, transition.to, transition.error
        reason = None if transition.reason is None else plain(str(transition.reason))
        detail = told(settlement, step, reason, was_reaped=False)
        self._facts.append(build(Fact, (now, step, queue.name, event, id, attempt, worker, detail)))
        if losses:
            queue.tide += 1  # it counts as a suspect, and its worker may now be handed another
        runs = None
        if step is not _COMPLETED or error is not None or unstarted_ms:
            runs = self._history(attempt, started_at + unstarted_ms, step, error)
        end = (
            step,
            to,
            failures + transition.failures,
            losses + transition.losses,
            transition.max_attempts,
            transition.result,
            None if error is None else json_of(error),
            reason,
            runs,
            worker if runs is None else None,
        )
        queue.ends = number = queue.ends + 1
        self._stretch(end, number, place, claim).serials.append(serial)
        if transition.dead_letter is not None:
            entry = letter(transition.dead_letter, reason, error, to, now, attempt)
            self._letters.append((transition.dead_letter, json_of(entry), place))
        return to

    def _history(self, attempt: int, began_at: int, step: Kind, error: ErrorInfo | None) -> str | None:
        """The one run of a job. Jobs that were handed out together mostly began together, too."""
        key = (attempt, began_at, step, error)
        known = self._histories.get(key)
        if known is None:
            run = AttemptInfo(attempt, self._worker, began_at, self._now, step.value, error)
            known = self._histories[key] = attempts_text([run])
        return known

    def _stretch(self, end: tuple[Any, ...], number: int, place: int, claim: int) -> _Stretch:
        """The last one, where this is its next; else a new one."""
        if self._stretches:
            last = self._stretches[-1]
            nth = len(last.serials)
            if place - last.place == nth == claim - last.claim == number - last.number and end == last.end:
                return last
        step, to = end[:2]
        if (_ACTIVE, step, to) not in LEGAL:
            check(_ACTIVE, step, to)
        self._stretches.append(_Stretch(end, number, place, claim))
        return self._stretches[-1]

    def write(self) -> None:
        """Writes what was gathered. Raises `Overtaken` where a row is not as it was remembered."""
        queue, count, rows, places = self._queue, 0, [], []
        for one in self._stretches:
            to, values = one.end[1], one.end[2:]
            queue.end_plainly(one.serials, to)
            count += len(one.serials)
            first, last = one.place, one.place + len(one.serials) - 1
            number = ends_of(queue.number, to)[0] + one.number
            fence = (first, last, self._lease, one.claim - first)
            rows.append((to.value, *values, self._now, number - first, *fence))
            places.append((first, last))
        if queue.file.executemany(sql.PUT_END, rows).rowcount != count:
            raise Overtaken
        queue.file.executemany(sql.ADD_ENDS, places)
        if self._letters:
            queue.file.executemany(sql.PUT_LETTER, self._letters)
