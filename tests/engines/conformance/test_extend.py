"""`extend`: the heartbeat. It renews, says what is lost or marked, and carries logs and progress."""

from __future__ import annotations

import pytest

from taskmanager.engine import LOG_LINES, Journal
from taskmanager.job import Kind, LogLine, Progress, State
from tests.engines.conformance.builders import (
    LEASE_MS,
    completed,
    emission,
    emissions,
    released,
    retried,
    the_fact,
    told,
)
from tests.engines.conformance.world import World


async def lines(world: World, id: str = "x") -> list[str]:
    return [line.message for line in await world.engine.logs("q", id)]


# ---- the lease


async def test_a_heartbeat_renews_the_lease_of_all(world: World) -> None:
    await world.enqueue(*emissions(3))
    await world.claim()
    world.advance(100)
    answer = await world.extend(lease_ms=500)
    assert (answer.lost, answer.cancelled, answer.beyond, answer.facts) == ([], [], False, [])
    assert answer.lease_at is None
    assert (await world.claim(0, "other")).lease_at == world.at(600)


async def test_a_heartbeat_of_a_worker_that_holds_nothing_makes_no_lease(world: World) -> None:
    answer = await world.extend(holds=())
    assert (answer.lost, answer.cancelled, answer.beyond) == ([], [], False)
    assert (await world.claim(0, "other")).lease_at is None


async def test_a_lease_that_has_run_out_but_was_not_reaped_is_renewed(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    world.advance(10 * LEASE_MS)
    assert (await world.extend()).lost == []
    assert (await world.reap()).jobs == []
    assert await world.end(claim, completed()) == State.COMPLETED


async def test_claims_of_another_worker_are_lost(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    before = await world.picture()
    assert (await world.extend(worker="other", holds=[claim.number])).lost == [claim.number]
    assert await world.picture() == before
    assert (await world.extend()).lost == []


async def test_reaped_claims_are_lost_to_who_had_them(world: World) -> None:
    await world.enqueue(*emissions(2))
    numbers = {claim.number for claim in (await world.claim()).jobs}
    world.advance(LEASE_MS)
    await world.reap()
    answer = await world.extend(holds=numbers)
    assert set(answer.lost) == numbers
    assert not answer.beyond


async def test_an_attempt_number_is_no_fence(world: World) -> None:
    await world.add("x")
    old = await world.take()
    await world.end(old, released())
    await world.add("x", replace=True)
    new = await world.take()
    assert (old.attempt, new.attempt) == (1, 1)
    answer = await world.extend(Journal(old.number, 1, "stale"), holds=[old.number])
    assert (answer.lost, answer.beyond) == ([old.number], True)
    assert await lines(world) == []


async def test_settled_and_never_given_claims_are_lost(world: World) -> None:
    await world.enqueue(*emissions(2))
    one, two = (await world.claim()).jobs
    await world.end(one, completed())
    answer = await world.extend(holds=[one.number, two.number, 10**6])
    assert sorted(answer.lost) == [one.number, 10**6]


async def test_beyond_tells_of_claims_that_were_not_named(world: World) -> None:
    await world.enqueue(*emissions(2))
    one, two = (await world.claim()).jobs
    assert (await world.extend(holds=[one.number])).beyond
    assert not (await world.extend(holds=[one.number, two.number])).beyond


async def test_what_a_reaper_has_in_hand_stands_and_is_never_beyond(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS)
    [claim] = (await world.reap()).jobs
    await world.cancel("x")
    unnamed = await world.extend(worker="reaper", holds=())
    assert (unnamed.lost, unnamed.cancelled, unnamed.beyond) == ([], [], False)
    named = await world.extend(worker="reaper", holds=[claim.number])
    assert (named.lost, named.cancelled, named.beyond) == ([], [], False)


async def test_the_reapers_heartbeat_keeps_what_it_has_in_hand(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS)
    await world.reap()
    world.advance(LEASE_MS - 1)
    await world.extend(worker="reaper")
    world.advance(LEASE_MS - 1)
    assert (await world.reap(worker="second")).jobs == []


async def test_a_heartbeat_brings_back_cancel_marks_each_time(world: World) -> None:
    await world.enqueue(*emissions(2))
    one, two = (await world.claim()).jobs
    await world.cancel(two.id)
    assert (await world.extend()).cancelled == [two.number]
    assert (await world.extend()).cancelled == [two.number]
    assert (await world.extend(holds=[one.number])).cancelled == []


async def test_sent_twice_it_changes_nothing_more(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    beat = [Journal(claim.number, 1, "one"), Journal(claim.number, 2, Progress(0.5)), Journal(claim.number, 3, "two")]
    first = await world.extend(*beat)
    before = await world.picture()
    second = await world.extend(*beat)
    assert (first.lost, second.lost, told(second)) == ([], [], [])
    assert await world.picture() == before
    assert await lines(world) == ["one", "two"]


# ---- the journal


async def test_log_lines_are_kept_in_order_with_moment_and_attempt(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    answer = await world.extend(Journal(claim.number, 1, "one"), Journal(claim.number, 2, "two"))
    assert answer.facts == []
    await world.end(claim, retried(5))
    world.advance(5)
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "three"))
    assert list(await world.engine.logs("q", "x")) == [
        LogLine(world.at(0), 1, "one"),
        LogLine(world.at(0), 1, "two"),
        LogLine(world.at(5), 2, "three"),
    ]


async def test_entries_already_written_are_passed_over_and_new_ones_added(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "one"), Journal(claim.number, 2, "two"))
    await world.extend(Journal(claim.number, 2, "two"), Journal(claim.number, 3, "three"))
    assert await lines(world) == ["one", "two", "three"]


async def test_entries_are_counted_per_claim(world: World) -> None:
    await world.enqueue(emission("x"), emission("y"))
    one, two = (await world.claim()).jobs
    await world.extend(Journal(one.number, 1, "a"), Journal(two.number, 1, "b"), Journal(one.number, 2, "c"))
    assert (await lines(world, "x"), await lines(world, "y")) == (["a", "c"], ["b"])


async def test_the_journal_of_a_stale_claim_is_not_written(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    world.advance(LEASE_MS)
    await world.reap()
    before = await world.picture()
    answer = await world.extend(Journal(claim.number, 1, "late"), Journal(claim.number, 2, Progress(1.0)))
    assert (answer.lost, answer.facts) == ([claim.number], [])
    assert await world.picture() == before


async def test_the_journal_of_a_claim_that_stands_is_written_though_it_was_not_named(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "a"), holds=())
    assert await lines(world) == ["a"]


async def test_another_workers_journal_is_not_written(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "a"), worker="other", holds=())
    assert await lines(world) == []


