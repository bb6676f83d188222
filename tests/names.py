"""Names for the cases of a test that are the same in every process, as pytest-xdist needs them."""

from __future__ import annotations

import re


def plain(value: object) -> str:
    """The `repr` of a value without the addresses in it."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
