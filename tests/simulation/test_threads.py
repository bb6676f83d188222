"""Simulated threads: one moves at a time, they wait in virtual time, and they end with their world."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

import pytest

from simulation.clocks import Takeover, VirtualClock
from simulation.loop import Halt, SimulationBlocked, SimulationRefused, VirtualLoop
from simulation.threads import Abandoned, block_on

START = 1_774_656_000_000_000


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(VirtualClock(START))
    before = threading.active_count()
    with Takeover(loop):
        yield loop
        loop.close()
    assert threading.active_count() == before


def seconds(loop: VirtualLoop) -> float:
    return loop.clock.elapsed_us / 1_000_000


def test_plain_functions_sleep_side_by_side_in_virtual_time(loop: VirtualLoop) -> None:
    def nap(hours: int) -> float:
        time.sleep(hours * 3600)
        return time.monotonic()

    async def program() -> list[float]:
        began = loop.time()
        ended = await asyncio.gather(*(asyncio.to_thread(nap, hours) for hours in (3, 1, 2)))
        return [moment - began for moment in ended]

    assert loop.run_until_complete(program()) == [3 * 3600, 3600, 2 * 3600]
    assert seconds(loop) == 3 * 3600


def test_one_thread_moves_at_a_time_and_always_in_the_same_order() -> None:
    def run() -> list[str]:
        loop = VirtualLoop(VirtualClock(START))
        trace: list[str] = []

        def work(name: str) -> None:
            for step in range(5):
                trace.append(f"{name}{step}")
                if step % 2:
                    time.sleep(0)
                else:
                    time.sleep(1 + step * (name == "b"))

        async def program() -> None:
            await asyncio.gather(*(asyncio.to_thread(work, name) for name in "abcd"))

        with Takeover(loop):
            loop.run_until_complete(program())
            loop.close()
        return trace

    first = run()
    assert len(first) == 20
    assert all(run() == first for _ in range(5))
    assert first[:4] == ["a0", "b0", "c0", "d0"]


def test_results_errors_and_context_come_through(loop: VirtualLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="default")

    def fails() -> None:
        raise LookupError("in the thread")

    async def program() -> list[Any]:
        variable.set("mine")
        with pytest.raises(LookupError, match="in the thread"):
            await asyncio.to_thread(fails)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.to_thread(next, iter([]))
        return [await asyncio.to_thread(variable.get), await loop.run_in_executor(None, variable.get)]

    assert loop.run_until_complete(program()) == ["mine", "default"]


def test_conditions_events_queues_semaphores_and_futures_wait_in_virtual_time(loop: VirtualLoop) -> None:
    event, line, semaphore = threading.Event(), queue.Queue[str](), threading.Semaphore(0)
    future: Future[str] = Future()

    def waits() -> list[Any]:
        got: list[Any] = [event.wait(5), event.wait(), seconds(loop), line.get(timeout=100), seconds(loop)]
        try:
            line.get(timeout=30)
        except queue.Empty:
            got.append(seconds(loop))
        got += [semaphore.acquire(timeout=1), semaphore.acquire(), future.result(1000), seconds(loop)]
        return got

    def feeds() -> None:
        time.sleep(10)
        event.set()
        time.sleep(10)
        line.put("item")
        time.sleep(40)
        semaphore.release()
        time.sleep(40)
        future.set_result("result")

    async def program() -> Any:
        got, _ = await asyncio.gather(asyncio.to_thread(waits), asyncio.to_thread(feeds))
        return got

    expected = [False, True, 10, "item", 20, 50, False, True, "result", 100]
    assert loop.run_until_complete(program()) == expected


def test_a_wait_for_a_predicate_ends_at_its_virtual_time_limit(loop: VirtualLoop) -> None:
    condition = threading.Condition()

    def waits() -> bool:
        with condition:
            return condition.wait_for(lambda: False, timeout=60)

    assert loop.run_until_complete(asyncio.wait_for(asyncio.to_thread(waits), 100)) is False
    assert seconds(loop) == 60


def test_a_timeout_does_not_interrupt_a_thread(loop: VirtualLoop) -> None:
    ended: list[float] = []

    def long() -> None:
        time.sleep(100)
        ended.append(seconds(loop))

    async def program() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(long), 10)
        assert (seconds(loop), ended) == (10, [])
        await asyncio.sleep(100)

    loop.run_until_complete(program())
    assert ended == [100]


def test_an_executor_says_how_many_move_on_side_by_side(loop: VirtualLoop) -> None:
    named: list[str] = []

    def prepare() -> None:
        named.append(threading.current_thread().name)

    async def program() -> None:
        pool = ThreadPoolExecutor(2, "mine", prepare)
        await asyncio.gather(*(loop.run_in_executor(pool, time.sleep, 10) for _ in range(5)))
        pool.shutdown()

    loop.run_until_complete(program())
    assert (seconds(loop), named) == (30, ["mine_0", "mine_1"])


def test_a_pool_that_a_plain_handler_makes_is_simulated(loop: VirtualLoop) -> None:
    def square(number: int) -> int:
        time.sleep(number)
        return number * number

    def handler() -> list[Any]:
        with ThreadPoolExecutor(3) as pool:
            mapped = list(pool.map(square, [3, 1, 2]))
            futures = [pool.submit(square, number) for number in (3, 1, 2)]
            order = [future.result() for future in as_completed(futures)]
            pool.submit(time.sleep, 4)
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(square, 1)
        return [mapped, order, seconds(loop)]

    assert loop.run_until_complete(asyncio.to_thread(handler)) == [[9, 1, 4], [1, 4, 9], 10]


def test_threads_and_timers_that_simulated_code_starts_are_simulated(loop: VirtualLoop) -> None:
    trace: list[tuple[str, float]] = []

    def work(name: str, duration: float) -> None:
        time.sleep(duration)
        trace.append((name, seconds(loop)))

    def handler() -> float:
        threads = [threading.Thread(target=work, args=(name, duration)) for name, duration in (("a", 5), ("b", 3))]
        timer = threading.Timer(4, work, ("timer", 0))
        for thread in (*threads, timer):
            thread.start()
        threads[0].join(1)
        trace.append(("joined in vain", seconds(loop)))
        for thread in (*threads, timer):
            thread.join()
            assert not thread.is_alive()
        return seconds(loop)

    assert loop.run_until_complete(asyncio.to_thread(handler)) == 5
    assert trace == [("joined in vain", 1), ("b", 3), ("timer", 4), ("a", 5)]


def test_a_loop_that_a_plain_handler_runs_is_in_virtual_time_too(loop: VirtualLoop) -> None:
    async def nested() -> list[Any]:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(asyncio.sleep(1000), asyncio.sleep(400 * 86_400))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.get_running_loop().create_future(), 5)
        await asyncio.to_thread(time.sleep, 60)
        return [round(asyncio.get_running_loop().time() - began, 3), time.monotonic() - loop.time()]

    def handler() -> Any:
        return asyncio.run(nested())

    assert loop.run_until_complete(asyncio.to_thread(handler)) == [400 * 86_400 + 65, 0]


def test_block_on_runs_a_coroutine_on_the_loop_from_a_thread(loop: VirtualLoop) -> None:
    async def on_the_loop(fail: bool) -> Any:
        await asyncio.sleep(10)
        if fail:
            raise LookupError("on the loop")
        return asyncio.get_running_loop()

    def handler() -> list[Any]:
        time.sleep(5)
        ran_on = block_on(on_the_loop(False))
        with pytest.raises(LookupError, match="on the loop"):
            block_on(on_the_loop(True))
        also = asyncio.run_coroutine_threadsafe(on_the_loop(False), loop).result()
        return [ran_on is loop, also is loop, seconds(loop)]

    assert loop.run_until_complete(asyncio.to_thread(handler)) == [True, True, 35]


def test_block_on_outside_a_simulated_thread_is_refused() -> None:
    async def never() -> None: ...

    with pytest.raises(RuntimeError, match="simulated threads only"):
        block_on(never())


def test_an_abandoned_thread_runs_its_finally_blocks_and_ends_at_once(loop: VirtualLoop) -> None:
    node: contextvars.ContextVar[str] = contextvars.ContextVar("simulation_node_of_this_test", default="")
    ended: list[str] = []

    def stubborn(name: str) -> None:
        try:
            time.sleep(100)
            ended.append(f"{name} woke up")
        finally:
            ended.append(f"{name} ends")
            time.sleep(100)
            ended.append(f"{name} never gets here")

    async def start(name: str) -> asyncio.Future[None]:
        node.set(name)
        return loop.run_in_executor(None, stubborn, name)

    async def program() -> None:
        futures = [await asyncio.create_task(start(name)) for name in ("a", "b")]
        await asyncio.sleep(1)
        loop.threads.abandon(lambda origin: origin.get(node) == "a")
        assert ended == ["a ends"]
        assert futures[0].cancelled()
        await asyncio.sleep(300)
        assert futures[1].done()

    loop.run_until_complete(program())
    assert ended == ["a ends", "b woke up", "b ends", "b never gets here"]


def test_work_that_had_not_begun_is_dropped(loop: VirtualLoop) -> None:
    ran: list[int] = []

    async def program() -> None:
        pool = ThreadPoolExecutor(1)
        futures = [loop.run_in_executor(pool, ran.append, number) for number in range(3)]
        loop.threads.abandon()
        await asyncio.sleep(1)
        assert [future.cancelled() for future in futures] == [True, True, True]
        assert await loop.run_in_executor(pool, lambda: "goes on") == "goes on"

    loop.run_until_complete(program())
    assert ran == []


def test_closing_ends_every_thread_also_those_that_refuse_once() -> None:
    loop = VirtualLoop(VirtualClock(START))
    before = threading.active_count()
    refused: list[int] = []

    def stubborn() -> None:
        for attempt in range(3):
            try:
                threading.Event().wait()
            except Abandoned:
                refused.append(attempt)

    with Takeover(loop):
        loop.run_in_executor(None, stubborn)
        loop.run_in_executor(None, time.sleep, 3600)
        assert loop.drive(limit_us=START + 1) is Halt.LIMIT
        assert threading.active_count() == before + 2
        loop.close()
    assert threading.active_count() == before
    assert refused == [0, 1, 2]


def test_a_thread_that_waits_for_what_cannot_be_seen_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = VirtualLoop(VirtualClock(START))
    monkeypatch.setattr(loop.threads, "watchdog", 0.02)
    lock = threading.Lock()

    def holds_it() -> None:
        with lock:
            time.sleep(10)

    def wants_it() -> None:
        with lock:
            pass

    with Takeover(loop):
        loop.run_in_executor(None, holds_it)
        loop.run_in_executor(None, wants_it)
        with pytest.raises(SimulationBlocked, match=r"'simulated_1' has been waiting at .*test_threads.*wants_it"):
            loop.drive()
        loop.close()
    assert not lock.locked()


def test_a_thread_that_computes_for_long_is_no_error(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.threads, "watchdog", 0.01)

    def computes() -> str:
        until = time.perf_counter() + 0.08
        while time.perf_counter() < until:
            pass
        return "done"

    assert loop.run_until_complete(asyncio.to_thread(computes)) == "done"


def test_a_blocking_wait_in_an_async_handler_holds_the_world_or_is_an_error(
    loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.threads, "watchdog", 0.01)

    async def with_a_limit() -> bool:
        return threading.Event().wait(30)

    async def without() -> bool:
        return threading.Event().wait()

    async def joins() -> None:
        thread = threading.Thread(target=time.sleep, args=(1,))
        thread.start()
        thread.join()

    assert loop.run_until_complete(with_a_limit()) is False
    assert seconds(loop) == 30
    with pytest.raises(SimulationBlocked, match="blocks the event loop in a wait"):
        loop.run_until_complete(without())
    with pytest.raises(SimulationRefused, match="would block the event loop for ever"):
        loop.run_until_complete(joins())


def test_what_a_started_thread_raises_goes_to_the_hook(loop: VirtualLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append((args.exc_type, args.thread.name)))

    def handler() -> None:
        thread = threading.Thread(target=lambda: 1 / 0, name="mine")
        thread.start()
        thread.join()

    loop.run_until_complete(asyncio.to_thread(handler))
    assert seen == [(ZeroDivisionError, "mine")]


def test_a_thousand_threads_are_reused_not_made_anew(loop: VirtualLoop) -> None:
    async def program() -> None:
        for _ in range(1000):
            await asyncio.to_thread(time.sleep, 1)

    before = threading.active_count()
    loop.run_until_complete(program())
    assert (threading.active_count() - before, seconds(loop)) == (1, 1000)
