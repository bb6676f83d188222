"""Workers that die, freeze or block, as processes of their own: every job ends once, and soon.

By night it is a thousand deaths in place of a hundred.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.engines.redis.audit import Account
from tests.engines.redis.chaos import Death, World, plan
from tests.engines.redis.conftest import FIRST
from tests.engines.redis.diary import Line, Phase, read
from tests.engines.redis.doom import Point
from tests.engines.redis.ground import eventually, until
from tests.engines.redis.nursery import nursery
from tests.engines.redis.worker_process import Work
from tests.servers import Server, Servers, server_kinds

OTHERS = [kind for kind in server_kinds() if kind != FIRST]
SHORT_LEASE_S = 0.5
LEASE_S = 1.0


async def lived_through(server: Server, folder: Path, kills: int, seed: int) -> Account:
    async with nursery(folder) as workers:
        world = World(server.url, workers, folder, queue="chaos", lease=LEASE_S)
        account = await world.survive(plan(kills, seed), seed=seed)
        await world.stop()
    assert account.releases == 0
    return account


async def test_after_a_hundred_kills_every_job_has_ended_once(
    server: Server, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    kills = 1000 if pytestconfig.getoption("--nightly") else 100
    account = await lived_through(server, tmp_path, kills, seed=1)
    assert account.problems == [], str(account)
    assert account.kills.total() >= kills
    assert set(account.kills) == set(Point)
    assert account.second_runs > kills // 10
    assert account.lates <= kills // 20


@pytest.mark.parametrize("kind", OTHERS)
async def test_after_some_kills_every_job_has_ended_once_on_every_server(
    servers: Servers, tmp_path: Path, kind: str
) -> None:
    account = await lived_through(servers.shared(kind), tmp_path, 14, seed=2)
    assert account.problems == [], str(account)
    assert account.kills.total() >= 14


async def test_at_whatever_point_a_worker_dies_its_jobs_are_left_to_another(server: Server, tmp_path: Path) -> None:
    async with nursery(tmp_path) as workers:
        worlds = {point: World(server.url, workers, tmp_path, queue=point, lease=SHORT_LEASE_S) for point in Point}
        accounts = await asyncio.gather(*(world.survive([Death(point, 1)]) for point, world in worlds.items()))
        await asyncio.gather(*(world.stop() for world in worlds.values()))
    for point, account in zip(worlds, accounts, strict=True):
        assert account.problems == [], f"{point}: {account}"
        assert account.kills[point] == 1


# ---- workers that do not die


def phases(path: Path, *wanted: Phase) -> list[Line]:
    return [line for line in read(path) if line.phase in wanted]


async def test_a_worker_that_was_frozen_past_its_lease_changes_nothing_when_it_wakes(
    server: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with nursery(tmp_path) as workers:
        world = World(server.url, workers, tmp_path, queue="zombie", lease=SHORT_LEASE_S)
        frozen = world.spawn()
        await world.emit("j", Work(gate=str(gate)))
        await until(lambda: phases(world.diary, Phase.BEGUN))
        await frozen.tell(signal.SIGSTOP)
        heir = world.spawn()
        await until(lambda: len(phases(world.diary, Phase.BEGUN)) == 2)
        gate.touch()
        await world.rest()
        before = await world.records()
        await frozen.tell(signal.SIGCONT)
        loss = ("j", 1, frozen.pid)
        await until(lambda: loss in [line[:3] for line in phases(world.diary, Phase.LOST)])
        # It goes on as a worker like any other.
        await heir.stop()
        world.forget(heir)
        await world.emit("next", Work())
        await world.rest()
        after = await world.records()
        assert after["next"].result == frozen.pid
        assert before["j"] == after["j"]
        assert before["j"].result == heir.pid
        assert [attempt.outcome for attempt in after["j"].attempts] == ["stalled", "completed"]
        await world.stop()


async def test_a_handler_that_blocks_the_loop_for_three_leases_keeps_its_job(server: Server, tmp_path: Path) -> None:
    async with nursery(tmp_path) as workers:
        world = World(server.url, workers, tmp_path, queue="block", lease=SHORT_LEASE_S)
        blocked = world.spawn()
        await world.emit("j", Work(block_s=3 * SHORT_LEASE_S))
        await until(lambda: phases(world.diary, Phase.BEGUN))
        world.spawn()
        await world.rest()
        job = (await world.records())["j"]
        assert (job.state, job.attempt, job.losses, job.result) == ("completed", 1, 0, blocked.pid)
        await world.stop()


async def test_a_killed_workers_jobs_are_begun_again_within_a_lease_and_two_seconds(
    server: Server, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    async with nursery(tmp_path) as workers:
        world = World(server.url, workers, tmp_path, queue="prompt", lease=SHORT_LEASE_S)
        victim = world.spawn(concurrency=5)
        for number in range(5):
            await world.emit(str(number), Work(gate=str(gate)))
        await until(lambda: len(phases(world.diary, Phase.BEGUN)) == 5)
        world.spawn(concurrency=5)
        await until(lambda: len(phases(world.diary, Phase.READY)) == 2)
        await victim.tell(signal.SIGKILL)
        await victim.over()
        world.forget(victim)
        killed = monotonic()
        await until(lambda: len(phases(world.diary, Phase.BEGUN)) == 10)
        assert monotonic() - killed < SHORT_LEASE_S + 2.0
        gate.touch()
        await world.rest()
        assert {job.attempt for job in (await world.records()).values()} == {2}
        await world.stop()


async def test_a_job_that_kills_its_workers_fails_as_stalled_and_its_neighbours_do_not(
    server: Server, tmp_path: Path
) -> None:
    async with nursery(tmp_path) as workers:
        world = World(server.url, workers, tmp_path, queue="poison", lease=SHORT_LEASE_S, max_stalled=3)
        await world.emit("poison", Work(kill=True))
        for number in range(5):
            await world.emit(str(number), Work())
        losses = 0
        while losses < 3:
            child = world.spawn(concurrency=3)
            assert await child.over() == -signal.SIGKILL
            world.forget(child)
            losses += 1
        world.spawn()
        await eventually(lambda: _has_state(world, "poison", "failed"))
        await world.rest()
        records = await world.records()
        assert records["poison"].reason == "stalled"
        assert {job.state for job_id, job in records.items() if job_id != "poison"} == {"completed"}
        await world.stop()


async def _has_state(world: World, job_id: str, state: str) -> bool:
    job = await world.tm.get_job(job_id, world.queue)
    return job is not None and job.state == state


async def test_a_workers_emission_is_sent_when_it_stops_and_nothing_runs_twice(server: Server, tmp_path: Path) -> None:
    async with nursery(tmp_path) as workers:
        world = World(server.url, workers, tmp_path, queue="stop", lease=LEASE_S)
        children = [world.spawn(concurrency=4) for _ in range(3)]
        for number in range(60):
            await world.emit(str(number), Work(sleep_s=0.02))
        await until(lambda: len(phases(world.diary, Phase.RAN)) > 10)
        for child in children[:2]:
            await child.stop()
            world.forget(child)
        await world.rest()
        account = await world.account()
        assert account.problems == [], str(account)
        assert account.second_runs == 0
        await world.stop()


def test_a_plan_has_every_point_equally_often_and_is_the_same_for_one_seed() -> None:
    deaths = plan(70, seed=4)
    assert {point: sum(death.point is point for death in deaths) for point in Point} == dict.fromkeys(Point, 10)
    assert deaths == plan(70, seed=4) != plan(70, seed=5)


async def test_the_nursery_tells_of_births_and_deaths_and_kills_what_it_has_when_it_is_left(tmp_path: Path) -> None:
    async with nursery(tmp_path) as workers:
        world = World("memory://", workers, tmp_path, queue="q")
        children = [world.spawn() for _ in range(3)]
        pids = await asyncio.gather(*(child.born for child in children))
        await until(lambda: len(phases(world.diary, Phase.READY)) == 3)
        assert {line.pid for line in phases(world.diary, Phase.READY)} == set(pids)
        await children[0].tell(signal.SIGKILL)
        assert await children[0].over() == -signal.SIGKILL
        assert await children[1].stop() == 0
        await children[2].tell(signal.SIGSTOP)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[2], 0)
