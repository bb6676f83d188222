"""Virtual time: what it is, that it moves only when nothing can run, and in which order things fall due."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator

import pytest

from simulation.clocks import MONOTONIC_START_US, VirtualClock
from simulation.loop import Halt, VirtualLoop, background

START = 1_774_656_000_000_000
HOUR = 3600
HOURS_US = HOUR * 1_000_000


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(VirtualClock(START))
    yield loop
    loop.close()


def at(loop: VirtualLoop, seconds: float, call: Callable[[], object]) -> asyncio.TimerHandle:
    return loop.call_later(seconds, call)


def test_two_thousand_coroutines_sleep_up_to_47_hours_and_each_wakes_at_its_own_moment(loop: VirtualLoop) -> None:
    rng = random.Random(1)
    naps = [rng.randrange(1, 47 * HOURS_US) for _ in range(2000)]
    woken: list[tuple[int, int]] = []

    async def nap(us: int) -> None:
        await asyncio.sleep(us / 1_000_000)
        woken.append((loop.clock.elapsed_us, us))

    async def everybody() -> None:
        await asyncio.gather(*map(nap, naps))

    loop.run_until_complete(everybody())
    assert [moment for moment, _ in woken] == sorted(naps)
    assert all(moment == us for moment, us in woken)


def test_a_year_of_sleeps_ends_at_the_very_microsecond(loop: VirtualLoop) -> None:
    async def year() -> None:
        for _ in range(365 * 24):
            for _ in range(10):
                await asyncio.sleep(360.1)

    loop.run_until_complete(year())
    assert loop.clock.elapsed_us == 365 * 24 * 10 * 360_100_000


def test_a_deadline_far_from_the_start_is_reached_without_spinning(loop: VirtualLoop) -> None:
    async def waits_for_a_deadline() -> int:
        turns = 0
        deadline = loop.time() + 400 * 24 * HOUR + 0.1 + 1e-9
        while loop.time() < deadline:
            await asyncio.sleep(deadline - loop.time())
            turns += 1
        return turns

    assert loop.run_until_complete(waits_for_a_deadline()) <= 2


def test_equal_deadlines_fall_due_in_the_order_in_which_they_were_set(loop: VirtualLoop) -> None:
    fired: list[int] = []
    when = loop.time() + 5
    for number in range(500):
        loop.call_at(when + (number % 3) * 1e-9, fired.append, number)
    loop.drive()
    assert fired == list(range(500))


def test_any_delay_above_zero_moves_the_clock(loop: VirtualLoop) -> None:
    async def tiny() -> None:
        for _ in range(10):
            await asyncio.sleep(1e-12)

    loop.run_until_complete(tiny())
    assert loop.clock.elapsed_us == 10


def test_a_delay_without_end_is_no_timer(loop: VirtualLoop) -> None:
    handle = loop.call_later(float("inf"), print)
    loop.call_at(float("inf"), print)
    loop.call_later(1e300, print)
    assert loop.next_timer() is None
    assert loop.drive() is Halt.QUIET
    handle.cancel()
    assert loop.clock.elapsed_us == 0


def test_time_is_the_clock_as_a_machine_that_has_been_up_for_days(loop: VirtualLoop) -> None:
    assert loop.time() == MONOTONIC_START_US / 1_000_000
    loop.jump(2_500_000)
    assert loop.time() == MONOTONIC_START_US / 1_000_000 + 2.5
    assert loop.clock.now_us() == START + 2_500_000


def test_the_clock_refuses_to_go_back(loop: VirtualLoop) -> None:
    loop.jump(10)
    with pytest.raises(ValueError, match="cannot go back"):
        loop.clock.move_to(START)
    assert loop.clock.elapsed_us == 10


def test_a_timeout_fires_at_its_moment_and_a_finished_one_never(loop: VirtualLoop) -> None:
    async def program() -> list[float]:
        began = loop.time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.sleep(100)
        async with asyncio.timeout(50):
            await asyncio.sleep(1)
        return [loop.time() - began, await asyncio.wait_for(asyncio.sleep(1, 3.0), 2)]

    assert loop.run_until_complete(program()) == [8.0, 3.0]
    assert loop.next_timer() is None


def test_the_limit_is_reached_exactly_and_what_is_due_at_it_still_fires(loop: VirtualLoop) -> None:
    fired: list[str] = []
    at(loop, 10, lambda: fired.append("at"))
    at(loop, 10.000001, lambda: fired.append("after"))
    assert loop.drive(limit_us=START + 10_000_000) is Halt.LIMIT
    assert (fired, loop.clock.elapsed_us) == (["at"], 10_000_000)
    assert loop.drive(limit_us=START + 60_000_000) is Halt.LIMIT
    assert (fired, loop.clock.elapsed_us) == (["at", "after"], 60_000_000)


def test_a_limit_that_is_over_leaves_the_clock_alone(loop: VirtualLoop) -> None:
    loop.jump(5)
    assert loop.drive(limit_us=START) is Halt.LIMIT
    assert loop.clock.elapsed_us == 5


def test_halt_ends_the_drive_right_after_the_callback(loop: VirtualLoop) -> None:
    ran: list[int] = []

    def halts(number: int) -> None:
        ran.append(number)
        loop.halt()

    for number in range(3):
        loop.call_soon(halts, number)
    assert loop.drive() is Halt.STOPPED
    assert ran == [0]
    assert loop.drive() is Halt.STOPPED
    assert loop.drive() is Halt.STOPPED
    assert (ran, loop.drive()) == ([0, 1, 2], Halt.QUIET)


def test_until_is_asked_before_anything_runs_and_before_the_clock_moves(loop: VirtualLoop) -> None:
    ran: list[int] = []
    loop.call_soon(ran.append, 1)
    assert loop.drive(lambda: True) is Halt.DONE
    assert ran == []
    at(loop, 5, lambda: ran.append(5))
    assert loop.drive(lambda: ran == [1]) is Halt.DONE
    assert loop.clock.elapsed_us == 0
    assert loop.drive(lambda: 5 in ran) is Halt.DONE


def test_background_timers_fire_but_do_not_keep_the_world_busy(loop: VirtualLoop) -> None:
    ran: list[str] = []
    token = background.set(True)
    at(loop, 1, lambda: ran.append("background"))
    at(loop, 3, lambda: ran.append("later"))
    background.reset(token)
    work = at(loop, 2, lambda: ran.append("work"))
    assert loop.next_timer() == START + 1_000_000
    assert (
        loop.next_timer(foreground_only=True) == START + 2_000_000 == START + round((work.when() - loop.time()) * 1e6)
    )
    assert loop.has_work_to_come
    assert loop.drive(lambda: "work" in ran) is Halt.DONE
    assert (ran, loop.clock.elapsed_us) == (["background", "work"], 2_000_000)
    assert loop.next_timer(foreground_only=True) is None
    assert not loop.has_work_to_come
    assert loop.drive() is Halt.QUIET
    assert ran == ["background", "work", "later"]


def test_cancelled_timers_do_not_pile_up(loop: VirtualLoop) -> None:
    keep = at(loop, HOUR, lambda: None)
    for _ in range(10_000):
        at(loop, 2 * HOUR, lambda: None).cancel()
    assert len(loop._timers.heap) < 200
    assert (loop._timers.foreground, loop.next_timer()) == (1, START + HOURS_US)
    keep.cancel()
    keep.cancel()
    assert (loop._timers.foreground, loop.next_timer()) == (0, None)


def test_a_jump_passes_timers_and_each_fires_once_in_the_order_of_its_moment(loop: VirtualLoop) -> None:
    fired: list[str] = []

    async def ticks() -> None:
        while True:
            await asyncio.sleep(10)
            fired.append(f"tick {loop.clock.elapsed_us // 1_000_000}")

    at(loop, 25, lambda: fired.append("25"))
    at(loop, 15, lambda: fired.append("15"))
    task = loop.create_task(ticks())
    loop.drive(limit_us=START)
    loop.jump(60_000_000)
    assert fired == []
    loop.drive(limit_us=START + 65_000_000)
    assert fired == ["tick 60", "15", "25"]
    loop.drive(limit_us=START + 70_000_000)
    assert fired[-1] == "tick 70"
    task.cancel()


def test_a_callback_loop_that_never_waits_is_given_up(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "spin_limit", 50_000)

    async def spin() -> None:
        while True:  # noqa: ASYNC110 -- what this test is about
            await asyncio.sleep(0)

    task = loop.create_task(spin())
    assert loop.drive() is Halt.SPINNING
    task.cancel()


def test_tasks_in_a_set_come_in_the_order_of_their_making(loop: VirtualLoop) -> None:
    async def program() -> list[str]:
        ended: list[str] = []

        async def child(name: str) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(name)

        async def fails() -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(child(str(number)))
                await asyncio.sleep(1)
                raise RuntimeError("ends the group")

        with pytest.raises(ExceptionGroup):
            await fails()
        return ended

    assert loop.run_until_complete(program()) == [str(number) for number in range(20)]
