"""Opening a file: what it must be before anything is written to it, and what is made of an empty one.

A file is one of ours by its application id, and of this schema by its user version; both are set in the transaction
that makes the tables, so a file that was killed on the way is still empty. Another program's file, an older or newer
schema and a damaged file are refused, each with what to do.
"""

from __future__ import annotations

import os
import sqlite3
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.address import Address
from taskmanager.engines.sqlite.rows import Damaged
from taskmanager.engines.sqlite.trouble import Busy
from taskmanager.errors import UsageError

__all__ = ["APPLICATION", "SCHEMA", "connect", "lenient", "prepare"]

APPLICATION = 0x746D6772
"""Marks our files: `file` and `PRAGMA application_id` show it."""
SCHEMA = 2
"""The version of schema.sql, in `PRAGMA user_version`."""
OLDEST_SQLITE = (3, 35, 0)
"""The first with RETURNING."""
CHECKED_BYTES = 64 << 20
"""A file up to this size is looked through for damage when it is opened; a larger one would take too long."""
KEPT_BYTES = 10 << 20
"""How long a log that was started anew may stay as a file: written over again, it is faster than one that grows."""
_CACHE_KIB = 16_384


def connect(address: Address) -> sqlite3.Connection:
    """A connection that may be used from any thread, and that never waits for a lock."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise UsageError(f"SQLite {needed} or later is needed, this Python has {sqlite3.sqlite_version}; use another")
    target = ":memory:" if address.path is None else f"file:{quote(_checked(address.path))}"
    return sqlite3.connect(
        target, uri=True, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def _checked(path: str) -> str:
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise UsageError(f"the folder {folder} of the store sqlite:///{path} does not exist; make it first")
    if os.path.exists(path) and not os.path.isfile(path):
        other = "a folder" if os.path.isdir(path) else "a pipe or device"
        raise UsageError(f"the store sqlite:///{path} must be a file, and is {other}")
    for one in (folder, path):
        if os.path.exists(one) and not os.access(one, os.W_OK):
            raise UsageError(f"the store sqlite:///{path} cannot be written: this user may not write to {one}")
    return path


def lenient(raw: bytes) -> str:
    """Reads a text that need not be UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return Damaged(raw.decode(errors="replace"))


def prepare(file: sqlite3.Connection, address: Address) -> None:
    """Makes a new connection ready: its tables, its settings. Raises `UsageError` for a file that will not do."""
    file.execute(sql.BEGIN_READ)  # one look: another process may be making the tables
    is_new = _is_new(file, address.name)
    file.execute(sql.COMMIT)
    if not is_new:
        _check(file, address)
    if address.path is not None and file.execute("PRAGMA journal_mode = wal").fetchone()[0] != "wal":
        raise Busy("the write-ahead log cannot be turned on now")
    file.execute(f"PRAGMA synchronous = {address.synchronous}")
    file.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    file.execute("PRAGMA wal_autocheckpoint = 0")
    file.execute(f"PRAGMA journal_size_limit = {KEPT_BYTES}")
    if is_new:
        _make(file, address.name)


def _is_new(file: sqlite3.Connection, name: str) -> bool:
    """Whether there is nothing in the file. Raises `UsageError` where it is not ours or of another schema."""
    [application] = file.execute("PRAGMA application_id").fetchone()
    [schema] = file.execute("PRAGMA user_version").fetchone()
    [tables] = file.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, schema, tables) == (0, 0, 0):
        return True
    if application != APPLICATION:
        raise UsageError(f"the store {name} is a database of another program; name a file of its own")
    if schema > SCHEMA:
        raise UsageError(
            f"the store {name} has schema {schema}, which is newer than {SCHEMA}; upgrade taskmanager where it is used"
        )
    if schema < SCHEMA:
        raise UsageError(
            f"the store {name} has schema {schema}, which is older than {SCHEMA} and was of no release; begin anew with"
            " another file, and let the version that wrote this one finish what is in it"
        )
    return False


def _check(file: sqlite3.Connection, address: Address) -> None:
    if address.path is None or os.path.getsize(address.path) > CHECKED_BYTES:
        return
    # A row with a missing value is that row's trouble, not the file's.
    found = [row[0] for row in file.execute("PRAGMA quick_check(20)") if not row[0].startswith("NULL value in")]
    if found and found != ["ok"]:
        error = sqlite3.DatabaseError(found[0])
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _make(file: sqlite3.Connection, name: str) -> None:
    """The tables of an empty file, in one transaction; another process may have been first."""
    file.execute(sql.BEGIN)
    try:
        if _is_new(file, name):
            for statement in _schema():
                file.execute(statement)
            file.execute(f"PRAGMA application_id = {APPLICATION}")
            file.execute(f"PRAGMA user_version = {SCHEMA}")
        file.execute(sql.COMMIT)
    except BaseException:
        if file.in_transaction:
            file.execute(sql.ROLLBACK)
        raise


@cache
def _schema() -> tuple[str, ...]:
    """The statements of schema.sql, one by one."""
    statements, begun = [], ""
    for line in files(__package__).joinpath("schema.sql").read_text(encoding="utf-8").splitlines(keepends=True):
        begun += line
        if sqlite3.complete_statement(begun):
            statements.append(begun.strip())
            begun = ""
    return tuple(statements)
