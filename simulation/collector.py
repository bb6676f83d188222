"""Python's cyclic garbage collector, told to look less often while a world runs.

A simulated month keeps hundreds of thousands of small objects alive, and almost none of them is in a cycle; looking for
cycles among them at the usual pace takes half of the time. It still looks, every 200,000 new objects.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 200_000


@contextmanager
def seldom() -> Iterator[None]:
    """Within, the collector starts after 200,000 new objects, unless it was told to look more seldom or never."""
    before = gc.get_threshold()
    if 0 < before[0] < _NEW_OBJECTS:
        gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
