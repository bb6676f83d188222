"""The one thread of a store: it notices what other processes write, and moves the log into the file.

*Noticing.* While somebody waits, `PRAGMA data_version` is asked every `LOOK_S`: a few microseconds, and nothing is read
unless another process has written. What has changed is told to the waiters, who cannot tell it from a neighbour's
write. While nobody waits there is no thread.

*Moving the log.* What that is and how is said in `wal`; here it spares the event loop the wait for the disk.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskmanager.engines.sqlite.store import Store

__all__ = ["LOOK_S", "Attendant"]

LOOK_S = 0.025
"""How often to look whether another process has written, in seconds."""
LINGER_S = 1.0
"""How long the thread stays when there is nothing for it to do."""


class Attendant:
    """Runs `store.look()` and `store.checkpoint()` beside the event loops. All methods may be called from anywhere."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._watchers = 0
        self._is_full = False
        self._is_over = False

    def watch(self) -> None:
        """Somebody waits, until `unwatch`."""
        with self._turn:
            self._watchers += 1
            self._wake()

    def unwatch(self) -> None:
        with self._turn:
            self._watchers -= 1

    def empty_log(self) -> None:
        """The log has grown enough to be moved."""
        with self._turn:
            self._is_full = True
            self._wake()

    def end(self) -> None:
        """No more of either; returns when the thread is gone."""
        with self._turn:
            self._is_over = True
            thread = self._thread
            self._turn.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _wake(self) -> None:
        self._is_over = False
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="taskmanager-sqlite", daemon=True)
            self._thread.start()
        else:
            self._turn.notify_all()

    def _run(self) -> None:
        while True:
            with self._turn:
                if not self._watchers and not self._is_full and not self._is_over:
                    self._turn.wait(LINGER_S)
                if self._is_over or not (self._watchers or self._is_full):
                    self._thread = None
                    return
                is_full, self._is_full = self._is_full, False
            if is_full:
                self._store.checkpoint()
            if self._watchers:
                self._store.look()
                with self._turn:
                    if not self._is_full and not self._is_over:
                        self._turn.wait(LOOK_S)
