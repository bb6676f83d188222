"""The write-ahead log of a file: how much has gone into it, and the one who moves it into the file (a checkpoint).

*One at a time.* SQLite would let every connection move the log when it has grown. Before 3.51.3 that can lose pages: a
checkpoint that begins when all of the log has been moved already may miss that another connection starts the log anew
meanwhile, and then leave a part of the new one behind. So here no connection does it by itself. Whoever has written a
good deal takes the store's turn (a lock that one process holds), then commits something, and only then moves the log.
From that commit on the log holds a page that is not moved; nobody else moves it, so nobody can start the log anew, and
the window does not exist.

*Beside the writers, then under their lock.* A log is started anew, at its beginning, by the first write that finds all
of it moved. Where somebody always writes that never comes, for what was written during a move is left over by it, and
the log would grow as long as the load lasts. So the log is moved beside the writers first, which holds up nobody; and
where it is long all the same, what is left is moved once more with the write lock held. That is little, so they wait a
moment (each of them as for any other writer), and the next one starts the log anew. With the write lock held nobody can
start the log anew, so such a move needs no commit before it; but it needs the turn, for it would move the page by which
another process is safe. Who cannot make sure of the turn, because the file for it cannot be opened, moves only so.

A reader that stays in its transaction keeps the log from being moved beyond the moment it sees. Then nobody is held
up, as it would be in vain; the log grows until the reader goes, and is cut back to `opening.KEPT_BYTES` after that.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import threading
from contextlib import closing

from taskmanager.engines.sqlite import opening
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.address import Address
from taskmanager.engines.sqlite.reserve import Reserve, turn_without_reserve
from taskmanager.engines.sqlite.trouble import is_busy

__all__ = ["CHECKPOINT_PAGES", "Wal"]

CHECKPOINT_PAGES = 1000
"""How many pages, about, go into the log between two checkpoints."""
LONG_PAGES = 2500
"""A log of more pages than this is started anew, though writers have to wait a moment for that."""
_PAGES_A_COMMIT, _ROWS_A_PAGE = 6, 8
_GROWTH_BYTES, _COMMITS_A_LOOK = 4 << 20, 8
"""Large payloads are many pages a row, so the file is looked at as well, every so many commits."""
_BRIEF_PAGES, _PASSES = 6000, 4
"""Moving so many pages beside the writers is brief, so little is written meanwhile. Where it were more, it is done
again, so often at most, and while the writers do not write as fast as it is moved."""
_TRIES, _PAUSE_S = 1500, 0.0005


class Wal:
    """The log of one file, as one process sees it."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._pages = self._rows = self._commits = self._bytes = 0

    def count(self, rows: int) -> bool:
        """After a commit, with the rows that the connection has changed so far: whether the log is to be moved."""
        self._commits += 1
        self._pages += _PAGES_A_COMMIT
        is_much = self._pages + (rows - self._rows) // _ROWS_A_PAGE >= CHECKPOINT_PAGES
        if not is_much and (self._commits % _COMMITS_A_LOOK or not self._has_grown()):
            return False
        self._pages, self._rows = 0, rows
        return True

    def _has_grown(self) -> bool:
        try:
            size = os.stat(f"{self._address.path}-wal").st_size
        except OSError:
            return False
        grown = size - max(self._bytes, opening.KEPT_BYTES)
        if 0 <= grown < _GROWTH_BYTES:
            return False
        self._bytes = size
        return grown > 0

    def move(self, reserve: Reserve | None) -> None:
        """Moves the log, and sees to it that a long one is started anew; nothing, while another process does it."""
        path = self._address.path
        if path is None:
            return
        with turn_without_reserve(path) if reserve is None else reserve.turn() as is_ours:
            if is_ours and (reserve is None or self._move_beside_writers()):
                self._move_from_writers()

    def move_under(self, holder: sqlite3.Connection) -> None:
        """Moves the log in a write transaction of `holder`, which keeps everybody from writing, and ends it."""
        try:
            with closing(self._connect()) as other:
                other.execute(sql.CHECKPOINT)
        finally:
            holder.execute(sql.ROLLBACK)

    def _move_beside_writers(self) -> bool:
        """In our turn; whether the log is long all the same, and no reader keeps us from making an end of it."""
        moved_before, gained_before, is_all = 0, sys.maxsize, False
        for _ in range(_PASSES):
            with closing(self._connect()) as file:
                if not _soon(file):
                    return False
                file.execute(sql.NOTE_CHECKPOINT)
                file.execute(sql.COMMIT)
                _, length, moved = file.execute(sql.CHECKPOINT).fetchone()  # the length is that of when it began
            is_all, gained = moved == length, moved - moved_before
            if length <= LONG_PAGES or (is_all and (gained <= _BRIEF_PAGES or gained > gained_before // 2)):
                break
            moved_before, gained_before = moved, gained
        return is_all and length > LONG_PAGES

    def _move_from_writers(self) -> None:
        with closing(self._connect()) as holder:
            if _soon(holder):
                self.move_under(holder)

    def _connect(self) -> sqlite3.Connection:
        file = opening.connect(self._address)
        file.execute("PRAGMA synchronous = normal")
        file.execute("PRAGMA wal_autocheckpoint = 0")
        file.execute(f"PRAGMA journal_size_limit = {opening.KEPT_BYTES}")
        return file


def _soon(file: sqlite3.Connection) -> bool:
    """Begins a write as soon as nobody else is at one; False where somebody keeps at it."""
    pause = threading.Event()
    for _ in range(_TRIES):
        try:
            file.execute(sql.BEGIN)
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            pause.wait(_PAUSE_S)
        else:
            return True
    return False
