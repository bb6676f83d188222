"""A takeover: what is virtual inside it, what stays real, and that leaving puts everything back."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import subprocess
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from simulation.clocks import Takeover, VirtualClock
from simulation.loop import VirtualLoop
from simulation.originals import originals
from simulation.patches import PATCHES
from taskmanager.clock import SystemClock

START = 1_774_656_000_000_000
NOON = datetime(2026, 3, 28, tzinfo=UTC)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(VirtualClock(START))
    yield loop
    with Takeover(loop):
        loop.close()


@pytest.fixture
def takeover(loop: VirtualLoop) -> Takeover:
    return Takeover(loop, seed=7)


def test_every_wall_clock_shows_virtual_time_and_moves_with_it(loop: VirtualLoop, takeover: Takeover) -> None:
    async def look() -> list[Any]:
        await asyncio.sleep(1.5)
        return [
            time.time(), time.time_ns(), datetime.now(UTC), datetime.now(), date.today(), time.gmtime().tm_sec,
            time.strftime("%Y-%m-%d %H:%M:%S"), SystemClock().now_us(),
        ]  # fmt: skip

    with takeover:
        assert datetime.now(UTC) == NOON
        seen = loop.run_until_complete(look())
    moment = NOON.replace(second=1, microsecond=500_000)
    assert seen == [
        START / 1e6 + 1.5, START * 1000 + 1_500_000_000, moment, moment.replace(tzinfo=None), date(2026, 3, 28), 1,
        "2026-03-28 00:00:01", START + 1_500_000,
    ]  # fmt: skip


def test_wall_clocks_are_exact_to_the_microsecond_however_many_moves(loop: VirtualLoop, takeover: Takeover) -> None:
    with takeover:
        for _ in range(1000):
            loop.jump(333_333)
        assert time.time_ns() == loop.clock.now_us() * 1000 == (START + 333_333_000) * 1000


def test_monotonic_and_loop_time_agree_and_perf_counter_stays_real(loop: VirtualLoop, takeover: Takeover) -> None:
    async def program() -> None:
        before, counter = time.monotonic(), time.perf_counter()
        await asyncio.sleep(1000)
        assert time.monotonic() == loop.time() == before + 1000
        assert time.monotonic_ns() == round(loop.time() * 1e9)
        assert time.perf_counter() - counter < 100

    with takeover:
        loop.run_until_complete(program())


def test_names_that_a_module_took_for_itself_are_virtual_too(
    loop: VirtualLoop, takeover: Takeover, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("an_app_of_mine")
    exec("from time import sleep, monotonic, time as now\nfrom os import urandom as entropy", vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    taken = dict(vars(module))
    with takeover:
        assert module.monotonic() == loop.time()
        assert module.now() == START / 1e6
        module.sleep(5)
        assert loop.clock.elapsed_us == 5_000_000
        first = module.entropy(8)
    with Takeover(loop, seed=7):
        assert module.entropy(8) == first
    assert {name: vars(module)[name] for name in ("sleep", "monotonic", "now", "entropy")} == {
        name: taken[name] for name in ("sleep", "monotonic", "now", "entropy")
    }


def test_sleep_in_an_async_handler_holds_the_world_and_warns_where(loop: VirtualLoop, takeover: Takeover) -> None:
    woken: list[float] = []

    async def blocks() -> None:
        time.sleep(10)  # noqa: ASYNC251 -- what this test is about

    async def waits() -> None:
        await asyncio.sleep(3)
        woken.append(loop.clock.elapsed_us / 1e6)

    async def both() -> None:
        await asyncio.gather(waits(), blocks())

    with takeover, pytest.warns(RuntimeWarning, match=rf"time\.sleep\(10\) at {__file__}:\d+ blocks") as caught:
        loop.run_until_complete(both())
    assert woken == [10]
    assert caught[0].filename == __file__


def test_sleep_between_drives_moves_the_clock_without_a_warning(loop: VirtualLoop, takeover: Takeover) -> None:
    with takeover:
        time.sleep(86_400)
        with pytest.raises(ValueError, match="non-negative"):
            time.sleep(-1)
    assert loop.clock.elapsed_us == 86_400_000_000


def test_another_thread_keeps_real_sleeps_and_a_real_monotonic_clock(loop: VirtualLoop, takeover: Takeover) -> None:
    seen: list[Any] = []

    def outsider() -> None:
        time.sleep(0)
        seen.extend([time.monotonic(), os.urandom(8)])

    with takeover:
        before = originals.monotonic()
        thread = threading.Thread(target=outsider)
        thread.start()
        thread.join()
        again = Takeover(loop, seed=7).randomness.urandom(8)
    assert before <= seen[0] <= originals.monotonic()
    assert seen[1] != again
    assert loop.clock.elapsed_us == 0


def test_leaving_restores_everything_also_when_the_body_raises(takeover: Takeover) -> None:
    def everything() -> list[Any]:
        return [vars(owner).get(name, "absent") for owner, name, _ in PATCHES]

    before, zone, state = everything(), os.environ.get("TZ"), random.getstate()

    def raises() -> None:
        with takeover:
            assert everything() != before
            random.random()
            raise LookupError

    with pytest.raises(LookupError):
        raises()
    assert everything() == before
    assert (os.environ.get("TZ"), random.getstate()) == (zone, state)
    assert time.time() > START / 1e6 + 1000
    assert not takeover.entered


def test_a_takeover_is_entered_again_where_it_was_left(loop: VirtualLoop, takeover: Takeover) -> None:
    with takeover:
        first = [random.random(), os.urandom(4), uuid.uuid4()]
        loop.jump(5_000_000)
    outside = random.random()
    with takeover, takeover:
        assert time.time() == START / 1e6 + 5
        second = [random.random(), os.urandom(4), uuid.uuid4()]
    straight = Takeover(loop, seed=7)
    with straight:
        drawn = [[random.random(), os.urandom(4), uuid.uuid4()] for _ in range(2)]
    assert drawn == [first, second]
    assert outside not in (first[0], second[0])


def test_takeovers_nest_and_the_outer_one_goes_on(loop: VirtualLoop, takeover: Takeover) -> None:
    inner_loop = VirtualLoop(VirtualClock(START + 7_000_000))
    with takeover:
        with Takeover(inner_loop, seed=1):
            time.sleep(1)
            assert time.time() == START / 1e6 + 8
            inner_loop.close()
        assert time.time() == START / 1e6
        time.sleep(2)
        assert time.time() == START / 1e6 + 2
    assert inner_loop.clock.elapsed_us == 1_000_000


def test_another_asyncio_loop_still_sleeps_while_the_process_is_taken_over(takeover: Takeover) -> None:
    async def outside() -> str:
        with takeover:
            return await asyncio.sleep(0.001, "woke up")

    assert asyncio.run(outside()) == "woke up"


def test_entering_and_leaving_takes_under_five_milliseconds_with_500_modules(
    loop: VirtualLoop, takeover: Takeover, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(500):
        module = types.ModuleType(f"filler_{number}")
        vars(module).update({f"name_{i}": object() for i in range(100)})
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with takeover:
        pass
    durations = []
    for _ in range(30):  # on a machine that does something else meanwhile, one of them shows what it costs
        began = time.perf_counter()
        with takeover:
            pass
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.005


PROGRAM = """
import asyncio, os, random, secrets, uuid
from simulation.clocks import Takeover, VirtualClock
from simulation.loop import VirtualLoop
loop = VirtualLoop(VirtualClock(0))
async def main():
    done, _ = await asyncio.wait([asyncio.create_task(asyncio.sleep(1, n)) for n in range(20)])
    print([task.result() for task in done], random.random(), random.Random().random(), secrets.token_hex(4))
    print(uuid.uuid4(), os.urandom(4), random.SystemRandom().random())
