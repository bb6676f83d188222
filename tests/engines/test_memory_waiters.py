"""`Waiters` by itself: levels, moments, and nobody left behind. A simulation's wire relies on the same rules."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVarTuple

from taskmanager.engine import Answer
from taskmanager.engines.waiters import Waiters

Ts = TypeVarTuple("Ts")
NOW_MS = 1_700_000_000_000


class SteppedLoop(asyncio.SelectorEventLoop):
    """A loop whose timers fire when `step` says so, whatever their delay; it notes the delays."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []
        self._timers: list[asyncio.TimerHandle] = []

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.delays.append(delay)
        handle = asyncio.TimerHandle(self.time(), callback, args, self, context)
        self._timers.append(handle)
        return handle

    def step(self) -> None:
        timers, self._timers = self._timers, []
        for handle in timers:
            if not handle.cancelled():
                handle._run()


class Scene:
    """Waiters, a clock that is set by hand, and the loop that runs the test."""

    def __init__(self, loop: SteppedLoop) -> None:
        self.loop = loop
        self.waiters = Waiters()
        self.now_us = NOW_MS * 1000

    def tell(self, queue: str, tide: int, due_at: int | None = None, schedule_at: int | None = None) -> None:
        self.waiters.notice(queue, answer(tide, due_at, schedule_at))

    async def begin(self, seen: dict[str, int], until: int | None) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(self.waiters.wait(seen, until, lambda: self.now_us))
        await turn()
        return task


def answer(tide: int, due_at: int | None = None, schedule_at: int | None = None, replayed: bool = False) -> Answer:
    return Answer(NOW_MS, [], tide, due_at, schedule_at, None, replayed=replayed)


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def play(test: Callable[[Scene], Coroutine[Any, Any, None]]) -> None:
    loop = SteppedLoop()
    try:
        loop.run_until_complete(test(Scene(loop)))
    finally:
        loop.close()


async def is_woken(scene: Scene, task: Awaitable[Any], queues: list[str]) -> bool:
    await turn()
    return asyncio.ensure_future(task).done() and list(await task) == queues


def test_a_tide_that_differs_from_the_one_seen_is_news_before_and_during_a_wait() -> None:
    async def test(scene: Scene) -> None:
        scene.tell("q", 5)
        assert await is_woken(scene, await scene.begin({"q": 4}, None), ["q"])
        waiting = await scene.begin({"q": 5, "r": 0}, None)
        scene.tell("q", 5)
        await turn()
        assert not waiting.done()
        scene.tell("q", 6)
        assert await is_woken(scene, waiting, ["q"])

    play(test)


def test_a_due_moment_before_the_waits_own_is_news_and_a_later_one_is_not() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.begin({"q": 1}, NOW_MS + 100)
        scene.tell("q", 1, due_at=NOW_MS + 100)
        await turn()
        assert not waiting.done()
        scene.tell("q", 1, due_at=NOW_MS + 99)
        assert await is_woken(scene, waiting, ["q"])
        assert await is_woken(scene, await scene.begin({"q": 1}, NOW_MS + 100), ["q"])

    play(test)


def test_occurrences_to_come_are_no_news_to_who_waits_for_jobs() -> None:
    async def test(scene: Scene) -> None:
        scene.tell("q", 1, schedule_at=NOW_MS + 1)
        waiting = await scene.begin({"q": 1}, NOW_MS + 100)
        scene.tell("q", 1, schedule_at=NOW_MS + 1)
        await turn()
        assert not waiting.done()
        waiting.cancel()
        await turn()

    play(test)


def test_a_replayed_answer_is_no_news() -> None:
    async def test(scene: Scene) -> None:
        scene.tell("q", 5)
        waiting = await scene.begin({"q": 5}, None)
        scene.waiters.notice("q", answer(3, replayed=True))
        await turn()
        assert not waiting.done()
        scene.tell("q", 6)
        assert await is_woken(scene, waiting, ["q"])

    play(test)


def test_a_timer_that_fires_early_is_set_again_for_what_is_left() -> None:
    async def test(scene: Scene) -> None:
        waiting = await scene.begin({"q": 0}, NOW_MS + 100)
        assert scene.loop.delays == [0.1]
        scene.now_us += 99_999
        scene.loop.step()
        await turn()
        assert not waiting.done()
        assert scene.loop.delays == [0.1, 0.000001]
        scene.now_us += 1
        scene.loop.step()
        assert await is_woken(scene, waiting, [])

    play(test)


def test_a_wait_that_returns_at_once_still_lets_the_loop_turn() -> None:
    async def test(scene: Scene) -> None:
        scene.tell("q", 1)
        turned: list[None] = []
        for seen, until in (({"q": 0}, None), ({"q": 1}, NOW_MS)):
            scene.loop.call_soon(turned.append, None)
            before = len(turned)
            await scene.waiters.wait(seen, until, lambda: scene.now_us)
            assert len(turned) == before + 1

    play(test)


def test_whoever_only_looks_is_told_what_is_overdue_and_never_waits() -> None:
    async def test(scene: Scene) -> None:
        scene.tell("q", 1, NOW_MS - 1)
        scene.tell("r", 2, NOW_MS)
        scene.tell("s", 3, NOW_MS + 1)
        look = await scene.begin({"q": 1, "r": 2, "s": 3}, 0)
        assert await is_woken(scene, look, ["q"])
        scene.now_us -= 3_600_000_000
        look = await scene.begin({"q": 1, "r": 2, "s": 3}, 0)
        assert await is_woken(scene, look, [])
        assert scene.loop.delays == []

    play(test)


def test_whoever_waits_for_an_end_is_woken_by_it_and_by_no_other() -> None:
    async def test(scene: Scene) -> None:
        waiting = asyncio.ensure_future(scene.waiters.wait_ended("q", 7, NOW_MS + 100, lambda: scene.now_us))
        await turn()
        scene.waiters.ended("q", 8)
        scene.waiters.ended("r", 7)
        await turn()
        assert not waiting.done()
        scene.waiters.ended("q", 7)
        await turn()
        assert waiting.done()

    play(test)


def test_an_end_before_the_wait_is_not_waited_for() -> None:
    async def test(scene: Scene) -> None:
        await scene.waiters.wait_ended("q", 7, NOW_MS + 100, lambda: scene.now_us, lambda: True)
        assert scene.loop.delays == []

    play(test)


def test_nobody_is_kept_who_was_woken_or_gave_up() -> None:
    async def test(scene: Scene) -> None:
        scene.tell("q", 1)
        waits = [await scene.begin({"q": 1, "r": 2}, None) for _ in range(4)]
        ends = [asyncio.ensure_future(scene.waiters.wait_ended("q", 7, NOW_MS + 9, lambda: scene.now_us))]
        await turn()
        waits[0].cancel()
        scene.tell("r", 3)
        scene.now_us += 9_000
        scene.loop.step()
        await turn()
        assert [task.done() for task in (*waits, *ends)] == [True] * 5
        assert (scene.waiters._watching, scene.waiters.awaited) == ({}, {})

    play(test)


def test_who_waited_in_a_loop_that_is_closed_harms_nobody() -> None:
    waiters = Waiters()
    dead = asyncio.new_event_loop()
    waiting = waiters.wait({"q": 0}, None, lambda: NOW_MS * 1000)

    async def lie_down() -> None:
        waiting.send(None)

    dead.run_until_complete(lie_down())
    dead.close()
    waiters.notice("q", answer(1))
    waiting.close()
    assert waiters._watching == {}