async def test_of_too_many_lines_the_oldest_go(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(*(Journal(claim.number, number, str(number)) for number in range(1, LOG_LINES + 4)))
    assert await lines(world) == [str(number) for number in range(4, LOG_LINES + 4)]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("a" * 8192, "a" * 8192),
        ("a" * 8193, "a" * 8192),
        ("é" * 5000, "é" * 4096),
        ("a" + "é" * 5000, "a" + "é" * 4095),
    ],
    ids=["fits", "cut", "cut between characters", "cut before half a character"],
)
async def test_a_line_is_cut_at_8_kib_and_never_within_a_character(world: World, line: str, kept: str) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, line))
    assert await lines(world) == [kept]


async def test_progress_is_kept_on_the_job_and_told(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    answer = await world.extend(
        Journal(claim.number, 1, Progress(0.25)), Journal(claim.number, 2, Progress(0.5, "half"))
    )
    assert (await world.job("x")).progress == Progress(0.5, "half")
    assert told(answer) == [(Kind.PROGRESS, "x"), (Kind.PROGRESS, "x")]
    assert answer.facts[1] == (world.now, Kind.PROGRESS, "q", "send", "x", 1, "w", {"fraction": 0.5, "note": "half"})


async def test_progress_without_a_note_tells_the_fraction(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    fact = the_fact(await world.extend(Journal(claim.number, 1, Progress(0.25))), Kind.PROGRESS)
    assert fact.detail is not None
    assert (fact.detail["fraction"], fact.detail.get("note")) == (0.25, None)
