"""An application whose handlers do what usually differs between two runs; as a script it prints its world.

`python chaotic.py SEED` prints the timeline as JSON lines, and then what the handlers saw.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import secrets
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from simulation import Simulation
from taskmanager import Job, Retry, TaskManager


def build(seen: list[Any]) -> TaskManager:
    """The application; `seen` collects what its handlers drew and in which order they did things."""
    tm = TaskManager("memory://", concurrency=4)
    register_async(tm, seen)
    register_plain(tm, seen)
    return tm


def register_async(tm: TaskManager, seen: list[Any]) -> None:
    @tm.handler("draw", retry=Retry(max_retries=3, delay=5, jitter=0.5))
    async def draw(job: Job[Any]) -> str:
        seen.append([str(uuid.uuid4()), os.urandom(4).hex(), secrets.token_hex(2), random.randint(0, 999)])
        await asyncio.sleep(random.expovariate(0.1))
        if random.random() < 0.4:
            raise ValueError(f"unlucky {uuid.uuid4()}")
        colours = {"red", "green", "blue", "white"}  # iterated as it is, its order would be the hash seed's
        for name in sorted(colours):
            await tm.emit("race", {"colour": name}, id=f"{job.id}/{name}")
        return datetime.now(UTC).isoformat()

    @tm.handler("race", queue="default", timeout=20)
    async def race(job: Job[Any]) -> None:
        tasks = {asyncio.create_task(leg(job.data["colour"], n)) for n in range(8)}
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(leg(job.data["colour"], n))
        seen.append(["won", sorted(task.result() for task in done)])

    async def leg(colour: str, n: int) -> str:
        try:
            await asyncio.sleep(random.choice([1, 2, 3]))
        except asyncio.CancelledError:
            seen.append(["lost", colour, n])
            raise
        return f"{colour}-{n}"


def register_plain(tm: TaskManager, seen: list[Any]) -> None:
    @tm.handler("threads", repeat="*/7 * * * *")
    def threads(job: Job[Any]) -> list[int]:
        results: queue.Queue[int] = queue.Queue()

        def run(n: int) -> None:
            time.sleep(random.uniform(0, 2))
            results.put(n)

        others = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for other in others:
            other.start()
        with ThreadPoolExecutor(2) as pool:
            squares = list(pool.map(lambda n: n * n, range(3)))
        for other in others:
            other.join()
        seen.append(["threads", squares, [results.get() for _ in others], round(time.time(), 3)])
        return squares


def main(seed: str) -> None:
    seen: list[Any] = []
    with Simulation(build(seen), start="2026-03-28T23:00Z", seed=seed, workers=3) as sim:
        for n in range(8):
            sim.emit("draw", {"n": n}, delay=n)
        sim.advance(minutes=10)
        sim.nodes[1].crash()
        sim.advance(minutes=1)
        sim.run(sim.nodes[1].boot())
        for n in range(8):
            sim.emit("draw", {"late": n})
        sim.jump(minutes=20)
        sim.run_until_idle()
        sys.stdout.write(sim.timeline.to_json_lines())
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1])
