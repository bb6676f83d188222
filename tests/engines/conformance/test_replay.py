"""`settle`, `cancel` and `control` sent twice: the same answer, and nothing changes the second time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from taskmanager.engine import (
    REPLAY_MS,
    Await,
    Batch,
    Command,
    Delete,
    Pause,
    Promote,
    Purge,
    Requeue,
    RequeueAll,
    Resume,
    Settlement,
    Unschedule,
)
from taskmanager.errors import InvariantError
from taskmanager.job import State
from tests.engines.conformance.builders import completed, emission, emissions, failed, plan, ref, released, retried
from tests.engines.conformance.world import World


async def populated(world: World) -> None:
    """One job of each state, named after it, a schedule, and a follow-up of the active one."""
    for state, end in ((State.COMPLETED, completed()), (State.FAILED, failed())):
        await world.run(end, state)
    await world.enqueue(emission("cancelled"), emission("active", priority=1))
    await world.cancel("cancelled")
    await world.take()
    await world.enqueue(emission("waiting"), emission("delayed", delay_ms=50), emission("active", data=b"2"), plan())


@pytest.mark.parametrize("how", [completed(b"1"), failed(dead_letter="dlq"), retried(), released()], ids=str)
async def test_a_settlement_sent_twice_is_written_once(world: World, how: Any) -> None:
    await world.add("x")
    claim = await world.take()
    batch = world.batch("settle", "w")
    first = await world.settle(Settlement(claim.number, how), batch=batch)
    before = await world.picture()
    second = await world.settle(Settlement(claim.number, how), batch=batch)
    assert second == replace(first, replayed=True)
    assert await world.picture() == before


async def test_a_settlement_is_replayed_though_the_job_runs_again(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    batch = world.batch("settle", "w")
    first = await world.settle(Settlement(claim.number, released()), batch=batch)
    again = await world.take()
    world.advance(REPLAY_MS - 1)
    await world.prune()
    assert await world.settle(Settlement(claim.number, released()), batch=batch) == replace(first, replayed=True)
    assert await world.end(again, completed()) == State.COMPLETED


@pytest.mark.parametrize("id", list(State))
async def test_a_cancel_sent_twice_is_written_once(world: World, id: State) -> None:
    await populated(world)
    batch = world.batch("cancel")
    first = await world.cancel(id, batch=batch)
    before = await world.picture()
    assert await world.cancel(id, batch=batch) == replace(first, replayed=True)
    assert await world.picture() == before


COMMANDS: list[Command] = [
    Pause(),
    Resume(),
    *(command(ref(state)) for command in (Promote, Requeue, Delete, Await) for state in State),
    RequeueAll(None),
    *(Purge(state) for state in State),
    Unschedule("nightly"),
    Unschedule("nowhere"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=str)
async def test_a_command_sent_twice_is_carried_out_once(world: World, command: Command) -> None:
    await populated(world)
    batch = world.batch("control")
    first = await world.control(command, batch=batch)
    before = await world.picture()
    assert await world.control(command, batch=batch) == replace(first, replayed=True)
    assert await world.picture() == before


@pytest.mark.parametrize("command", COMMANDS, ids=str)
async def test_a_command_that_is_refused_or_changes_nothing_leaves_the_store_as_it_is(
    world: World, command: Command
) -> None:
    await populated(world)
    before = await world.picture()
    answer = await world.control(command)
    if not answer.changed:
        assert answer.facts == []
        assert await world.picture() == before
    else:
        assert answer.refused is None
        assert await world.picture() != before


@pytest.mark.parametrize("command", COMMANDS, ids=str)
async def test_a_command_repeated_under_a_new_number_changes_nothing_more(world: World, command: Command) -> None:
    await populated(world)
    await world.control(command)
    before = await world.picture()
    answer = await world.control(command)
    assert (answer.changed, answer.facts) == (False, [])
    assert await world.picture() == before


async def test_the_copy_in_a_replayed_answer_is_of_then(world: World) -> None:
    await world.add("x", delay_ms=50)
    batch = Batch("operator", 1)
    first = await world.control(Promote(ref("x")), batch=batch)
    await world.end(await world.take(), completed())
    again = await world.control(Promote(ref("x")), batch=batch)
    assert again == replace(first, replayed=True)
    assert again.job is not None
    assert again.job.state == State.WAITING


async def test_a_purge_sent_twice_removes_one_batch(world: World) -> None:
    await world.enqueue(*emissions(5))
    batch = Batch("operator", 1)
    first = await world.control(Purge(State.WAITING, 2), batch=batch)
    second = await world.control(Purge(State.WAITING, 2), batch=batch)
    assert (first.count, second.count) == (2, 2)
    assert len(await world.states()) == 3


async def test_of_each_verb_only_the_last_call_can_be_sent_again(world: World) -> None:
    await world.add("x")
    claim = await world.take()
    await world.settle(batch=Batch("w", 5))
    await world.cancel("nowhere", batch=Batch("w", 5))
    await world.control(Resume(), batch=Batch("w", 5))
    before = await world.picture()
    with pytest.raises(InvariantError):
        await world.settle(Settlement(claim.number, completed()), batch=Batch("w", 4))
    with pytest.raises(InvariantError):
        await world.cancel("x", batch=Batch("w", 4))
    with pytest.raises(InvariantError):
        await world.control(Pause(), batch=Batch("w", 4))
    assert await world.picture() == before
