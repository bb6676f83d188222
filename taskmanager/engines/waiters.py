"""Waiting for a store without asking it again and again: the logic behind `wait` and `wait_ended`.

Whoever writes to a store tells a `Waiters` each answer (`notice`) and each end (`ended`); whoever waits is woken when
the news concerns him. It knows nothing of jobs or of the store behind it, so the same class serves the memory engine
and anything that passes every write of a store through one place. A store that is seldom waited at need not tell of a
queue before somebody asks about it: it tells him how things stand (`tell`), and of each write from then on (`knows`).

The rules:

* *Levels, not edges.* A waiter compares what he has seen with what was told last, before he lies down. News that came
  between his last look and his wait is therefore never missed. A tide that differs is news; so is a due moment
  before his `until`, so whoever has been told of a due moment must not wait beyond it, or he returns at once; and what
  is overdue is news to whoever only looks, with an `until` long past. A schedule that says 0, not computed yet, has no
  moment to wait for; the tide tells that it came. Told the same level again, nobody is woken: all who lie there have
  compared with it.
* *Never early.* A timer that fires before `until`, by rounding or because the clock was set back, is set again.
* *Never greedy.* A wait lets the loop turn at least once, also where it returns at once: engines that answer without
  suspending would otherwise let one busy waiter starve the whole loop.
* *Any thread, any loop.* A waiter belongs to the loop he waits in; another loop or thread wakes him through it.

Waiters are woken in the order in which they came, which keeps a simulation's timeline the same in every run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import NamedTuple, TypeVar

from taskmanager.engine import Answer
from taskmanager.job import build

__all__ = ["Waiters"]

K = TypeVar("K")


class _News(NamedTuple):
    """What was last told of a queue: its tide, and when its next delayed job is due."""

    tide: int
    due_at: int | None

    def concerns(self, seen: int, until: int | None) -> bool:
        if self.tide != seen:
            return True
        return self.due_at is not None and (until is None or self.due_at < until)


class _Waiter:
    """One suspended call, in one loop."""

    __slots__ = ("changed", "future", "loop", "now_us", "seen", "timer", "until")

    def __init__(self, seen: Mapping[str, int], until: int | None, now_us: Callable[[], int]) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.seen = seen
        self.until = until
        self.now_us = now_us
        self.timer: asyncio.TimerHandle | None = None
        self.changed: list[str] = []

    async def sleep(self) -> None:
        """Until woken, or until `until`."""
        try:
            self._set_timer()
            if self.future.done():
                await asyncio.sleep(0)
            await self.future
        finally:
            if self.timer is not None:
                self.timer.cancel()

    def wake(self) -> None:
        if _running_loop() is self.loop:
            self._ring()
            return
        try:
            self.loop.call_soon_threadsafe(self._ring)
        except RuntimeError:
            return  # his loop is closed: nobody is left to wake

    def _set_timer(self) -> None:
        if self.until is None or self.future.done():
            return
        left_us = self.until * 1000 - self.now_us()
        if left_us > 0:
            self.timer = self.loop.call_later(left_us / 1_000_000, self._set_timer)
        else:
            self._ring()

    def _ring(self) -> None:
        if not self.future.done():
            self.future.set_result(None)


class Waiters:
    """Everybody who waits for one store. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a waiter may be collected, and leave, while the same thread is in here
        self._told: dict[str, _News] = {}
        self._watching: dict[str, dict[_Waiter, None]] = {}
        self.awaited: dict[tuple[str, Hashable], dict[_Waiter, None]] = {}
        """Who waits for the end of a job; while nobody does, no end need be told."""

    def notice(self, queue: str, answer: Answer) -> None:
        """Takes what one write told of `queue`, in the order of the writes' effects. Replays are old news."""
        if not answer.replayed:
            self.tell(queue, answer.tide, answer.due_at)

    def knows(self, queue: str) -> bool:
        """Whether anything was told of that queue."""
        return queue in self._told

    def tell(self, queue: str, tide: int, due_at: int | None) -> None:
        """Takes how things stand in `queue` now, and wakes whom it concerns."""
        if self._told.get(queue) == (tide, due_at):
            return
        with self._lock:
            news = self._told[queue] = build(_News, (tide, due_at))
            watching = self._watching.get(queue)
            if not watching:
                return
            woken = [one for one in list(watching) if news.concerns(one.seen[queue], one.until)]
            for waiter in woken:
                if queue not in waiter.changed:
                    waiter.changed.append(queue)
        for waiter in woken:
            waiter.wake()

    def ended(self, queue: str, job: Hashable) -> None:
        """Takes that a job, by whatever names it, has ended (or its follow-up was dropped)."""
        if not self.awaited:
            return
        with self._lock:
            woken = list(self.awaited.get((queue, job), {}))
        for waiter in woken:
            waiter.wake()

    async def wait(self, seen: Mapping[str, int], until: int | None, now_us: Callable[[], int]) -> Collection[str]:
        """Returns the queues there is news of, or none at `until` (ms, None is never); `now_us` reads engine time."""
        waiter = _Waiter(dict(seen), until, now_us)
        if not seen:
            await waiter.sleep()
            return ()
        # The clock may be set back before the timer is: what we wait for stays `until`, whatever it says now.
        news_before = None if until is None else max(until, now_us() // 1000)
        with self._lock:
            for queue, tide in seen.items():
                told = self._told.get(queue)
                if told is not None and told.concerns(tide, news_before):
                    waiter.changed.append(queue)
            if not waiter.changed:
                for queue in seen:
                    self._watching.setdefault(queue, {})[waiter] = None
        try:
            if waiter.changed:
                await asyncio.sleep(0)
            else:
                await waiter.sleep()
        finally:
            with self._lock:
                for queue in waiter.seen:
                    _leave(self._watching, queue, waiter)
        return waiter.changed

    async def wait_ended(
        self,
        queue: str,
        job: Hashable,
        until: int,
        now_us: Callable[[], int],
        has_ended: Callable[[], bool] = lambda: False,
    ) -> None:
        """Returns when that job is told to have ended, or at `until` (ms); `has_ended` looks for an earlier end."""
        waiter = _Waiter({}, until, now_us)
        key = (queue, job)
        with self._lock:
            self.awaited.setdefault(key, {})[waiter] = None
        try:
            if has_ended():
                await asyncio.sleep(0)
            else:
                await waiter.sleep()
        finally:
            with self._lock:
                _leave(self.awaited, key, waiter)


def _leave(places: dict[K, dict[_Waiter, None]], key: K, waiter: _Waiter) -> None:
    present = places.get(key)
    if present is not None:
        present.pop(waiter, None)
        if not present:
            del places[key]


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
