"""`reap`: taking over what a silent worker held, to be settled and never to be run."""

from __future__ import annotations

from taskmanager.engine import Pause, Settlement
from taskmanager.job import State
from tests.engines.conformance.builders import LEASE_MS, completed, emission, emissions, stalled
from tests.engines.conformance.world import World


async def test_a_lease_is_reaped_when_it_has_run_out_and_not_before(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS - 0.001)
    assert (await world.reap()).jobs == []
    world.advance(0.001)
    assert [claim.id for claim in (await world.reap()).jobs] == ["x"]


async def test_a_reaped_job_has_a_new_claim_and_the_same_attempt(world: World) -> None:
    serial = await world.add("x", data=b"7")
    old = await world.take()
    world.advance(LEASE_MS)
    answer = await world.reap()
    [claim] = answer.jobs
    assert (claim.id, claim.serial, claim.data, claim.attempt, claim.losses) == ("x", serial, b"7", 1, 0)
    assert claim.number > old.number
    assert (answer.facts, answer.more) == ([], False)
    job = await world.job("x")
    assert (job.state, job.reaped, job.claim, job.attempt) == (State.ACTIVE, True, claim.number, 1)
    assert (await world.engine.count("q")).states[State.ACTIVE] == 1


async def test_with_nothing_to_reap_nothing_happens(world: World) -> None:
    await world.add("x")
    await world.take()
    before = await world.picture()
    answer = await world.reap()
    assert (answer.jobs, answer.more, answer.facts) == ([], False, [])
    assert await world.picture() == before
    assert (await world.claim(0, "other")).lease_at == world.at(LEASE_MS)


async def test_all_jobs_of_a_lease_go_together_in_claim_order(world: World) -> None:
    await world.enqueue(*emissions(11), emission("first", priority=9))
    await world.claim()
    world.advance(LEASE_MS)
    assert [claim.id for claim in (await world.reap()).jobs] == ["first", *(one.id for one in emissions(11))]


async def test_jobs_of_several_leases_go_in_claim_order_too(world: World) -> None:
    await world.enqueue(*emissions(4))
    for worker in ("one", "two", "one", "two"):
        await world.claim(1, worker)
    world.advance(LEASE_MS)
    assert [claim.id for claim in (await world.reap(3)).jobs] == ["j00000", "j00001", "j00002"]
    assert [claim.id for claim in (await world.reap(3)).jobs] == ["j00003"]


async def test_only_leases_that_have_run_out_are_reaped(world: World) -> None:
    await world.enqueue(*emissions(2))
    await world.take("silent")
    world.advance(1)
    alive = await world.take("alive")
    world.advance(LEASE_MS - 1)
    assert [claim.id for claim in (await world.reap()).jobs] == ["j00000"]
    assert (await world.claim(0, "other")).lease_at is not None
    assert await world.end(alive, completed(), "alive") == State.COMPLETED


async def test_ones_own_lease_is_never_reaped(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    world.advance(2 * LEASE_MS)
    assert (await world.reap(worker="w", holds=())).jobs == []
    assert await world.end(claim, completed()) == State.COMPLETED


async def test_at_most_the_limit_is_reaped_and_the_rest_stays_with_its_holder(world: World) -> None:
    await world.enqueue(*emissions(3))
    claims = (await world.claim()).jobs
    world.advance(LEASE_MS)
    answer = await world.reap(2)
    assert ([claim.id for claim in answer.jobs], answer.more) == (["j00000", "j00001"], True)
    assert await world.end(claims[2], completed()) == State.COMPLETED
    assert (await world.reap(2)).jobs == []


async def test_sent_twice_it_hands_out_the_same_again(world: World) -> None:
    await world.enqueue(*emissions(3))
    await world.claim()
    world.advance(LEASE_MS)
    first = await world.reap(2, holds=())
    before = await world.picture()
    second = await world.reap(2, holds=())
    assert second.jobs == first.jobs
    assert second.facts == []
    assert await world.picture() == before
    rest = await world.reap(2, holds=[claim.number for claim in first.jobs])
    assert [claim.id for claim in rest.jobs] == ["j00002"]


async def test_claim_never_hands_out_what_was_reaped(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS)
    await world.reap(worker="w2")
    assert (await world.claim(worker="w2", holds=())).jobs == []


async def test_a_reapers_runs_and_its_reaped_claims_are_apart(world: World) -> None:
    await world.enqueue(*emissions(2))
    await world.take("silent")
    run = await world.take("w")
    world.advance(LEASE_MS - 1)
    await world.extend(worker="w")
    world.advance(1)
    [reaped] = (await world.reap(worker="w", holds=())).jobs
    assert [claim.number for claim in (await world.claim(worker="w", holds=())).jobs] == [run.number]
    assert [claim.number for claim in (await world.reap(worker="w", holds=())).jobs] == [reaped.number]


async def test_the_reapers_lease_holds_what_it_took(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS)
    answer = await world.reap(lease_ms=300)
    assert answer.lease_at is None
    assert (await world.claim(0, "other")).lease_at == world.at(LEASE_MS + 300)


async def test_whoever_asks_is_alive_so_the_lease_of_a_reaper_that_found_nothing_is_renewed(world: World) -> None:
    await world.add("x")
    await world.take("w")
    world.advance(LEASE_MS - 1)
    assert (await world.reap(worker="w")).jobs == []
    assert (await world.claim(0, "other")).lease_at == world.at(2 * LEASE_MS - 1)


async def test_reaping_nothing_makes_no_lease_for_who_holds_nothing(world: World) -> None:
    await world.reap(worker="w")
    assert (await world.claim(0, "other")).lease_at is None


async def test_a_reaper_that_falls_silent_is_reaped_itself(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS)
    [first] = (await world.reap()).jobs
    world.advance(LEASE_MS)
    [second] = (await world.reap(worker="second")).jobs
    assert (second.id, second.attempt) == ("x", 1)
    assert await world.end(first, stalled(), "reaper") is None
    assert await world.end(second, stalled(), "second") == State.WAITING
    job = await world.job("x")
    assert (job.losses, [info.worker for info in job.attempts]) == (1, ["w"])


async def test_a_lost_job_waits_again_at_the_end_of_its_priority(world: World) -> None:
    await world.enqueue(emission("x"), emission("y"))
    await world.take()
    await world.lose(stalled())
    claims = (await world.claim()).jobs
    assert [(claim.id, claim.attempt, claim.losses) for claim in claims] == [("y", 1, 0), ("x", 2, 1)]


async def test_the_old_lease_is_gone_with_its_last_job(world: World) -> None:
    await world.add("x")
    await world.take()
    world.advance(LEASE_MS)
    [claim] = (await world.reap()).jobs
    await world.settle(Settlement(claim.number, stalled()), worker="reaper")
    assert (await world.claim(0, "other")).lease_at is None


async def test_who_was_reaped_may_claim_again(world: World) -> None:
    await world.add("x")
    await world.take()
    await world.lose(stalled())
    again = await world.take()
    assert (again.id, again.attempt) == ("x", 2)
    assert await world.end(again, completed()) == State.COMPLETED


async def test_a_paused_queue_is_reaped(world: World) -> None:
    await world.add("x")
    await world.take()
    await world.control(Pause())
    await world.lose(stalled())
    assert await world.states() == {"x": State.WAITING}
