"""Driving a world to where it was asked to go: a moment, a goal, idleness; or saying why it will never get there.

Whether a world is idle or stuck costs a count of every queue, so it is looked at only when the world is at rest at an
instant, and neither a handler nor anything but occurrences, heartbeats and the janitor is about to move it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from simulation.errors import SimulationStuck
from simulation.goals import Census, can_still_change, moments_to_come, place_of, take_census, waiting_handlers
from simulation.loop import Halt
from simulation.wire import Exchange
from taskmanager.clock import iso
from taskmanager.engine import Engine

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.seat import SimulatedSeat

__all__ = ["Pursuit", "never"]

T = TypeVar("T")


class Ask(Protocol):
    """`Simulation.ask`: answers what the person at the controls asks, before the world goes on."""

    def __call__(self, call: Callable[[], Awaitable[T]]) -> T: ...


class Pursuit:
    """See the module's law. One call of `reach` takes at most `max_steps` steps."""

    def __init__(
        self, exchange: Exchange, nodes: Sequence[Node], seat: SimulatedSeat, ask: Ask, max_steps: int
    ) -> None:
        self._exchange = exchange
        self._loop = exchange.loop
        self._clock = exchange.loop.clock
        self._nodes = nodes
        self._seat = seat
        self._ask = ask
        self._max_steps = max_steps
        self._looked_at: tuple[int, int] | None = None
        self._stops_at = 0
        self._listed: tuple[int, tuple[str, ...]] | None = None
        self._moments: list[int] = []

    def settle(self) -> None:
        """Everything that happens at this very instant."""
        self.go_to(self._clock.us)

    def go_to(self, limit_us: int) -> None:
        """To a moment, in microseconds; all that is due until then, and at it, happens."""
        halt = self._loop.drive(None, limit_us)
        if halt is Halt.SPINNING:
            raise SimulationStuck(self._spinning())
        if halt is Halt.QUIET and self._clock.us < limit_us:
            self._clock.move_to(limit_us)

    def reach(self, reached: Callable[[], bool], goal: str, *, idle_ends: bool = False, waiter: Any = None) -> None:
        """Goes on until `reached`, or idle; what can never come about is said."""
        if self._exchange.is_stepping and reached():
            return
        self._looked_at = None
        with self._exchange.allowing(self._max_steps, goal):
            while True:
                halt = self._loop.drive(None if self._exchange.is_stepping else reached, at_rest=self._is_worth_a_look)
                if reached():
                    return
                if halt is Halt.STOPPED:
                    continue
                if halt is Halt.SPINNING:
                    raise SimulationStuck(self._spinning())
                census = self._census()
                if census.is_idle and (idle_ends or self._seat.tell_idle()):
                    if idle_ends:
                        return
                    continue
                self._check_not_stuck(census, halt, goal, waiter)
                due_at = self._next_due_at(census)
                if due_at is not None:
                    self._stop_at(due_at * 1000)

    def _is_worth_a_look(self) -> bool:
        """Whether the world, at rest at this instant, may be idle or stuck. Looking costs a count of every queue."""
        here = (self._clock.us, len(self._exchange.facts))
        if here == self._looked_at:
            return False
        if self._loop.has_work_to_come and any(node.is_busy for node in self._nodes):
            return False
        self._looked_at = here
        return True

    def _next_due_at(self, census: Census) -> int | None:
        """When the next delayed job is due, also behind one that nobody takes over though its moment is past.

        The queues where that is so are read job by job, once for as long as no step changes them.
        """
        if not census.overdue:
            return census.due_at
        listed = (len(self._exchange.facts), census.overdue)
        if listed != self._listed:
            self._moments = self._ask_store(lambda store: moments_to_come(store, census.overdue))
            self._listed = listed
        while self._moments and self._moments[-1] <= self._clock.us // 1000:
            self._moments.pop()
        known = (census.due_at, *self._moments[-1:])
        return min((moment for moment in known if moment is not None), default=None)

    def _stop_at(self, us: int) -> None:
        """Makes a delayed job's moment one at which the clock stops, also where no worker waits for it."""
        if us > max(self._clock.us, self._stops_at):
            self._stops_at = us
            self._loop.call_later((us - self._clock.us) / 1_000_000, _nothing)

    def _check_not_stuck(self, census: Census, halt: Halt, goal: str, waiter: Any) -> None:
        if self._loop.has_work_to_come or census.delayed:
            return
        if census.is_idle:
            told = ["nothing is left but occurrences to come, heartbeats and paused queues"]
        elif halt is not Halt.QUIET and self._ask_store(lambda store: can_still_change(store, self._nodes)):
            return
        else:
            told = waiting_handlers(self._nodes) or ["jobs wait that no worker can take"]
        told += [f"{node.name} is down" for node in self._nodes if not node.is_up]
        if waiter is not None:
            told.append(f"the awaitable waits {place_of(waiter)}")
        raise SimulationStuck(f"{goal} cannot be reached at {self._now()}: " + "; ".join(told))

    def _census(self) -> Census:
        served = {queue for node in self._nodes for queue in node.queues()}
        return self._ask_store(lambda store: take_census(store, served, self._clock.us // 1000))

    def _ask_store(self, call: Callable[[Engine], Awaitable[T]]) -> T:
        """Asks as everybody outside the nodes does, so that a store nobody has used yet is opened first."""

        async def asked() -> T:
            return await call(await self._seat.client.connection.engine())

        return self._ask(asked)

    def _now(self) -> str:
        return iso(self._clock.us // 1000)

    def _spinning(self) -> str:
        return f"the world spins at {self._now()}: callbacks run without end and none waits; " + "; ".join(
            waiting_handlers(self._nodes)
        )


def never() -> bool:
    """The goal of who waits for idleness alone."""
    return False


def _nothing() -> None:
    """What happens when the clock stops for a delayed job that no worker waits for."""
