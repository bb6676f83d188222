"""The Redis engine: the port's verbs, each one script, which is one atomic effect on one queue.

The server's clock is the only authority: a script reads `TIME` unless the call carries an explicit now, which is how a
real server runs in virtual time. A store is real or simulated by a mark that its first writer sets, and refuses the
other kind. What the scripts answer is taken apart by `decode`, what they are told is put together by `encode`; the
keys are spelt in `keys`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from taskmanager.clock import Clock
from taskmanager.engine import (
    DUE_LIMIT,
    NOTHING,
    Advanced,
    Answer,
    Batch,
    Claimed,
    Command,
    Controlled,
    Count,
    Enqueued,
    Extended,
    JobRef,
    Journal,
    Limit,
    Pruned,
    RequeueAll,
    Settled,
    Settlement,
    Timetable,
)
from taskmanager.engines.redis import decode, encode, hashes
from taskmanager.engines.redis.address import Address
from taskmanager.engines.redis.bell import Bell
from taskmanager.engines.redis.clock import ServerClock
from taskmanager.engines.redis.connection import Connections, Lane, translate
from taskmanager.engines.redis.ends import Ends
from taskmanager.engines.redis.greeting import greet
from taskmanager.engines.redis.keys import Layout
from taskmanager.engines.redis.scripts import script
from taskmanager.errors import InvariantError, UsageError
from taskmanager.job import Emission, Fact, LogLine, Plan, State, StoredJob

__all__ = ["RedisEngine"]

log = logging.getLogger("taskmanager")
A = TypeVar("A", bound=Answer)
Facts = list[Fact]
_IN_TURN = frozenset({"claim", "settle"})
HEAD = 8
"""How many values begin every answer of a write."""


class RedisEngine:
    """One connection to one store. `rings` is the address of the blocking reads, the store's own by default.

    `clock` is read where the store is opened as a simulated one; a real one goes by the server's time.
    """

    suspends: bool = True

    def __init__(
        self, address: Address, prefix: str = "taskmanager", clock: Clock | None = None, rings: Address | None = None
    ) -> None:
        self._address = address
        self._rings = rings or address
        self._prefix = prefix
        self._layout = Layout(prefix)
        self._given_clock = clock
        self._clock = ServerClock()
        self._is_simulated = False
        self._connections = Connections(address)
        self._lane = Lane(address)
        self._bell = Bell(self._layout, self._connections, self._rings, self._now_us)
        self._ends = Ends(self._layout, self._rings, self._live)

    async def open(self, *, simulated: bool = False) -> None:
        if simulated and self._given_clock is None:
            raise InvariantError("a simulated store needs a clock")
        self._is_simulated = simulated
        try:
            await greet(self._connections, self._address, self._rings, self._layout, simulated)
        except (redis_errors.RedisError, OSError) as error:
            await self.close()
            raise translate(error, self._address) from error
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        await self._bell.close()
        await self._ends.close()
        await self._lane.close()
        await self._connections.close()

    def fork(self) -> RedisEngine:
        engine = RedisEngine(self._address, self._prefix, self._given_clock, self._rings)
        engine._is_simulated = self._is_simulated
        return engine

    async def forget(self, *, everything: bool) -> None:
        assert self._is_simulated, "only a simulated store forgets"
        for name in await self._ask("SMEMBERS", self._layout.queues):
            queue = name.decode()
            if not everything:
                await self._ask("DEL", self._layout.key(queue, "ANSWERS"), self._layout.key(queue, "CALLS"))
                continue
            pattern, cursor = self._layout.pattern(queue), b"0"
            while True:
                cursor, keys = await self._ask("SCAN", cursor, "MATCH", pattern, "COUNT", DUE_LIMIT)
                if keys:
                    await self._ask("UNLINK", *keys)
                if int(cursor) == 0:
                    break
            await self._ask("SREM", self._layout.queues, name)

    # ---- write

    async def enqueue(self, queue: str, entries: Sequence[Emission | Plan], batch: Batch) -> Enqueued:
        values = await self._run("enqueue", queue, f"enqueue {batch.caller}", batch.number, *encode.entries(entries))
        now, due, rest = self._told(values, queue)
        told = decode.Late(lambda: [*due, *decode.enqueue_facts(rest, entries, now, queue)])
        return self._answered(queue, Enqueued(now, told, *_tail(values), decode.enqueued(rest, entries)), values)

    async def claim(
        self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int
    ) -> Claimed:
        values = await self._run("claim", queue, worker, min(limit, DUE_LIMIT), lease_ms, suspect_losses, *holds)
        return self._claimed(queue, values)

    async def extend(
        self, queue: str, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal] = ()
    ) -> Extended:
        values = await self._run("extend", queue, worker, lease_ms, len(journal), *encode.journal(journal), *holds)
        now, told, rest = self._told(values, queue, HEAD + 1, worker)
        end = 1 + rest[0]
        lost, cancelled = sorted(map(int, rest[1:end])), list(map(int, rest[end:]))
        return self._answered(queue, Extended(now, told, *_tail(values), lost, cancelled, bool(values[HEAD])), values)

    async def settle(
        self,
        queue: str,
        worker: str,
        settlements: Sequence[Settlement],
        batch: Batch,
        transient: Collection[State] = NOTHING,
    ) -> Settled:
        caller = f"settle {batch.caller}"
        arguments = encode.settlements(settlements)
        values = await self._run("settle", queue, caller, batch.number, worker, " ".join(transient), *arguments)
        now, ruled = int(values[0]), values[HEAD:]
        for stream in decode.misplaced(ruled, settlements):
            log.error("%s: the key %r is no stream, so a dead letter was not appended", self._address.name, stream)
        told = decode.Late(lambda: decode.settle_facts(ruled, settlements, now, queue, worker))
        return self._answered(queue, Settled(now, told, *_tail(values), decode.settled(ruled, settlements)), values)

    async def cancel(self, queue: str, ref: JobRef, batch: Batch, transient: Collection[State] = NOTHING) -> Controlled:
        serial = _or_empty(ref.serial)
        caller = f"cancel {batch.caller}"
        values = await self._run("cancel", queue, caller, batch.number, ref.id, serial, " ".join(transient))
        return self._controlled(queue, values)

    async def reap(self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Claimed:
        return self._claimed(queue, await self._run("reap", queue, worker, limit, lease_ms, *holds))

    async def advance(
        self,
        queue: str,
        name: str,
        revision: int,
        place: int,
        next_at: int | None,
        occurrences: Sequence[Emission],
        dropped: int,
    ) -> Advanced:
        moment = _or_empty(next_at)
        arguments = encode.occurrences(occurrences)
        values = await self._run("advance", queue, name, revision, place, moment, dropped, *arguments)
        now, told, _ = self._told(values, queue, HEAD + 1)
        return self._answered(queue, Advanced(now, told, *_tail(values), bool(values[HEAD])), values)

    async def prune(self, queue: str, limits: Mapping[State, Limit], limit: int = DUE_LIMIT) -> Pruned:
        bounds: list[Any] = []
        for state, bound in limits.items():
            bounds += (state.value, _or_empty(bound.age_ms), _or_empty(bound.count))
        values = await self._run("prune", queue, limit, *bounds)
        removed, more, next_at, room = values[HEAD:]
        left = hashes.number(next_at), hashes.number(room)
        return self._answered(queue, Pruned(int(values[0]), [], *_tail(values), removed, bool(more), *left), values)

    async def control(
        self, queue: str, command: Command, batch: Batch, transient: Collection[State] = NOTHING
    ) -> Controlled:
        caller = f"control {batch.caller}"
        arguments = encode.command(command)
        if not isinstance(command, RequeueAll):
            return self._controlled(queue, await self._run("control", queue, caller, batch.number, *arguments))
        # It may have to look past many failed jobs of other events: so many looks, the last of which is remembered.
        place: Any = "-"
        while True:
            values = await self._run("control", queue, caller, batch.number, *arguments, place)
            answer, look = self._controlled_with(queue, values)
            if answer.count or not look:
                return answer
            [place] = look

    # ---- wait

    async def wait(self, seen: Mapping[str, int], until: int | None) -> Collection[str]:
        if until is not None and until * 1000 <= self._now_us():
            return await self._glance(seen)
        return await self._bell.wait(seen, until)

    async def _glance(self, seen: Mapping[str, int]) -> Collection[str]:
        """The queues whose tide is another now, or in which something has become due."""
        changed = []
        for queue, tide in seen.items():
            risen = await self._ask("HGET", self._layout.key(queue, "META"), "tide")
            due = await self._ask("ZRANGE", self._layout.key(queue, "DELAYED_SET"), 0, 0, "WITHSCORES")
            if int(risen or 0) != tide or (due and float(due[1]) * 1000 <= self._now_us()):
                changed.append(queue)
        if not seen:
            await asyncio.sleep(0)
        return changed

    async def wait_ended(self, queue: str, ref: JobRef, until: int) -> None:
        await self._ends.wait(queue, ref, until, self._now_us)

    async def _live(self, queue: str, ref: JobRef) -> int | None:
        """The serial of the job or follow-up that is meant, None where it lives no more."""
        _, serial = await self._run("live", queue, ref.id, _or_empty(ref.serial))
        return hashes.number(serial)

    # ---- read

    async def get(self, queue: str, ref: JobRef) -> StoredJob | None:
        now, kind, *rest = await self._run("get", queue, ref.id, _or_empty(ref.serial))
        if not kind:
            return None
        fields = hashes.fields_of(rest[0])
        if kind == b"next":
            return hashes.follow_up_job(ref.id, queue, fields, int(now), int(rest[1]))
        return hashes.job_of(ref.id, queue, fields, int(now), hashes.fields_of(rest[1]))

    async def list(self, queue: str, state: State | None, limit: int, after: int | None) -> Sequence[StoredJob]:
        jobs: list[StoredJob] = []
        below: Any = _or_empty(after)
        while len(jobs) < limit:
            now, below, *found = await self._run("list", queue, state or "", min(limit - len(jobs), DUE_LIMIT), below)
            for at in range(0, len(found), 3):
                fields, follow_up = hashes.fields_of(found[at + 1]), hashes.fields_of(found[at + 2])
                jobs.append(hashes.job_of(found[at].decode(), queue, fields, int(now), follow_up))
            if below == b"":
                break
        return jobs

    async def count(self, queue: str) -> Count:
        _, waiting, delayed, active, completed, failed, cancelled, paused, *moments = await self._run("count", queue)
        states = {
            State.WAITING: waiting,
            State.DELAYED: delayed,
            State.ACTIVE: active,
            State.COMPLETED: completed,
            State.FAILED: failed,
            State.CANCELLED: cancelled,
        }
        return Count(states, bool(paused), *map(hashes.number, moments))

    async def logs(self, queue: str, id: str) -> Sequence[LogLine]:
        lines = await self._ask("LRANGE", self._layout.key(queue, "LOGS", id), 0, -1)
        return [hashes.log_line(line) for line in lines]

    async def schedules(self, queue: str) -> Timetable:
        now, *values = await self._run("schedules", queue)
        schedules = [
            hashes.schedule_of(values[at].decode(), hashes.fields_of(values[at + 1]), int(values[at + 2]))
            for at in range(0, len(values), 3)
        ]
        return Timetable(int(now), sorted(schedules, key=lambda one: one.plan.name))

    async def queues(self) -> Sequence[str]:
        names = sorted(name.decode() for name in await self._ask("SMEMBERS", self._layout.queues))
        return [name for name in names if (await self._run("names", name))[1]]

    async def now(self) -> int:
        if self._is_simulated:
            return self._now_us() // 1000
        seconds, micros = await self._ask("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    # ---- the frame of a verb

    def _now_us(self) -> int:
        if self._is_simulated and self._given_clock is not None:
            return self._given_clock.now_us()
        return self._clock.now_us()

    async def _run(self, verb: str, queue: str, *arguments: Any) -> Any:
        layout = self._layout
        now = self._now_us() // 1000 if self._is_simulated else ""
        keys = layout.base(queue), layout.store, layout.queues
        try:
            road: Lane | Connections = self._lane if verb in _IN_TURN else self._connections
            values = await road.run(script(verb), len(keys), *keys, now, queue, *arguments)
        except (redis_errors.RedisError, OSError) as error:
            raise translate(error, self._address) from error
        if values[0] == b"MARKED":
            raise UsageError(self._marked(values[1].decode()))
        if values[0] == b"BACKWARDS":
            raise InvariantError(
                f"{arguments[0]} number {arguments[1]} on queue {queue!r} came after number {values[1].decode()};"
                " a caller numbers its calls upwards and has one in flight"
            )
        return values

    async def _ask(self, *command: Any) -> Any:
        try:
            return await self._connections.ask(*command)
        except (redis_errors.RedisError, OSError) as error:
            raise translate(error, self._address) from error

    def _marked(self, mark: str) -> str:
        wanted = "simulated" if self._is_simulated else "real"
        return (
            f"the store {self._address.name} (prefix {self._prefix!r}) is {mark} and cannot be used as a {wanted} one;"
            " give each a database of its own, or the real one another prefix"
        )

    def _answered(self, queue: str, answer: A, values: Sequence[Any]) -> A:
        """Sets the clock, marks a replay, and tells who waits."""
        answer.born = int(values[7])
        if values[6]:
            answer.replayed = True
        elif not self._is_simulated:
            self._clock.hear(answer.now * 1000 + values[1])
        self._bell.notice(queue, answer)
        return answer

    def _told(
        self, values: Sequence[Any], queue: str, at: int = HEAD, worker: str | None = None
    ) -> tuple[int, Facts, Sequence[Any]]:
        """Now, the facts whose number stands at `at`, and what follows them."""
        now = int(values[0])
        end = at + 1 + decode.FACT_VALUES * values[at]
        return now, decode.facts(values[at + 1 : end], now, queue, worker), values[end:]

    def _claimed(self, queue: str, values: Sequence[Any]) -> Claimed:
        now, told, rest = self._told(values, queue, HEAD + 1)
        jobs = decode.claims(rest, queue, now)
        return self._answered(queue, Claimed(now, told, *_tail(values), jobs, bool(values[HEAD])), values)

    def _controlled(self, queue: str, values: Sequence[Any]) -> Controlled:
        return self._controlled_with(queue, values)[0]

    def _controlled_with(self, queue: str, values: Sequence[Any]) -> tuple[Controlled, Sequence[Any]]:
        refused, count, changed = values[HEAD : HEAD + 3]
        now, told, rest = self._told(values, queue, HEAD + 3)
        job = None
        if len(rest) > 1:
            fields = hashes.fields_of(rest)
            job = hashes.follow_up_job(fields["id"].decode(), queue, fields, now)
            rest = ()
        verdict = State(refused.decode()) if refused else None
        answer = Controlled(now, told, *_tail(values), job, verdict, count, bool(changed))
        return self._answered(queue, answer, values), rest


def _or_empty(value: int | None) -> int | str:
    """How an absent number is told to a script."""
    return "" if value is None else value


def _tail(values: Sequence[Any]) -> tuple[int, int | None, int | None, int | None]:
    """tide, due_at, schedule_at, lease_at."""
    return values[2], hashes.number(values[3]), hashes.number(values[4]), hashes.number(values[5])
