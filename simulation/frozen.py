"""A test that freezegun has frozen is honoured: the simulation starts at its instant and moves its clock.

time-machine and freezegun cannot both hold the time. So while a freezer is in force, the simulation moves it instead,
and leaves it at the last simulated instant. freezegun is never imported from here: where it is in force, it is loaded.
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from taskmanager.clock import datetime_of

__all__ = ["frozen_start", "innermost", "move", "thawed"]


def innermost() -> Any | None:
    """The freezer in force, or None."""
    api = sys.modules.get("freezegun.api")
    factories = getattr(api, "freeze_factories", None)
    return factories[-1] if factories else None


def frozen_start() -> int | None:
    """The instant freezegun holds, in microseconds since the epoch; None where the process is not frozen."""
    freezer = innermost()
    if freezer is None:
        return None
    ticking = hasattr(freezer, "start")  # such a freezer runs on from where it was set
    instant = freezer() if ticking else freezer.time_to_freeze
    return (instant - _naive(0)) // timedelta(microseconds=1)  # type: ignore[no-any-return]


@contextmanager
def thawed() -> Iterator[None]:
    """Within, the `time` and `datetime` modules are the real ones.

    For importing time-machine: it reaches into the functions it finds there at its import, and those must be built-ins.
    """
    api = sys.modules.get("freezegun.api")
    names = [name.removeprefix("real_") for name in vars(api) if name.startswith("real_")] if api else []
    frozen = [
        (owner, name, getattr(owner, name)) for owner in (time, datetime) for name in names if hasattr(owner, name)
    ]
    try:
        for owner, name, _ in frozen:
            setattr(owner, name, getattr(api, f"real_{name}"))
        yield
    finally:
        for owner, name, value in frozen:
            setattr(owner, name, value)


def move(freezer: Any, us: int) -> None:
    """Sets a freezer to a moment in microseconds since the epoch."""
    freezer.move_to(_naive(us))


def _naive(us: int) -> Any:
    return datetime_of(0).replace(tzinfo=None) + timedelta(microseconds=us)
