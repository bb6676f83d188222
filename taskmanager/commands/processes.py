"""Several processes that do the same, looked after by this one.

The parent does no work of its own. It passes signals on, starts a child anew that died (after a pause, so that one that
cannot live does not spin), and ends when all have ended as they should. Children stand in a process group of their own,
so that a Ctrl-C reaches each of them once, through the parent; and each ends when its parent is gone, however that
ended, because it holds the reading end of a pipe that nobody ever writes to.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any

__all__ = ["supervise"]

log = logging.getLogger("taskmanager")

_PAUSE_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_FAULT = 2
"""The exit code of a fault that another start will not mend."""

Work = Callable[..., int]


def supervise(work: Work, arguments: tuple[Any, ...], number: int, *, until_done: bool = False) -> int:
    """Runs `work(*arguments)` in so many processes until a signal ends them, or (`until_done`) they end; exit code."""
    return _Supervisor(work, arguments, number, until_done).run()


class _Supervisor:
    def __init__(self, work: Work, arguments: tuple[Any, ...], number: int, until_done: bool) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._work, self._arguments, self._until_done = work, arguments, until_done
        self._alive_reader, self._alive_writer = os.pipe()
        self._children: list[SpawnProcess] = []
        self._number = number
        self._is_ending = False
        self._has_fault = False

    def run(self) -> int:
        before = {one: signal.signal(one, self._heard) for one in _SIGNALS}
        try:
            self._children = [self._start() for _ in range(self._number)]
            return self._watch()
        finally:
            for child in self._children:
                child.kill()
            for one, handler in before.items():
                signal.signal(one, handler)
            os.close(self._alive_reader)
            os.close(self._alive_writer)

    def _start(self) -> SpawnProcess:
        leash = multiprocessing.connection.Connection(os.dup(self._alive_reader), writable=False)
        child = self._context.Process(target=_child, args=(self._work, self._arguments, leash))
        child.start()
        leash.close()
        return child

    def _watch(self) -> int:
        worst = 0
        while self._children:
            wait([child.sentinel for child in self._children], timeout=1.0)
            for child in [one for one in self._children if not one.is_alive()]:
                self._children.remove(child)
                code = child.exitcode or 0
                if self._is_ending or (self._until_done and code == 0):
                    # One that was asked to end before it could listen ended as it should.
                    worst = max(worst, 0 if -code in _SIGNALS else abs(code))
                elif code == _FAULT:
                    self._has_fault = True
                    self._end(signal.SIGTERM)
                else:
                    log.error("worker process %s ended with code %s; starting another", child.pid, code)
                    wait([one.sentinel for one in self._children], timeout=_PAUSE_S)
                    if not self._is_ending:
                        self._children.append(self._start())
        return _FAULT if self._has_fault else worst

    def _heard(self, number: int, _: object) -> None:
        self._end(number)

    def _end(self, number: int) -> None:
        """Each signal of ours is one of theirs: the first asks, the second hurries, the third ends."""
        self._is_ending = True
        for child in self._children:
            if child.pid is not None and child.is_alive():
                os.kill(child.pid, number)


def _child(work: Work, arguments: tuple[Any, ...], leash: Any) -> None:
    os.setpgrp()
    threading.Thread(target=_end_with_parent, args=(leash,), name="taskmanager-leash", daemon=True).start()
    raise SystemExit(work(*arguments))


def _end_with_parent(leash: Any) -> None:
    try:
        leash.recv_bytes()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
