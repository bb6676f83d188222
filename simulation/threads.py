"""Simulated threads: real threads, of which one moves at a time.

A plain handler needs a thread of its own, because it blocks. Here a *strand* is a real thread that moves only while it
holds the baton: the loop hands it over and stands still until the strand ends or waits. A strand that waits in virtual
time (`time.sleep`, a lock's condition, a future's result: `simulation.blocking`) parks, which gives the baton back; to
resume it is an ordinary callback of the loop, so threads take their turns in the same order in every run.

Each executor is a *lane*: its strands are its own, as many as it has workers, and what it cannot take waits in line.
The lane without an executor has no bound: on real machines the default depends on the number of processors.

A plain function sees an empty context, as in a real thread, except for the simulation's own variables (those whose name
begins with `simulation_`). `asyncio.to_thread` brings its caller's context along as usual.

A strand can be abandoned: it raises `Abandoned` where it waits, and again at each further wait, so its `finally` blocks
run and it ends. One that waits for something that cannot be seen (a plain lock that a parked strand holds) would stop
the world: after `watchdog` real seconds without using the processor, the drive raises `SimulationBlocked` naming it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from simulation.world import SimulationBlocked, SimulationRefused, real_io, strands

if TYPE_CHECKING:
    from simulation.loop import VirtualLoop

__all__ = ["Abandoned", "Lane", "Strand", "Threads", "Work", "block_on"]

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


class Threads:
    """All simulated threads of a loop."""

    watchdog = 10.0

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.selecting: dict[Strand, Callable[[], Any]] = {}
        self.adopted: WeakKeyDictionary[threading.Thread, Strand] = WeakKeyDictionary()
        self._default = Lane("simulated")
        self._lanes: WeakKeyDictionary[Executor, Lane] = WeakKeyDictionary()
        self._strands: list[Strand] = []
        self._closed = False

    # ---- work

    def lane(self, executor: Executor | None) -> Lane:
        """The lane of an executor. A process pool has none: it is refused."""
        if executor is None:
            return self._default
        if not isinstance(executor, ThreadPoolExecutor):
            raise SimulationRefused(
                f"{type(executor).__name__} is refused in a simulation: its work would run in another process or in "
                "real time. Give the handler a ThreadPoolExecutor, or call the function directly"
            )
        lane = self._lanes.get(executor)
        if lane is None:
            initializer = getattr(executor, "_initializer", None)
            arguments = getattr(executor, "_initargs", ())
            lane = self._lanes[executor] = Lane(
                name=getattr(executor, "_thread_name_prefix", "") or "simulated",
                limit=getattr(executor, "_max_workers", UNBOUNDED),
                initializer=initializer and (lambda: initializer(*arguments)),
            )
        return lane

    def run(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Runs a plain function in a strand; the future has its result."""
        future: asyncio.Future[T] = self.loop.create_future()

        def deliver(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            elif isinstance(error, Abandoned):
                future.cancel()
            elif isinstance(error, StopIteration):
                future.set_exception(RuntimeError(f"a thread's function raised {error!r}"))
            else:
                future.set_exception(error)

        self.start(self.lane(executor), Work(lambda: func(*args), deliver, origin_here()))
        return future

    def start(self, lane: Lane, work: Work) -> None:
        """Gives work to an idle strand of the lane, to a new one, or to the line."""
        if self._closed:
            raise RuntimeError("the simulation is closed: it starts no more threads")
        if lane.idle:
            strand = lane.idle.pop()
        elif len(lane.strands) < lane.limit:
            strand = self._grow(lane)
        else:
            lane.line.append(work)
            return
        strand.work = work
        self.loop.call_soon(self.switch, strand, strand.turn)

    def _grow(self, lane: Lane) -> Strand:
        strand = Strand(self, lane, f"{lane.name}_{len(lane.strands)}")
        strand.thread = threading.Thread(target=strand.live, name=strand.name, daemon=True)
        lane.strands.append(strand)
        self.begin(strand, strand.thread.start)
        return strand

    def begin(self, strand: Strand, start: Callable[[], None]) -> None:
        """Starts the real thread of a strand; it waits for the baton at once."""
        self._strands.append(strand)
        token = real_io.set(True)
        try:
            start()
        finally:
            real_io.reset(token)

    # ---- the baton

    def switch(self, strand: Strand, turn: int) -> None:
        """Lets a strand move until it ends or waits; `turn` says which of its moves this was meant to be."""
        if strand.lost or strand.work is None or turn != strand.turn:
            return
        strand.turn += 1
        strand.go.release()
        if not self._await_baton(strand):
            return
        if strand.ended is not None:
            self._finish(strand, strand.ended)

    def expire(self, strand: Strand) -> None:
        """A wait's time is over."""
        if strand.parked and not strand.waking:
            self.switch(strand, strand.turn)

    def poll(self) -> bool:
        """Wakes strands whose own selector has something to tell; says whether there was one."""
        told = [strand for strand, probe in self.selecting.items() if probe()]
        for strand in told:
            strand.wake()
        return bool(told)

    def _finish(self, strand: Strand, work: Work) -> None:
        result, error = strand.outcome
        strand.ended, strand.work, strand.outcome = None, None, (None, None)
        for joiner in strand.joiners:
            joiner.wake()
        lane = strand.lane
        if lane is not None:
            if lane.line:
                strand.work = lane.line.popleft()
                self.loop.call_soon(self.switch, strand, strand.turn)
            else:
                lane.idle.append(strand)
        elif strand.thread is not None:
            self._strands.remove(strand)
            strand.thread.join()
        work.deliver(result, Abandoned() if work.abandoned else error)
        if lane is not None and not lane.busy:
            for waiter in lane.waiters:
                waiter.wake()

    def _await_baton(self, strand: Strand) -> bool:
        """Waits for the strand; gives it up where it neither comes back nor computes."""
        if strand.back.acquire(timeout=self.watchdog / 10):
            return True
        spent = _processor_seconds(strand)
        while not strand.back.acquire(timeout=self.watchdog):
            now = _processor_seconds(strand)
            if now - spent < self.watchdog / 1000:
                strand.lost = True
                self.loop.fail(SimulationBlocked(_blocked(strand, self.watchdog)))
                return False
            spent = now
        return True

    # ---- ends

    def abandon(self, belongs: Callable[[Context], bool] = lambda _origin: True) -> None:
        """Ends the work that began in a context of which `belongs` says so: a crashed worker's, or all.

        Work in line is dropped. A strand that waits ends at once, as far as it does without waiting.
        """
        for lane in (self._default, *self._lanes.values()):
            kept = deque(work for work in lane.line if not belongs(work.origin))
            dropped = [work for work in lane.line if belongs(work.origin)]
            lane.line = kept
            for work in dropped:
                work.abandoned = True
                work.deliver(None, Abandoned())
        for strand in list(self._strands):
            work_now = strand.work
            if work_now is not None and not work_now.abandoned and belongs(work_now.origin):
                work_now.abandoned = True
                if strand.parked:
                    strand.waking = True
                    self.switch(strand, strand.turn)

    def close(self) -> None:
        """Ends every strand and its real thread."""
        self._closed = True
        self.abandon()
        for strand in list(self._strands):
            while strand.work is not None and not strand.lost:
                self.switch(strand, strand.turn)  # what had not begun is dropped, what parks again is told again
            if strand.thread is not None and not strand.lost:
                strand.go.release()
                strand.thread.join()
        self._strands.clear()


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


def _processor_seconds(strand: Strand) -> float:
    """What the strand's thread has computed so far; 0 where the platform cannot tell."""
    ident = None if strand.thread is None else strand.thread.ident
    if ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def _blocked(strand: Strand, seconds: float) -> str:
    ident = 0 if strand.thread is None else strand.thread.ident
    frame = sys._current_frames().get(ident or 0)
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}" if frame else ""
    return (
        f"the simulated thread {strand.name!r} has been waiting{place} for {seconds:g} real seconds for something that "
        "virtual time cannot see, such as a lock held by a thread that sleeps. Wait on a Condition, Event, Queue or "
        "Future, or do not sleep while holding a plain lock"
    )
