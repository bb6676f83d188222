"""Room kept for a full disk, and the turn to checkpoint: one file beside the store, `FILE-reserve`.

The reserve is some blocks of the disk that hold nothing. When the disk is full, a write that ends or keeps what runs
(`settle`, `extend`, `cancel`, ...) lets them go and succeeds; what would bring new work (`enqueue`, `claim`) is refused
until they have been taken again, in whatever process. So what runs can end, and nothing new uses up its room.

The same file is locked by whoever checkpoints, so that among all processes one does at a time (see `wal`). The
system unlocks it when its holder dies.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator

try:
    import fcntl
except ImportError:  # Windows: a store is then one process's alone
    fcntl = None  # type: ignore[assignment]  # what is asked below

__all__ = ["RESERVE_BYTES", "Reserve", "turn_without_reserve"]

log = logging.getLogger("taskmanager")
RESERVE_BYTES = 4 << 20
"""Enough for some hundred settlements: a thousand pages of the write-ahead log."""
_CHUNK = bytes(1 << 16)


class Reserve:
    """The reserve of one file, as one process has it open."""

    def __init__(self, path: str) -> None:
        self._file = os.open(f"{path}-reserve", os.O_RDWR | os.O_CREAT, 0o644)
        if not self.is_there() and not self.regain():
            log.warning("there is no room for a reserve beside %s; a full disk will stop what runs", path)

    def close(self) -> None:
        os.close(self._file)

    def is_there(self) -> bool:
        return os.fstat(self._file).st_size >= RESERVE_BYTES

    def regain(self) -> bool:
        """Takes the blocks (again); False where the disk has none to spare."""
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file, 0, RESERVE_BYTES)
            else:
                for offset in range(0, RESERVE_BYTES, len(_CHUNK)):
                    os.pwrite(self._file, _CHUNK, offset)
        except OSError:
            self.release()
            return False
        return True

    def release(self) -> bool:
        """Gives the blocks back; False where there were none."""
        had = os.fstat(self._file).st_size > 0
        os.ftruncate(self._file, 0)
        return had

    def turn(self) -> contextlib.AbstractContextManager[bool]:
        """Whether it is our turn to checkpoint; if so, until the end of the block nobody else's."""
        return _turn(self._file)


@contextlib.contextmanager
def turn_without_reserve(path: str) -> Iterator[bool]:
    """The same for who may not write to `FILE-reserve`, while others may. Where it cannot even be read, it is ours."""
    try:
        file = os.open(f"{path}-reserve", os.O_RDONLY)
    except OSError:
        yield True
        return
    try:
        with _turn(file) as is_ours:
            yield is_ours
    finally:
        os.close(file)


@contextlib.contextmanager
def _turn(file: int) -> Iterator[bool]:
    if fcntl is None:
        yield True
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
