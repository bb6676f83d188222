"""Kills: workers in processes of their own, one of which dies by SIGKILL at a named point; then the file is judged.

Run as a program, so that it forks from a process without threads: `python -m tests.engines.sqlite.campaign 50 3 SEED`
plays 50 rounds with three workers each. A point is a statement of the engine, by its name in `statements`, or `answer`:
after the commit, before anybody was told. Each worker writes down what it was told, and when it begins a run, in one
journal, line by line; what stands there was acknowledged.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskmanager.clock import SystemClock
from taskmanager.engine import Batch, Journal, Pause, Promote, Resume, Settlement
from taskmanager.engine import JobRef as Ref
from taskmanager.engines import open_engine
from taskmanager.engines.sqlite import opening, store, wal
from taskmanager.engines.sqlite.address import Address
from taskmanager.job import Claim, Edge, Emission, Limit, Plan, State, Window
from tests.engines.conformance.builders import completed, failed, retried, stalled
from tests.engines.sqlite.judge import judge

QUEUE = "q"
LEASE_MS = 60_000
POINTS = (
    *("begin", "get_queue", "put_queue", "add_job", "find_jobs", "find_due", "put_due", "get_replay", "put_replay"),
    *("find_waiting", "add_lease", "keep_lease", "put_claim", "get_runs", "put_end", "add_ends", "put_letter"),
    *("put_job", "put_payload", "add_end", "drop_leases", "note_job"),
    *("put_heard", "add_line", "put_window", "end_windows", "put_schedule", "put_outcome", "drop_job", "drop_replays"),
    *("note_checkpoint", "checkpoint", "commit", "commit", "answer", "answer"),
)


OFTEN = frozenset({"begin", "get_queue", "put_queue", "get_replay", "put_replay", "commit", "answer"})
"""Points that every turn passes several times: to die at the sixtieth is to die in any verb."""
SELDOM = frozenset({"note_checkpoint", "checkpoint"})
"""Points of a thread of its own: how many times it comes to them depends on the machine, but it does once."""


class LaterClock(SystemClock):
    """Tomorrow's: every lease has run out, everything is due."""

    def now_us(self) -> int:
        return super().now_us() + 86_400_000_000


class Death:
    """Kills this process at the nth time a point is passed."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth
        connect, write = opening.connect, store.Store.write

        def watched(address: Address) -> sqlite3.Connection:
            file = connect(address)
            file.set_trace_callback(lambda text: self.passing(text[3 : text.index(" */")] if " */" in text else ""))
            return file

        def answered(*given: Any, **named: Any) -> Any:
            answer: Any = write(*given, **named)
            self.passing("answer")
            return answer

        opening.connect = watched
        store.Store.write = answered  # type: ignore[method-assign]  # the same, and a point after it

    def passing(self, point: str) -> None:
        self._left -= point == self._point
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Worker:
    """One process's part: every verb, over and over, each answer written down."""

    def __init__(self, url: str, number: int, journal: int, *, is_later: bool = False) -> None:
        self.engine = open_engine(url, LaterClock() if is_later else None)
        self.name = f"w{number}"
        self._journal = journal
        self._numbers: dict[str, int] = {}
        self._held: list[Claim] = []
        self._rng = random.Random(number)

    def batch(self, verb: str) -> Batch:
        self._numbers[verb] = self._numbers.get(verb, 0) + 1
        return Batch(self.name, self._numbers[verb])

    def write(self, *words: object) -> None:
        os.write(self._journal, (" ".join(map(str, (self.name, *words))) + "\n").encode())

    async def emit(self, turn: int) -> None:
        ids = [f"{self.name}-{turn}-{nth}" for nth in range(3)]
        window = Window(f"{self.name}-{turn // 2}", Edge.LEADING, 3_600_000)
        entries: list[Emission | Plan] = [
            Emission("send", ids[0], awaited=turn % 2 == 0),
            Emission("send", ids[1], b'"%s"' % (b"x" * 2000), delay_ms=turn % 3),
            Emission("send", ids[2], priority=turn % 2),
            Emission("send", f"{self.name}-again", b"[%d]" % turn, awaited=turn % 2 == 1),
            Emission("once", f"{self.name}-once-{turn}", window=window),
            Plan(f"plan-{self.name}", "report", "0 * * * *", "UTC", immediate=turn == 0),
        ]
        answer = await self.engine.enqueue(QUEUE, entries, self.batch("enqueue"))
        for verdict in answer.verdicts[:3]:
            self.write("emitted", verdict.id)
        self.write("debounce", answer.verdicts[4].status, f"{self.name}-{turn // 2}", answer.verdicts[4].id)

    async def take(self) -> None:
        numbers = [claim.number for claim in self._held]
        for claim in (await self.engine.claim(QUEUE, self.name, numbers, 4, LEASE_MS, 2)).jobs:
            self.write("start", claim.id, claim.number)
            self._held.append(claim)

    async def beat(self) -> None:
        journal = [Journal(claim.number, 1, f"line of {claim.number}") for claim in self._held]
        await self.engine.extend(QUEUE, self.name, [claim.number for claim in self._held], LEASE_MS, journal)
        for claim in self._held:
            self.write("line", claim.id, claim.number)

    async def settle(self) -> None:
        ends = [completed(b"1"), completed(), failed(dead_letter="dlq"), retried(1)]
        chosen = [self._rng.choice(ends) for _ in self._held]
        settlements = [Settlement(claim.number, end) for claim, end in zip(self._held, chosen, strict=True)]
        for claim in self._held:
            self.write("end", claim.id, claim.number)
        answer = await self.engine.settle(QUEUE, self.name, settlements, self.batch("settle"))
        for claim, state in zip(self._held, answer.verdicts, strict=True):
            self.write("settled", claim.id, claim.number, state)
        self._held.clear()

    async def rule(self, turn: int) -> None:
        await self.engine.control(QUEUE, Pause() if turn % 4 == 1 else Resume(), self.batch("control"))
        await self.engine.control(QUEUE, Promote(Ref(f"{self.name}-{turn}-1")), self.batch("control"))
        await self.engine.cancel(QUEUE, Ref(f"{self.name}-{turn}-2"), self.batch("cancel"))
        await self.engine.prune(QUEUE, {State.COMPLETED: Limit(None, 40)})
        for schedule in (await self.engine.schedules(QUEUE)).schedules:
            now = await self.engine.now()
            occurrence = Emission("report", f"{schedule.plan.name}@{now}", run_at=now)
            await self.engine.advance(QUEUE, schedule.plan.name, schedule.revision, now, now + 9, [occurrence], 0)

    async def work(self, turns: int) -> None:
        for turn in range(turns):
            await self.emit(turn)
            await self.take()
            await self.beat()
            again = Emission("send", f"{self.name}-again", b"2", awaited=True)
            await self.engine.enqueue(QUEUE, [again], self.batch("enqueue"))
            await self.settle()
            await self.rule(turn)
        await self.engine.control(QUEUE, Resume(), self.batch("control"))
        await self.engine.close()

    async def finish(self) -> None:
        """The survivor, tomorrow: takes over what was lost, and runs what is left."""
        await self.engine.control(QUEUE, Resume(), self.batch("control"))
        while True:
            taken = (await self.engine.reap(QUEUE, self.name, (), 100, LEASE_MS)).jobs
            for claim in taken:
                self.write("lost", claim.id, claim.number)
            lost = [Settlement(claim.number, stalled()) for claim in taken]
            await self.engine.settle(QUEUE, self.name, lost, self.batch("settle"))
            self._held = list((await self.engine.claim(QUEUE, self.name, (), 100, LEASE_MS, 10)).jobs)
            if not taken and not self._held:
                break
            for claim in self._held:
                self.write("start", claim.id, claim.number)
            settlements = [Settlement(claim.number, completed()) for claim in self._held]
            await self.engine.settle(QUEUE, self.name, settlements, self.batch("settle"))
        await self.engine.close()


