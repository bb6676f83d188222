"""What simulated code may not do, and to whom the same calls stay allowed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from simulation.clocks import Takeover, VirtualClock
from simulation.loop import SimulationRefused, VirtualLoop, real_io
from simulation.refusals import BLOCKING_CALLS, LOOP_CALLS

START = 1_774_656_000_000_000
NOWHERE = ("127.0.0.1", 9)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(VirtualClock(START))
    with Takeover(loop):
        yield loop
        loop.close()


@pytest.mark.parametrize("name", LOOP_CALLS)
def test_a_loops_own_way_outside_is_refused_naming_the_call_and_what_to_stub(loop: VirtualLoop, name: str) -> None:
    with pytest.raises(SimulationRefused, match=rf"loop\.{name} is refused.*fake client through ctx, or patch"):
        getattr(loop, name)(1, 2, 3)


ASYNC_CALLS: dict[str, Callable[[], Awaitable[Any]]] = {
    "loop.create_connection": lambda: asyncio.open_connection(*NOWHERE),
    "loop.create_server": lambda: asyncio.start_server(lambda _r, _w: None, *NOWHERE),
    "loop.subprocess_exec": lambda: asyncio.create_subprocess_exec("true"),
    "loop.subprocess_shell": lambda: asyncio.create_subprocess_shell("true"),
}


@pytest.mark.parametrize("call", ASYNC_CALLS)
def test_an_async_handler_is_refused(loop: VirtualLoop, call: str) -> None:
    async def handler() -> None:
        await ASYNC_CALLS[call]()

    with pytest.raises(SimulationRefused, match=call):
        loop.run_until_complete(handler())
    assert loop.clock.elapsed_us == 0


def connects() -> None:
    with socket.socket() as sock:
        sock.connect(NOWHERE)


def sends() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", NOWHERE)


PLAIN_CALLS: dict[str, Callable[[], Any]] = {
    "socket.socket.connect": connects,
    "socket.socket.sendto": sends,
    "socket.getaddrinfo": lambda: socket.create_connection(NOWHERE),
    "getaddrinfo": lambda: urllib.request.urlopen("http://127.0.0.1:9/"),
    "subprocess.Popen": lambda: subprocess.run(["true"], check=True),
    "os.system": lambda: os.system("true"),
    "os.fork": lambda: os.fork(),
    "os.pipe": lambda: os.pipe(),
}


@pytest.mark.parametrize("call", PLAIN_CALLS)
@pytest.mark.parametrize("threaded", [True, False])
def test_a_blocking_call_is_refused_in_a_thread_and_in_the_loop(loop: VirtualLoop, call: str, threaded: bool) -> None:
    async def handler() -> None:
        if threaded:
            await asyncio.to_thread(PLAIN_CALLS[call])
        else:
            PLAIN_CALLS[call]()

    with pytest.raises(SimulationRefused, match=call):
        loop.run_until_complete(handler())


def test_every_blocking_call_of_the_table_has_a_stand_in_while_the_process_is_taken_over(loop: VirtualLoop) -> None:
    for owner, name in BLOCKING_CALLS:
        if hasattr(owner, name):
            assert getattr(owner, name).__wrapped__ is not None


def test_the_code_around_a_simulation_may_use_sockets_and_subprocesses(loop: VirtualLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.sendall(b"x")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"x"
    assert subprocess.run(["true"], check=False).returncode == 0


def test_the_code_around_a_simulation_may_use_pipes(loop: VirtualLoop) -> None:
    for end in os.pipe():
        os.close(end)


def test_the_simulations_own_engine_may_use_them(loop: VirtualLoop) -> None:
    async def engine() -> int:
        with loop.real_io(), socket.socket() as sock:
            return sock.connect_ex(NOWHERE)

    async def marked() -> int:
        real_io.set(True)
        with socket.socket() as sock:
            return sock.connect_ex(NOWHERE)

    assert loop.run_until_complete(engine()) != 0
    assert loop.run_until_complete(marked()) != 0
    assert real_io.get() is False


def test_signal_handlers_are_refused_and_removing_one_is_harmless(loop: VirtualLoop) -> None:
    with pytest.raises(SimulationRefused, match="add_signal_handler"):
        loop.add_signal_handler(signal.SIGUSR1, print)
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_a_process_pool_is_refused(loop: VirtualLoop) -> None:
    async def handler() -> None:
        await loop.run_in_executor(pool, os.getpid)

    with ProcessPoolExecutor(1) as pool, pytest.raises(SimulationRefused, match="ProcessPoolExecutor is refused"):
        loop.run_until_complete(handler())


def test_a_process_pool_that_a_handler_makes_is_refused_for_its_pipe(loop: VirtualLoop) -> None:
    async def handler() -> None:
        ProcessPoolExecutor(1)

    with pytest.raises(SimulationRefused, match=r"os\.pipe is refused"):
        loop.run_until_complete(handler())


def test_files_are_real_and_not_waited_for(loop: VirtualLoop, tmp_path: Path) -> None:
    async def handler() -> str:
        path = tmp_path / "file"
        await asyncio.to_thread(path.write_text, "content")
        return path.read_text()

    assert loop.run_until_complete(handler()) == "content"
    assert loop.clock.elapsed_us == 0
