"""The same application, program and seed: the same world, byte for byte, in any process and under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager

CHAOTIC = Path(__file__).with_name("chaotic.py")
ROOT = CHAOTIC.parents[2]


def start(seed: str, hash_seed: str, zone: str = "UTC") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, str(CHAOTIC), seed], stdout=subprocess.PIPE, text=True, env=environment)


def outputs(*started: subprocess.Popen[str]) -> list[str]:
    told = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started)
    return told


@pytest.fixture(scope="module")
def worlds() -> list[str]:
    """Three processes of one seed, and one of another."""
    return outputs(
        start("7", "0"), start("7", "1", "Europe/Berlin"), start("7", "4242", "America/New_York"), start("8", "0")
    )


def test_one_seed_is_one_world_in_every_process(worlds: list[str]) -> None:
    one, same, again, _ = worlds
    assert one == same == again


def test_the_world_is_rich_enough_to_differ(worlds: list[str]) -> None:
    world = worlds[0]
    assert world.count("\n") > 100
    for word in ('"retried"', '"completed"', '"threads"', '"lost"', "unlucky", "worker-2.2"):
        assert word in world


def test_another_seed_is_another_world(worlds: list[str]) -> None:
    assert worlds[0] != worlds[3]


def test_two_worlds_in_one_process_are_equal_as_well(capsys: pytest.CaptureFixture[str], worlds: list[str]) -> None:
    from tests.simulation import chaotic

    for _ in range(2):
        chaotic.main("7")
        assert capsys.readouterr().out == worlds[0]


def test_a_fresh_world_begins_anew_in_the_store_that_an_earlier_one_left(tmp_path: Path) -> None:
    def steps(engine: str, start: str) -> list[str]:
        tm = TaskManager(db="memory://")

        @tm.handler("tick", repeat={"pattern": "0 * * * *"})
        async def tick(job: Job[Any]) -> None:
            await job.logger("ticked")

        with Simulation(tm, start=start, engine=engine, fresh=True) as sim:
            sim.emit("tick", {"by": "hand"}, id="one", delay=5400)
            sim.advance(hours=3)
            assert {len(sim.logs(job.id)) for job in sim.jobs(state="completed")} == {1}
            return [str(step) for step in sim.timeline]

    for engine in ("memory://kept-by-a-world", f"sqlite:///{tmp_path}/kept.db"):
        one = steps(engine, "2026-05-01T00:00Z")
        assert steps(engine, "2026-06-01T00:00Z") != one
        assert steps(engine, "2026-05-01T00:00Z") == one


def test_a_world_that_is_not_fresh_goes_on_with_what_an_earlier_one_left(tmp_path: Path) -> None:
    for engine in ("memory://left-by-a-world", f"sqlite:///{tmp_path}/left.db"):
        tm = TaskManager(db="memory://")
        tm.register_handler(lambda job: job.data["n"], "work")
        with Simulation(tm, engine=engine) as sim:
            sim.emit("work", {"n": 1}, id="early", delay=60)
        with Simulation(tm, engine=engine) as sim:
            assert sim.emit("work", {"n": 2}, id="late").status == "emitted"
            sim.run_until_idle()
            assert {job.id: job.result for job in sim.jobs(state="completed")} == {"late": 2, "early": 1}
