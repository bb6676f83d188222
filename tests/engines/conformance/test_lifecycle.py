"""The lifecycle's table is what engines do: `Moves` refuses any other move in every test; here each row happens."""

from __future__ import annotations

from dataclasses import replace

import pytest

from taskmanager.engine import Limit, Promote, Requeue
from taskmanager.job import DEFAULT_OPTIONS, Kind, State, StoredJob
from taskmanager.policy.lifecycle import MOVES
from tests.engines.conformance.builders import (
    completed,
    emission,
    failed,
    plan,
    ref,
    released,
    retried,
    skipped,
    stalled,
    trailing,
)
from tests.engines.conformance.moves import Moves
from tests.engines.conformance.world import World

TABLE = {(state, kind, to) for (state, kind), targets in MOVES.items() for to in targets}


async def _emissions(world: World) -> None:
    """All that emissions, plans and windows do to jobs."""
    await world.enqueue(emission("a"), emission("b", delay_ms=10), plan(immediate=True))
    await world.enqueue(emission("a", replace=True))
    await world.enqueue(emission("a", delay_ms=20, replace=True), emission("b", delay_ms=30, replace=True))
    await world.enqueue(emission("b", replace=True))
    late = emission("t", delay_ms=50, window=trailing(5, max_wait_ms=5))
    await world.enqueue(late)
    await world.enqueue(late)
    world.advance(15)
    await world.enqueue(emission("t", window=trailing(5, max_wait_ms=5)))
    await world.enqueue(emission("t", window=trailing(5, max_wait_ms=5)))
    await world.cancel("a")
    later = emission("later", run_at=world.now + 1)
    await world.advance_schedule(await world.schedule(), later, next_at=None)
    world.advance(1)
    for claim in (await world.claim()).jobs:
        await world.end(claim, completed())


async def _runs(world: World) -> None:
    """All that claims and settlements do to jobs."""
    await world.add("run")
    for how in (released(), retried(1), skipped()):
        world.advance(1)
        claim = await world.take()
        assert claim.id == "run"
        await world.end(claim, how)
    await world.add("lost")
    await world.take()
    await world.lose(stalled())
    for delay_ms in (0, 50):
        claim = await world.take()
        assert claim.id == "lost"
        await world.add("lost", data=b"%d" % delay_ms, delay_ms=delay_ms)
        await world.end(claim, completed() if delay_ms else released())
    await world.run(failed(), "failed")


async def _operations(world: World) -> None:
    """All that operators do to jobs, and the janitor."""
    await world.control(Promote(ref("lost")))
    await world.control(Requeue(ref("failed")))
    await world.cancel("failed")
    await world.add("late", delay_ms=50)
    await world.cancel("late")
    for id, how in (("c", completed()), ("f", failed())):
        await world.run(how, id, priority=9)
        await world.add(id)
    await world.add("late")
    await world.prune({State.CANCELLED: Limit(0, 0)})


async def test_every_row_of_the_table_happens_and_no_other(world: World) -> None:
    await _emissions(world)
    await _runs(world)
    await _operations(world)
    assert world.moves.seen == TABLE


def test_a_move_that_the_table_does_not_have_is_refused() -> None:
    moves = Moves()
    job = StoredJob("x", "q", "send", b"", State.WAITING, 0, 1, 1, 1, 0, 0, DEFAULT_OPTIONS)
    moves.step("q", "x", [Kind.EMITTED], job)
    assert moves.seen == {("born", "emitted", "waiting")}
    with pytest.raises(AssertionError, match=r"'x' went from waiting by .* to completed"):
        moves.step("q", "x", [Kind.COMPLETED], replace(job, state=State.COMPLETED))
