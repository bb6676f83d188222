"""One caller of one engine: it emits, reads and commands.

For real a TaskManager has one; in a simulation each node has its own, so that a crash cuts off what a dying worker was
still sending. The engine is opened with the first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from taskmanager.app import App
from taskmanager.connection import Connection
from taskmanager.engine import DUE_LIMIT, Answer, Verdict
from taskmanager.handles import Emitting, JobHandle
from taskmanager.inspector import Inspector
from taskmanager.job import Emission, Plan
from taskmanager.outbox import Outbox
from taskmanager.runtime import Runtime

Entry = tuple[str, Emission | Plan]


class Client:
    """See the module's law. `name` is this caller's, never used by another."""

    def __init__(self, app: App, connection: Connection, runtime: Runtime, name: str) -> None:
        self.app = app
        self.connection = connection
        self.runtime = runtime
        self.name = name
        self.inspector = Inspector(app, connection, name, runtime.rng, self.notice)
        self._outboxes: dict[str, Outbox] = {}

    def notice(self, answer: Answer) -> None:
        """Tells subscribers what a call of ours caused."""
        if self.app.observers.callbacks:
            self.app.observers.tell(answer.facts)

    def emit(self, queue: str, entry: Emission | Plan) -> Emitting[JobHandle]:
        """Sends one entry, behind those already sent to its queue."""
        answered, desk = self._outbox(queue).put((entry,)), self.inspector
        return Emitting(answered, lambda verdicts: JobHandle(desk, queue, verdicts[0]))

    def emit_many(self, entries: Sequence[Entry]) -> Emitting[list[JobHandle]]:
        """Sends entries, each queue's in order, all or none up to `DUE_LIMIT` at a time; handles in the order given."""
        places: dict[str, Sequence[int]] = _places(entries)
        sent: list[tuple[Sequence[int], asyncio.Future[list[Verdict]]]] = []
        for queue, mine in places.items():
            for start in range(0, len(mine), DUE_LIMIT):
                chunk = mine[start : start + DUE_LIMIT]
                sent.append((chunk, self._outbox(queue).put([entries[place][1] for place in chunk])))

        async def collect() -> list[Verdict]:
            verdicts: list[Verdict | None] = [None] * len(entries)
            await asyncio.wait([future for _, future in sent])
            for chunk, future in sent:
                for place, verdict in zip(chunk, future.result(), strict=True):
                    verdicts[place] = verdict
            return [verdict for verdict in verdicts if verdict is not None]

        def finish(verdicts: list[Verdict]) -> list[JobHandle]:
            desk = self.inspector
            return [JobHandle(desk, queue, verdict) for (queue, _), verdict in zip(entries, verdicts, strict=True)]

        if len(sent) == 1:
            return Emitting(sent[0][1], finish)
        if not sent:
            nothing: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
            nothing.set_result([])
            return Emitting(nothing, finish)
        collected = asyncio.ensure_future(collect())
        collected.add_done_callback(_look)
        return Emitting(collected, finish)

    async def flush(self) -> None:
        """Returns when everything emitted so far has been sent."""
        for outbox in tuple(self._outboxes.values()):
            await outbox.flush()

    def _outbox(self, queue: str) -> Outbox:
        outbox = self._outboxes.get(queue)
        if outbox is None:
            outbox = Outbox(self.connection, queue, self.name, self.runtime.rng, self.notice)
            self._outboxes[queue] = outbox
        return outbox


def _places(entries: Sequence[Entry]) -> dict[str, Sequence[int]]:
    """Where each queue's entries stand."""
    queues = {queue for queue, _ in entries}
    if len(queues) == 1:
        return dict.fromkeys(queues, range(len(entries)))
    places: dict[str, list[int]] = {}
    for place, (queue, _) in enumerate(entries):
        places.setdefault(queue, []).append(place)
    return dict(places)


def _look(future: asyncio.Future[Any]) -> None:
    """Its parts have logged their errors; asyncio need not."""
    if not future.cancelled():
        future.exception()
