"""What handlers say while they run: log lines and progress, sent at once and in order.

It travels with `extend`, so it is fenced by the claim: the last words of a run that lost its lease are not kept. Lines
are numbered per claim, so one sent twice is stored once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import TYPE_CHECKING, NamedTuple

from taskmanager.engine import Engine, Extended, Journal
from taskmanager.errors import TaskManagerError
from taskmanager.gather import Gatherer
from taskmanager.job import Claim
from taskmanager.resend import resend

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker

log = logging.getLogger("taskmanager")


class _Line(NamedTuple):
    line: Journal
    stored: asyncio.Future[None]


class JournalSender:
    """One sender a queue; see the module's law."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._gatherers: dict[str, Gatherer[_Line]] = {}

    def put(self, claim: Claim, line: Journal) -> asyncio.Future[None]:
        gatherer = self._gatherers.get(claim.queue)
        if gatherer is None:

            async def send(lines: list[_Line], queue: str = claim.queue) -> None:
                await self._send(queue, lines)

            gatherer = self._gatherers[claim.queue] = Gatherer(send)
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gatherer.put(_Line(line, stored))
        return stored

    async def _send(self, queue: str, lines: list[_Line]) -> None:
        worker = self._worker
        journal = [entry.line for entry in lines]

        def extend(engine: Engine) -> Awaitable[Extended]:
            return engine.extend(queue, worker.name, worker.holds(queue), worker.settings.lease_ms, journal)

        try:
            answer = await resend(worker.connection, extend, worker.runtime.rng)
        except TaskManagerError as error:
            log.error("%d line(s) of jobs in queue %r could not be stored: %s", len(journal), queue, error)
            for entry in lines:
                if not entry.stored.done():
                    entry.stored.set_exception(error)
                    entry.stored.exception()
            return
        worker.notice(queue, answer)
        for entry in lines:
            if not entry.stored.done():
                entry.stored.set_result(None)
