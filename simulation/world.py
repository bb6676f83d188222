"""Which world the running code lives in: the simulated one or the real one.

A takeover (`simulation.clocks`) patches the process once; every patched function asks here whether its caller belongs
to a simulation, and calls the real thing where it does not. Two kinds of threads belong: the one that entered the
takeover (it also drives the loop), and the threads that the loop runs plain functions in. All other threads of the
process keep real sleeps and a real monotonic clock.

Two context variables mark code that is not a handler's. What runs under `real_io` is the simulation's own business with
a real store: it may use sockets and threads, and its timers count real seconds. Timers set under `background` (the
janitor, heartbeats, occurrences to come) do not keep a world from being idle.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulation.clocks import Takeover
    from simulation.strands import Strand

__all__ = ["SimulationBlocked", "SimulationRefused", "background", "driven", "inhabited", "real_io"]

background: ContextVar[bool] = ContextVar("simulation_background", default=False)
"""Timers set while this is True are background: a world with only such timers left has nothing to do."""

real_io: ContextVar[bool] = ContextVar("simulation_real_io", default=False)
"""True in code that talks to a real store on the simulation's behalf."""

takeovers: list[Takeover] = []
"""The takeovers in force, innermost last."""

strands: dict[int, Strand] = {}
"""The simulated threads that are alive, by thread identifier."""


class SimulationRefused(RuntimeError):
    """Simulated code reached for something that cannot be simulated; the message says what to stub."""


class SimulationBlocked(RuntimeError):
    """A thread of the simulation waits for something that virtual time cannot see, so the world stands still."""


def inhabited() -> Takeover | None:
    """The takeover whose world the calling thread lives in, or None in the real world."""
    if not takeovers:
        return None
    takeover, ident = takeovers[-1], get_ident()
    if real_io.get():
        return None
    return takeover if ident == takeover.thread or ident in strands or takeover.loop.is_driven_by(ident) else None


def driven() -> Takeover | None:
    """The same, but only for simulated code: None for the thread that owns the world while nothing is driven."""
    takeover = inhabited()
    if takeover is None:
        return None
    ident = get_ident()
    return takeover if ident in strands or takeover.loop.is_driven_by(ident) else None
