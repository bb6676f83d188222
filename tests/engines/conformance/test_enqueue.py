"""`enqueue`: what an emission becomes, in which order, and what is made due first."""

from __future__ import annotations

import pytest

from taskmanager.engine import DUE_LIMIT, Pause
from taskmanager.job import Emission, Kind, RunOptions, State
from tests.engines.conformance.builders import START_MS, emission, emissions, the_fact, told
from tests.engines.conformance.world import World

OPTIONS = RunOptions(retry_count=3, retry_delay_ms=20, timeout_ms=1000)


async def test_an_emission_without_a_delay_is_waiting_now(world: World) -> None:
    answer = await world.enqueue(emission("x", data=b'{"a":1}', priority=7, options=OPTIONS))
    job = await world.job("x")
    assert answer.verdicts == [(Kind.EMITTED, "x", job.serial)]
    assert answer.facts == [(world.now, Kind.EMITTED, "q", "send", "x", None, None, None)]
    assert (job.id, job.queue, job.event, job.data, job.state) == ("x", "q", "send", b'{"a":1}', State.WAITING)
    assert (job.priority, job.options, job.expires_at, job.schedule) == (7, OPTIONS, None, None)
    assert (job.created_at, job.run_at, job.emission) == (world.now, world.now, job.serial)
    assert (job.attempt, job.failures, job.losses, job.attempts, job.follow_up) == (0, 0, 0, [], None)


async def test_data_is_kept_verbatim(world: World) -> None:
    data = b'{"text":"\xc3\xa9\x00 {}","n":[1.5e300,null]}'
    await world.add("x", data=data)
    assert (await world.job("x")).data == data
    assert (await world.take()).data == data


@pytest.mark.parametrize(("delay_ms", "seconds"), [(1, 0.001), (60_000, 60), (90_500, 90.5)])
async def test_an_emission_with_a_delay_is_delayed_and_tells_it_in_seconds(
    world: World, delay_ms: int, seconds: float
) -> None:
    answer = await world.enqueue(emission("x", delay_ms=delay_ms))
    job = await world.job("x")
    assert (job.state, job.run_at) == (State.DELAYED, world.now + delay_ms)
    assert the_fact(answer, Kind.EMITTED).detail == {"delay": seconds}
    assert answer.due_at == world.now + delay_ms


@pytest.mark.parametrize(("offset", "state"), [(-5000, State.WAITING), (0, State.WAITING), (1, State.DELAYED)])
async def test_the_given_moment_is_kept_and_only_a_later_one_delays(world: World, offset: int, state: State) -> None:
    answer = await world.enqueue(emission("x", run_at=world.now + offset))
    job = await world.job("x")
    assert (job.state, job.run_at) == (state, world.now + offset)
    assert the_fact(answer, Kind.EMITTED).detail == ({"delay": 0.001} if state == State.DELAYED else None)


@pytest.mark.parametrize("given", [{"expires_ms": 500}, {"expires_at": START_MS + 500}])
async def test_expiry_is_stored_as_a_moment(world: World, given: dict[str, int]) -> None:
    await world.add("x", **given)
    assert (await world.job("x")).expires_at == world.at(500)


async def test_entries_are_admitted_in_order_with_one_verdict_each(world: World) -> None:
    answer = await world.enqueue(emission("b"), emission("a", delay_ms=5), emission("b"), emission("c"))
    assert [(verdict.status, verdict.id) for verdict in answer.verdicts] == told(answer)
    assert told(answer) == [
        (Kind.EMITTED, "b"),
        (Kind.EMITTED, "a"),
        (Kind.DUPLICATE, "b"),
        (Kind.EMITTED, "c"),
    ]
    assert await world.line() == ["b", "c"]


async def test_no_entries_are_no_emission(world: World) -> None:
    answer = await world.enqueue()
    assert (answer.verdicts, answer.facts) == ([], [])
    assert (answer.due_at, answer.schedule_at, answer.lease_at) == (None, None, None)
    assert list(await world.engine.queues()) == []


async def test_serials_are_never_given_twice(world: World) -> None:
    serials = [await world.add("x")]
    for _ in range(3):
        await world.cancel("x", transient={State.CANCELLED})
        serials.append(await world.add("x"))
    assert serials == sorted(set(serials))


