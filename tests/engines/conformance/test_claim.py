"""`claim`: who gets what, in which order, under which lease."""

from __future__ import annotations

from taskmanager.engine import DUE_LIMIT, Pause, Resume
from taskmanager.job import Kind, RunOptions, State
from tests.engines.conformance.builders import (
    LEASE_MS,
    completed,
    emission,
    emissions,
    failed,
    released,
    retried,
    the_fact,
    told,
)
from tests.engines.conformance.world import World


async def test_a_claim_carries_all_that_a_run_needs(world: World) -> None:
    options = RunOptions(timeout_ms=5)
    serial = await world.add("x", data=b"7", priority=4, options=options)
    world.advance(3)
    claim = await world.take()
    assert (claim.id, claim.serial, claim.queue, claim.event, claim.data) == ("x", serial, "q", "send", b"7")
    assert (claim.options, claim.priority, claim.schedule) == (options, 4, None)
    assert (claim.attempt, claim.failures, claim.losses) == (1, 0, 0)
    assert (claim.created_at, claim.run_at, claim.claimed_at) == (world.at(0), world.at(0), world.at(3))


async def test_a_claimed_job_is_active_and_nothing_is_told_yet(world: World) -> None:
    await world.add("x")
    answer = await world.claim()
    job = await world.job("x")
    assert answer.facts == []
    assert (job.state, job.attempt, job.worker, job.claim) == (State.ACTIVE, 1, "w", answer.jobs[0].number)
    assert (job.started_at, job.finished_at, job.reaped) == (world.now, None, False)


async def test_an_empty_queue_hands_out_nothing_and_holds_no_lease(world: World) -> None:
    answer = await world.claim()
    assert (answer.jobs, answer.more, answer.facts) == ([], False, [])
    assert (await world.claim(worker="other")).lease_at is None
    assert list(await world.engine.queues()) == []


async def test_higher_priority_goes_first_and_within_one_who_waits_longest(world: World) -> None:
    await world.enqueue(emission("a"), emission("b", priority=100), emission("c", priority=-100), emission("d"))
    await world.enqueue(emission("e", priority=100))
    assert await world.line() == ["b", "e", "a", "d", "c"]


async def test_whatever_becomes_waiting_goes_to_the_end_of_its_priority(world: World) -> None:
    await world.enqueue(emission("delayed", delay_ms=10), emission("retried"), emission("released"), emission("a"))
    again, back = (await world.claim(2)).jobs
    await world.end(again, retried(5))
    await world.add("b")
    await world.end(back, released())
    world.advance(10)
    await world.add("c")
    assert await world.line() == ["a", "b", "released", "retried", "delayed", "c"]


async def test_the_order_is_no_timestamp(world: World) -> None:
    await world.add("first")
    world.advance(-5000)
    await world.add("second")
    await world.add("third", run_at=world.now - 60_000)
    assert await world.line() == ["first", "second", "third"]


async def test_the_limit_holds_and_more_tells_what_is_left(world: World) -> None:
    await world.enqueue(*emissions(3))
    first = await world.claim(2)
    assert ([claim.id for claim in first.jobs], first.more) == (["j00000", "j00001"], True)
    second = await world.claim(2)
    assert ([claim.id for claim in second.jobs], second.more) == (["j00002"], False)


async def test_exactly_as_many_as_the_limit_leave_no_more(world: World) -> None:
    await world.enqueue(*emissions(2), emission("delayed", delay_ms=5))
    assert not (await world.claim(2)).more


async def test_numbers_are_never_given_twice_and_attempts_count(world: World) -> None:
    await world.add("x")
    numbers = []
    for attempt in (1, 2, 3):
        claim = await world.take(worker=f"w{attempt}")
        assert claim.attempt == attempt
        numbers.append(claim.number)
        await world.end(claim, released(), worker=f"w{attempt}")
    assert numbers == sorted(set(numbers))


