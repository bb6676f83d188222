"""Waits of simulated threads, made virtual.

Events, queues, semaphores, barriers and futures of the standard library all wait on a `threading.Condition`; so that is
where a simulated thread parks instead. Executors and threads that simulated code starts itself are simulated as well,
and so is the select of an event loop that a plain handler runs (`asyncio.run`).

The loop's own thread cannot park. A wait of known length there holds the whole world, as `time.sleep` does; an endless
one is a real wait with a watchdog, for whoever would end it may be a thread outside the simulation.
"""

from __future__ import annotations

import concurrent.futures
import functools
import selectors
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

from simulation.strands import Abandoned, Strand, Work, origin_here
from simulation.threads import Threads
from simulation.world import SimulationBlocked, SimulationRefused, driven, strands

__all__ = ["THREAD_PATCHES"]

HOSTS = frozenset({"ipykernel", "debugpy", "pydevd", "_pydevd_bundle"})
"""Packages that a notebook or a debugger brings into the process."""

_wait = threading.Condition.wait
_start = threading.Thread.start
_join = threading.Thread.join
_submit = ThreadPoolExecutor.submit
_shutdown = ThreadPoolExecutor.shutdown
_select = selectors.DefaultSelector.select


class Waiter:
    """Stands in a condition's list of waiters where a real thread would leave a lock to be released."""

    def __init__(self, strand: Strand) -> None:
        self.strand = strand
        self.notified = False

    def release(self) -> None:
        self.notified = True
        self.strand.wake()


def wait(self: Any, timeout: float | None = None) -> bool:
    """`Condition.wait`."""
    world = driven()
    if world is None or _is_hosts():
        return _wait(self, timeout)
    strand = strands.get(get_ident())
    if strand is None:
        return _hold(self, timeout, world.loop)
    if not self._is_owned():
        raise RuntimeError("cannot wait on un-acquired lock")
    waiter = Waiter(strand)
    self._waiters.append(waiter)
    state = self._release_save()
    try:
        if timeout is None:
            while not waiter.notified:
                strand.park(None)
        elif timeout > 0:
            strand.park(timeout)
        return waiter.notified
    finally:
        self._acquire_restore(state)
        if not waiter.notified:
            self._waiters.remove(waiter)


def _is_hosts() -> bool:
    """Whether the wait is that of a notebook or a debugger, whose own threads are real: it does not wait in our time.

    So a handler that logs in a notebook (its output stream waits for the thread that sends it) takes no virtual time.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "threading":
        frame = frame.f_back  # type: ignore[assignment]  # None at the bottom of the stack
    return frame is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in HOSTS


def _hold(condition: Any, timeout: float | None, loop: Any) -> bool:
    if timeout is not None:
        loop.hold(round(max(timeout, 0) * 1_000_000))
        return _wait(condition, 0)
    if _wait(condition, loop.threads.watchdog):
        return True
    raise SimulationBlocked(
        "an async handler blocks the event loop in a wait without a time limit, and nothing has ended it for "
        f"{loop.threads.watchdog:g} real seconds. Await an asyncio primitive, or do it in `asyncio.to_thread`"
    )


def start(self: threading.Thread) -> None:
    """`Thread.start`: a thread that simulated code starts is a simulated one."""
    world = driven()
    if world is None or self.ident is not None:
        return _start(self)
    threads: Threads = world.loop.threads
    strand = Strand(threads, None, self.name)
    strand.thread = self
    strand.work = Work(self.run, _reported(self), origin_here())
    self.run = strand.live_once  # type: ignore[method-assign]
    self.daemon = True  # it must not keep the process alive when its simulation is dropped
    threads.adopted[self] = strand
    threads.begin(strand, functools.partial(_start, self))
    world.loop.call_soon(threads.switch, strand, strand.turn)
    return None


def _reported(thread: threading.Thread) -> Any:
    """What an unhandled exception of a thread ends in, as in a real one: `threading.excepthook`."""

    def deliver(_result: Any, error: BaseException | None) -> None:
        if error is not None and not isinstance(error, (SystemExit, Abandoned)):
            threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))

    return deliver


def join(self: threading.Thread, timeout: float | None = None) -> None:
    """`Thread.join`."""
    world = driven()
    target = None if world is None else world.loop.threads.adopted.get(self)
    if world is None or target is None or target.work is None:
        return _join(self, timeout)
    strand = strands.get(get_ident())
    if strand is None:
        if timeout is None:
            raise SimulationRefused(
                f"joining the simulated thread {self.name!r} in an async handler would block the event loop for ever; "
                "use `await asyncio.to_thread(thread.join)`"
            )
        world.loop.hold(round(timeout * 1_000_000))
        return None
    target.joiners.append(strand)
    try:
        if timeout is not None:
            strand.park(timeout)
        else:
            while target.work is not None:
                strand.park(None)
    finally:
        target.joiners.remove(strand)
    return None


def submit(self: ThreadPoolExecutor, fn: Any, /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
    """`ThreadPoolExecutor.submit`."""
    world = driven()
    if world is None:
        return _submit(self, fn, *args, **kwargs)
    if self._shutdown:
        raise RuntimeError("cannot schedule new futures after shutdown")
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def call() -> Any:
        return fn(*args, **kwargs) if future.set_running_or_notify_cancel() else None

    def deliver(result: Any, error: BaseException | None) -> None:
        if isinstance(error, Abandoned) and not future.running():
            future.cancel()
        elif error is not None:
            future.set_exception(error)
        elif not future.cancelled():
            future.set_result(result)

    threads: Threads = world.loop.threads
    threads.start(threads.lane(self), Work(call, deliver, origin_here()))
    return future


def shutdown(self: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
    """`ThreadPoolExecutor.shutdown`."""
    world = driven()
    if world is None:
        return _shutdown(self, wait, cancel_futures=cancel_futures)
    lane = world.loop.threads.lane(self)
    _shutdown(self, wait=False, cancel_futures=cancel_futures)
    if cancel_futures:
        dropped, lane.line = list(lane.line), type(lane.line)()
        for work in dropped:
            work.deliver(None, Abandoned())
    if not wait or not lane.busy:
        return None
    strand = strands.get(get_ident())
    if strand is None:
        raise SimulationRefused(
            "shutting down an executor that is still at work, in an async handler, would block the event loop for "
            "ever; await its futures first, or use `shutdown(wait=False)`"
        )
    lane.waiters.append(strand)
    try:
        while lane.busy:
            strand.park(None)
    finally:
        lane.waiters.remove(strand)
    return None


def select(self: Any, timeout: float | None = None) -> Any:
    """The select of a loop that a plain handler runs: looks, and waits in virtual time for the rest."""
    strand = strands.get(get_ident()) if driven() is not None else None
    events = _select(self, timeout if strand is None else 0)
    if strand is None or events or (timeout is not None and timeout <= 0):
        return events
    selecting = strand.threads.selecting
    selecting[strand] = functools.partial(_select, self, 0)
    try:
        strand.park(timeout)
    finally:
        del selecting[strand]
    return _select(self, 0)


THREAD_PATCHES: tuple[tuple[Any, str, Any], ...] = (
    (threading.Condition, "wait", wait),
    (threading.Thread, "start", start),
    (threading.Thread, "join", join),
    (ThreadPoolExecutor, "submit", submit),
    (ThreadPoolExecutor, "shutdown", shutdown),
    (selectors.DefaultSelector, "select", select),
)
