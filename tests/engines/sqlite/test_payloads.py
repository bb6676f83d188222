"""Large data lies apart from its job's row, and nobody can tell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from taskmanager.engine import Batch, Delete, JobRef, Limit, Settlement
from taskmanager.engines.sqlite import SqliteEngine
from taskmanager.engines.sqlite.address import Address
from taskmanager.engines.sqlite.rows import LARGE_BYTES
from taskmanager.engines.sqlite.store import Store
from taskmanager.job import Emission, State, Transition
from tests.engines.conformance.builders import completed, retried
from tests.engines.conformance.world import ManualClock

LEASE_MS = 60_000


def of(size: int, letter: bytes = b"x") -> bytes:
    """A JSON text of so many bytes."""
    return b'"' + letter * (size - 2) + b'"'


SMALL, LARGE, OTHER = of(LARGE_BYTES), of(LARGE_BYTES + 1), of(400_000, b"y")


class Shop:
    """One file, its engine, and what lies apart in it."""

    def __init__(self, url: str) -> None:
        self.path = Path(url.removeprefix("sqlite:///"))
        self.engine = SqliteEngine(ManualClock(), Store(Address(str(self.path))))
        self._emitted = self._settled = 0

    async def emit(self, data: bytes, id: str = "x", *, replace: bool = False) -> None:
        self._emitted += 1
        entry = Emission("send", id, data, replace=replace)
        await self.engine.enqueue("q", [entry], Batch("caller", self._emitted))

    async def settle(self, claim: int, transition: Transition) -> None:
        self._settled += 1
        await self.engine.settle("q", "w", [Settlement(claim, transition)], Batch("w", self._settled))

    async def data(self, id: str = "x") -> bytes:
        job = await self.engine.get("q", JobRef(id))
        assert job is not None
        return job.data

    def apart(self) -> list[tuple[str, bytes]]:
        with closing(sqlite3.connect(self.path)) as other:
            return other.execute(
                "SELECT id, content FROM payloads LEFT JOIN jobs ON place = job ORDER BY id"
            ).fetchall()


@pytest.fixture
def shop(url: str) -> Shop:
    return Shop(url)


async def test_large_data_lies_apart_and_is_handed_out_read_and_seen_like_any(shop: Shop) -> None:
    await shop.emit(SMALL, "small")
    await shop.emit(LARGE, "large")
    assert shop.apart() == [("large", LARGE)]
    claims = (await shop.engine.claim("q", "w", (), 2, LEASE_MS, 2)).jobs
    assert [claim.data for claim in claims] == [SMALL, LARGE]
    assert [job.data for job in await shop.engine.list("q", State.ACTIVE, 10, None)] == [LARGE, SMALL]
    with closing(sqlite3.connect(shop.path)) as other:
        assert other.execute("SELECT data FROM board ORDER BY id").fetchall() == [(LARGE.decode(),), (SMALL.decode(),)]
    await shop.engine.close()


@pytest.mark.parametrize("first", [SMALL, LARGE])
@pytest.mark.parametrize("second", [SMALL, LARGE, OTHER])
@pytest.mark.parametrize("third", [SMALL, LARGE])
async def test_data_that_is_replaced_is_the_new_data_whatever_the_sizes(
    shop: Shop, first: bytes, second: bytes, third: bytes
) -> None:
    await shop.emit(LARGE, "neighbour")
    await shop.emit(first)
    for data in (second, third):
        await shop.emit(data, replace=True)
        assert await shop.data() == data
    [_, claim] = (await shop.engine.claim("q", "w", (), 2, LEASE_MS, 2)).jobs
    assert claim.data == third
    await shop.settle(claim.number, retried(0))
    assert (await shop.data(), await shop.data("neighbour")) == (third, LARGE)
    await shop.engine.close()


async def test_a_run_does_not_write_large_data_again(shop: Shop) -> None:
    await shop.emit(OTHER)
    log = shop.path.with_name(shop.path.name + "-wal")
    before = log.stat().st_size
    [claim] = (await shop.engine.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
    await shop.settle(claim.number, retried(0))
    [claim] = (await shop.engine.claim("q", "w", (), 1, LEASE_MS, 2)).jobs
    await shop.settle(claim.number, completed())
    assert log.stat().st_size - before < len(OTHER)
    await shop.engine.close()


async def test_large_data_goes_with_its_job(shop: Shop) -> None:
    for id in ("deleted", "pruned", "emitted again", "kept"):
        await shop.emit(LARGE, id)
    claims = (await shop.engine.claim("q", "w", (), 3, LEASE_MS, 2)).jobs
    for claim in claims:
        await shop.settle(claim.number, completed())
    await shop.engine.control("q", Delete(JobRef("deleted")), Batch("operator", 1))
    await shop.emit(SMALL, "emitted again")
    assert [id for id, _ in shop.apart()] == ["kept", "pruned"]
    await shop.engine.prune("q", {State.COMPLETED: Limit(None, 0)})
    assert shop.apart() == [("kept", LARGE)]
    await shop.engine.close()