async def test_a_claim_knows_failures_and_losses_so_far(world: World) -> None:
    await world.run(retried(5), "x")
    world.advance(5)
    claim = await world.take()
    assert (claim.attempt, claim.failures, claim.losses, claim.run_at) == (2, 1, 0, world.at(5))


async def test_what_is_due_is_made_due_first(world: World) -> None:
    await world.enqueue(emission("x", delay_ms=5), emission("y", delay_ms=9))
    world.advance(5)
    answer = await world.claim()
    assert told(answer) == [(Kind.DUE, "x")]
    assert ([claim.id for claim in answer.jobs], answer.due_at) == (["x"], world.at(9))


async def test_one_claim_makes_at_most_the_limit_due(world: World) -> None:
    await world.enqueue(*emissions(DUE_LIMIT, delay_ms=5))
    await world.enqueue(emission("urgent", delay_ms=6, priority=9))
    world.advance(10)
    first = await world.claim(1)
    assert first.more
    assert [fact.kind for fact in first.facts] == [Kind.DUE] * DUE_LIMIT
    assert [claim.id for claim in first.jobs] == ["j00000"]
    assert (await world.take()).id == "urgent"


async def test_what_is_overdue_beyond_the_limit_is_told_as_more(world: World) -> None:
    await world.enqueue(*emissions(DUE_LIMIT + 1, delay_ms=5))
    world.advance(5)
    first = await world.claim(DUE_LIMIT)
    assert (len(first.jobs), first.more) == (DUE_LIMIT, True)
    second = await world.claim(DUE_LIMIT)
    assert (len(second.jobs), second.more) == (1, False)


# ---- paused


async def test_a_paused_queue_makes_due_and_hands_out_nothing_new(world: World) -> None:
    await world.enqueue(emission("x"), emission("y", delay_ms=5))
    await world.control(Pause())
    world.advance(5)
    answer = await world.claim()
    assert (answer.jobs, answer.more, told(answer)) == ([], False, [(Kind.DUE, "y")])
    await world.control(Resume())
    assert await world.line() == ["x", "y"]


async def test_a_paused_queue_still_hands_out_orphans(world: World) -> None:
    await world.enqueue(emission("x"), emission("y"))
    claim = await world.take()
    await world.control(Pause())
    assert [job.number for job in (await world.claim(holds=())).jobs] == [claim.number]


async def test_a_paused_queue_cancels_nothing_that_expired(world: World) -> None:
    await world.add("x", expires_ms=5)
    await world.control(Pause())
    world.advance(6)
    assert told(await world.claim()) == []
    assert (await world.job("x")).state == State.WAITING


# ---- expiry


async def test_a_job_may_start_at_its_expiry_but_not_after(world: World) -> None:
    await world.enqueue(emission("in time", expires_ms=5), emission("too late", expires_ms=4))
    world.advance(5)
    answer = await world.claim()
    assert [claim.id for claim in answer.jobs] == ["in time"]
    assert told(answer) == [(Kind.CANCELLED, "too late")]
    assert the_fact(answer, Kind.CANCELLED).detail == {"reason": "expired"}
    job = await world.job("too late")
    assert (job.state, job.reason, job.finished_at, job.attempt) == (State.CANCELLED, "expired", world.now, 0)
    assert job.dead_letter is None


async def test_expired_jobs_do_not_count_against_the_limit(world: World) -> None:
    await world.enqueue(*emissions(3, expires_ms=1), emission("x"), emission("y"))
    world.advance(2)
    answer = await world.claim(1)
    assert ([claim.id for claim in answer.jobs], answer.more) == (["x"], True)
    assert told(answer) == [(Kind.CANCELLED, one.id) for one in emissions(3)]


async def test_a_retry_past_its_expiry_is_cancelled(world: World) -> None:
    await world.run(retried(5), "x", expires_ms=4)
    world.advance(5)
    assert told(await world.claim()) == [(Kind.DUE, "x"), (Kind.CANCELLED, "x")]


