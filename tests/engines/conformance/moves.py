"""Follows each job through the answers of an engine, and refuses every move that the lifecycle's table does not have.

An answer tells steps, not states; the states are read after each call. Between the state a job had and the one it has
there must be a way through the table along the steps that were told. Claims tell no `started` (the worker does, when
the handler starts), so each first hand-out counts as one. Going is silent, and so is a follow-up's taking its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from taskmanager.engine import Answer, Claimed, Engine, JobRef
from taskmanager.job import FINISHED, Kind, State, StoredJob
from taskmanager.policy.lifecycle import BORN, GONE, MOVES

Move = tuple[str, str, str]
STILL = frozenset({Kind.DUPLICATE, Kind.DEBOUNCED, Kind.FOLLOW_UP, Kind.PROGRESS, Kind.SKIPPED})
"""Steps that may leave a job where it is."""


class Moves:
    """`seen` holds every (from, step, to) that was observed beyond doubt: where only one way leads."""

    def __init__(self) -> None:
        self.seen: set[Move] = set()
        self.known: dict[tuple[str, str], StoredJob] = {}
        self.serials: set[tuple[str, str, int]] = set()

    async def follow(self, engine: Engine, queue: str, answer: Answer) -> None:
        if answer.replayed:
            return
        steps: dict[str, list[str]] = {}
        for fact in answer.facts:
            if fact.job_id is not None:
                steps.setdefault(fact.job_id, []).append(fact.kind)
        for claim in answer.jobs if isinstance(answer, Claimed) else ():
            before = self.known.get((queue, claim.id))
            handed = steps.setdefault(claim.id, [])
            if before is None or before.state != State.ACTIVE or handed:
                handed.append(Kind.STARTED)
        for id, kinds in steps.items():
            self.step(queue, id, kinds, await engine.get(queue, JobRef(id)))

    def step(self, queue: str, id: str, kinds: list[str], after: StoredJob | None) -> None:
        before = self.known.pop((queue, id), None)
        if after is not None:
            self.known[queue, id] = after
            self.serials.add((queue, id, after.serial))
        if _place(before) == _place(after):
            return
        first = before.state if before is not None else BORN
        if first == State.WAITING and kinds[0] == Kind.DUE:
            first = State.DELAYED  # it was read when its time had come already
        last = after.state if after is not None else GONE
        ways = list(islice(_ways(first, kinds, last, may_stay=len(kinds) > 1), 2))
        assert ways, f"{id!r} went from {first} by {kinds} to {last}: the lifecycle's table has no such way"
        if len(ways) == 1:
            self.seen.update(ways[0])


def _place(job: StoredJob | None) -> tuple[int, int, State] | None:
    return None if job is None else (job.serial, job.emission, job.state)


def _ways(state: str, kinds: Sequence[str], last: str, may_stay: bool) -> Iterator[list[Move]]:
    """Every way through the table from one state along the told steps to another; of several, some may move nothing."""
    if not kinds:
        if state == last:
            yield []
        elif state in FINISHED and last == GONE:
            yield [(state, GONE, GONE)]
        elif state in FINISHED and last in MOVES[BORN, Kind.FOLLOW_UP]:
            yield [(state, GONE, GONE), (BORN, Kind.FOLLOW_UP, last)]
        return
    kind, rest = kinds[0], kinds[1:]
    for to in sorted(MOVES.get((state, kind), ())):
        for way in _ways(to, rest, last, may_stay):
            yield [(state, kind, to), *way]
    if may_stay and kind in STILL:
        yield from _ways(state, rest, last, may_stay)
    if state in FINISHED:
        for way in _ways(BORN, kinds, last, may_stay):
            yield [(state, GONE, GONE), *way]
