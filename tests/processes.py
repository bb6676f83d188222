"""Processes that end with the one that started them, however that one ends.

Linux could be asked to kill a child when its parent's *thread* ends, which is too soon where a server is restarted from
a thread of a pool. So each child has a guard beside it: a shell that reads from a pipe whose only writer is this
process. When this process is gone, for whatever reason, the pipe ends, and the guard kills the child by its pid and
removes its folder. An ended child stays a zombie until it is waited for, and the guard is dismissed right after, so
the pid it knows belongs to nobody else. Needs a POSIX shell and no rights.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

_GUARD = 'cat >/dev/null; kill -9 "$0"; test -z "$1" || rm -rf -- "$1"'
_ENDS_IN_S = 5.0


class Guarded:
    """A child process and its guard. What it says goes to `output`, else nowhere; `folder` goes when its guard does.

    With `pipes` its standard input and output are text pipes to us, and `output` gets what it says on standard error.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        output: Path | None = None,
        pipes: bool = False,
        cwd: Path | None = None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            said = subprocess.DEVNULL if output is None else stack.enter_context(output.open("ab"))
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else said,
                stderr=said,
                cwd=cwd,
                text=True,
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self.process.pid), "" if folder is None else str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # or a signal to our whole group would take the guard before it has done its work
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, *, gently: bool = True) -> None:
        """Ends it for sure: asks, waits, kills. May be repeated."""
        if gently and self.is_alive:
            self.tell(signal.SIGTERM)
            self.tell(signal.SIGCONT)  # one that was stopped hears nothing until it goes on
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_ENDS_IN_S)
        self.process.kill()
        self.process.wait()
        self._guard.kill()
        self._guard.wait()
        for stream in (self.process.stdin, self.process.stdout, self._guard.stdin):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def is_gone(pid: int) -> bool:
    """Whether no process has that number any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def remove(folder: Path) -> None:
    """Removes a folder, whatever is left of it."""
    shutil.rmtree(folder, ignore_errors=True)
