"""What a takeover puts over the standard library, and how it takes it away again.

Each stand-in is made once and asks at each call whether its caller is simulated (`simulation.world`), so applying and
undoing are assignments. Some modules hold a function under a name of their own (`from time import sleep`): they are
found by looking for the very objects among the values of each loaded module. The standard library is passed over,
except the modules that measure a virtual wait; what was scanned is remembered, so entering again costs next to nothing.
"""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from asyncio import base_events
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from simulation.blocking import THREAD_PATCHES
from simulation.originals import originals
from simulation.refusals import BLOCKING_CALLS, blocking
from simulation.world import driven, inhabited, strands

__all__ = ["apply", "undo"]

MEASURES_WAITS = frozenset({"threading", "queue", "sched", "secrets", "random"})
"""Modules of the standard library that took a function by name and use it for waits or draws of simulated code."""
PASSED_OVER = frozenset({"simulation", "time_machine", "freezegun", "debugpy", "pydevd", "_pydevd_bundle"})


def monotonic() -> float:
    world = inhabited()
    return originals.monotonic() if world is None else world.loop.time()


def monotonic_ns() -> int:
    world = inhabited()
    return originals.monotonic_ns() if world is None else world.clock.monotonic_us * 1000


def get_clock_info(name: Any, /) -> Any:
    """A loop that a plain handler runs (`asyncio.run`) must take a microsecond for its resolution."""
    info = originals.clock_info(name)
    if name != "monotonic" or inhabited() is None:
        return info
    return SimpleNamespace(**{**vars(info), "resolution": 1e-6})


def sleep(seconds: float, /) -> None:
    world = inhabited()
    if world is None:
        return originals.sleep(seconds)
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    strand = strands.get(originals.thread())
    if strand is not None:
        strand.park(seconds)
        return None
    world.loop.hold(round(seconds * 1_000_000))
    if driven() is not None:
        frame = sys._getframe(1)
        warnings.warn(
            f"time.sleep({seconds:g}) at {frame.f_code.co_filename}:{frame.f_lineno} blocks the event loop: "
            "the whole world was held that long. Use `await asyncio.sleep(...)` in an async handler",
            RuntimeWarning,
            stacklevel=2,
        )
    return None


def urandom(size: int, /) -> bytes:
    world = inhabited()
    return originals.urandom(size) if world is None else world.randomness.urandom(size)


_reseed = random.Random.seed


def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
    """An unseeded generator draws its seed from the simulation's bytes."""
    if a is None and inhabited() is not None:
        a = int.from_bytes(urandom(32))
    _reseed(self, a, version)


def seed_shared(a: Any = None, version: int = 2) -> None:
    """`random.seed`, which the module bound to its shared instance long ago."""
    seed(random._inst, a, version)


def loop_time(self: Any) -> float:
    """Other loops of the process go on in real time, but for one that a simulated thread runs."""
    return monotonic() if originals.thread() in strands else originals.monotonic()


TIME_PATCHES: tuple[tuple[Any, str, Any], ...] = (
    (time, "monotonic", monotonic),
    (time, "monotonic_ns", monotonic_ns),
    (time, "sleep", sleep),
    (time, "get_clock_info", get_clock_info),
    (os, "urandom", urandom),
    (random.Random, "seed", seed),
    (random, "seed", seed_shared),
    (base_events.BaseEventLoop, "time", loop_time),
)
PATCHES = (
    *TIME_PATCHES,
    *THREAD_PATCHES,
    *((owner, name, blocking(owner, name)) for owner, name in BLOCKING_CALLS if hasattr(owner, name)),
)

_ABSENT = object()
_undo: list[tuple[Any, str, Any]] = []
_scanned: dict[str, tuple[int, int, frozenset[int], bool]] = {}


def apply() -> None:
    """Puts every stand-in in its place."""
    by_id: dict[int, Any] = {}
    for owner, name, stand_in in PATCHES:
        if not isinstance(owner, type):
            by_id[id(getattr(owner, name))] = stand_in
        _put(owner, name, stand_in)
    for name, real in (("monotonic", originals.monotonic), ("monotonic_ns", originals.monotonic_ns)):
        by_id[id(real)] = globals()[name]  # also where freezegun has put a clock of its own over `time`'s
    for module in list(_holders(frozenset(by_id))):
        for name, value in list(vars(module).items()):
            if id(value) in by_id:
                _put(module, name, by_id[id(value)])


def undo() -> None:
    """Puts back what was there, the last first."""
    while _undo:
        owner, name, before = _undo.pop()
        if before is _ABSENT:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _put(owner: Any, name: str, stand_in: Any) -> None:
    _undo.append((owner, name, vars(owner).get(name, _ABSENT)))
    setattr(owner, name, stand_in)


def _holders(targets: frozenset[int]) -> Iterator[Any]:
    """The modules that hold one of the objects under some name; a module is looked at again when it has grown."""
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top in PASSED_OVER or (top in sys.stdlib_module_names and name not in MEASURES_WAITS):
            continue
        values = getattr(module, "__dict__", None)
        if not isinstance(values, dict):
            continue
        mark = (id(module), len(values), targets)
        known = _scanned.get(name)
        if known is None or known[:3] != mark:
            known = _scanned[name] = (*mark, not targets.isdisjoint(map(id, list(values.values()))))
        if known[3]:
            yield module
