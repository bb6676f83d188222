"""Where a store is and how it is to be kept: what the part of a URL behind `sqlite://` says.

`sqlite://` is in memory; `sqlite:///tasks.db` is a file beside the process (its working directory when the engine is
made), `sqlite:////var/lib/tasks.db` one by its absolute path. Behind a question mark: `synchronous=normal|full` and
`wait=` seconds. `%` begins an escape, as in every URL.
"""

from __future__ import annotations

import math
import os
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from taskmanager.errors import UsageError

__all__ = ["FORMS", "Address"]

FORMS = "sqlite:// (in memory), sqlite:///relative/path.db or sqlite:////absolute/path.db"
_WAIT_S = 5.0
_LONGEST_WAIT_S = 30.0


class Address(NamedTuple):
    """`path` is None in memory. `wait_s` is how long a call waits for a file that somebody else has locked."""

    path: str | None
    synchronous: str = "normal"
    wait_s: float = _WAIT_S

    @property
    def name(self) -> str:
        """The store, as errors name it."""
        return "sqlite://" if self.path is None else f"sqlite:///{self.path}"

    @staticmethod
    def of(rest: str, field: str = "db") -> Address:
        """Reads what stands behind `sqlite://`; a `UsageError` under the name of `field` says what is wrong with it."""
        place, _, query = rest.partition("?")
        seen = f"sqlite://{rest}"
        if place and not place.startswith("/"):
            raise UsageError(f"{field} must be {FORMS}; got {seen!r}, which names a host. Add a slash")
        file = unquote(place[1:], errors="surrogateescape")
        if "\0" in file or (place and not file):
            raise UsageError(f"{field} must be {FORMS}; got {seen!r}, which names no file")
        path = os.path.realpath(file) if file and file != ":memory:" else None
        if path is not None:
            _check_text(path, field)
        address = Address(path)
        for key, value in parse_qsl(query, keep_blank_values=True):
            if key not in _OPTIONS:
                raise UsageError(
                    f"{field}: a SQLite URL takes {', '.join(_OPTIONS)} behind its '?'; got {key!r} in {seen!r}"
                )
            address = _OPTIONS[key](address, value)
        return address


def _check_text(path: str, field: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{field}: the path of a SQLite file must be UTF-8, got {path!r}; give it another name"
        ) from None


def _synchronous(address: Address, value: str) -> Address:
    if value.lower() not in ("normal", "full"):
        raise UsageError(f"synchronous must be normal or full, got {value!r}")
    return address._replace(synchronous=value.lower())


def _wait(address: Address, value: str) -> Address:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LONGEST_WAIT_S:
        raise UsageError(f"wait must be a number of seconds from 0 to {_LONGEST_WAIT_S:g}, got {value!r}")
    return address._replace(wait_s=seconds)


_OPTIONS = {"synchronous": _synchronous, "wait": _wait}
