"""What the connections to one memory store share: its queues, its lock, its mark, and who waits.

A queue in which nothing is left is forgotten but for its counters, so that names which come and go (a queue a user,
say) cost a few numbers each and no number is ever given twice.
"""

from __future__ import annotations

import threading

from taskmanager.engines.memory.queue import Queue
from taskmanager.engines.memory.records import Counters, DeadLetters
from taskmanager.engines.waiters import Waiters
from taskmanager.errors import UsageError

__all__ = ["MemoryStore", "shared_store"]

_SWEEP_AT = 64


class MemoryStore:
    """One store. All but `waiters` is used under `lock`, which a verb holds for its length."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.Lock()
        self.waiters = Waiters()
        self.queues: dict[str, Queue] = {}
        self.dead_letters: DeadLetters = {}
        self._resting: dict[str, Counters] = {}
        self._sweep_at = _SWEEP_AT
        self.is_simulated: bool | None = None
        """The mark, which the first write sets."""

    def refuse_other(self, is_simulated: bool) -> None:
        """Raises `UsageError` where the store bears the other mark."""
        if self.is_simulated is (not is_simulated):
            mark, wanted = ("real", "simulated") if is_simulated else ("simulated", "real")
            raise UsageError(
                f"the store memory://{self.name} is {mark} and cannot be used as a {wanted} one;"
                f" give each its own, for example memory://{self.name and self.name + '-'}{wanted}"
            )

    def forget(self, *, everything: bool) -> None:
        """What callers were answered; or all, as if nothing had ever been written, but for the mark."""
        for queue in self.queues.values():
            queue.replays.clear()
        if everything:
            self.queues.clear()
            self.dead_letters.clear()
            self._resting.clear()

    def queue(self, name: str, now: int) -> Queue:
        """The queue, made or woken where there is none."""
        queue = self.queues.get(name)
        if queue is None:
            if len(self.queues) >= self._sweep_at:
                self._sweep(now)
            queue = self.queues[name] = Queue(name, self._resting.pop(name, Counters()), self.dead_letters)
        return queue

    def blank(self, name: str) -> Queue:
        """What a reader sees of a queue that is not there."""
        return Queue(name, self._resting.get(name, Counters()), self.dead_letters)

    def rest(self, queue: Queue) -> None:
        """Forgets a blank queue but for its counters."""
        if queue.is_blank():
            del self.queues[queue.name]
            if any(queue.counters()):
                self._resting[queue.name] = queue.counters()

    def _sweep(self, now: int) -> None:
        for queue in list(self.queues.values()):
            queue.forget_replays(now)
            queue.forget_outcomes(now)
            self.rest(queue)
        self._sweep_at = max(_SWEEP_AT, 2 * len(self.queues))


_shared: dict[str, MemoryStore] = {}
_shared_lock = threading.Lock()


def shared_store(name: str) -> MemoryStore:
    """The store of that name in this process. It lives as long as the process does."""
    with _shared_lock:
        return _shared.setdefault(name, MemoryStore(name))
