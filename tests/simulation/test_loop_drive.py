"""Driving: engine calls in their turn, other loops in the same thread, what is left at the end."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from simulation.clocks import VirtualClock
from simulation.loop import Halt, VirtualLoop, real_io

START = 1_774_656_000_000_000


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(VirtualClock(START))
    yield loop
    loop.close()


class Wire:
    """Answers each call at once, or when `answer` is called."""

    def __init__(self, loop: VirtualLoop, log: list[str], at_once: bool = True) -> None:
        self.loop, self.log, self.at_once = loop, log, at_once
        self.queue: deque[tuple[str, asyncio.Future[None]]] = deque()
        self.flying: asyncio.Future[None] | None = None

    async def call(self, name: str) -> None:
        answer: asyncio.Future[None] = self.loop.create_future()
        self.queue.append((name, answer))
        await answer

    def pending(self) -> bool:
        return bool(self.queue)

    def dispatch(self) -> None:
        name, answer = self.queue.popleft()
        self.log.append(f"{name} at {self.loop.clock.elapsed_us // 1_000_000}")
        if self.at_once:
            answer.set_result(None)
        else:
            self.flying = answer

    def in_flight(self) -> bool:
        return self.flying is not None

    def answer(self) -> None:
        assert self.flying is not None
        flying, self.flying = self.flying, None
        flying.set_result(None)


def test_engine_calls_go_one_at_a_time_and_only_when_nothing_is_ready_or_due_now(loop: VirtualLoop) -> None:
    log: list[str] = []
    wire = loop.calls = Wire(loop, log)

    async def caller(name: str) -> None:
        await wire.call(name)
        log.append(f"{name} goes on")
        await asyncio.sleep(0)
        log.append(f"{name} is done")

    async def due_now() -> None:
        loop.call_later(0, log.append, "due now")

    for name in ("a", "b"):
        loop.create_task(caller(name))
    loop.create_task(due_now())
    loop.call_later(1, log.append, "later")
    assert loop.drive() is Halt.QUIET
    assert log == ["due now", "a at 0", "a goes on", "a is done", "b at 0", "b goes on", "b is done", "later"]


def test_the_clock_stands_still_while_a_real_answer_is_awaited(loop: VirtualLoop) -> None:
    log: list[str] = []
    wire = loop.calls = Wire(loop, log, at_once=False)
    ours, theirs = socket.socketpair()

    def answered() -> None:
        ours.recv(1)
        wire.answer()

    with ours, theirs:
        ours.setblocking(False)
        with loop.real_io():
            loop.add_reader(ours, answered)

        async def caller() -> None:
            for _ in range(3):
                echo = threading.Timer(0.001, theirs.send, [b"x"])
                echo.start()
                await wire.call("call")
                echo.join()
                log.append(f"answered at {loop.clock.elapsed_us // 1_000_000}")
                await asyncio.sleep(5)

        loop.call_later(2, log.append, "timer at 2")
        loop.run_until_complete(caller())
        with loop.real_io():
            loop.remove_reader(ours)
    calls = [f"{what} {second}" for second in (0, 5, 10) for what in ("call at", "answered at")]
    assert log == [*calls[:2], "timer at 2", *calls[2:]]


def test_timers_of_the_real_connection_count_real_seconds_and_never_move_the_clock(loop: VirtualLoop) -> None:
    log: list[str] = []
    wire = loop.calls = Wire(loop, log, at_once=False)

    async def caller() -> None:
        with loop.real_io():
            loop.call_later(0.002, wire.answer)
            loop.call_at(loop.time() + 1000, log.append, "never")
        await wire.call("call")

    loop.run_until_complete(caller())
    assert (log, loop.clock.elapsed_us, loop.next_timer()) == (["call at 0"], 0, None)


def test_a_store_that_never_answers_is_an_error_not_a_hang(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "reply_timeout", 0.0)
    wire = loop.calls = Wire(loop, [], at_once=False)
    with pytest.raises(RuntimeError, match="got no answer"):
        loop.run_until_complete(wire.call("call"))
    loop.calls = None


def test_it_is_driven_inside_a_running_loop_which_then_goes_on(loop: VirtualLoop) -> None:
    async def inside() -> tuple[Any, Any]:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop(), asyncio.current_task()

    async def outside() -> None:
        outer, task = asyncio.get_running_loop(), asyncio.current_task()
        running, current = loop.run_until_complete(inside())
        assert running is loop
        assert current is not task
        assert asyncio.get_running_loop() is outer
        assert asyncio.current_task() is task
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await asyncio.get_running_loop().run_in_executor(None, threading.get_ident)

    asyncio.run(outside())
    assert loop.clock.elapsed_us == 3_600_000_000


NESTED = """
import asyncio
import nest_asyncio2
from simulation.clocks import Takeover, VirtualClock
from simulation.loop import VirtualLoop

