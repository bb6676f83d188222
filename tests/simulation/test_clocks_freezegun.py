"""A test that freezegun has frozen: the simulation starts there and moves that clock."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import freezegun

from simulation.clocks import Takeover, VirtualClock, frozen_start
from simulation.loop import VirtualLoop
from taskmanager.clock import SystemClock, datetime_of, duration_ms, iso, moment_ms

INSTANT_US = 1_774_656_000_123_000


def test_without_freezegun_there_is_no_frozen_start() -> None:
    assert frozen_start() is None


@freezegun.freeze_time("2026-03-28T00:00:00.123Z")
def test_a_frozen_instant_is_the_start_and_the_freezer_moves_with_the_clock() -> None:
    assert frozen_start() == INSTANT_US
    loop = VirtualLoop(VirtualClock(INSTANT_US))

    async def program() -> None:
        before = time.monotonic()
        await asyncio.sleep(3600)
        assert datetime.now(UTC) == datetime(2026, 3, 28, 1, 0, 0, 123000, tzinfo=UTC)
        assert time.monotonic() == before + 3600 == loop.time()
        await asyncio.to_thread(time.sleep, 60)

    frozen_monotonic = time.monotonic
    with Takeover(loop):
        loop.run_until_complete(program())
        loop.close()
    assert time.monotonic is frozen_monotonic
    assert datetime.now(UTC) == datetime(2026, 3, 28, 1, 1, 0, 123000, tzinfo=UTC)
    assert frozen_start() == INSTANT_US + 3_660_000_000


def test_the_freezer_stays_at_the_last_simulated_instant(freezer: object) -> None:
    start = frozen_start()
    assert start is not None
    loop = VirtualLoop(VirtualClock(start))
    with Takeover(loop):
        loop.jump(86_400_000_000)
        loop.close()
    assert frozen_start() == start + 86_400_000_000


@freezegun.freeze_time("2026-03-28T00:00:00.123Z")
def test_the_clocks_of_the_package_are_right_under_freezegun() -> None:
    now = datetime.now(UTC)
    assert SystemClock().now_us() == INSTANT_US
    assert moment_ms(now, "delay_until") == INSTANT_US // 1000
    assert moment_ms(datetime_of(INSTANT_US // 1000), "delay_until") == INSTANT_US // 1000
    assert iso(INSTANT_US // 1000) == "2026-03-28T00:00:00.123Z"
    assert duration_ms(timedelta(seconds=1.5), "delay") == 1500


@freezegun.freeze_time("2026-03-28", tick=True)
def test_a_ticking_freezer_starts_the_simulation_where_it_is() -> None:
    start = frozen_start()
    assert start is not None
    assert 0 <= start - 1_774_656_000_000_000 < 60_000_000


PROGRAM = """
import freezegun
with freezegun.freeze_time("2026-03-28"):
    from simulation.clocks import Takeover, VirtualClock, frozen_start
    from simulation.loop import VirtualLoop
    import asyncio, time
    loop = VirtualLoop(VirtualClock(frozen_start()))
    with Takeover(loop):
        loop.run_until_complete(asyncio.sleep(5))
        assert time.time() == 1774656005, time.time()
        loop.close()
loop = VirtualLoop(VirtualClock(0))
with Takeover(loop):
    loop.run_until_complete(asyncio.sleep(5))
    assert time.time() == 5, time.time()
    loop.close()
assert time.time() > 1e9 and time.monotonic() < 1e9
print("fine")
"""


def test_importing_the_simulation_while_frozen_leaves_it_working_afterwards() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("fine\n", "")
