"""The read side: copies, in which a delayed job whose time has come is waiting."""

from __future__ import annotations

import pytest

from taskmanager.engine import Delete, Journal, Pause, Unschedule
from taskmanager.job import AttemptInfo, Kind, State
from tests.engines.conformance.builders import LEASE_MS, completed, emission, emissions, failed, plan, ref, retried
from tests.engines.conformance.world import World


async def listed(world: World, state: State | None = None, limit: int = 100, after: int | None = None) -> list[str]:
    return [job.id for job in await world.engine.list("q", state, limit, after)]


# ---- get


async def test_get_finds_by_id_and_by_the_right_serial_only(world: World) -> None:
    serial = await world.add("x")
    assert (await world.job("x")) == (await world.job("x", serial))
    assert await world.find("x", serial + 1) is None
    assert await world.find("y") is None
    assert await world.find("x", queue="other") is None


async def test_get_by_its_serial_shows_a_recorded_follow_up_as_it_will_be(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    serial = await world.add("x", data=b"2", priority=3)
    follow_up = await world.job("x", serial)
    assert (follow_up.state, follow_up.serial, follow_up.data) == (State.WAITING, serial, b"2")
    assert (follow_up.priority, follow_up.attempt, follow_up.worker) == (3, 0, None)
    await world.add("x", data=b"2", priority=3, delay_ms=50)
    delayed = await world.job("x", serial)
    assert (delayed.state, delayed.run_at) == (State.DELAYED, world.at(50))
    assert (await world.job("x")).serial == claim.serial


async def test_what_is_read_is_a_copy(world: World) -> None:
    await world.run(retried(), "x")
    await world.enqueue(plan())
    before = await world.picture()
    job = await world.job("x")
    job.state = State.FAILED
    job.attempts.append(AttemptInfo(9, "w", 0, 0, Kind.FAILED))
    [listed] = await world.engine.list("q", None, 10, None)
    listed.attempts.clear()
    (await world.engine.count("q")).states[State.DELAYED] = 9
    (await world.schedule()).live = 9
    assert await world.picture() == before


async def test_a_copy_in_an_answer_does_not_follow_the_job(world: World) -> None:
    await world.add("x")
    answer = await world.cancel("x")
    await world.add("x")
    assert answer.job is not None
    assert answer.job.state == State.CANCELLED


# ---- overdue


async def test_a_delayed_job_whose_time_has_come_reads_as_waiting(world: World) -> None:
    await world.add("x", delay_ms=5)
    world.advance(4)
    assert (await world.job("x")).state == State.DELAYED
    assert (await listed(world, State.DELAYED), await listed(world, State.WAITING)) == (["x"], [])
    world.advance(1)
    assert (await world.job("x")).state == State.WAITING
    assert (await listed(world, State.DELAYED), await listed(world, State.WAITING)) == ([], ["x"])
    assert await listed(world) == ["x"]
    count = await world.engine.count("q")
    assert (count.states[State.WAITING], count.states[State.DELAYED]) == (1, 0)


async def test_reading_makes_nothing_due(world: World) -> None:
    await world.add("x", delay_ms=5)
    world.advance(5)
    await world.picture()
    assert [fact.kind for fact in (await world.enqueue()).facts] == [Kind.DUE]


async def test_an_overdue_follow_up_reads_as_waiting(world: World) -> None:
    await world.add("x")
    await world.take()
    serial = await world.add("x", delay_ms=5)
    world.advance(5)
    assert (await world.job("x", serial)).state == State.WAITING


# ---- list


async def test_jobs_are_listed_newest_emission_first(world: World) -> None:
    await world.enqueue(*emissions(3))
    assert await listed(world) == ["j00002", "j00001", "j00000"]
    await world.add("j00000", replace=True)
    assert await listed(world) == ["j00000", "j00002", "j00001"]


async def test_a_list_is_paged_by_emission_number(world: World) -> None:
    await world.enqueue(*emissions(25))
    pages, after = [], None
    while page := await world.engine.list("q", None, 10, after):
        pages.append([job.id for job in page])
        after = page[-1].emission
        await world.add(f"new{len(pages)}")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [id for page in pages for id in page] == [one.id for one in reversed(emissions(25))]


async def test_jobs_that_were_emitted_together_are_listed_and_removed_one_by_one(world: World) -> None:
    await world.add("first")
    await world.enqueue(*emissions(150))
    await world.add("last")
    await world.add("j00070", replace=True)
    left = ["j00070", "last", *(job.id for job in reversed(emissions(150)) if job.id != "j00070"), "first"]

    async def pages(size: int) -> list[str]:
        found: list[str] = []
        after = None
        while jobs := await world.engine.list("q", None, size, after):
            found += [job.id for job in jobs]
            after = jobs[-1].emission
        return found

    for goes in ("first", "j00149", *(f"j{number:05}" for number in range(0, 149, 3)), "last"):
        assert await pages(7) == left
        await world.control(Delete(ref(goes)))
        left.remove(goes)
    while left:
        await world.control(Delete(ref(left.pop(len(left) // 2))))
        assert await listed(world, limit=1000) == left
    assert await world.engine.queues() == []


@pytest.mark.parametrize("state", list(State))
async def test_a_list_can_be_of_one_state(world: World, state: State) -> None:
    await every_state(world)
    assert await listed(world, state) == [state]
    [job] = await world.engine.list("q", state, 1, None)
    assert await listed(world, state, 5, job.emission) == []
    assert await listed(world, state, 5, job.emission + 1) == [state]


async def test_of_an_unknown_queue_there_is_nothing(world: World) -> None:
    await world.add("x")
    assert list(await world.engine.list("other", None, 10, None)) == []
    assert list((await world.engine.schedules("other")).schedules) == []
    assert list(await world.engine.logs("other", "x")) == []
    assert set((await world.engine.count("other")).states.values()) == {0}
    assert list(await world.engine.queues()) == ["q"]


# ---- count, queues, now


async def every_state(world: World) -> None:
    """One job of each state, named after it."""
    await world.run(completed(), State.COMPLETED)
    await world.run(failed(), State.FAILED)
    await world.add(State.CANCELLED)
    await world.cancel(State.CANCELLED)
    await world.add(State.ACTIVE)
    await world.take()
    await world.enqueue(emission(State.WAITING), emission(State.DELAYED, delay_ms=50))


async def test_a_count_names_all_six_states_and_what_comes_next(world: World) -> None:
    empty = await world.engine.count("q")
    assert empty.states == dict.fromkeys(State, 0)
    assert (empty.paused, empty.due_at, empty.schedule_at, empty.lease_at) == (False, None, None, None)
    await every_state(world)
    await world.enqueue(plan())
    await world.control(Pause())
    count = await world.engine.count("q")
    assert count.states == dict.fromkeys(State, 1)
    assert (count.paused, count.due_at, count.schedule_at) == (True, world.at(50), 0)
    assert count.lease_at == world.at(LEASE_MS)


async def test_a_count_follows_each_job_from_state_to_state(world: World) -> None:
    async def states() -> dict[str, int]:
        return {state: number for state, number in (await world.engine.count("q")).states.items() if number}

    await world.add("x")
    await world.add("y", delay_ms=5)
    assert await states() == {"waiting": 1, "delayed": 1}
    claim = await world.take()
    assert await states() == {"active": 1, "delayed": 1}
    await world.end(claim, retried(7))
    assert await states() == {"delayed": 2}
    world.advance(5)
    assert await states() == {"waiting": 1, "delayed": 1}
    await world.cancel("y")
    assert await states() == {"cancelled": 1, "delayed": 1}


async def test_queues_are_those_with_a_job_a_schedule_or_a_pause(world: World) -> None:
    await world.enqueue(emission("x"), queue="c")
    await world.enqueue(plan(), queue="a")
    await world.control(Pause(), queue="b")
    await world.claim(queue="d")
    assert list(await world.engine.queues()) == ["a", "b", "c"]
    await world.control(Unschedule("nightly"), queue="a")
    await world.cancel("x", queue="c", transient={State.CANCELLED})
    assert list(await world.engine.queues()) == ["b"]


async def test_schedules_are_listed_by_queue(world: World) -> None:
    await world.enqueue(plan("a"), plan("b"))
    await world.enqueue(plan("c"), queue="other")
    assert sorted(schedule.plan.name for schedule in (await world.engine.schedules("q")).schedules) == ["a", "b"]


async def test_logs_belong_to_the_id_and_the_job_it_now_has(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.extend(Journal(claim.number, 1, "old"))
    await world.end(claim, completed())
    assert [line.message for line in await world.engine.logs("q", "x")] == ["old"]
    await world.add("x")
    assert list(await world.engine.logs("q", "x")) == []
    assert list(await world.engine.logs("q", "y")) == []


async def test_now_is_engine_time_rounded_down(world: World) -> None:
    world.advance(1.999)
    assert await world.engine.now() == world.at(1)
