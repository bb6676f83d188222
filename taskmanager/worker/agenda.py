"""What is next: one moment for each duty of each queue, in engine time (ms)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, auto


class Duty(IntEnum):
    """What has to be done at a moment, in the order in which it is done when several fall together.

    Integers, because each answer of an engine looks two of them up.
    """

    PRUNE = auto()
    ADVANCE = auto()
    REAP = auto()


class Agenda:
    """See the module's law."""

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments: dict[Duty, dict[str, int]] = {duty: {} for duty in Duty}

    def says(self, duty: Duty) -> Mapping[str, int]:
        """When the duty is next due, by queue, now and later on."""
        return self._moments[duty]

    def put(self, duty: Duty, queue: str, moment: int | None) -> None:
        """The duty is next due then; None: not before somebody says so."""
        if moment is None:
            self._moments[duty].pop(queue, None)
        else:
            self._moments[duty][queue] = moment

    def hasten(self, duty: Duty, queue: str, moment: int) -> None:
        """The duty is due then at the latest."""
        moments = self._moments[duty]
        moments[queue] = min(moment, moments.get(queue, moment))

    def first(self) -> int | None:
        """The next moment of all."""
        first: int | None = None
        for moments in self._moments.values():
            if moments and (first is None or min(moments.values()) < first):
                first = min(moments.values())
        return first

    def take(self, now: int) -> list[tuple[Duty, str]]:
        """What is due by now; it is no longer on the agenda."""
        due: list[tuple[Duty, str]] = []
        for duty, moments in self._moments.items():
            for queue, moment in tuple(moments.items()):
                if moment <= now:
                    del moments[queue]
                    due.append((duty, queue))
        return due