class OtherLoops(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        raise AssertionError("the simulation asked the policy for a loop")

outer = asyncio.new_event_loop()
asyncio.set_event_loop_policy(OtherLoops())
nest_asyncio2.apply(outer)
loop = VirtualLoop(VirtualClock(0))

async def inside():
    async with asyncio.timeout(100), asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(3))
        return await asyncio.to_thread(lambda: asyncio.current_task is not None), asyncio.current_task() is not None

async def outside():
    with Takeover(loop):
        return loop.run_until_complete(inside())

print(outer.run_until_complete(outside()), loop.clock.elapsed_us)
loop.close()
outer.close()
"""


def test_it_runs_where_nest_asyncio_and_another_loop_policy_are_installed() -> None:
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(True, True) 3000000\n", "")


def test_driving_it_from_inside_is_refused_and_changes_nothing(loop: VirtualLoop) -> None:
    async def program() -> str:
        with pytest.raises(RuntimeError, match="running already"):
            loop.drive()
        await asyncio.sleep(1)
        return "went on"

    assert loop.run_until_complete(program()) == "went on"


def test_an_awaitable_that_nothing_can_finish_is_an_error(loop: VirtualLoop) -> None:
    async def forever() -> None:
        await loop.create_future()

    with pytest.raises(RuntimeError, match=r"quiet.*before the awaitable was done"):
        loop.run_until_complete(forever())


def test_what_a_callback_raises_is_kept_for_the_owner_and_the_rest_goes_on(loop: VirtualLoop) -> None:
    ran: list[str] = []
    loop.call_soon(lambda: 1 / 0)
    loop.call_later(1, lambda: 1 / 0)
    loop.call_later(2, ran.append, "went on")
    loop.drive()
    assert ran == ["went on"]
    assert [type(incident["exception"]) for incident in loop.incidents] == [ZeroDivisionError, ZeroDivisionError]
    assert "Exception in callback" in loop.incidents[0]["message"]


def test_a_keyboard_interrupt_leaves_the_loop_in_order(loop: VirtualLoop) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    ran: list[str] = []
    loop.call_soon(interrupt)
    loop.call_soon(ran.append, "still there")
    with pytest.raises(KeyboardInterrupt):
        loop.drive()
    assert not loop.is_running()
    assert loop.drive() is Halt.QUIET
    assert ran == ["still there"]


def test_fail_ends_the_drive_with_the_given_error(loop: VirtualLoop) -> None:
    loop.call_soon(lambda: loop.fail(LookupError("from within")))
    with pytest.raises(LookupError, match="from within"):
        loop.drive()
    assert loop.drive() is Halt.QUIET


def test_closing_cancels_what_is_left_and_runs_its_finally_blocks_without_time() -> None:
    loop = VirtualLoop(VirtualClock(START))
    ended: list[str] = []

    async def stubborn() -> None:
        for attempt in range(3):
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.append(f"stubborn {attempt}")
        await asyncio.sleep(3600)

    async def generates() -> Any:
        try:
            yield 1
            yield 2
        finally:
            ended.append("generator")

    async def holds_a_generator(generator: Any) -> None:
        async for _ in generator:
            await loop.create_future()

    generator = generates()
    loop.create_task(stubborn())
    loop.create_task(holds_a_generator(generator))
    loop.drive(limit_us=START)
    loop.create_task(stubborn())
    loop.close()
    loop.close()
    assert ended[:2] == ["stubborn 0", "stubborn 1"]
    assert "generator" in ended
    assert loop.clock.elapsed_us == 0
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(print)


def test_a_call_from_another_thread_arrives(loop: VirtualLoop) -> None:
    got: list[int] = []
    thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(got.append, 1))
    thread.start()
    thread.join()
    loop.drive()
    assert got == [1]
    assert real_io.get() is False
