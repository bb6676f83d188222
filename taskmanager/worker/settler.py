"""Decisions on their way to the engine: gathered while the previous ones are in flight, sent together, never given up.

A job stays in the worker's hands until its settlement is answered. The answer may be that the claim was lost: then the
job is somebody else's and nothing of this run was written.
"""

from __future__ import annotations

import logging
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from taskmanager.engine import Batch, Engine, Settled, Settlement
from taskmanager.gather import Gatherer
from taskmanager.job import build
from taskmanager.resend import resend

if TYPE_CHECKING:
    from taskmanager.worker.attempt import Attempt
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")

_MOST = 200
"""How many settlements one call carries, lest it hold a store up."""


class Ended(NamedTuple):
    """A settlement and the attempt it frees; a reaped claim was never an attempt of this worker."""

    settlement: Settlement
    attempt: Attempt | None


class Settler:
    """One sender a queue, in a copy of `context`; see the module's law."""

    def __init__(self, worker: Worker, context: Context) -> None:
        self._worker = worker
        self._context = context
        self._gatherers: dict[str, Gatherer[Ended]] = {}
        self._numbers: dict[str, int] = {}

    def put(self, queue: str, ended: Ended) -> None:
        gatherer = self._gatherers.get(queue)
        if gatherer is None:
            gatherer = self._gatherers[queue] = Gatherer(partial(self._send, queue), self._context)
        gatherer.put(ended)

    async def flush(self) -> None:
        for gatherer in tuple(self._gatherers.values()):
            await gatherer.flush()

    def drop(self) -> None:
        """Gives up: the leases of what is left will run out."""
        for gatherer in self._gatherers.values():
            gatherer.drop()

    async def _send(self, queue: str, ended: list[Ended]) -> None:
        for start in range(0, len(ended), _MOST):
            await self._send_one(queue, ended[start : start + _MOST])

    async def _send_one(self, queue: str, ended: list[Ended]) -> None:
        worker = self._worker
        number = self._numbers[queue] = self._numbers.get(queue, 0) + 1
        batch = build(Batch, (worker.name, number))
        settlements = [end.settlement for end in ended]

        async def settle(engine: Engine) -> Settled:
            with worker.leaving(ended):
                return await engine.settle(queue, worker.name, settlements, batch, worker.settings.transient)

        try:
            answer = await resend(worker.connection, settle, worker.runtime.rng, for_s=None)
        except Exception:
            # The leases of these jobs will run out and they will run again; the worker itself goes on.
            log.exception("%d job(s) of queue %r could not be settled", len(ended), queue)
            worker.ended(queue, ended)
            return
        worker.notice(queue, answer)
        for end, state in zip(ended, answer.verdicts, strict=True):
            if state is None:
                log.warning("claim %d in queue %r was lost; its outcome was not stored", end.settlement.claim, queue)
        worker.ended(queue, ended)
