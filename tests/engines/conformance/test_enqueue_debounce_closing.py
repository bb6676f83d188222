"""What closes a leading window before its time: its opener's own job ends failed or cancelled, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from taskmanager.engine import Delete, Limit, Purge, Requeue
from taskmanager.job import Kind, State
from tests.engines.conformance.builders import (
    cancel_heard,
    completed,
    emission,
    failed,
    leading,
    ref,
    released,
    retried,
    stalled,
    stalled_for_good,
    told,
)
from tests.engines.conformance.test_enqueue_debounce import W, is_open, opened
from tests.engines.conformance.world import World


async def _fails(world: World) -> None:
    await world.end(await world.take(), failed())


async def _stalls_for_good(world: World) -> None:
    await world.end(await world.take(), stalled_for_good())


async def _is_cancelled(world: World) -> None:
    await world.cancel("x")


async def _is_cancelled_while_it_runs(world: World) -> None:
    claim = await world.take()
    await world.cancel("x")
    await world.end(claim, cancel_heard())


async def _is_cancelled_instead_of_a_retry(world: World) -> None:
    claim = await world.take()
    await world.cancel("x")
    await world.end(claim, retried())


async def _is_deleted(world: World) -> None:
    await world.control(Delete(ref("x")))


async def _is_purged(world: World) -> None:
    await world.control(Purge(State.WAITING))


async def _is_superseded(world: World) -> None:
    claim = await world.take()
    await world.add("x", data=b"2")
    await world.end(claim, retried())


async def _is_superseded_after_a_release(world: World) -> None:
    claim = await world.take()
    await world.add("x", data=b"2")
    await world.end(claim, released())


async def _fails_and_goes_at_once(world: World) -> None:
    await world.end(await world.take(), failed(), transient={State.FAILED})


CLOSING = [
    _fails,
    _stalls_for_good,
    _is_cancelled,
    _is_cancelled_while_it_runs,
    _is_cancelled_instead_of_a_retry,
    _is_deleted,
    _is_purged,
    _is_superseded,
    _is_superseded_after_a_release,
    _fails_and_goes_at_once,
]


@pytest.mark.parametrize("ends", CLOSING)
async def test_the_window_closes_when_the_openers_job_ends_failed_or_cancelled(
    world: World, ends: Callable[[World], Awaitable[None]]
) -> None:
    await opened(world)
    await ends(world)
    assert not await is_open(world)


async def test_the_window_closes_when_the_openers_job_expires(world: World) -> None:
    await opened(world, expires_ms=5)
    world.advance(6)
    assert told(await world.claim()) == [(Kind.CANCELLED, "x")]
    assert not await is_open(world)


async def _completes(world: World) -> None:
    await world.end(await world.take(), completed())


async def _completes_and_goes_at_once(world: World) -> None:
    await world.end(await world.take(), completed(), transient={State.COMPLETED})


async def _completes_and_is_pruned(world: World) -> None:
    await _completes(world)
    assert (await world.prune({State.COMPLETED: Limit(None, 0)})).removed == 1


async def _completes_and_is_deleted(world: World) -> None:
    await _completes(world)
    await world.control(Delete(ref("x")))


async def _completes_and_is_purged(world: World) -> None:
    await _completes(world)
    await world.control(Purge(State.COMPLETED))


async def _completes_and_is_emitted_again(world: World) -> None:
    await _completes(world)
    await world.add("x")
    await world.cancel("x")


async def _is_retried(world: World) -> None:
    await world.end(await world.take(), retried())


async def _is_released(world: World) -> None:
    await world.end(await world.take(), released())


async def _is_marked(world: World) -> None:
    await world.take()
    await world.cancel("x")


async def _completes_with_a_follow_up_that_fails(world: World) -> None:
    claim = await world.take()
    await world.add("x")
    await world.end(claim, completed())
    await world.end(await world.take(), failed())


NOT_CLOSING = [
    _completes,
    _completes_and_goes_at_once,
    _completes_and_is_pruned,
    _completes_and_is_deleted,
    _completes_and_is_purged,
    _completes_and_is_emitted_again,
    _is_retried,
    _is_released,
    _is_marked,
    _completes_with_a_follow_up_that_fails,
]


@pytest.mark.parametrize("goes_on", NOT_CLOSING)
async def test_nothing_else_closes_the_window(world: World, goes_on: Callable[[World], Awaitable[None]]) -> None:
    await opened(world)
    await goes_on(world)
    world.advance(W - 1)
    assert await is_open(world)
    world.advance(1)
    assert not await is_open(world)


async def test_a_lost_lease_does_not_close_the_window(world: World) -> None:
    await world.add("x", window=leading(10**9))
    await world.take()
    await world.lose(stalled())
    assert await is_open(world)


async def test_an_operators_retry_does_not_open_the_window_again(world: World) -> None:
    await opened(world)
    await _fails(world)
    await world.control(Requeue(ref("x")))
    assert not await is_open(world)


async def test_the_failure_of_an_earlier_opener_leaves_the_window_of_a_later_one(world: World) -> None:
    await opened(world, "x")
    claim = await world.take()
    world.advance(W)
    await opened(world, "y")
    await world.end(claim, failed())
    assert await is_open(world)


async def test_the_failure_of_a_dropped_emissions_namesake_leaves_the_window(world: World) -> None:
    await world.add("y")
    claim = await world.take()
    await opened(world, "x")
    assert told(await world.enqueue(emission("y", window=leading(W)))) == [(Kind.DEBOUNCED, "y")]
    await world.end(claim, failed())
    assert await is_open(world)


# ---- windows of follow-ups


async def test_the_end_of_the_run_before_does_not_close_the_follow_ups_window(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await opened(world)
    await world.end(claim, failed())
    assert await is_open(world)
    assert (await world.take()).id == "x"


async def test_the_follow_ups_own_failure_closes_its_window(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await opened(world)
    await world.end(claim, completed())
    await world.end(await world.take(), failed())
    assert not await is_open(world)


async def test_a_cancel_that_drops_the_follow_up_closes_its_window(world: World) -> None:
    await world.add("x")
    await world.take()
    await opened(world)
    await world.cancel("x")
    assert not await is_open(world)


async def test_a_cancel_of_the_follow_up_alone_closes_its_window(world: World) -> None:
    await world.add("x")
    await world.take()
    await world.cancel("x", await opened(world))
    assert not await is_open(world)
