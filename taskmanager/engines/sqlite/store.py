"""What the connections of this process to one store share: the file, its lock, its mark, and who waits.

There is one SQLite connection a process and store. Whoever uses it holds `lock`, from its first look to what it tells
the waiters; nobody holds it while waiting for anything. A statement never waits for another process either: a file
that is busy raises `Busy` at once, and it is the engine that waits, without a thread and without blocking its loop.

Every write is one BEGIN IMMEDIATE: it takes effect whole or not at all, also under kill -9. With `synchronous=normal`
what was committed outlives the death of every process; with `full` also that of the machine, at an fsync a commit.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from taskmanager.clock import monotonic
from taskmanager.engine import JobRef
from taskmanager.engines.sqlite import opening, reads, wal
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.address import Address
from taskmanager.engines.sqlite.attendant import Attendant
from taskmanager.engines.sqlite.reserve import Reserve
from taskmanager.engines.sqlite.rows import json_of
from taskmanager.engines.sqlite.trouble import full, gone, is_full, is_unreadable_text, translated
from taskmanager.engines.sqlite.wal import Wal
from taskmanager.engines.waiters import Waiters
from taskmanager.errors import EngineGone, TaskManagerError, UsageError

__all__ = ["Store", "store_of"]

K = TypeVar("K")
T = TypeVar("T")
log = logging.getLogger("taskmanager")

LOOK_S = 1.0
"""How often to look whether the file is still where it was opened, in seconds."""
REAL, SIMULATED = "real", "simulated"


class Store:
    """One store, as this process has it open."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.reset()
        _stores.add(self)

    def reset(self) -> None:
        """As new: not connected, and nobody waits."""
        self.lock = threading.Lock()
        self.waiters = Waiters()
        self._attendant = Attendant(self)
        self._file: sqlite3.Connection | None = None
        self._closer: weakref.finalize[[], Store] | None = None
        self._reserve: Reserve | None = None
        self._is_without_reserve = False
        self.is_moving_log = False
        """Whether it may be this process itself that keeps its own calls from the file, for a moment."""
        self._mark: str | None = None
        self._place: tuple[int, int] | None = None
        self._looked_s = 0.0
        self._is_gone = False
        self._users = 0
        self._blocks = False
        self._version: int | None = None
        self._watched: Counter[str] = Counter()
        self._awaited: Counter[tuple[str, JobRef, int]] = Counter()
        self._wal = Wal(self.address)

    # ---- life

    def join(self) -> None:
        with self.lock:
            self._users += 1

    def leave(self) -> None:
        """The last one closes the file. What is in memory stays while somebody refers to the store."""
        with self.lock:
            self._users -= 1
            if self._users > 0 or self.address.path is None:
                return
        self._attendant.end()
        with self.lock:
            if self._users <= 0:
                self._close()

    def stand_still(self, is_simulated: bool) -> None:
        """In a simulation a busy file is waited for where it is met, and the log is moved there: time stands still."""
        self._blocks = is_simulated
        if self._file is not None and self.address.path is not None:
            wait_ms = round(self.address.wait_s * 1000) if is_simulated else 0
            self._file.execute(f"PRAGMA busy_timeout = {wait_ms}")
            self._file.execute(f"PRAGMA wal_autocheckpoint = {wal.CHECKPOINT_PAGES if is_simulated else 0}")

    def _close(self) -> None:
        if self._closer is not None:
            self._closer()
        self._file = self._closer = None
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    def abandon(self) -> None:
        """In a forked child: the parent's connection must not be used there, nor closed."""
        if self._closer is not None:
            self._closer.detach()
        _inherited.append((self._file, self._reserve))
        self.reset()

    # ---- transactions, under the lock

    def write(self, work: Callable[[sqlite3.Connection], T], is_simulated: bool, *, brings_work: bool) -> T:
        """One write. `brings_work`: it is to be refused rather than use what is reserved for a full disk."""
        reserve = self._reserve
        if brings_work and reserve is not None and not reserve.is_there() and not reserve.regain():
            raise full(self.address.name)
        try:
            return self._transact(sql.BEGIN, work, is_simulated)
        except sqlite3.Error as error:
            if is_unreadable_text(error):
                return self._leniently(sql.BEGIN, work, is_simulated)
            if is_full(error) and not brings_work and self._reserve is not None:
                return self._with_reserve(self._reserve, work, is_simulated)
            raise translated(error, self.address) from error

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """One look, at one moment."""
        try:
            return self._transact(sql.BEGIN_READ, work, None)
        except sqlite3.Error as error:
            if is_unreadable_text(error):
                return self._leniently(sql.BEGIN_READ, work, None)
            raise translated(error, self.address) from error

    def _transact(self, begin: str, work: Callable[[sqlite3.Connection], T], is_simulated: bool | None) -> T:
        file = self._file
        if file is None:
            file = self._connect()
        elif self._is_gone or monotonic() - self._looked_s >= LOOK_S:
            self._check_place()
        file.execute(begin)
        try:
            mark = self._mark
            if is_simulated is not None:
                mark = self._marked(file, SIMULATED if is_simulated else REAL)
            result = work(file)
            file.execute(sql.COMMIT)
        except BaseException:
            if file.in_transaction:
                file.execute(sql.ROLLBACK)
            raise
        self._mark = mark
        if is_simulated is False:
            self._count(file)
        return result

    def _with_reserve(self, reserve: Reserve, work: Callable[[sqlite3.Connection], T], is_simulated: bool) -> T:
        """Once more, with what was reserved; and where that is used up, with the room of a log that is moved."""
        try:
            if reserve.release():
                log.warning("no room left for %s: going on with what was reserved", self.address.name)
                with suppress(sqlite3.OperationalError):
                    return self._transact(sql.BEGIN, work, is_simulated)
            with reserve.turn() as is_ours:
                if is_ours and self._file is not None:
                    self._file.execute(sql.BEGIN)
                    self._wal.move_under(self._file)
            return self._transact(sql.BEGIN, work, is_simulated)
        except sqlite3.Error as error:
            raise translated(error, self.address) from error

    def _leniently(self, begin: str, work: Callable[[sqlite3.Connection], T], is_simulated: bool | None) -> T:
        """Once more, with texts that need not be UTF-8: somebody else has written one, and it must not stop a queue."""
        file = self._file
        assert file is not None
        file.text_factory = opening.lenient
        try:
            return self._transact(begin, work, is_simulated)
        except sqlite3.Error as error:
            raise translated(error, self.address) from error
        finally:
            file.text_factory = str

    # ---- connecting

    def connect(self) -> None:
        """Opens the file, if it is not open; whoever needs it does."""
        if self._file is None:
            try:
                self._connect()
            except sqlite3.Error as error:
                raise translated(error, self.address) from error

    def _connect(self) -> sqlite3.Connection:
        file = opening.connect(self.address)
        try:
            opening.prepare(file, self.address)
            found = file.execute(sql.GET_MARK).fetchone()
        except BaseException:
            file.close()
            raise
        self._mark = None if found is None else found[0]
        self._version = None
        self._wal = Wal(self.address)
        self._place = None if self.address.path is None else _place_of(self.address.path)
        self._looked_s, self._is_gone = monotonic(), False
        self._file = file
        self._closer = weakref.finalize(self, file.close)
        self.stand_still(self._blocks)
        return file

    def _check_place(self) -> None:
        """Raises `EngineGone` where the file was deleted or replaced: what we wrote would be in no file at all."""
        path = self.address.path
        if path is None or self._place is None:
            return
        self._looked_s = monotonic()
        if _place_of(path) == self._place:
            self._is_gone = False
            return
        error = gone(path)
        if not self._is_gone:
            log.error("%s", error)
        self._is_gone = True
        raise error

    def refuse_other(self, is_simulated: bool) -> None:
        """Raises `UsageError` where the store bears the other mark."""
        self._refuse(self._mark, SIMULATED if is_simulated else REAL)

    def _refuse(self, mark: str | None, wanted: str) -> None:
        if mark is not None and mark != wanted:
            raise UsageError(
                f"the store {self.address.name} is {mark} and cannot be used as a {wanted} one; give each its own,"
                f" for example sqlite:///{wanted}.db"
            )

    def _marked(self, file: sqlite3.Connection, wanted: str) -> str:
        """Sees to the mark of a store that is written to; the first write sets it."""
        mark = self._mark
        if mark != wanted:
            found = file.execute(sql.GET_MARK).fetchone()
            if found is None:
                file.execute(sql.SET_MARK, (wanted,))
            else:
                self._refuse(found[0], wanted)
        return wanted

    # ---- the log

    def _count(self, file: sqlite3.Connection) -> None:
        """Notes that something was written, and has the log moved when that was a good deal."""
        if self.address.path is None:
            return
        is_much = self._wal.count(file.total_changes)
        if self._reserve is None and (is_much or not self._is_without_reserve):
            self._make_reserve(self.address.path)
        if is_much:
            self._attendant.empty_log()

    def _make_reserve(self, path: str) -> None:
        try:
            self._reserve = Reserve(path)
        except OSError as error:  # tried again when the log is moved
            if not self._is_without_reserve:
                log.warning(
                    "there can be no reserve beside %s (%s): a full disk will stop what runs, and writers wait while"
                    " the log is moved. Make room for the name, or remove what is there",
                    path,
                    error,
                )
            self._is_without_reserve = True

    def checkpoint(self) -> None:
        """Moves what is in the log into the file; see `wal`."""
        self.is_moving_log = True
        try:
            with self.lock:
                reserve = self._reserve
                self._check_place()
            self._wal.move(reserve)
        except (sqlite3.Error, TaskManagerError, OSError) as error:
            log.warning("the log of %s could not be moved (%s); it is tried again", self.address.name, error)
        finally:
            self.is_moving_log = False

    # ---- who waits

    def watch(self, queues: Collection[str]) -> bool:
        """Somebody is about to wait for these queues, until `unwatch`; whether other processes are looked at."""
        with self.lock:
            self._watched.update(list(queues))
        return self._attend(bool(queues))

    def unwatch(self, queues: Collection[str], is_attended: bool) -> None:
        with self.lock:
            _take_away(self._watched, list(queues))
        if is_attended:
            self._attendant.unwatch()

    def await_end(self, queue: str, ref: JobRef, serial: int) -> bool:
        """Somebody is about to wait for the end of a job, until `unawait_end`."""
        with self.lock:
            self._awaited[queue, ref, serial] += 1
        return self._attend(True)

    def unawait_end(self, queue: str, ref: JobRef, serial: int, is_attended: bool) -> None:
        with self.lock:
            _take_away(self._awaited, [(queue, ref, serial)])
        if is_attended:
            self._attendant.unwatch()

    def _attend(self, is_wanted: bool) -> bool:
        """Other processes may write to a file, but for the time of a simulation."""
        is_attended = is_wanted and self.address.path is not None and not self._blocks
        if is_attended:
            self._attendant.watch()
        return is_attended

    def look(self) -> None:
        """Tells those who wait what another process has written, if one has."""
        with self.lock, suppress(sqlite3.Error, EngineGone):  # what cannot be read now is looked at again soon
            if self._file is None:
                return
            if monotonic() - self._looked_s >= LOOK_S:
                self._check_place()
            [version] = self._file.execute(sql.DATA_VERSION).fetchone()
            if version == self._version:
                return
            self.tell(self._file, self._watched)
            for queue, ref, serial in list(self._awaited):
                if reads.live_serial(self._file, queue, ref) != serial:
                    self.waiters.ended(queue, serial)
            self._version = version

    def tell(self, file: sqlite3.Connection, queues: Collection[str]) -> None:
        """Tells the waiters how these queues stand."""
        rows: list[tuple[str, int, Any]] = file.execute(sql.GET_TIDES, (json_of(list(queues)),)).fetchall()
        for queue, tide, due_at in rows:
            self.waiters.tell(queue, tide, due_at)


def _place_of(path: str) -> tuple[int, int] | None:
    """Which file that is; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _take_away(counter: Counter[K], keys: Iterable[K]) -> None:
    counter.subtract(keys)
    for key in keys:
        if counter[key] <= 0:
            del counter[key]


# ---- the stores of this process

_stores: weakref.WeakSet[Store] = weakref.WeakSet()
_shared: weakref.WeakValueDictionary[Address, Store] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()
_inherited: list[object] = []
"""What a forked child has of its parent's connections: kept, because closing them there would harm the parent."""


def store_of(address: Address) -> Store:
    """The store of that address in this process; in memory it is a new one each time."""
    if address.path is None:
        return Store(address)
    with _shared_lock:
        return _shared.setdefault(address, Store(address))


def _in_child() -> None:
    _shared_lock.release()
    for store in list(_stores):
        store.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_shared_lock.acquire, after_in_parent=_shared_lock.release, after_in_child=_in_child)
