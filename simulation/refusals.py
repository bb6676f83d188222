"""What simulated code may not do: talk to the real world and wait for it.

A real peer answers in real time, and virtual time cannot wait for it: sockets, pipes, subprocesses and signals are
refused, by the loop's own methods and by the blocking calls of the standard library. The message names the call and
says what to stub. Files are real, and are not waited for.

Nothing is refused to the simulation's own engine (`real_io`), to other threads of the process, nor to the code around
a simulation while nothing is being driven.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from selectors import BaseSelector
from typing import Any

from simulation.world import SimulationRefused, driven, real_io

__all__ = ["BLOCKING_CALLS", "RefusingLoop", "refused"]

LOOP_CALLS = (
    "add_reader", "add_writer", "add_signal_handler",
    "sock_accept", "sock_connect", "sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into",
    "sock_sendall", "sock_sendto", "sock_sendfile", "sendfile", "start_tls",
    "create_connection", "create_server", "create_unix_connection", "create_unix_server", "create_datagram_endpoint",
    "connect_accepted_socket", "connect_read_pipe", "connect_write_pipe", "subprocess_exec", "subprocess_shell",
    "getaddrinfo", "getnameinfo",
)  # fmt: skip
"""Methods of an asyncio loop that wait for something outside it."""

BLOCKING_CALLS: tuple[tuple[Any, str], ...] = (
    *((socket.socket, name) for name in ("connect", "connect_ex", "accept", "sendto", "sendmsg")),
    *((socket, name) for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")),
    (subprocess.Popen, "__init__"),
    *((os, name) for name in ("pipe", "pipe2", "system", "fork", "forkpty", "posix_spawn", "posix_spawnp")),
)
"""Calls of the standard library that lead outside the process, and block until something there answers.

By owner and name; not every platform has them all.
"""


def refused(call: str) -> SimulationRefused:
    """The error for a call that reaches outside."""
    return SimulationRefused(
        f"{call} is refused in a simulation: virtual time cannot wait for a socket, a pipe or a subprocess. "
        "Stub what makes the call: pass a fake client through ctx, or patch the client where the handler looks it up"
    )


def blocking(owner: Any, name: str) -> Callable[..., Any]:
    """The stand-in for a blocking call: refuses it to simulated code, and is the real one to everybody else."""
    real = getattr(owner, name)
    label = f"{owner.__module__}.{owner.__qualname__}" if isinstance(owner, type) else owner.__name__
    call = label if name == "__init__" else f"{label}.{name}"

    @functools.wraps(real)
    def stand_in(*args: Any, **kwargs: Any) -> Any:
        if driven() is not None:
            raise refused(call)
        return real(*args, **kwargs)

    return stand_in


def _guarded(name: str) -> Callable[..., Any]:
    real = getattr(asyncio.SelectorEventLoop, name)

    @functools.wraps(real)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not real_io.get():
            raise refused(f"loop.{name}")
        return real(self, *args, **kwargs)

    return method


class RefusingLoop(asyncio.SelectorEventLoop):
    """A selector loop whose sockets, pipes, subprocesses and signals are refused outside `real_io`.

    The annotations are what this package uses of asyncio's insides, the same in every version it supports.
    """

    _ready: deque[Any]
    _closed: bool
    _thread_id: int | None
    _selector: BaseSelector
    _clock_resolution: float
    _task_factory: Any
    _default_executor: Any
    _asyncgens: Any
    _asyncgen_firstiter_hook: Any
    _asyncgen_finalizer_hook: Any
    _check_closed: Callable[[], None]
    _check_default_executor: Callable[[], None]
    _write_to_self: Callable[[], None]
    _process_events: Callable[[Any], None]


for _name in LOOP_CALLS:
    setattr(RefusingLoop, _name, _guarded(_name))
