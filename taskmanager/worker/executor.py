"""From a claim to a decision: one run of one handler.

A run is a pipeline over one attempt: wait for the handler's own cap, start, validate, call through the middleware, send
what was emitted, judge. Whatever goes wrong becomes an outcome; `decide` turns the outcome into a transition; the
settler stores it. Nothing here writes to an engine.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from taskmanager.clock import duration_ms
from taskmanager.codec import InvalidData, decode, encode
from taskmanager.engine import Settlement
from taskmanager.errors import Discard, LeaseLost, RetryLater, UsageError
from taskmanager.job import Claim, Fact, Kind, Reason, build
from taskmanager.policy.lifecycle import (
    CancelHeard,
    Lost,
    Outcome,
    Postponed,
    Raised,
    Refused,
    Returned,
    Stopped,
    Terms,
    Unhandled,
    decide,
)
from taskmanager.worker.attempt import Attempt, Ending, current_attempt
from taskmanager.worker.failure import error_info, tell
from taskmanager.worker.job import Job
from taskmanager.worker.route import Route
from taskmanager.worker.settler import Ended

if TYPE_CHECKING:
    from taskmanager.worker.worker import Worker


_RETURNED = Returned()
_SKIPPED = Returned(skipped=True)
_STARTED = Kind.STARTED  # a look-up in an Enum costs a call


class Executor:
    """Runs the attempts of one worker; see the module's law."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._routes: dict[tuple[str, str], Route] = {}

    async def run(self, attempt: Attempt) -> None:
        """Runs one attempt and hands its settlement on. Raises nothing but a cancellation meant for this very task."""
        claim = attempt.claim
        route = self._route(claim)
        if route.registration is None and self._worker.app.registry.seek():
            route = self._route(claim)
        if route.registration is None:
            reason = self._unhandled(claim)
            attempt.error = UsageError(reason)
            outcome: Outcome = Unhandled(reason)
        else:
            outcome = await self._attempted(attempt, route)
        ended_at = self._worker.runtime.engine_now(attempt.received_at, attempt.received_s)
        if attempt.ending is not None:
            outcome = _ended(attempt, route)
        attempt.settled = True  # what is asked from now on comes too late
        if attempt.sent:
            outcome = await _flushed(attempt, outcome)
        self._settle(attempt, route, outcome, ended_at)
        attempt.let_go()

    def settle_lost(self, claim: Claim) -> None:
        """Settles a claim that this worker reaped: its lease was lost by another."""
        route = self._route(claim)
        attempt = Attempt(self._worker, claim, 0, 0.0, asyncio.get_running_loop())
        attempt.error = LeaseLost(f"the worker that ran job {claim.id!r} let its lease run out")
        transition = decide(claim, Lost(), self._terms(attempt, route), self._worker.runtime.rng)
        self._worker.settler.put(claim.queue, Ended(Settlement(claim.number, transition), None))

    def _route(self, claim: Claim) -> Route:
        key = (claim.queue, claim.event)
        route = self._routes.get(key)
        if route is None or not route.is_current:
            # The next run goes by the new registration, running ones end on the old.
            app = self._worker.app
            route = Route(app, claim.queue, app.registry.find(*key), route)
            self._routes[key] = route
        return route

    async def _attempted(self, attempt: Attempt, route: Route) -> Outcome:
        token = current_attempt.set(attempt)
        attempt.cancellable = True
        try:
            if route.gate is None or attempt.ending is not None:
                return await self._run(attempt, route)
            async with route.gate:
                return await self._run(attempt, route)
        except asyncio.CancelledError as error:
            return _cancelled(attempt, error)
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not attempt.is_current:
                raise  # nobody raised it: this coroutine is being closed
            # SystemExit and KeyboardInterrupt too: a handler ends its attempt, never the process.
            attempt.error = error
            return _raised(attempt, route, error)
        finally:
            attempt.cancellable = False
            try:  # noqa: SIM105 - a context manager would cost each job a quarter of a microsecond
                current_attempt.reset(token)
            except ValueError:
                pass  # a run that was left behind is closed by whoever collects it, in a context of its own
            if attempt.ending is not None and attempt.is_current:
                await _absorb_cancel()

    async def _run(self, attempt: Attempt, route: Route) -> Outcome:
        if attempt.ending is not None:
            return Stopped()
        claim = attempt.claim
        self._start(attempt)
        data = decode(claim.data) if route.decoder is None else route.decoder.decode(claim.data)
        attempt.job = job = Job(claim, data, route.terms_for(claim.options).retry.max_retries + 1, attempt)
        timeout_ms = route.timeout_for(claim.options)
        if timeout_ms is None:
            return self._returned(attempt, await route.call(job, self._worker.context))
        timer = attempt.loop.call_later(timeout_ms / 1000, attempt.end, Ending.TIMEOUT)
        try:
            return self._returned(attempt, await route.call(job, self._worker.context))
        finally:
            timer.cancel()

    def _start(self, attempt: Attempt) -> None:
        worker, claim = self._worker, attempt.claim
        worker.running += 1
        now = attempt.started_at = worker.runtime.engine_now(attempt.received_at, attempt.received_s)
        if worker.runtime.observes or worker.app.observers.callbacks:
            of = (now, _STARTED, claim.queue, claim.event, claim.id, claim.attempt, worker.name, None)
            fact = build(Fact, of)
            worker.runtime.observe(fact)
            if worker.app.observers.callbacks:
                worker.app.observers.tell((fact,))

    def _returned(self, attempt: Attempt, value: Any) -> Outcome:
        if value is None:
            return _SKIPPED if attempt.skipped else _RETURNED
        try:
            result = encode(value, field="result", max_bytes=self._worker.settings.max_data_bytes)
            return Returned(result, attempt.skipped)
        except UsageError as error:
            attempt.error = error
            return Refused(Reason.RESULT, error_info(error))

    def _settle(self, attempt: Attempt, route: Route, outcome: Outcome, ended_at: int) -> None:
        worker, claim = self._worker, attempt.claim
        worker.running -= attempt.started_at is not None
        worker.turned.set()
        if attempt.ending is Ending.LOST:
            worker.drop(attempt)
            return
        started_at = ended_at if attempt.started_at is None else attempt.started_at
        decided = decide(claim, outcome, self._terms(attempt, route), worker.runtime.rng)
        if attempt.error is not None and not worker.runtime.simulated:  # there the timeline tells
            tell(claim, decided, attempt.error)
        of = (claim.number, decided, ended_at - started_at, started_at - attempt.received_at)
        worker.settler.put(claim.queue, build(Ended, (build(Settlement, of), attempt)))

    def _terms(self, attempt: Attempt, route: Route) -> Terms:
        """What is in force for the end of an attempt, also of one that never reached its handler."""
        claim = attempt.claim
        terms = route.terms_for(claim.options)
        if attempt.error is None or not route.asks_should_send:
            return terms
        job = attempt.job
        if job is None:
            job = Job(claim, decode(claim.data), terms.retry.max_retries + 1, attempt)
        return route.with_should_send(terms, job, attempt.error)

    def _unhandled(self, claim: Claim) -> str:
        homes = self._worker.app.registry.queues_of(claim.event)
        elsewhere = f"it is registered for {', '.join(map(repr, homes))}" if homes else "no queue has one"
        return f"no handler for event {claim.event!r} in queue {claim.queue!r}; {elsewhere}"


