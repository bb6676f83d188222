"""Simulated threads: real threads, of which one moves at a time.

A plain handler needs a thread of its own, because it blocks. The loop hands the baton to one strand
(`simulation.strands`) and stands still until that ends or waits. A strand waits in virtual time (`time.sleep`, a
condition, a future's result: `simulation.blocking`), and resuming it is an ordinary callback of the loop; so threads
take their turns in the same order in every run.

Each executor is a *lane*: its strands are its own, as many as it has workers, and what it cannot take waits in line.
The lane without an executor has no bound: on real machines the default depends on the number of processors.

A strand can be abandoned: it raises `Abandoned` where it waits, and again at each further wait, so its `finally` blocks
run and it ends. One that waits for something that cannot be seen (a plain lock that a parked strand holds) would stop
the world: after `watchdog` real seconds without using the processor, the drive raises `SimulationBlocked` naming it.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from simulation.strands import UNBOUNDED, Abandoned, Lane, Strand, Work, block_on, origin_here
from simulation.world import SimulationBlocked, SimulationRefused, real_io

if TYPE_CHECKING:
    from simulation.loop import VirtualLoop

__all__ = ["Abandoned", "Threads", "block_on"]

T = TypeVar("T")


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
            elif isinstance(error, (StopIteration, GeneratorExit)):
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
