"""Several processes on one file: whoever waits hears of the others, nobody starves, and nothing is handed out twice."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskmanager.engine import Batch, Engine, JobRef
from taskmanager.engines import open_engine
from taskmanager.job import Emission, State
from tests.engines.conformance.builders import emissions
from tests.engines.sqlite.neighbours import neighbours

LEASE_MS = 60_000
WAKES = 21


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Engine]:
    engine = open_engine(url)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


async def test_an_emission_of_another_process_ends_a_wait_within_50_ms(url: str) -> None:
    late_ms = []
    async with opened(url) as engine, neighbours(("emitter", url)) as [emitter]:
        await emitter.heard()
        for _ in range(WAKES):
            tide = (await engine.claim("q", "w", (), 100, LEASE_MS, 2)).tide
            waiting = asyncio.ensure_future(engine.wait({"q": tide}, None))
            await asyncio.sleep(0)
            emitter.tell()
            assert list(await waiting) == ["q"]
            [began_s] = await emitter.heard()
            late_ms.append((time.monotonic() - float(began_s)) * 1000)
    # The machine may be busy with other tests, so one late wake proves nothing; half of them do.
    assert statistics.median(late_ms) < 50, late_ms


async def test_an_end_in_another_process_is_told_to_who_waits_for_it(url: str) -> None:
    async with opened(url) as engine:
        [verdict] = (await engine.enqueue("q", [Emission("send", "x")], Batch("caller", 1))).verdicts
        far = await engine.now() + 3_600_000
        waiting = asyncio.ensure_future(engine.wait_ended("q", JobRef("x", verdict.serial), far))
        async with neighbours(("claimer", url, "other")) as [claimer]:
            await claimer.heard()
            claimer.tell()
            assert await claimer.heard() == ["x"]
            async with asyncio.timeout(10):
                await waiting
        job = await engine.get("q", JobRef("x"))
        assert job is not None
        assert job.state == State.COMPLETED


async def test_a_job_is_handed_to_one_of_several_processes(url: str) -> None:
    async with opened(url) as engine:
        await engine.enqueue("q", emissions(600), Batch("caller", 1))
        async with neighbours(*(("claimer", url, f"w{number}") for number in range(3))) as claimers:
            for claimer in claimers:
                await claimer.heard()
            for claimer in claimers:
                claimer.tell()
            got = [await claimer.heard() for claimer in claimers]
        assert sorted(id for ids in got for id in ids) == [one.id for one in emissions(600)]
        assert (await engine.count("q")).states[State.COMPLETED] == 600


async def test_no_writer_starves_where_four_write_without_a_pause(url: str) -> None:
    async with neighbours(*(("hammer", url, f"h{number}", 1) for number in range(4))) as hammers:
        for hammer in hammers:
            await hammer.heard()
        for hammer in hammers:
            hammer.tell()
        took = [[float(ms) for ms in await hammer.heard()] for hammer in hammers]
    everybody = sorted(ms for ours in took for ms in ours)
    assert everybody[int(len(everybody) * 0.99)] < 100
    assert min(map(len, took)) > len(everybody) / 40, [len(ours) for ours in took]


async def test_waiting_takes_next_to_no_processor(url: str) -> None:
    async with neighbours(("idler", url, 2)) as [idler]:
        [used_s] = await idler.heard()
    assert float(used_s) < 0.06  # 1 % is 0.02; three times that on a machine that runs other tests meanwhile