async def test_a_running_job_does_not_expire(world: World) -> None:
    await world.add("x", expires_ms=4)
    claim = await world.take()
    world.advance(5)
    await world.claim()
    assert await world.end(claim, completed()) == State.COMPLETED


# ---- orphans: a reply that was lost


async def test_sent_twice_it_hands_out_the_same_again(world: World) -> None:
    await world.enqueue(*emissions(4))
    first = await world.claim(2, holds=())
    before = await world.picture()
    second = await world.claim(2, holds=())
    assert second.jobs == first.jobs
    assert (second.facts, second.more) == ([], True)
    assert await world.picture() == before


async def test_orphans_come_before_new_ones_in_claim_order_and_count(world: World) -> None:
    await world.enqueue(*emissions(3), emission("high", priority=9))
    one, two = (await world.claim(2)).jobs
    await world.add("higher", priority=10)
    answer = await world.claim(3, holds=())
    assert [claim.number for claim in answer.jobs[:2]] == [one.number, two.number]
    assert [claim.id for claim in answer.jobs] == ["high", "j00000", "higher"]
    assert [claim.attempt for claim in answer.jobs] == [1, 1, 1]


async def test_of_many_orphans_the_limit_is_handed_out_and_the_rest_later(world: World) -> None:
    await world.enqueue(*emissions(3))
    numbers = [claim.number for claim in (await world.claim(3)).jobs]
    first = await world.claim(2, holds=())
    assert [claim.number for claim in first.jobs] == numbers[:2]
    rest = await world.claim(2, holds=numbers[:2])
    assert [claim.number for claim in rest.jobs] == numbers[2:]


async def test_what_another_worker_holds_is_no_orphan(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(10 * LEASE_MS)
    assert (await world.claim(worker="other", holds=())).jobs == []


async def test_an_orphan_stays_one_after_its_lease_has_run_out(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    world.advance(LEASE_MS + 1)
    assert [job.number for job in (await world.claim(holds=())).jobs] == [claim.number]
    assert (await world.reap()).jobs == []


# ---- the lease


async def test_the_first_claim_makes_the_lease_and_each_renews_it(world: World) -> None:
    await world.enqueue(*emissions(2))
    await world.claim(1)
    assert (await world.claim(0, "other")).lease_at == world.at(LEASE_MS)
    world.advance(400)
    await world.claim(0)
    assert (await world.claim(0, "other")).lease_at == world.at(400 + LEASE_MS)
    world.advance(100)
    await world.claim(1, lease_ms=70)
    assert (await world.claim(0, "other")).lease_at == world.at(570)


async def test_ones_own_lease_is_not_told(world: World) -> None:
    await world.enqueue(*emissions(2))
    assert (await world.claim(1)).lease_at is None
    assert (await world.claim(1, "other")).lease_at == world.at(LEASE_MS)


async def test_of_several_leases_the_first_to_run_out_is_told(world: World) -> None:
    await world.enqueue(*emissions(2))
    await world.claim(1, "slow", lease_ms=900)
    await world.claim(1, "quick", lease_ms=300)
    assert (await world.claim()).lease_at == world.at(300)
    assert (await world.claim(worker="quick")).lease_at == world.at(900)


async def test_the_lease_goes_with_the_last_claim(world: World) -> None:
    await world.enqueue(*emissions(2))
    one, two = (await world.claim(2)).jobs
    await world.end(one, completed())
    assert (await world.claim(0, "other")).lease_at == world.at(LEASE_MS)
    await world.end(two, failed())
    assert (await world.claim(0, "other")).lease_at is None


async def test_leases_of_queues_are_apart(world: World) -> None:
    for queue in ("one", "two"):
        await world.enqueue(emission("x"), queue=queue)
        await world.claim(queue=queue)
        world.advance(100)
    assert (await world.claim(0, "other", queue="one")).lease_at == world.at(LEASE_MS)
    assert (await world.claim(0, "other", queue="two")).lease_at == world.at(LEASE_MS + 100)
