"""The wire between a node and the store, and the one place through which every engine call of a world passes.

A call takes effect at the same place in the order of things on every engine: calls are handed to the store one at a
time, first come first served, and only when nothing is ready to run; the reply resumes its caller from there. So
memory, which answers at once, cannot be told from a server, which answers after a round trip.

What each call caused is recorded here, at its effect and not at its reply; a replayed answer is old news. Waiting is
not a call: who waits is kept on this side of the store, so that who is woken first is the same on every engine too.

Two lanes: what the person at the controls asks (`sim.emit`, `sim.counts`) goes first, and while it is being asked the
world's own calls stand still, but for those that it turns out to wait behind.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from simulation.errors import SimulationStuck
from simulation.loop import VirtualLoop, real_io
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
    Engine,
    Enqueued,
    Extended,
    JobRef,
    Journal,
    Limit,
    Pruned,
    Settled,
    Settlement,
    Timetable,
)
from taskmanager.engines.waiters import Waiters
from taskmanager.job import Emission, Fact, Kind, LogLine, Plan, State, StoredJob

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Reply = Coroutine[Any, Any, T]

at_the_controls: ContextVar[bool] = ContextVar("simulation_at_the_controls", default=False)
"""True in what the person who drives the simulation asks, as opposed to what the world does by itself."""

ONE_INSTANT_STEPS = 100_000
"""How many steps may happen at one instant before the world is taken to spin."""
_tuple = tuple.__new__  # builds a NamedTuple in half the time
_ENDS = frozenset({Kind.COMPLETED, Kind.SKIPPED, Kind.FAILED, Kind.CANCELLED})


class _Call(NamedTuple):
    wire: Wire
    queue: str | None
    verb: Callable[..., Coroutine[Any, Any, Any]]
    args: tuple[Any, ...]
    reply: asyncio.Future[Any]


class Exchange:
    """The store's side: takes the calls of all wires one by one, and records what they cause in `facts`.

    `dead_letters` counts what was appended and outlived its call, by event: no step tells of it. `is_asked` is True
    while the person at the controls asks something, `is_stepping` where each step halts the loop. `is_fresh`: the store
    is emptied first.
    """

    def __init__(self, loop: VirtualLoop, store: Engine, facts: list[Fact], *, is_fresh: bool = False) -> None:
        self.loop = loop
        self.store = store
        self._is_fresh = is_fresh
        self.facts = facts
        self.waiters = Waiters()
        self.dead_letters: Counter[str] = Counter()
        self.is_asked = False
        self.is_stepping = False
        self._has_begun = False
        self._asked: deque[_Call] = deque()
        self._own: deque[_Call] = deque()
        self._flying: asyncio.Task[Any] | None = None
        self._allowed: int | None = None
        self._steps = 0
        self._goal = ""
        self._instant_us = loop.clock.us
        self._instant_from = 0

    # ---- what the loop asks

    def pending(self) -> bool:
        return bool(self._asked) or (bool(self._own) and not self.is_asked)

    def in_flight(self) -> bool:
        return self._flying is not None

    def dispatch(self) -> None:
        call = (self._asked or self._own).popleft()
        if call.wire.is_cut:
            self.loop.keep(call.reply)  # whoever asked is gone, and the store was not reached
            return
        if call.reply.done():
            return
        if self.store.suspends:
            self._fly(call.verb(*call.args)).add_done_callback(lambda task: self._landed(call, task))
            return
        try:
            call.verb(*call.args).send(None)
        except StopIteration as ended:
            self._answer(call, ended.value)
        except Exception as error:
            call.reply.set_exception(error)

    def _fly(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Runs a call of a store that suspends; the loop polls real sockets meanwhile."""
        context = copy_context()
        context.run(real_io.set, True)
        flying = self._flying = self.loop.create_task(coroutine, context=context)
        flying.add_done_callback(self._land)
        return flying

    def _land(self, _: asyncio.Task[Any]) -> None:
        self._flying = None

    def _landed(self, call: _Call, task: asyncio.Task[Any]) -> None:
        if (error := task.exception()) is None:
            self._answer(call, task.result())
        elif call.wire.is_cut:
            self.loop.keep(call.reply)
        elif not call.reply.done():
            call.reply.set_exception(error)

    def _answer(self, call: _Call, answer: Any) -> None:
        # The caller is resumed before those whom its call wakes, as where it was answered on the spot.
        if call.wire.is_cut:
            self.loop.keep(call.reply)
        elif not call.reply.done():
            call.reply.set_result(answer)
        self.take_effect(call.wire.owner, call.queue, answer)

    def take_effect(self, owner: object, queue: str | None, answer: Any) -> None:
        """Records what an answer tells, and wakes whom it concerns."""
        if not isinstance(answer, Answer):
            return
        facts, waiters = answer.facts, self.waiters
        if facts or (has_news := _HAS_NEWS.get(type(answer))) is None or has_news(answer):
            self.loop.stir(owner)
        if queue is None or answer.replayed:
            return
        if facts:
            self.record(facts)
        waiters.tell(queue, answer.tide, answer.due_at)
        if not waiters.awaited:
            return
        for fact in facts:
            if fact.kind in _ENDS and fact.job_id is not None:
                waiters.ended(queue, fact.job_id)
        if isinstance(answer, Controlled) and answer.job is not None:
            # A follow-up that a cancel drops ends without a step.
            waiters.ended(queue, answer.job.id)

    async def begin(self, simulated: bool) -> None:
        """Opens the store, which the first time forgets whom it answered: an earlier world's callers had our names."""
        await self.store.open(simulated=simulated)
        if not self._has_begun:
            await self.store.forget(everything=self._is_fresh)
            self._has_begun = True

    def let_pass(self) -> bool:
        """Lets the first of the world's own calls go with what is asked, which waits for its turn behind one of them.

        A caller has one command of a kind in flight. False where no call is left that could be waited for.
        """
        if self._own:
            self._asked.append(self._own.popleft())
        return bool(self._asked)

    # ---- the short way

    def answers_on_the_spot(self) -> bool:
        """Whether a call made now would be dispatched next and answered at once: then it need not stand in line.

        Nothing can be told from the detour, but it saves half of the cost of a call.
        """
        return (
            not self.store.suspends
            and not self._own
            and not self.is_asked
            and not self.is_stepping
            and self.loop.would_call_next
        )

    # ---- what happened

    @contextmanager
    def allowing(self, steps: int, goal: str) -> Iterator[None]:
        """Within, so many steps may happen before the world is stopped."""
        before = self._allowed, self._steps, self._goal
        self._allowed, self._steps, self._goal = len(self.facts) + steps, steps, goal
        try:
            yield
        finally:
            self._allowed, self._steps, self._goal = before

    def record(self, facts: Sequence[Fact]) -> None:
        """Writes steps into the timeline; a world that spins on the spot is stopped."""
        if not facts:
            return
        self.facts.extend(facts)
        if self._allowed is not None and len(self.facts) > self._allowed:
            self._allowed = None
            self.loop.fail(
                SimulationStuck(
                    f"{self._goal} was not reached within {self._steps:,} steps; a world that"
                    " is never idle wants sim.advance(...), a longer one a larger max_steps"
                )
            )
        us = self.loop.clock.us
        if us != self._instant_us:
            self._instant_us, self._instant_from = us, len(self.facts) - len(facts)
        elif len(self.facts) - self._instant_from > ONE_INSTANT_STEPS:
            self._instant_from = len(self.facts)
            last = facts[-1]
            self.loop.fail(
                SimulationStuck(
                    f"{ONE_INSTANT_STEPS:,} steps happened at one instant; the last was {last.kind} of {last.event!r}"
                    f" (job {last.job_id!r}). Does a handler emit itself again without a delay?"
                )
            )
        if self.is_stepping:
            self.loop.halt()

    async def count_dead_letters(self, queue: str, settlements: Sequence[Settlement], answer: Settled) -> None:
        """Each settlement that was written made one step, in order; a dead letter is part of its transition.

        It is there while its job's record is, so none is left where a follow-up or the retention took that away.
        """
        written = (s for s, verdict in zip(settlements, answer.verdicts, strict=True) if verdict is not None)
        for settlement, fact in zip(written, answer.facts, strict=True):
            if settlement.transition.dead_letter is None or fact.event is None or fact.job_id is None:
                continue
            job = await self.store.get(queue, JobRef(fact.job_id))
            if job is not None and job.dead_letter is not None:
                self.dead_letters[fact.event] += 1

    def close(self) -> None:
        """The world ends: what was asked is not answered any more."""
        for calls in (self._asked, self._own):
            while calls:
                self.loop.keep(calls.popleft().reply)
        if self.store.suspends:
            self.loop.drive(until=lambda: not self.in_flight())
            self._fly(self.store.close())
            self.loop.drive(until=lambda: not self.in_flight())

    def submit(self, call: _Call) -> None:
        (self._asked if at_the_controls.get() else self._own).append(call)