with Takeover(loop, seed=3):
    loop.run_until_complete(main())
    loop.close()
"""


def test_two_processes_with_other_hash_seeds_and_time_zones_see_the_same() -> None:
    def run(hash_seed: str, zone: str) -> str:
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone}
        return subprocess.run(
            [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
        ).stdout

    first = run("1", "UTC")
    assert first == run("2", "Asia/Tokyo")
    assert first


def test_everything_that_draws_from_the_system_follows_the_seed(loop: VirtualLoop) -> None:
    def draw(seed: object) -> list[Any]:
        with Takeover(loop, seed):
            drawn = [random.random(), uuid.uuid4(), os.urandom(3), secrets.token_urlsafe(), random.Random().random()]
            random.seed()
            return [*drawn, random.random(), random.SystemRandom().randrange(10**9)]

    assert draw(1) == draw(1)
    assert all(a != b for a, b in zip(draw(1), draw(2), strict=True))
    assert draw("1") == draw(1)
    with Takeover(loop, 1), pytest.raises(ValueError, match="negative"):
        os.urandom(-1)


def test_a_seed_given_to_random_itself_counts(loop: VirtualLoop) -> None:
    expected = random.Random(5).random()
    with Takeover(loop, 1):
        random.seed(5)
        assert random.random() == expected == random.Random(5).random()
