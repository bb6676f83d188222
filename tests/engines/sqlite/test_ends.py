"""The plain end of a run: what the engine remembers of a hand-out changes nothing of what it writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from taskmanager.engine import Answer, Await, Batch, Delete, JobRef, Journal, Limit, Requeue, Settlement
from taskmanager.engines.sqlite import SqliteEngine
from taskmanager.engines.sqlite.address import Address
from taskmanager.engines.sqlite.ends import Ends
from taskmanager.engines.sqlite.store import Store
from taskmanager.job import FINISHED, Claim, Progress, State
from tests.engines.conformance.builders import completed, emission, emissions, failed, released, retried, skipped
from tests.engines.conformance.world import ManualClock

LEASE_MS = 60_000
ENDS = [completed(), completed(b"1"), skipped(), failed("why", dead_letter="dead"), failed(), retried(), released()]

Happening = Callable[[SqliteEngine, list[Claim]], Awaitable[Answer]]


async def nothing(engine: SqliteEngine, claims: list[Claim]) -> Answer:
    return await engine.extend("q", "w", [claim.number for claim in claims], LEASE_MS)


async def an_asker(engine: SqliteEngine, claims: list[Claim]) -> Answer:
    return await engine.control("q", Await(JobRef(claims[3].id)), Batch("asker", 1))


async def a_cancel(engine: SqliteEngine, claims: list[Claim]) -> Answer:
    return await engine.cancel("q", JobRef(claims[2].id), Batch("asker", 1))


async def a_follow_up(engine: SqliteEngine, claims: list[Claim]) -> Answer:
    return await engine.enqueue("q", [emission(claims[4].id)], Batch("other", 1))


async def a_report(engine: SqliteEngine, claims: list[Claim]) -> Answer:
    return await engine.extend("q", "w", (), LEASE_MS, [Journal(claims[1].number, 1, Progress(0.5, "half"))])


async def a_reap(engine: SqliteEngine, claims: list[Claim]) -> Answer:
    return await engine.reap("q", "other", (), 3, LEASE_MS)


def alike(settlements: list[Settlement], _: Random) -> list[Settlement]:
    return [settlement._replace(transition=completed()) for settlement in settlements]


def shuffled(settlements: list[Settlement], rng: Random) -> list[Settlement]:
    rng.shuffle(settlements)
    return settlements


def with_strangers(settlements: list[Settlement], _: Random) -> list[Settlement]:
    """One of a claim that nobody has, and two that are named again, to end in another way."""
    again = [settlement._replace(transition=completed(b"again")) for settlement in settlements[::5]]
    return [Settlement(10_000, completed()), *settlements, *again]


@pytest.mark.parametrize("order", [alike, shuffled, with_strangers])
@pytest.mark.parametrize("happens", [nothing, an_asker, a_cancel, a_follow_up, a_report, a_reap])
async def test_what_is_remembered_of_a_hand_out_changes_neither_answer_nor_record(
    happens: Happening, order: Callable[[list[Settlement], Random], list[Settlement]]
) -> None:
    seen: list[tuple[object, ...]] = []
    for remembers in (True, False):
        clock, store = ManualClock(), Store(Address(None))
        engine, other = SqliteEngine(clock, store), SqliteEngine(clock, store)
        await engine.enqueue("q", [*emissions(6), emission("high", priority=5)], Batch("caller", 1))
        await engine.enqueue("q", [emission(f"k{nth}", event="other") for nth in range(5)], Batch("caller", 2))
        first = (await engine.claim("q", "w", (), 7, LEASE_MS, 2)).jobs
        clock.advance(1)
        claims = first + (await engine.claim("q", "w", [claim.number for claim in first], 5, LEASE_MS, 2)).jobs
        clock.advance(LEASE_MS + 1)
        await happens(engine, claims)
        given = [
            Settlement(claim.number, ENDS[nth % len(ENDS)], duration_ms=nth, unstarted_ms=nth % 3)
            for nth, claim in enumerate(claims)
        ]
        settlements = order(given, Random(1))
        answer = await (engine if remembers else other).settle(
            "q", "w", settlements, Batch("w", 1), frozenset({State.CANCELLED})
        )
        room = await engine.prune("q", {State.COMPLETED: Limit(None, 2), State.FAILED: Limit(None, 1)})
        records = await engine.list("q", None, 100, None)
        seen.append((answer, room, records, await engine.dead_letters("dead"), await engine.count("q")))
    assert seen[0] == seen[1]


async def test_jobs_that_were_handed_out_together_and_end_alike_are_one_row_s_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts: list[int] = []
    write = Ends.write

    def counted(self: Ends) -> None:
        counts.append(len(self._stretches))
        write(self)

    monkeypatch.setattr(Ends, "write", counted)
    engine = SqliteEngine(ManualClock())
    await engine.enqueue("q", emissions(40), Batch("caller", 1))
    claims = (await engine.claim("q", "w", (), 40, LEASE_MS, 2)).jobs
    for number, half in enumerate((claims[:20], claims[20:]), 1):
        settlements = [Settlement(claim.number, completed(), duration_ms=number) for claim in half]
        await engine.settle("q", "w", settlements, Batch("w", number))
    assert counts == [1, 1]


async def test_the_ends_are_those_of_the_finished_jobs_whatever_becomes_of_them(url: str) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    engine = SqliteEngine(ManualClock(), Store(Address(str(path))))
    await engine.enqueue("q", emissions(12), Batch("caller", 1))
    claims = (await engine.claim("q", "w", (), 12, LEASE_MS, 2)).jobs
    settlements = [Settlement(claim.number, ENDS[nth % len(ENDS)]) for nth, claim in enumerate(claims)]
    await engine.settle("q", "w", settlements, Batch("w", 1))
    await engine.control("q", Requeue(JobRef(claims[3].id)), Batch("operator", 1))
    await engine.control("q", Delete(JobRef(claims[0].id)), Batch("operator", 2))
    await engine.enqueue("q", [emission(claims[1].id)], Batch("caller", 2))
    await engine.prune("q", {State.COMPLETED: Limit(None, 3)})
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        assert other.execute("DELETE FROM jobs WHERE id = ?", (claims[4].id,)).rowcount == 1
        ended = other.execute("SELECT place FROM ends ORDER BY place").fetchall()
        numbers = other.execute("SELECT count(*) FROM ends JOIN jobs ON number = ended").fetchone()
        places = {row[0]: row[1] for row in other.execute("SELECT id, place FROM jobs")}
    finished = [job for job in await engine.list("q", None, 100, None) if job.state in FINISHED]
    assert ended == sorted((places[job.id],) for job in finished)
    assert numbers == (len(finished),)
    assert [job.id for job in finished] == [claims[nth].id for nth in (11, 10, 9, 8, 7)]
    await engine.close()
