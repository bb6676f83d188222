"""Pulses: beats on a grid, of which those that change nothing are skipped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.clocks import VirtualClock
from simulation.loop import Halt, VirtualLoop

START = 1_774_656_000_000_000
SECOND = 1_000_000
HOUR = 3600


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(VirtualClock(START))
    yield loop
    loop.close()


def beats(loop: VirtualLoop, key: str, seconds: float) -> list[float]:
    fired: list[float] = []

    async def beat() -> None:
        while True:
            await loop.pulse(key, seconds)
            fired.append(loop.clock.elapsed_us / SECOND)

    loop.create_task(beat())
    return fired


def test_47_idle_hours_cost_two_beats(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 2)
    loop.call_later(47 * HOUR + 1, lambda: None)
    assert loop.drive(limit_us=START + (47 * HOUR + 1) * SECOND) is Halt.LIMIT
    assert fired == [2, 47 * HOUR]


def test_the_first_point_of_the_grid_after_anything_happened_always_fires(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 10)
    for moment in (101, 500, 502):
        loop.call_later(moment, lambda: None)
    loop.drive(limit_us=START + 1000 * SECOND)
    assert fired == [10, 100, 110, 490, 500, 510, 1000]


def test_a_call_that_is_no_beat_stirs_and_a_beat_does_not(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 10)

    async def finds_work_at_the_third_beat() -> None:
        while True:
            await loop.pulse("b", 100)
            if loop.clock.elapsed_us == 300 * SECOND:
                loop.stir()

    loop.create_task(finds_work_at_the_third_beat())
    loop.drive(limit_us=START + 300 * SECOND)
    assert fired == [10, 300]
    loop.drive(limit_us=START + 1000 * SECOND)
    assert fired == [10, 300, 310, 1000]


def test_a_pulse_that_was_folded_comes_back_when_another_one_stirs_the_world(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 10)

    async def finds_work() -> None:
        await loop.pulse("b", 301)
        await loop.pulse("b", 301)
        loop.stir()

    loop.create_task(finds_work())
    loop.call_later(900, lambda: None)
    loop.drive(limit_us=START + 899 * SECOND)
    assert fired == [10, 610, 890]


def test_the_order_of_a_beat_and_a_timer_at_the_same_moment_is_that_of_their_setting(loop: VirtualLoop) -> None:
    order: list[str] = []

    async def beat() -> None:
        while True:
            await loop.pulse("a", 10)
            order.append("beat")

    loop.call_later(100, lambda: order.append("timer"))
    loop.create_task(beat())
    loop.drive(limit_us=START + 100 * SECOND)
    folded, order[:] = list(order), []
    assert folded == ["beat", "beat", "timer", "beat"]


def test_without_a_horizon_pulses_that_change_nothing_do_not_fire(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 10)
    assert loop.drive() is Halt.QUIET
    assert fired == [10]
    loop.stir()
    assert loop.drive() is Halt.QUIET
    assert fired == [10, 20]


def test_a_jump_over_pulses_fires_each_once_and_keeps_its_grid(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 10)
    loop.drive(limit_us=START + 15 * SECOND)
    loop.jump(3 * HOUR * SECOND)
    loop.drive(limit_us=START + (3 * HOUR + 35) * SECOND)
    assert fired == [10, 3 * HOUR + 15, 3 * HOUR + 30]


def test_a_jump_from_the_middle_of_a_fold_fires_the_folded_pulse_at_once(loop: VirtualLoop) -> None:
    fired = beats(loop, "a", 10)

    async def stops_the_drive() -> None:
        await loop.pulse("b", 301)
        await loop.pulse("b", 301)
        loop.halt()

    loop.create_task(stops_the_drive())
    assert loop.drive(limit_us=START + 900 * SECOND) is Halt.STOPPED
    assert (fired, loop.clock.elapsed_us) == ([10], 602 * SECOND)
    loop.jump(50 * SECOND)
    loop.drive(limit_us=START + 653 * SECOND)
    assert fired == [10, 652]


def test_folding_can_be_switched_off(loop: VirtualLoop) -> None:
    loop.fold = False
    fired = beats(loop, "a", 10)
    loop.drive(limit_us=START + 100 * SECOND)
    assert (fired, loop.fold) == ([10 * n for n in range(1, 11)], False)


def test_a_cancelled_pulse_is_gone_and_a_forgotten_key_starts_anew(loop: VirtualLoop) -> None:
    async def program() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await loop.pulse("a", 10)
        await loop.pulse("a", 10)
        assert loop.clock.elapsed_us == 10 * SECOND
        await asyncio.sleep(3)
        loop.forget("a")
        await loop.pulse("a", 10)
        await asyncio.sleep(1)
        await loop.pulse("a", 4)
        return loop.clock.elapsed_us / SECOND

    assert loop.run_until_complete(program()) == 28


@given(
    periods=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    moments=st.lists(st.integers(1, 500), max_size=6),
    limit=st.integers(1, 600),
)
def test_folding_skips_only_beats_that_another_of_the_same_key_follows_undisturbed(
    periods: list[int], moments: list[int], limit: int
) -> None:
    def run(fold: bool) -> list[list[float]]:
        loop = VirtualLoop(VirtualClock(START))
        loop.fold = fold
        fired = [beats(loop, str(number), period) for number, period in enumerate(periods)]
        for moment in moments:
            loop.call_later(moment, lambda: None)
        loop.drive(limit_us=START + limit * SECOND)
        loop.close()
        return fired

    stirred = sorted({0, *(moment for moment in moments if moment <= limit), limit + 1})
    for all_beats, kept in zip(run(False), run(True), strict=True):
        assert set(kept) <= set(all_beats)
        for since, to in itertools.pairwise(stirred):
            within = [beat for beat in all_beats if since < beat < to]
            assert {*within[:1], *within[-1:]} <= set(kept)
            assert len([beat for beat in kept if since < beat < to]) <= 3


def idle_beats(loop: VirtualLoop, busy: list[bool]) -> list[float]:
    """Beats every 10 seconds that find nothing to do while `busy` is empty."""
    fired: list[float] = []

    async def beat() -> None:
        while True:
            await loop.pulse("a", 10, is_idle=lambda: not busy)
            fired.append(loop.clock.elapsed_us / SECOND)

    loop.create_task(beat())
    return fired


def test_a_pulse_with_nothing_to_do_is_left_out_and_comes_on_its_grid_once_there_is_something(
    loop: VirtualLoop,
) -> None:
    busy: list[bool] = []
    fired = idle_beats(loop, busy)
    for moment, happens in ((101, lambda: None), (203, lambda: busy.append(True)), (215, busy.clear)):
        loop.call_later(moment, happens)
    assert loop.drive(limit_us=START + 500 * SECOND) is Halt.LIMIT
    assert fired == [210]


def test_what_begins_and_ends_at_one_instant_costs_no_beat(loop: VirtualLoop) -> None:
    busy: list[bool] = []
    fired = idle_beats(loop, busy)
    loop.call_later(5, lambda: busy.append(True))
    loop.call_later(5, busy.clear)
    assert loop.drive() is Halt.QUIET
    assert fired == []


def test_a_jump_fires_a_pulse_that_was_passed_though_it_has_nothing_to_do(loop: VirtualLoop) -> None:
    """Whoever was frozen has to notice it."""
    fired = idle_beats(loop, [])
    loop.drive(limit_us=START + 15 * SECOND)
    loop.jump(HOUR * SECOND)
    loop.drive(limit_us=START + (HOUR + 100) * SECOND)
    assert fired == [HOUR + 15]


def test_without_folding_a_pulse_with_nothing_to_do_fires_too(loop: VirtualLoop) -> None:
    loop.fold = False
    fired = idle_beats(loop, [])
    loop.drive(limit_us=START + 30 * SECOND)
    assert fired == [10, 20, 30]
