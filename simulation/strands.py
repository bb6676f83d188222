"""One simulated thread, its work, and its line.

A *strand* is a real thread that moves only while it holds the baton (`simulation.threads` hands it over). It waits in
virtual time by parking, which gives the baton back.

A plain function sees an empty context, as in a real thread, except for the simulation's own variables (those whose name
begins with `simulation_`). `asyncio.to_thread` brings its caller's context along as usual.
"""

from __future__ import annotations

import sys
import threading
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from simulation.world import strands

if TYPE_CHECKING:
    from simulation.threads import Threads

__all__ = ["UNBOUNDED", "Abandoned", "Lane", "Strand", "Work", "block_on", "origin_here", "thread_context"]

T = TypeVar("T")
UNBOUNDED = sys.maxsize
OWN_VARIABLES = "simulation_"


class Abandoned(BaseException):
    """Raised in a simulated thread whose worker crashed or whose simulation is over: it must end."""


@dataclass(slots=True, eq=False)
class Work:
    """One plain function to run, where it comes from, and who takes what it returns or raises."""

    func: Callable[[], Any]
    deliver: Callable[[Any, BaseException | None], None]
    origin: Context
    abandoned: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """The strands of one executor."""

    name: str
    limit: int = UNBOUNDED
    initializer: Callable[[], object] | None = None
    strands: list[Strand] = field(default_factory=list)
    idle: list[Strand] = field(default_factory=list)
    line: deque[Work] = field(default_factory=deque)
    waiters: list[Strand] = field(default_factory=list)

    @property
    def busy(self) -> bool:
        return bool(self.line) or len(self.idle) < len(self.strands)


class Strand:
    """One simulated thread. `go` and `back` are the two ends of the baton."""

    def __init__(self, threads: Threads, lane: Lane | None, name: str) -> None:
        self.threads, self.lane, self.name = threads, lane, name
        self.work: Work | None = None
        self.ended: Work | None = None
        self.outcome: tuple[Any, BaseException | None] = None, None
        self.joiners: list[Strand] = []
        self.thread: threading.Thread | None = None
        self.parked = self.waking = self.lost = False
        self.turn = 0
        self.go, self.back = allocate_lock(), allocate_lock()
        self.go.acquire()
        self.back.acquire()

    # ---- in the strand's own thread

    def live(self) -> None:
        """The life of a pool thread: one piece of work after another, until it gets none."""
        strands[get_ident()] = self
        try:
            self.go.acquire()
            prepare = None if self.lane is None else self.lane.initializer
            while self.work is not None:
                self.perform(self.work, prepare)
                prepare = None
                self.back.release()
                self.go.acquire()
        finally:
            del strands[get_ident()]

    def live_once(self) -> None:
        """The life of a thread that simulated code has started itself."""
        strands[get_ident()] = self
        try:
            self.go.acquire()
            if self.work is not None:
                self.perform(self.work)
        finally:
            del strands[get_ident()]
            self.back.release()

    def perform(self, work: Work, prepare: Callable[[], object] | None = None) -> None:
        result, error = None, None
        if not work.abandoned:
            try:
                if prepare is not None:
                    prepare()
                result = thread_context(work.origin).run(work.func)
            except BaseException as raised:
                error = raised
        self.ended, self.outcome = work, (result, error)

    def park(self, seconds: float | None) -> bool:
        """Waits in virtual time, at most so long; True where it was woken before that."""
        work = self.work
        if self.lost or (work is not None and work.abandoned):
            raise Abandoned
        timer = None
        if seconds is not None:
            timer = self.threads.loop.call_later(max(seconds, 0.0), self.threads.expire, self)
        self.parked, self.waking = True, False
        self.back.release()
        self.go.acquire()
        woken = self.waking
        self.parked = self.waking = False
        if timer is not None:
            timer.cancel()
        if self.lost or (work is not None and work.abandoned):
            raise Abandoned
        return woken

    # ---- in whichever thread has the baton

    def wake(self) -> None:
        """Ends a wait: the strand moves on in its turn."""
        if self.parked and not self.waking:
            self.waking = True
            self.threads.loop.call_soon_threadsafe(self.threads.switch, self, self.turn)


def origin_here() -> Context:
    """The context that work started here belongs to: a strand's own work passes its origin on."""
    strand = strands.get(get_ident())
    return strand.work.origin if strand is not None and strand.work is not None else copy_context()


def thread_context(origin: Context) -> Context:
    """What a plain function sees of the context it was started in: nothing but the simulation's own variables."""
    context = Context()
    for variable, value in origin.items():
        if variable.name.startswith(OWN_VARIABLES):
            context.run(variable.set, value)
    return context


def block_on(coro: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on the loop, from a simulated thread, and waits for its result in virtual time."""
    strand = strands.get(get_ident())
    if strand is None:
        coro.close()
        raise RuntimeError("block_on is for simulated threads only: elsewhere, await the coroutine")
    task = strand.threads.loop.create_task(coro)
    task.add_done_callback(lambda _task: strand.wake())
    try:
        while not task.done():
            strand.park(None)
    except Abandoned:
        task.cancel()
        raise
    return task.result()
