"""Randomness that belongs to a simulation and depends on nothing but its seed.

`random` (the module's shared instance and new, unseeded ones), `os.urandom` and what draws from it (`uuid4`, `secrets`,
`SystemRandom`) follow the seed while the simulation holds the process. The shared instance is swapped state for state:
what the simulation has drawn goes on where it left off when it takes over again, and the world outside never notices.
"""

from __future__ import annotations

import random
from typing import Any

__all__ = ["Randomness"]


class Randomness:
    """Two streams drawn from one seed: the shared `random` instance's, and the system's bytes."""

    def __init__(self, seed: object) -> None:
        self._bytes = random.Random(f"simulation:bytes:{seed}")
        self._state: Any = random.Random(f"simulation:random:{seed}").getstate()
        self._outside: Any = None

    def enter(self) -> None:
        """The shared instance continues the simulation's stream."""
        self._outside = random.getstate()
        random.setstate(self._state)

    def leave(self) -> None:
        """The shared instance continues where it was before `enter`."""
        self._state = random.getstate()
        random.setstate(self._outside)

    def urandom(self, size: int) -> bytes:
        """What `os.urandom` answers in the simulation."""
        if size < 0:
            raise ValueError("negative argument not allowed")
        return self._bytes.randbytes(size)
