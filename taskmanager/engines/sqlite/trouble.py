"""SQLite's own errors, translated once: by whose fault it is, with the file, and what to do.

busy, locked                      somebody else has the file: `Busy`, which the engine meets by trying again
full, i/o                         the disk's: `EngineFull`, `EngineUnavailable`
deleted, replaced                 somebody's, and it may be put back: `EngineGone`
no database, damaged, read-only,  yours: `UsageError`, for none of it mends by itself
changed
"""

from __future__ import annotations

import os
import sqlite3

try:
    import resource
except ImportError:  # Windows: no such limits
    resource = None  # type: ignore[assignment]  # what is asked below

from taskmanager.engines.sqlite.address import Address
from taskmanager.errors import EngineFull, EngineGone, EngineLocked, EngineUnavailable, TaskManagerError, UsageError

__all__ = ["Busy", "full", "gone", "is_at_limit", "is_busy", "is_full", "is_unreadable_text", "locked", "translated"]

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR})
_YOURS = {
    sqlite3.SQLITE_NOTADB: (
        "is not a SQLite database, or its beginning is damaged. Restore it from a backup, or name another file"
    ),
    sqlite3.SQLITE_CORRUPT: (
        "is damaged. Stop what uses it and restore it from a backup, or save what can be read with"
        " `sqlite3 FILE .recover | sqlite3 NEW`; move it away to begin anew"
    ),
    sqlite3.SQLITE_READONLY: "cannot be written: give this user the right to write to the file and its folder",
    sqlite3.SQLITE_PERM: "may not be opened: give this user the right to read and write the file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: its folder must exist, and this user may read and write both",
    sqlite3.SQLITE_TOOBIG: "cannot hold so much in one value",
    **dict.fromkeys(
        (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH),
        "is not as it was made: somebody has changed its tables. Restore it from a backup, or name another file",
    ),
}
_PAGE_BYTES = 4096


class Busy(Exception):
    """Somebody else writes, or has locked the file; nothing was done."""


def _code(error: sqlite3.Error) -> int | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else has the file."""
    return _code(error) in _BUSY


def is_full(error: sqlite3.Error) -> bool:
    """Whether room on the disk may help."""
    return _code(error) in _FULL


def is_unreadable_text(error: sqlite3.Error) -> bool:
    """Whether a row holds a text that is not UTF-8; the module itself says so, without a code."""
    return _code(error) is None and str(error).startswith("Could not decode")


def is_at_limit(path: str | None) -> bool:
    """Whether the file or its log is as long as this process may write at all (`ulimit -f`)."""
    if resource is None or path is None:
        return False
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    sizes = [os.path.getsize(file) for file in (path, f"{path}-wal") if os.path.exists(file)]
    return limit != resource.RLIM_INFINITY and max(sizes, default=0) > limit - 2 * _PAGE_BYTES


def translated(error: sqlite3.Error, address: Address) -> TaskManagerError | Busy:
    """What to raise for an error of the store there."""
    name = address.name
    code = _code(error)
    if is_busy(error):
        return Busy(str(error))
    if code in _YOURS:
        return UsageError(f"the store {name} {_YOURS[code]} ({error})")
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and is_at_limit(address.path)):
        return full(name)
    return EngineUnavailable(f"the store {name} cannot be read or written now: {error}")


def full(name: str) -> EngineFull:
    """For a disk without room."""
    return EngineFull(f"the store {name} has no room left: free some on its disk, and it goes on by itself")


def gone(path: str) -> EngineGone:
    """For a file that is not where it was opened any more."""
    return EngineGone(
        f"the file {path} was deleted or replaced while it was in use, so nothing more is written. Put it back, or"
        " restart what uses it, to begin with what is there now"
    )


def locked(path: str, waited_s: float) -> EngineLocked:
    """For a file that nobody let go of in time."""
    return EngineLocked(
        f"the file {path} was locked by {_holder(path)} for the {waited_s:.1f} s that were waited. End what has it open"
        " in a transaction (a shell, a backup, a viewer), or wait longer with ?wait= in the URL",
        waited_s,
    )


def _holder(path: str) -> str:
    """Who holds a write lock on the file, where the system tells."""
    inodes = {os.stat(file).st_ino for file in (path, f"{path}-shm") if os.path.exists(file)}
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            held = [line.split() for line in locks]
    except OSError:
        return "another process"
    pids = {
        fields[-4]
        for fields in held
        if "WRITE" in fields and "->" not in fields and fields[-3].rpartition(":")[2] in map(str, inodes)
    }
    owners = sorted(pids - {"0", "-1"})
    return f"process {' and '.join(owners)}" if owners else "another process"
