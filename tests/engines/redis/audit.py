"""Whether what the store tells and what the workers wrote down can both be true, and be right.

*Exactly one end*: every job that was emitted is there, ended `completed`, and exactly one worker was told so. *No
unexplained run*: a job goes from one worker's hands to another's only by being reaped, and is reaped only from a worker
that was killed, stopped, or found itself late; or its worker was asked to stop and gave it back. What ended never runs
again. *Promptly*: within a lease and two seconds of the last death that held it up, or of the moment from which a
worker was there again, somebody has it.

A worker that dies at one point may have other calls in flight, which took effect and of which it wrote nothing. Where
the store says that a run was a dead worker's, its missing line is taken to be as old as its death.

It judges only from its arguments, so a test can lie to it and see whether it notices.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from taskmanager.job import State
from tests.engines.redis.diary import NOBODY, Line, Phase

SLACK_S = 2.0


class Record(NamedTuple):
    """What the store says of a job: its state, and outcome and worker of its ended attempts, oldest first."""

    state: str
    attempts: tuple[tuple[str, int], ...]


class Silence(NamedTuple):
    """A worker that was stopped from outside, from one moment to another."""

    pid: int
    began: float
    ended: float


@dataclass
class Account:
    """The result. `problems` is empty where all is right; `slowest_s` is from a death to the next hand-out."""

    problems: list[str] = field(default_factory=list)
    jobs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    second_runs: int = 0
    releases: int = 0
    lates: int = 0
    slowest_s: float = 0.0

    def __str__(self) -> str:
        head = (
            f"{self.jobs} jobs, {self.kills.total()} kills {dict(self.kills)}, {self.second_runs} second runs, "
            f"{self.lates} times late, slowest {self.slowest_s:.2f} s"
        )
        return "\n".join([head, *self.problems[:20]])


def audit(
    lines: Sequence[Line],
    records: Mapping[str, Record],
    expected: Iterable[str],
    lease_s: float,
    silences: Sequence[Silence] = (),
) -> Account:
    """The account of one world that has come to rest; `lines` in the order of their moments."""
    account = Account()
    deaths = {line.pid: line.t for line in lines if line.phase is Phase.KILLED}
    lives = _lives(lines)
    absences = [Silence(pid, t, float("inf")) for pid, t in deaths.items()] + list(silences)
    absences += [Silence(line.pid, 0.0, line.t) for line in lines if line.phase is Phase.LATE]
    account.kills.update(line.detail for line in lines if line.phase is Phase.KILLED)
    account.lates = sum(line.phase is Phase.LATE for line in lines)
    stories: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.job != NOBODY:
            stories[line.job].append(line)
        if line.t > deaths.get(line.pid, float("inf")):
            account.problems.append(f"worker {line.pid} wrote {line.phase} after its death")
    wanted = set(expected)
    account.jobs = len(wanted)
    account.problems += [f"{job}: ran, though nobody emitted it" for job in stories.keys() - wanted]
    account.problems += [f"{job}: is stored, though nobody emitted it" for job in records.keys() - wanted]
    for job in sorted(wanted):
        story = _completed(job, stories.get(job, []), records.get(job), deaths)
        account.problems += [f"{job}: {problem}" for problem in _ends(records.get(job), story)]
        account.problems += [f"{job}: {problem}" for problem in _hands(story, absences, deaths)]
        account.second_runs += max(0, sum(line.phase is Phase.BEGUN for line in story) - 1)
        account.releases += sum(_is_release(line) for line in story)
        waited_s = _longest_wait(story, deaths, lives)
        account.slowest_s = max(account.slowest_s, waited_s)
        if waited_s > lease_s + SLACK_S:
            account.problems.append(f"{job}: lay {waited_s:.2f} s after the death of who held it")
    return account


def _completed(job: str, story: Sequence[Line], record: Record | None, deaths: Mapping[int, float]) -> list[Line]:
    """The story with what the dead could not write: that they were given a job, and that they had settled it."""
    written = {(line.phase, line.attempt) for line in story}
    unwritten = []
    for attempt, (outcome, pid) in enumerate(record.attempts if record else (), start=1):
        if pid in deaths:
            if (Phase.HELD, attempt) not in written:
                unwritten.append(Line(job, attempt, pid, Phase.HELD, "", deaths[pid]))
            if outcome == State.COMPLETED and (Phase.SETTLED, attempt) not in written:
                unwritten.append(Line(job, attempt, pid, Phase.SETTLED, outcome, deaths[pid]))
    return sorted([*story, *unwritten], key=lambda line: line.t)


def _ends(record: Record | None, story: Sequence[Line]) -> Iterable[str]:
    """Exactly one end."""
    if record is None:
        yield "is lost: it was emitted and is not stored"
        return
    if record.state != State.COMPLETED:
        yield f"is {record.state}, not completed"
    outcomes = [outcome for outcome, _ in record.attempts]
    if outcomes.count(State.COMPLETED) != 1 or outcomes[-1] != State.COMPLETED:
        yield f"does not have one end, as its last attempt: {outcomes}"
    settled = [line for line in story if line.phase is Phase.SETTLED and not _is_release(line)]
    if [line.detail for line in settled] != [State.COMPLETED]:
        yield f"its end was stored {len(settled)} times: {[(line.pid, line.detail) for line in settled]}"
    if not any(line.phase is Phase.RAN for line in story):
        yield "has no side effect"
    attempts = {line.attempt for line in story if line.phase is Phase.HELD}
    if attempts != set(range(1, len(outcomes) + 1)):
        yield f"attempts {sorted(attempts)} were handed out, and {len(outcomes)} have ended"


def _hands(story: Sequence[Line], absences: Sequence[Silence], deaths: Mapping[int, float]) -> Iterable[str]:
    """No unexplained run: from one pair of hands to the next."""
    hands = [line for line in story if line.phase in {Phase.HELD, Phase.REAPED}]
    released = {(line.pid, line.attempt) for line in story if _is_release(line)}
    settled = {(line.pid, line.attempt): line.t for line in story if line.phase is Phase.SETTLED}
    freed = {(line.pid, line.attempt) for line in story if line.phase is Phase.FREED}
    for before, after in pairwise(hands):
        if (before.pid, before.attempt) in released:
            continue
        if settled.get((before.pid, before.attempt), after.t) < after.t:
            yield f"was handed out again after worker {before.pid} had settled it"
        if after.phase is Phase.REAPED:
            if not any(_explains(absence, before, after) for absence in absences):
                yield f"was reaped from worker {before.pid}, which was neither dead nor late"
        elif before.phase is Phase.REAPED:
            if (before.pid, before.attempt) not in freed and before.pid not in deaths:
                yield f"was handed out, though worker {before.pid} had reaped it and not given it back"
        elif (before.pid, before.attempt) != (after.pid, after.attempt):
            yield f"second run unexplained: worker {after.pid} was given what worker {before.pid} held"


def _is_release(line: Line) -> bool:
    return line.phase is Phase.SETTLED and line.detail == State.WAITING


def _explains(absence: Silence, before: Line, after: Line) -> bool:
    """Whether the worker that held it was away at some time between the two moments."""
    return absence.pid == before.pid and absence.began <= after.t and absence.ended >= before.t


def _lives(lines: Sequence[Line]) -> list[tuple[float, float]]:
    """From when to when each worker was there."""
    ends = {line.pid: line.t for line in lines if line.phase in {Phase.KILLED, Phase.OVER}}
    return [(line.t, ends.get(line.pid, float("inf"))) for line in lines if line.phase is Phase.READY]


def _longest_wait(story: Sequence[Line], deaths: Mapping[int, float], lives: Sequence[tuple[float, float]]) -> float:
    """From the last death of one who held it to the next time that it was handed out, the longest of these."""
    longest, last_death = 0.0, None
    for line in story:
        if line.phase is Phase.HELD and last_death is not None:
            longest = max(longest, line.t - _first_presence(last_death, lives))
            last_death = None
        if line.phase in {Phase.HELD, Phase.REAPED} and line.pid in deaths:
            last_death = max(last_death or 0.0, deaths[line.pid])
    return longest


def _first_presence(t: float, lives: Sequence[tuple[float, float]]) -> float:
    """The first moment from `t` on at which a worker was there; `t` where that is not known."""
    if any(began <= t < ended for began, ended in lives):
        return t
    return min((began for began, _ in lives if began > t), default=t)