# ---- judging a run


def _raised(attempt: Attempt, route: Route, error: BaseException) -> Outcome:
    if isinstance(error, InvalidData):
        return Refused(Reason.DATA, error_info(error))
    if isinstance(error, Discard):
        return Refused(error.reason, error_info(error))
    if isinstance(error, RetryLater):
        try:
            return Postponed(duration_ms(error.delay, "RetryLater.delay"))
        except UsageError as refused:
            error = refused
    claim = attempt.claim
    return Raised(error_info(error), route.terms_for(claim.options).retry.wants(error, claim.attempt))


def _cancelled(attempt: Attempt, error: asyncio.CancelledError) -> Outcome:
    """A cancellation that we asked for, or that is meant for this task, or that a handler let out by itself."""
    task = asyncio.current_task()
    if attempt.ending is not None:
        if task is not None:
            task.uncancel()
        return Stopped()
    if task is not None and task.cancelling():
        raise error
    attempt.error = error
    return Raised(error_info(error))


def _ended(attempt: Attempt, route: Route) -> Outcome:
    """What an ending that was asked for makes of the run, whatever the handler did since."""
    match attempt.ending:
        case Ending.TIMEOUT:
            claim = attempt.claim
            seconds = (route.timeout_for(claim.options) or 0) / 1000
            error = TimeoutError(f"the handler ran longer than its timeout of {seconds:g} s")
            attempt.error = error
            return Raised(error_info(error), route.terms_for(claim.options).retry.wants(error, claim.attempt))
        case Ending.CANCEL:
            return CancelHeard()
        case _:
            return Stopped()


async def _flushed(attempt: Attempt, outcome: Outcome) -> Outcome:
    """Everything the handler sent is stored before its job is settled; what was not fails the attempt."""
    for future in attempt.sent:
        if not future.done():
            await asyncio.wait((future,))
        error = None if future.cancelled() else future.exception()
        if error is not None and isinstance(outcome, Returned):
            attempt.error = error
            outcome = Raised(error_info(error))
    return outcome


async def _absorb_cancel() -> None:
    """A handler that returned without an await since it was asked to end leaves the cancellation to our next await."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        pass
    finally:
        task.uncancel()
