"""Several processes that do the same, looked after by this one.

The parent does no work of its own. It passes signals on, starts a child anew that died (after a pause), and ends when
all have ended as they should. A child says when it has *begun* to serve. One that never gets there cannot be mended by
another start: where none has begun yet, where the fault is in what was asked for, and in a burst, the parent gives up
with the child's exit code.

Children stand in a process group of their own, so that a Ctrl-C reaches each of them once, through the parent. A third
signal ends parent and children. Each child ends when its parent is gone, however that ended, because it holds the
reading end of a pipe that nobody ever writes to: it is asked as by a signal, and where it cannot hear, it ends.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NoReturn

from taskmanager.clock import monotonic

__all__ = ["Work", "supervise"]

log = logging.getLogger("taskmanager")

_PAUSE_S = 1.0
_LAST_S = 1.0
"""How long children may take to die of a third signal before they are killed."""
_ORPHAN_S = 10.0
"""How long an orphan that was asked to end may take for it, beyond its grace."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WORD = b"!"
_FAULT = 2
"""The exit code of a fault in what was asked for."""

Work = Callable[..., int]
"""Called with the arguments and `began`, which it calls with its grace in seconds as it begins to serve; exit code."""


def supervise(work: Work, arguments: tuple[Any, ...], number: int, *, until_done: bool = False) -> int:
    """Runs `work(*arguments, began=...)` in so many processes until a signal ends them, or (`until_done`) they end.

    Answers the exit code, and none after a third signal, which ends this process too.
    """
    return _Supervisor(work, arguments, number, until_done).run()


class _Child:
    """A process; whether it has begun; how often it was asked to end."""

    def __init__(self, process: SpawnProcess, began: Connection) -> None:
        self.process = process
        self.asked = 0
        self._began = began
        self._has_begun = False

    @property
    def has_begun(self) -> bool:
        if not self._has_begun:
            with contextlib.suppress(EOFError, OSError):
                self._has_begun = self._began.poll() and self._began.recv_bytes() == _WORD
        return self._has_begun

    def close(self) -> None:
        self._began.close()

    @property
    def code(self) -> int:
        """Its exit code as a shell tells it; one that was asked to end before it could listen ended as it should."""
        code = self.process.exitcode or 0
        if self.asked and code == -signal.SIGTERM:
            return 0
        return code if code >= 0 else 128 - code

    def ask(self, times: int) -> None:
        """Has it been asked so often? Always by SIGTERM, of which one that cannot listen yet dies without a word."""
        while self.asked < times and self.process.is_alive():
            self.asked += 1
            self.process.terminate()


class _Supervisor:
    def __init__(self, work: Work, arguments: tuple[Any, ...], number: int, until_done: bool) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work, self._arguments, self._until_done = work, arguments, until_done
        self._leash, self._hold = self._context.Pipe(duplex=False)
        self._bell, self._ring = self._context.Pipe(duplex=False)
        self._children: list[_Child] = []
        self._number = number
        self._signals: list[int] = []
        self._given_up: int | None = None
        self._any_begun = False
        self._worst = 0

    def run(self) -> int:
        before = {one: signal.signal(one, self._heard) for one in _SIGNALS}
        try:
            for _ in range(self._number):
                self._start()
            while self._children and len(self._signals) < 3:
                self._watch()
        finally:
            self._end_children()
            for one, handler in before.items():
                signal.signal(one, signal.SIG_DFL if handler is None else handler)
            for end in (self._leash, self._hold, self._bell, self._ring):
                end.close()
        if len(self._signals) >= 3:
            _die_of(self._signals[2])
        return self._worst if self._given_up is None else self._given_up

    # ---- signals

    def _heard(self, number: int, _: object) -> None:
        """Between any two instructions of ours, so it is only noted here; `_watch` passes it on."""
        self._signals.append(number)
        self._ring.send_bytes(_WORD)

    @property
    def _asked(self) -> int:
        """How often the children are to be asked: the first time asks, the second hurries, the third ends."""
        return len(self._signals) + (self._given_up is not None)

    def _ask(self) -> None:
        for child in self._children:
            child.ask(self._asked)

    def _end_children(self) -> None:
        self._ask()
        if self._signals[2:]:
            deadline = monotonic() + _LAST_S
            for child in self._children:
                child.process.join(max(0.0, deadline - monotonic()))
        for child in self._children:
            child.process.kill()
            child.process.join(_LAST_S)

    # ---- children

    def _start(self) -> None:
        if self._asked:
            return
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(self._work, self._arguments, self._leash, writer))
        process.start()
        writer.close()
        self._children.append(_Child(process, reader))

    def _watch(self) -> None:
        """Until something happens."""
        self._ask()
        wait([*(child.process.sentinel for child in self._children), self._bell], timeout=1.0)
        while self._bell.poll():
            self._bell.recv_bytes()
        for child in self._children:
            self._any_begun = self._any_begun or child.has_begun
        for child in [one for one in self._children if not one.process.is_alive()]:
            self._children.remove(child)
            self._bury(child)

    def _bury(self, child: _Child) -> None:
        """One has ended: as it should, or for good, or another takes its place."""
        code, pid = child.code, child.process.pid
        if child.asked or (self._until_done and code == 0):
            self._worst = max(self._worst, code)
        elif self._asked:
            log.error("worker process %s ended with code %s", pid, code)
        elif not child.has_begun and (code == _FAULT or self._until_done or not self._any_begun):
            log.error("worker process %s ended with code %s before it served; giving up", pid, code)
            self._given_up = code
        else:
            log.error("worker process %s ended with code %s; starting another", pid, code)
            wait([*(one.process.sentinel for one in self._children), self._bell], timeout=_PAUSE_S)
            self._start()
        child.close()


def _die_of(number: int) -> NoReturn:
    """As a single process does of its third signal."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # unless that signal is blocked here


# ---- in the child


class _Leash:
    """What holds a child to its parent; see the module's law."""

    def __init__(self, leash: Connection) -> None:
        self.grace_s = 0.0
        self._leash = leash
        threading.Thread(target=self._hold, name="taskmanager-leash", daemon=True).start()

    def _hold(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self._leash.recv_bytes()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(self.grace_s + _ORPHAN_S)
        log.error("the process that started this one is gone, and this one does not end when asked; ending it")
        os._exit(1)


def _child(work: Work, arguments: tuple[Any, ...], leash: Connection, status: Connection) -> None:
    os.setpgrp()
    held = _Leash(leash)

    def began(grace_s: float) -> None:
        held.grace_s = grace_s
        with contextlib.suppress(OSError):
            status.send_bytes(_WORD)

    raise SystemExit(work(*arguments, began=began))