_HAS_NEWS: dict[type[Answer], Callable[[Any], bool]] = {
    Extended: lambda beat: bool(beat.lost or beat.cancelled or beat.beyond),
    Claimed: lambda claimed: bool(claimed.jobs),
    Pruned: lambda pruned: False,
}
"""Whether a call without facts may matter to somebody's next beat, where not always: pulses fold while nothing does."""


class Wire:
    """A node's end: an `Engine` whose calls travel through the exchange. Once cut, nothing leaves or returns.

    `owner` is the node's runtime, None where somebody outside the nodes speaks.
    """

    suspends = True

    def __init__(self, exchange: Exchange, owner: object = None) -> None:
        self._exchange = exchange
        self.owner = owner
        self._store = exchange.store
        self.is_cut = False

    def cut(self) -> None:
        """The node is dead: calls that have not been handed over are lost, and so is every later one."""
        self.is_cut = True

    async def _call(self, queue: str | None, verb: Callable[[*Ts], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        exchange = self._exchange
        if not self.is_cut and exchange.answers_on_the_spot():
            answer = await verb(*args)
            exchange.take_effect(self.owner, queue, answer)
            return answer
        reply: asyncio.Future[T] = exchange.loop.create_future()
        if self.is_cut:
            exchange.loop.keep(reply)
        else:
            exchange.submit(_tuple(_Call, (self, queue, verb, args, reply)))
        return await reply

    async def open(self, *, simulated: bool = False) -> None:
        await self._call(None, self._exchange.begin, simulated)

    async def close(self) -> None:
        """The store is the simulation's; a node only lets go of its end."""

    async def forget(self, *, everything: bool) -> None:
        """See `Exchange.begin`: it is done by then."""

    def fork(self) -> Wire:
        return self

    # ---- the verbs: each is the call that carries it, for a coroutine around a coroutine would only cost time

    def enqueue(self, queue: str, entries: Sequence[Emission | Plan], batch: Batch) -> Reply[Enqueued]:
        return self._call(queue, self._store.enqueue, queue, entries, batch)

    def claim(
        self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int, suspect_losses: int
    ) -> Reply[Claimed]:
        return self._call(queue, self._store.claim, queue, worker, holds, limit, lease_ms, suspect_losses)

    def extend(
        self, queue: str, worker: str, holds: Collection[int], lease_ms: int, journal: Sequence[Journal] = ()
    ) -> Reply[Extended]:
        return self._call(queue, self._store.extend, queue, worker, holds, lease_ms, journal)

    def settle(
        self,
        queue: str,
        worker: str,
        settlements: Sequence[Settlement],
        batch: Batch,
        transient: Collection[State] = NOTHING,
    ) -> Reply[Settled]:
        async def with_dead_letters() -> Settled:
            answer = await self._store.settle(queue, worker, settlements, batch, transient)
            if not answer.replayed:
                await self._exchange.count_dead_letters(queue, settlements, answer)
            return answer

        if [one for one in settlements if one.transition.dead_letter is not None]:  # `any` would cost twice as much
            return self._call(queue, with_dead_letters)
        return self._call(queue, self._store.settle, queue, worker, settlements, batch, transient)

    def cancel(
        self, queue: str, ref: JobRef, batch: Batch, transient: Collection[State] = NOTHING
    ) -> Reply[Controlled]:
        return self._call(queue, self._store.cancel, queue, ref, batch, transient)

    def reap(self, queue: str, worker: str, holds: Collection[int], limit: int, lease_ms: int) -> Reply[Claimed]:
        return self._call(queue, self._store.reap, queue, worker, holds, limit, lease_ms)

    def advance(
        self,
        queue: str,
        name: str,
        revision: int,
        place: int,
        next_at: int | None,
        occurrences: Sequence[Emission],
        dropped: int,
    ) -> Reply[Advanced]:
        return self._call(queue, self._store.advance, queue, name, revision, place, next_at, occurrences, dropped)

    def prune(self, queue: str, limits: Mapping[State, Limit], limit: int = DUE_LIMIT) -> Reply[Pruned]:
        return self._call(queue, self._store.prune, queue, limits, limit)

    def control(
        self, queue: str, command: Command, batch: Batch, transient: Collection[State] = NOTHING
    ) -> Reply[Controlled]:
        return self._call(queue, self._store.control, queue, command, batch, transient)

    # ---- waiting, on this side

    def wait(self, seen: Mapping[str, int], until: int | None) -> Reply[Collection[str]]:
        return self._exchange.waiters.wait(seen, until, self._exchange.loop.clock.now_us)

    def wait_ended(self, queue: str, ref: JobRef, until: int) -> Reply[None]:
        return self._exchange.waiters.wait_ended(queue, ref.id, until, self._exchange.loop.clock.now_us)

    # ---- reading

    def get(self, queue: str, ref: JobRef) -> Reply[StoredJob | None]:
        return self._call(None, self._store.get, queue, ref)

    def list(self, queue: str, state: State | None, limit: int, after: int | None) -> Reply[Sequence[StoredJob]]:
        return self._call(None, self._store.list, queue, state, limit, after)

    def count(self, queue: str) -> Reply[Count]:
        return self._call(None, self._store.count, queue)

    def logs(self, queue: str, id: str) -> Reply[Sequence[LogLine]]:
        return self._call(None, self._store.logs, queue, id)

    def schedules(self, queue: str) -> Reply[Timetable]:
        return self._call(None, self._store.schedules, queue)

    def queues(self) -> Reply[Sequence[str]]:
        return self._call(None, self._store.queues)

    def now(self) -> Reply[int]:
        return self._call(None, self._store.now)
