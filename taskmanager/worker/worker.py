"""One started worker: its slots, its duties, and what it holds.

Each start is a new incarnation, so nothing of an earlier one can be taken for this one's. The duties (fetcher, keeper,
janitor) are tasks of their own and speak to each other only through this supervisor.

`stop` is graceful: no new claims; running handlers get their grace; what still runs is cancelled and given back to
`waiting`; what was emitted and decided is sent. A plain `def` handler that never looks at `job.stopping` is left behind
at the end of the grace, any other that does not end a little later, and its lease runs out. `kill` is a crash: nothing
more is said to the engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from taskmanager.app import App
from taskmanager.client import Client
from taskmanager.compose import handler_plan
from taskmanager.engine import Answer, Claimed
from taskmanager.job import Claim
from taskmanager.registry import Registration
from taskmanager.resend import RESEND_S
from taskmanager.runtime import Runtime
from taskmanager.worker.attempt import Attempt, Ending
from taskmanager.worker.context import Context as UserContext
from taskmanager.worker.executor import Executor
from taskmanager.worker.fetcher import Fetcher
from taskmanager.worker.janitor import Janitor
from taskmanager.worker.journal import JournalSender
from taskmanager.worker.keeper import Keeper
from taskmanager.worker.origins import drop_gone
from taskmanager.worker.settler import Ended, Settler
from taskmanager.worker.slots import Slots

log = logging.getLogger("taskmanager")

CANCEL_PATIENCE_S = 5.0
"""How long a stop waits for handlers that were cancelled and do not end."""
_LEFT_BEHIND_S = 0.1
_HURRIED_S = 2.0
"""How long a stop that is hurried goes on telling a store that does not answer."""


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread, or None."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Worker:
    """See the module's law. `context` is what its handlers get as `ctx`; `name` its incarnation.

    `in_hand` is how many jobs are in its hands, of which the handlers of `running` have begun and not ended; `turned`
    is set whenever there is one less of either.
    """

    def __init__(self, app: App, client: Client, runtime: Runtime, name: str, context: UserContext) -> None:
        self.app = app
        self.settings = app.settings
        self.client = client
        self.connection = client.connection
        self.runtime = runtime
        self.name = name
        self.context = context
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, dict[int, Attempt | None]] = {}
        self._queues: dict[str, None] = {}
        self._tides: dict[str, tuple[int, int, int]] = {}
        self.in_hand = 0
        self.running = 0
        self._leaving = 0
        self._stopping = False
        self.turned = asyncio.Event()
        self._hurried = asyncio.Event()
        self._duties: list[asyncio.Task[None]] = []
        self.executor = Executor(self)
        self.settler = Settler(self, Context())
        self.journal = JournalSender(self)
        self.fetcher = Fetcher(self)
        self.keeper = Keeper(self)
        self.janitor = Janitor(self)
        self._slots = Slots(self.executor.run, Context())
        self._unlisten = app.registry.listen(self._registered)

    # ---- life

    async def start(self, base: Context) -> None:
        """Registers the schedules of the handlers and begins to serve; handlers run in copies of `base`."""
        self._slots = Slots(self.executor.run, base)
        self.settler = Settler(self, base)
        for queue in self.app.served_queues():
            self._serve(queue)
        if not self._queues and not self.runtime.simulated:
            log.warning("this worker has no handler, and no queue to serve: it runs nothing until one is registered")
        await self._register_schedules(tuple(self.app.registry))
        await drop_gone(self.app.registry, self.client.inspector)
        await self.keeper.start()
        spawn = self.runtime.spawn_duty
        self._duties = [
            spawn(self.fetcher.run(), "taskmanager-fetcher"),
            spawn(self.janitor.run(), "taskmanager-janitor"),
            spawn(self.janitor.look_around(), "taskmanager-lookout"),
        ]

    async def stop(self) -> None:
        """See the module's law. Cancelled meanwhile it is cut short, as by `hurry`, and still ends everything."""
        stopping = asyncio.ensure_future(self._stop())
        try:
            await asyncio.shield(stopping)
        except asyncio.CancelledError:
            self.hurry()
            await asyncio.wait((stopping,))
            raise

    async def _stop(self) -> None:
        self._stopping = True
        self._unlisten()
        self.fetcher.stop()
        running = sum(attempt.started_at is not None and not attempt.settled for attempt in self.attempts())
        log.info("stopping: %d running handler(s) get up to %g s", running, self.settings.grace_ms / 1000)
        for attempt in self.attempts():
            if attempt.started_at is None:
                attempt.end(Ending.STOP)  # the grace is for who runs, not for who waits for its handler's cap
        await self._wait_for_handlers(self.settings.grace_ms / 1000)
        for attempt in self.attempts():
            attempt.end(Ending.STOP)
        await self._wait_for_handlers(CANCEL_PATIENCE_S, last=True)
        for attempt in self.attempts():
            if not attempt.settled:
                claim = attempt.claim
                log.warning("job %r in queue %r does not end; it is left to its lease", claim.id, claim.queue)
                attempt.end(Ending.LOST)
        await self._send_the_rest()
        await self._end_duties()
        await self.keeper.stop()

    def hurry(self) -> None:
        """Cuts the grace of a stop short."""
        if not self._hurried.is_set():
            log.info("stopping at once: what still runs is released")
        self._hurried.set()

    def kill(self) -> list[asyncio.Task[None]]:
        """Ends everything where it stands; the tasks that are being cancelled."""
        self._stopping = True
        self._unlisten()
        for duty in self._duties:
            duty.cancel()
        return [*self._duties, *self._slots.cancel()]

    # ---- what it serves

    def queues(self) -> list[str]:
        return list(self._queues)

    def _serve(self, queue: str) -> None:
        if queue not in self._queues:
            self._queues[queue] = None
            self.fetcher.nudge(queue)

    def _registered(self, registration: Registration) -> None:
        """A handler was registered while we run, perhaps from another thread."""
        if running_loop() is self._loop:
            self._serve_registration(registration)
        else:
            self._loop.call_soon_threadsafe(self._serve_registration, registration)

    def _serve_registration(self, registration: Registration) -> None:
        """It is served at once, and so is its queue."""
        if self._stopping:
            return
        allowed = self.settings.queues
        if allowed is None or registration.queue in allowed:
            self._serve(registration.queue)
            if registration.repeat is not None:
                self.client.emit(registration.queue, handler_plan(self.app, registration))

    async def _register_schedules(self, registrations: tuple[Registration, ...]) -> None:
        for registration in registrations:
            if registration.repeat is not None and registration.queue in self._queues:
                await self.client.emit(registration.queue, handler_plan(self.app, registration))

    # ---- what it holds

    @property
    def free(self) -> int:
        """Slots without a job, as the engine will see it when it takes up a claim that is made now."""
        return self.settings.concurrency - self.in_hand + self._leaving

    def holds(self, queue: str) -> tuple[int, ...]:
        """The claims in our hands, running, being settled, or reaped."""
        return tuple(self._held.get(queue, ()))

    def holds_nothing(self) -> bool:
        """Whether no claim is in our hands, in any queue."""
        return not any(self._held.values())

    def held_queues(self) -> list[str]:
        return [queue for queue, claims in tuple(self._held.items()) if claims]

    def attempt(self, queue: str, number: int) -> Attempt | None:
        return self._held.get(queue, {}).get(number)

    def take(self, queue: str, answer: Claimed, received_s: float) -> None:
        """Starts what a claim brought at that reading of our clock; while stopping it is given back unstarted."""
        held = self._held.setdefault(queue, {})
        for claim in answer.jobs:
            attempt = Attempt(self, claim, answer.now, received_s, self._loop)
            held[claim.number] = attempt
            self.in_hand += 1
            if self._stopping:
                attempt.ending = Ending.STOP
            self._slots.give(attempt)

    def hold_lost(self, claim: Claim) -> None:
        """A claim that was reaped: ours until it is settled as lost."""
        self._held.setdefault(claim.queue, {})[claim.number] = None

    @contextmanager
    def leaving(self, ended: list[Ended]) -> Iterator[None]:
        """These are on their way to be settled: a claim that is made meanwhile takes effect behind that.

        In a simulation a call takes no time, so nothing is made meanwhile.
        """
        jobs = 0 if self.runtime.simulated else sum(end.attempt is not None for end in ended)
        self._leaving += jobs
        if jobs:
            self.fetcher.freed()
        try:
            yield
        finally:
            self._leaving -= jobs

    def ended(self, queue: str, ended: list[Ended]) -> None:
        """These settlements have been answered."""
        held = self._held[queue]
        for end in ended:
            held.pop(end.settlement.claim, None)
            if end.attempt is not None:
                self.in_hand -= 1
        self._freed()

    def drop(self, attempt: Attempt) -> None:
        """This claim is no longer ours, and nothing is said about it."""
        self._held[attempt.claim.queue].pop(attempt.claim.number, None)
        self.in_hand -= 1
        self._freed()

    def _freed(self) -> None:
        self.turned.set()
        self.fetcher.freed()

    def attempts(self) -> list[Attempt]:
        """Everything in hand but what was reaped."""
        return [attempt for held in self._held.values() for attempt in held.values() if attempt is not None]

    # ---- what it hears

    def notice(self, queue: str, answer: Answer) -> None:
        """Every answer: subscribers hear what happened, the janitor what is next."""
        if self.app.observers.callbacks:
            self.client.notice(answer)
        self.janitor.learn(queue, answer)
        now, tide, born = self._tides.get(queue, (0, 0, answer.born))
        if answer.born == born and answer.tide >= tide:
            if answer.tide > tide:
                self._tides[queue] = answer.now, answer.tide, born
        elif answer.now > now:  # else it may be an older answer, and the next will tell
            self._begin_again(queue)

    def _begin_again(self, queue: str) -> None:
        """It was born anew, or its tide fell, which only rises: our handlers' schedules went with what it was."""
        log.warning("queue %r was emptied at the store; the schedules of its handlers are registered again", queue)
        del self._tides[queue]
        self.fetcher.nudge(queue)
        for registration in tuple(self.app.registry):
            if registration.queue == queue and registration.repeat is not None:
                self.client.emit(queue, handler_plan(self.app, registration))

    # ---- the parts of a stop

    async def _wait_for_handlers(self, seconds: float, *, last: bool = False) -> None:
        """Until nothing is in hand and no claim is in flight, for at most `seconds`, or until hurried.

        The `last` wait cannot be hurried, and is not for those who cannot hear that they are to end.
        """
        ended = asyncio.ensure_future(self._all_ended(but_deaf=last))
        waits: set[asyncio.Future[Any]] = {ended}
        if not last:
            waits.add(asyncio.ensure_future(self._hurried.wait()))
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _all_ended(self, *, but_deaf: bool) -> None:
        await asyncio.wait(self._duties[:1])
        while any(not (attempt.settled or (but_deaf and attempt.is_deaf)) for attempt in self.attempts()):
            self.turned.clear()
            await self.turned.wait()

    async def _send_the_rest(self) -> None:
        """What was emitted and decided, for as long as any caller resends; where hurried, for a few seconds."""
        sending = asyncio.ensure_future(self._sent())
        hurried = asyncio.ensure_future(self._hurried.wait())
        await asyncio.wait((sending, hurried), timeout=RESEND_S, return_when=asyncio.FIRST_COMPLETED)
        if hurried.done():
            await asyncio.wait((sending,), timeout=_HURRIED_S)
        hurried.cancel()
        if sending.done():
            return await sending
        sending.cancel()
        log.error("the engine does not answer; what was decided last is left to its leases")
        self.settler.drop()
        return None

    async def _sent(self) -> None:
        while any(attempt.settled for attempt in self.attempts()):
            self.turned.clear()
            await self.turned.wait()
        await self.settler.flush()
        await self.client.flush()

    async def _end_duties(self) -> None:
        for duty in self._duties:
            duty.cancel()
        slots = self._slots.cancel()
        await asyncio.gather(*self._duties, return_exceptions=True)
        if slots:
            # One that will not end, because its handler swallows cancellations, is not waited for any longer.
            await asyncio.wait(slots, timeout=_LEFT_BEHIND_S)
