"""The way of an emission to its queue: in the order of the calls, each exactly once.

One call a queue is in flight; what is emitted meanwhile goes with the next. Each call carries the caller's name and its
number, and is repeated with that number until it is answered, so a lost reply doubles nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from taskmanager.clock import monotonic
from taskmanager.connection import Connection
from taskmanager.engine import DUE_LIMIT, Answer, Batch, Verdict
from taskmanager.errors import EngineLocked, EngineUnavailable, TaskManagerError
from taskmanager.gather import Gatherer
from taskmanager.job import Emission, Plan
from taskmanager.resend import resend

log = logging.getLogger("taskmanager")


class Parcel(NamedTuple):
    """Entries that are stored together, all or none, and who waits for their verdicts."""

    entries: Sequence[Emission | Plan]
    answered: asyncio.Future[list[Verdict]]
    put_s: float


class Outbox:
    """The emissions of one caller to one queue."""

    __slots__ = ("_caller", "_connection", "_gatherer", "_locked", "_notice", "_number", "_queue", "_rng")

    def __init__(
        self,
        connection: Connection,
        queue: str,
        caller: str,
        rng: random.Random,
        notice: Callable[[Answer], None],
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._caller = caller
        self._rng = rng
        self._notice = notice
        self._number = 0
        self._locked: EngineLocked | None = None
        self._gatherer: Gatherer[Parcel] = Gatherer(self._send)

    def put(self, entries: Sequence[Emission | Plan]) -> asyncio.Future[list[Verdict]]:
        """Sends at most `DUE_LIMIT` entries, all or none."""
        answered: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._gatherer.put(Parcel(entries, answered, monotonic()))
        return answered

    async def flush(self) -> None:
        await self._gatherer.flush()

    async def _send(self, parcels: list[Parcel]) -> None:
        start = 0
        while start < len(parcels):
            end, size = start, 0
            while end < len(parcels) and size + len(parcels[end].entries) <= DUE_LIMIT:
                size += len(parcels[end].entries)
                end += 1
            await self._send_one(parcels[start:end])
            start = end

    async def _send_one(self, parcels: list[Parcel]) -> None:
        entries = [entry for parcel in parcels for entry in parcel.entries]
        self._number += 1
        batch = Batch(self._caller, self._number)
        given_up = self._give_up_in_time(parcels)
        try:
            answer = await resend(
                self._connection, lambda engine: engine.enqueue(self._queue, entries, batch), self._rng
            )
        except TaskManagerError as error:
            self._locked = error if isinstance(error, EngineLocked) else None
            log.error("%d emission(s) to queue %r could not be sent: %s", len(entries), self._queue, error)
            for parcel in parcels:
                _fail(parcel.answered, error)
            return
        except asyncio.CancelledError:
            for parcel in parcels:
                parcel.answered.cancel()
            raise
        except Exception as error:
            for parcel in parcels:  # nobody may be left waiting for an answer that does not come
                _fail(parcel.answered, error)
            raise
        finally:
            for timer in given_up:
                timer.cancel()
        self._locked = None
        self._notice(answer)
        place = 0
        for parcel in parcels:
            verdicts = answer.verdicts[place : place + len(parcel.entries)]
            place += len(parcel.entries)
            if not parcel.answered.done():
                parcel.answered.set_result(verdicts)

    def _give_up_in_time(self, parcels: list[Parcel]) -> list[asyncio.TimerHandle]:
        """Who has waited behind a call that found the store locked waits no longer for the same lock than that did."""
        if self._locked is None:
            return []
        loop, now_s, waited_s = asyncio.get_running_loop(), monotonic(), self._locked.waited_s
        error = EngineUnavailable(f"{self._locked}. What was sent behind that is perhaps stored, and may be sent again")
        return [
            loop.call_later(max(0.0, waited_s - (now_s - parcel.put_s)), _fail, parcel.answered, error)
            for parcel in parcels
        ]


def _fail(answered: asyncio.Future[list[Verdict]], error: Exception) -> None:
    if not answered.done():
        answered.set_exception(error)
        # Looked at once, so that an emission nobody awaits is logged by us alone and not again by asyncio.
        answered.exception()