async def test_queues_know_nothing_of_each_other(world: World) -> None:
    await world.enqueue(emission("x", data=b"1"), queue="one")
    answer = await world.enqueue(emission("x", data=b"2"), queue="two")
    assert told(answer) == [(Kind.EMITTED, "x")]
    assert (await world.job("x", queue="one")).data == b"1"
    assert (await world.job("x", queue="two")).data == b"2"
    assert list(await world.engine.queues()) == ["one", "two"]
    assert (await world.claim(queue="one")).jobs[0].data == b"1"
    assert await world.states("two") == {"x": State.WAITING}


async def test_the_answer_tells_engine_time_rounded_down_to_the_millisecond(world: World) -> None:
    world.advance(0.999)
    assert (await world.enqueue(emission("x"))).now == world.at(0)
    world.advance(0.001)
    assert (await world.enqueue(emission("y"))).now == world.at(1)


async def test_the_answer_tells_the_next_delayed_jobs_moment(world: World) -> None:
    assert (await world.enqueue(emission("x"))).due_at is None
    assert (await world.enqueue(emission("late", delay_ms=50))).due_at == world.at(50)
    assert (await world.enqueue(emission("soon", delay_ms=20))).due_at == world.at(20)
    world.advance(20)
    assert (await world.enqueue()).due_at == world.at(50)


async def test_what_becomes_claimable_raises_the_tide(world: World) -> None:
    tides = [(await world.enqueue()).tide]
    tides.append((await world.enqueue(emission("x"))).tide)
    tides.append((await world.enqueue(emission("y", delay_ms=5), emission("z"))).tide)
    world.advance(5)
    tides.append((await world.enqueue()).tide)
    assert tides == sorted(set(tides))


# ---- due first


async def test_what_is_due_comes_first_and_is_told_first(world: World) -> None:
    await world.enqueue(emission("late", delay_ms=5))
    world.advance(5)
    answer = await world.enqueue(emission("new"))
    assert told(answer) == [(Kind.DUE, "late"), (Kind.EMITTED, "new")]
    assert answer.facts[0] == (world.now, Kind.DUE, "q", "send", "late", None, None, None)
    assert await world.line() == ["late", "new"]


async def test_a_job_is_due_at_its_moment_and_not_before(world: World) -> None:
    await world.add("x", delay_ms=5)
    world.advance(4.999)
    assert told(await world.enqueue()) == []
    world.advance(0.001)
    assert told(await world.enqueue()) == [(Kind.DUE, "x")]
    assert told(await world.enqueue()) == []


async def test_due_jobs_are_made_due_by_moment_and_then_by_emission(world: World) -> None:
    await world.enqueue(emission("a", delay_ms=9), emission("b", delay_ms=3), emission("c", delay_ms=9))
    await world.enqueue(emission("d", delay_ms=3), emission("e", delay_ms=1), emission("now"))
    world.advance(9)
    assert told(await world.enqueue()) == [(Kind.DUE, id) for id in "ebdac"]
    assert await world.line() == ["now", "e", "b", "d", "a", "c"]


async def test_ties_go_by_number_and_not_by_the_text_of_the_number(world: World) -> None:
    await world.enqueue(*emissions(120, delay_ms=5))
    world.advance(5)
    assert await world.line() == [one.id for one in emissions(120)]


async def test_priority_holds_among_what_was_made_due(world: World) -> None:
    await world.enqueue(emission("low", delay_ms=1, priority=-5), emission("high", delay_ms=9, priority=5))
    await world.enqueue(emission("mid", delay_ms=5))
    world.advance(10)
    assert await world.line() == ["high", "mid", "low"]


async def test_one_call_makes_at_most_the_limit_due(world: World) -> None:
    extra = 3
    await world.enqueue(*emissions(DUE_LIMIT, delay_ms=5))
    await world.enqueue(*[Emission("send", f"z{number}", delay_ms=6) for number in range(extra)])
    world.advance(10)
    first = await world.enqueue(emission("new"))
    assert [fact.kind for fact in first.facts] == [Kind.DUE] * DUE_LIMIT + [Kind.EMITTED]
    assert first.due_at == world.at(6)
    second = await world.enqueue()
    assert told(second) == [(Kind.DUE, f"z{number}") for number in range(extra)]
    assert (await world.line())[DUE_LIMIT:] == ["new", "z0", "z1", "z2"]


async def test_a_paused_queue_admits_and_makes_due(world: World) -> None:
    await world.control(Pause())
    await world.add("x", delay_ms=5)
    world.advance(5)
    assert told(await world.enqueue(emission("y"))) == [(Kind.DUE, "x"), (Kind.EMITTED, "y")]
