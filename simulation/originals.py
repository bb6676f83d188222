"""The real clocks, whatever has been patched over them.

They are attributes of a class because freezegun replaces what it finds as an attribute of a module, ours included; and
where this module is first imported while freezegun holds the time, freezegun's own originals are taken.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import Any

__all__ = ["originals"]


def _real(name: str) -> Any:
    frozen = sys.modules.get("freezegun.api")
    return getattr(frozen, f"real_{name}", None) or getattr(time, name)


class originals:
    """`originals.monotonic()` is the machine's, always."""

    monotonic = staticmethod(_real("monotonic"))
    monotonic_ns = staticmethod(_real("monotonic_ns"))
    sleep = staticmethod(time.sleep)
    thread = staticmethod(threading.get_ident)
    urandom = staticmethod(os.urandom)
    clock_info = staticmethod(time.get_clock_info)