def in_process(work: Callable[[], None]) -> int:
    """Runs in a fork of this process; gives its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def play(folder: Path, workers: int, point: str, nth: int, kill_after_s: float | None) -> str | None:
    """One round: what is wrong with its end, None where nothing is."""
    url, journal = f"sqlite:///{folder}/tasks.db", folder / "journal"
    file = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    wal.CHECKPOINT_PAGES, wal.LONG_PAGES = 60, 90

    def victim() -> None:
        if kill_after_s is None:
            Death(point, nth)
        asyncio.run(Worker(url, 0, file).work(80))

    def neighbour(number: int) -> Callable[[], None]:
        return lambda: asyncio.run(Worker(url, number, file).work(8))

    pids = [in_process(victim), *(in_process(neighbour(number)) for number in range(1, workers))]
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(pids[0], signal.SIGKILL)
    ends = [os.waitpid(pid, 0)[1] for pid in pids]
    survivor = in_process(lambda: asyncio.run(Worker(url, 9, file, is_later=True).finish()))
    ends.append(os.waitpid(survivor, 0)[1])
    os.close(file)
    if os.WIFSIGNALED(ends[0]) and os.WTERMSIG(ends[0]) != signal.SIGKILL:
        return f"the victim ended by signal {os.WTERMSIG(ends[0])}"
    if any(ends[1:]):
        return f"a survivor failed: {ends}"
    if not os.WIFSIGNALED(ends[0]) and kill_after_s is None:
        return f"the victim never came to {point}"
    return judge(folder / "tasks.db", journal.read_text().splitlines(), QUEUE)


def main(rounds: int, workers: int, seed: int) -> int:
    """Two kills of three at a point, in turn; the third at any moment."""
    rng = random.Random(seed)
    for number in range(rounds):
        point = POINTS[number * 2 // 3 % len(POINTS)]
        nth = rng.randint(1, 60 if point in OFTEN else 1 if point in SELDOM else 2)
        kill_after_s = rng.uniform(0.0, 0.15) if number % 3 == 2 else None
        with tempfile.TemporaryDirectory() as folder:
            wrong = play(Path(folder), workers, point, nth, kill_after_s)
        if wrong is not None:
            moment = f"at {point!r}, time {nth}" if kill_after_s is None else f"after {kill_after_s} s"
            print(f"round {number}, seed {seed}, killed {moment}: {wrong}")
            return 1
    print(f"{rounds} kills")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:4])))
