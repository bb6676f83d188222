"""`enqueue` with a leading window: the first emission runs, what comes within the window is dropped."""

from __future__ import annotations

from taskmanager.job import Kind
from tests.engines.conformance.builders import (
    emission,
    leading,
    the_fact,
    told,
    trailing,
)
from tests.engines.conformance.world import World

W = 100


async def opened(world: World, id: str = "x", **fields: object) -> int:
    return await world.add(id, window=leading(W), **fields)


async def is_open(world: World, probe: str = "probe") -> bool:
    """Whether another emission of the key is dropped; asking opens no window of its own where it is."""
    [(kind, _)] = [fact for fact in told(await world.enqueue(emission(probe, window=leading(W)))) if fact[1] == probe]
    assert kind in (Kind.DEBOUNCED, Kind.EMITTED)
    return kind == Kind.DEBOUNCED


async def test_the_first_runs_and_another_of_the_key_is_dropped(world: World) -> None:
    assert told(await world.enqueue(emission("x", window=leading(W)))) == [(Kind.EMITTED, "x")]
    before = await world.picture()
    answer = await world.enqueue(emission("y", window=leading(W), data=b"2"))
    assert answer.verdicts == [(Kind.DEBOUNCED, "y", None)]
    assert told(answer) == [(Kind.DEBOUNCED, "y")]
    assert the_fact(answer, Kind.DEBOUNCED).detail is None
    assert await world.picture() == before


async def test_the_window_is_decided_before_identity(world: World) -> None:
    await opened(world)
    answer = await world.enqueue(emission("x", window=leading(W), replace=True, data=b"2"))
    assert answer.verdicts == [(Kind.DEBOUNCED, "x", None)]
    assert (await world.job("x")).data == b"{}"


async def test_the_window_ends_its_length_after_the_opening(world: World) -> None:
    await opened(world)
    world.advance(W - 0.001)
    assert await is_open(world)
    world.advance(0.001)
    assert not await is_open(world)


async def test_dropped_emissions_do_not_prolong_the_window(world: World) -> None:
    await opened(world)
    world.advance(W - 1)
    await world.enqueue(emission("y", window=leading(50 * W)))
    world.advance(1)
    assert not await is_open(world)


async def test_the_opener_decides_the_length(world: World) -> None:
    await world.enqueue(emission("x", window=leading(10)))
    world.advance(9)
    assert told(await world.enqueue(emission("y", window=leading(1)))) == [(Kind.DEBOUNCED, "y")]
    world.advance(1)
    assert told(await world.enqueue(emission("y", window=leading(1)))) == [(Kind.EMITTED, "y")]


async def test_key_event_edge_and_queue_make_windows_of_their_own(world: World) -> None:
    await opened(world)
    others = [
        emission("key", window=leading(W, key="other")),
        emission("event", event="other", window=leading(W)),
        emission("edge", window=trailing(W)),
        emission("none"),
    ]
    answer = await world.enqueue(*others)
    assert [verdict.status for verdict in answer.verdicts] == [Kind.EMITTED] * 4
    assert told(await world.enqueue(emission("y", window=leading(W)), queue="other")) == [(Kind.EMITTED, "y")]


async def test_a_duplicate_opens_no_window(world: World) -> None:
    await world.add("x")
    assert told(await world.enqueue(emission("x", window=leading(W)))) == [(Kind.DUPLICATE, "x")]
    assert not await is_open(world)


async def test_a_replacement_opens_a_window(world: World) -> None:
    await world.add("x")
    assert told(await world.enqueue(emission("x", window=leading(W), replace=True))) == [(Kind.REPLACED, "x")]
    assert await is_open(world)


async def test_a_follow_up_opens_a_window(world: World) -> None:
    await world.add("x")
    await world.take()
    assert told(await world.enqueue(emission("x", window=leading(W)))) == [(Kind.FOLLOW_UP, "x")]
    assert await is_open(world)


async def test_a_delay_does_not_move_the_window(world: World) -> None:
    await opened(world, delay_ms=5 * W)
    world.advance(W)
    assert not await is_open(world)


async def test_both_of_one_call_share_the_window(world: World) -> None:
    answer = await world.enqueue(emission("x", window=leading(W)), emission("y", window=leading(W)))
    assert told(answer) == [(Kind.EMITTED, "x"), (Kind.DEBOUNCED, "y")]
