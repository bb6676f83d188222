"""The server's clock as seen from here: what it said last, carried on by the local monotonic clock.

An answer comes some time after the server read its clock, so each is a lower bound of the server's time. The highest
of the last ones is the nearest to the truth; it errs by the fastest of those replies, and never towards the future.
That is what timers need: who wakes by it is late by a fraction of a millisecond, and never early. Old answers are
forgotten, because two clocks drift, and a server's may be set back.
"""

from __future__ import annotations

from collections import deque

from taskmanager.clock import monotonic

__all__ = ["ServerClock"]

_REMEMBERED, _REMEMBERED_US = 32, 30_000_000


class ServerClock:
    """Microseconds since the epoch by the server's clock; 0 before it has said anything."""

    def __init__(self) -> None:
        self._heard_us: deque[int] = deque(maxlen=_REMEMBERED)
        self._offsets: deque[int] = deque(maxlen=_REMEMBERED)
        self._offset = 0

    def hear(self, server_us: int) -> None:
        """The server has just told its time."""
        local_us = _local_us()
        self._heard_us.append(local_us)
        self._offsets.append(server_us - local_us)
        while self._heard_us[0] < local_us - _REMEMBERED_US:
            self._heard_us.popleft()
            self._offsets.popleft()
        self._offset = max(self._offsets)

    def now_us(self) -> int:
        return _local_us() + self._offset if self._offsets else 0


def _local_us() -> int:
    return int(monotonic() * 1_000_000)
