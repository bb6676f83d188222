"""What worker processes did, written down outside the store: one line an event, appended whole.

A line is `job_id attempt worker_pid phase t`, `t` being the machine's monotonic clock, which all its processes share.
A file opened with O_APPEND takes each write at its end, whoever else writes, and a line that was written stays written
when its writer is killed in the next instant.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import NamedTuple


class Phase(StrEnum):
    """What can be written of one job, and of one worker."""

    HELD = "held"  # a claim handed it to this worker
    REAPED = "reaped"  # a reap handed it to this worker
    BEGUN = "begun"  # the handler began
    RAN = "ran"  # the side effect
    UNDONE = "undone"  # the handler was cancelled
    SETTLED = "settled"  # the decision of a run of this worker was stored
    FREED = "freed"  # the decision about a job it had reaped was stored
    LOST = "lost"  # this worker was told that the job is not its own any more
    LATE = "late"  # this worker finds that it did not renew its lease for longer than a lease
    KILLED = "killed"  # the last line of a worker that kills itself
    READY = "ready"  # the worker has started
    OVER = "over"  # the worker has stopped


NOBODY = "-"


class Line(NamedTuple):
    """`detail` is the kill point of `killed`, the state of `settled`; empty elsewhere."""

    job: str
    attempt: int
    pid: int
    phase: Phase
    detail: str
    t: float


class Diary:
    """The writing end, of one worker process."""

    def __init__(self, path: Path) -> None:
        self._pid = os.getpid()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, phase: Phase, job: str = NOBODY, attempt: int = 0, detail: str = "") -> None:
        word = f"{phase}:{detail}" if detail else phase
        os.write(self._file, f"{job} {attempt} {self._pid} {word} {monotonic():.6f}\n".encode())


def read(path: Path) -> list[Line]:
    """All whole lines so far, in the order of their moments."""
    return sorted(_lines(path), key=lambda line: line.t) if path.exists() else []


def _lines(path: Path) -> Iterator[Line]:
    for text in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if text.endswith("\n"):
            job, attempt, pid, word, t = text.split()
            phase, _, detail = word.partition(":")
            yield Line(job, int(attempt), int(pid), Phase(phase), detail, float(t))
