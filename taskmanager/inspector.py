"""The read side and the operator's commands. Command line, HTTP and dashboards use nothing else.

Every operation answers the job as it then is, or None where there is none. Repeating one changes nothing. A state that
does not allow it is a `UsageError` naming the state.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from taskmanager.app import App
from taskmanager.clock import duration_ms, monotonic
from taskmanager.connection import Connection
from taskmanager.engine import (
    DUE_LIMIT,
    Answer,
    Await,
    Batch,
    Command,
    Controlled,
    Delete,
    Engine,
    JobRef,
    Pause,
    Promote,
    Purge,
    Requeue,
    RequeueAll,
    Resume,
    Unschedule,
)
from taskmanager.errors import EngineLocked, JobFailed, UsageError
from taskmanager.handles import JobHandle
from taskmanager.job import FINISHED, Reason, State, StoredJob
from taskmanager.policy.admission import check_event, check_id, check_queue
from taskmanager.policy.retry import in_force
from taskmanager.records import (
    JobRecord,
    LogRecord,
    ScheduleRecord,
    counts_record,
    job_record,
    log_record,
    read_result,
    schedule_record,
)
from taskmanager.resend import resend
from taskmanager.settings import whole

T = TypeVar("T")
Which = str | JobHandle
_VERBS = {Promote: "promoted", Requeue: "retried", Delete: "deleted", Purge: "purged"}
_WAIT_S = 3600.0
_LAST_LOOK_S = 0.25
"""How long a look at a job may take for somebody whose time is over."""
_SLACK_S = 0.1
"""How much later than the engine our own clock ends a wait."""
_PAGE = 100


class Inspector:
    """See the module's law. `caller` numbers its commands, so that one sent twice is one command."""

    def __init__(
        self,
        app: App,
        connection: Connection,
        caller: str,
        rng: random.Random,
        notice: Callable[[Answer], None],
    ) -> None:
        self._app = app
        self._connection = connection
        self._caller = caller
        self._rng = rng
        self._notice = notice
        self._numbers: dict[str, int] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._locked: dict[str, EngineLocked] = {}

    # ---- one job

    async def get_job(self, which: Which, queue: str = "default") -> JobRecord | None:
        queue, ref = which_job(which, queue)
        return await self.fetch(queue, ref)

    async def logs(self, which: Which, queue: str = "default") -> list[LogRecord]:
        queue, ref = which_job(which, queue)
        if ref.serial is not None and await self.fetch(queue, ref) is None:
            return []
        return [log_record(line) for line in await self._ask(lambda engine: engine.logs(queue, ref.id))]

    async def cancel_job(self, which: Which, queue: str = "default") -> JobRecord | None:
        queue, ref = which_job(which, queue)
        return await self.cancel(queue, ref)

    async def retry(self, which: Which, queue: str = "default") -> JobRecord | None:
        queue, ref = which_job(which, queue)
        return self._record((await self._control(queue, Requeue(ref))).job)

    async def promote(self, which: Which, queue: str = "default") -> JobRecord | None:
        queue, ref = which_job(which, queue)
        return self._record((await self._control(queue, Promote(ref))).job)

    async def delete_job(self, which: Which, queue: str = "default") -> JobRecord | None:
        queue, ref = which_job(which, queue)
        return self._record((await self._control(queue, Delete(ref))).job)

    # ---- the desk behind a handle

    async def fetch(self, queue: str, ref: JobRef) -> JobRecord | None:
        return self._record(await self._ask(lambda engine: engine.get(queue, ref)))

    async def cancel(self, queue: str, ref: JobRef) -> JobRecord | None:
        transient = self._app.settings.transient
        answer = await self._numbered(
            queue, "cancel", lambda engine, batch: engine.cancel(queue, ref, batch, transient)
        )
        if answer.refused is not None:
            raise UsageError(f"job {ref.id!r} in queue {queue!r} is {answer.refused} and cannot be cancelled")
        return self._record(answer.job)

    async def result(self, queue: str, ref: JobRef, timeout: timedelta | float | None) -> Any:
        """See `JobHandle.result`; `ref` carries a serial."""
        seconds = None if timeout is None else duration_ms(timeout, "timeout") / 1000
        deadline = None if seconds is None else monotonic() + seconds

        async def look() -> tuple[int, StoredJob | None]:
            # The moment is read first: an end between the look at the job and the wait would otherwise be missed.
            now = await self._ask(lambda engine: engine.now())
            return now, await self._ask(lambda engine: engine.get(queue, ref))

        await _within(deadline, self._control(queue, Await(ref)))
        while True:
            now, job = await _within(deadline, look())
            if job is None or job.state in FINISHED:
                break
            left = _WAIT_S if deadline is None else min(deadline - monotonic(), _WAIT_S)
            if left <= 0:
                raise TimeoutError(f"job {ref.id!r} in queue {queue!r} is still {job.state} after {seconds} s")
            until = now + int(left * 1000) + 1
            # `until` is the engine's time: where its clock is set back meanwhile, our own ends the wait.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left + _SLACK_S):
                    await (await self._connection.engine()).wait_ended(queue, ref, until)
        return _outcome(queue, ref, job)

    # ---- a queue

    async def jobs(
        self,
        queue: str = "default",
        state: str | None = None,
        limit: int = _PAGE,
        after: Which | JobRecord | None = None,
    ) -> list[JobRecord]:
        queue = check_queue(queue)
        wanted = None if state is None else check_state(state)
        limit = whole(limit, "limit", 1, DUE_LIMIT)
        below = await self._emission_of(after, queue)
        found = await self._ask(lambda engine: engine.list(queue, wanted, limit, below))
        return [record for job in found if (record := self._record(job)) is not None]

    async def counts(self, queue: str = "default") -> dict[str, int]:
        queue = check_queue(queue)
        return counts_record((await self._ask(lambda engine: engine.count(queue))).states)

    async def pause_queue(self, queue: str = "default") -> None:
        await self._control(check_queue(queue), Pause())

    async def resume_queue(self, queue: str = "default") -> None:
        await self._control(check_queue(queue), Resume())

    async def is_queue_paused(self, queue: str = "default") -> bool:
        queue = check_queue(queue)
        return (await self._ask(lambda engine: engine.count(queue))).paused

    async def purge(self, queue: str, state: str) -> int:
        purged = check_state(state)
        return await self._in_batches(check_queue(queue), purged, Purge(purged))

    async def retry_all(self, queue: str = "default", event: str | None = None) -> int:
        command = RequeueAll(None if event is None else check_event(event))
        return await self._in_batches(check_queue(queue), State.FAILED, command)

    # ---- everything

    async def queues(self) -> list[str]:
        stored = await self._ask(lambda engine: engine.queues())
        return sorted({*stored, *self._app.served_queues()})

    async def schedules(self) -> list[ScheduleRecord]:
        records = []
        for queue in await self._ask(lambda engine: engine.queues()):
            table = await self._ask(lambda engine, queue=queue: engine.schedules(queue))  # type: ignore[misc]
            for schedule in table.schedules:
                known = self._app.registry.find(queue, schedule.plan.event) is not None
                records.append(schedule_record(queue, schedule, known))
        return records

    async def unschedule(self, name: str, queue: str = "default") -> bool:
        answer = await self._control(check_queue(queue), Unschedule(check_id(name)))
        return answer.count > 0

    # ---- how commands travel

    async def _control(self, queue: str, command: Command) -> Controlled:
        transient = self._app.settings.transient
        answer = await self._numbered(
            queue, "control", lambda engine, batch: engine.control(queue, command, batch, transient)
        )
        if answer.refused is not None:
            verb = _VERBS[type(command)]
            if isinstance(command, Promote | Requeue | Delete):
                raise UsageError(f"job {command.ref.id!r} in queue {queue!r} is {answer.refused} and cannot be {verb}")
            raise UsageError(f"what is {answer.refused} in queue {queue!r} cannot be {verb}")
        return answer

    async def _in_batches(self, queue: str, state: State, command: Purge | RequeueAll) -> int:
        """As many as there are now, at most: what comes into that state meanwhile is not the caller's business."""
        left = (await self._ask(lambda engine: engine.count(queue))).states[state]
        total = 0
        while True:
            count = (await self._control(queue, command._replace(limit=max(1, min(left, DUE_LIMIT))))).count
            total += count
            left -= count
            if count == 0 or left <= 0:
                return total

    async def _numbered(
        self, queue: str, verb: str, call: Callable[[Engine, Batch], Awaitable[Controlled]]
    ) -> Controlled:
        """One command in flight a verb and queue, each under a number of its own."""
        key = f"{verb} {queue}"
        began_s = monotonic()
        async with self._turns.setdefault(key, asyncio.Lock()):
            number = self._numbers[key] = self._numbers.get(key, 0) + 1
            batch = Batch(self._caller, number)
            locked = self._locked.pop(key, None)
            # Who has waited behind a call that found the store locked waits no longer for that lock than it did.
            left_s = None if locked is None else max(0.0, locked.waited_s - (monotonic() - began_s))
            try:
                async with asyncio.timeout(left_s):
                    answer = await self._ask(lambda engine: call(engine, batch))
            except EngineLocked as error:
                self._locked[key] = error
                raise
            except TimeoutError:
                assert locked is not None
                self._locked[key] = locked
                raise locked from None
        self._notice(answer)
        return answer

    async def _ask(self, call: Callable[[Engine], Awaitable[T]]) -> T:
        return await resend(self._connection, call, self._rng)

    async def _emission_of(self, after: Which | JobRecord | None, queue: str) -> int | None:
        if after is None:
            return None
        if isinstance(after, JobRecord):
            return after.emission
        record = await self.get_job(after, queue)
        if record is None:
            raise UsageError(
                f"after must name a job that is still kept, got {after!r}; give the JobRecord to page on without it"
            )
        return record.emission

    def _record(self, job: StoredJob | None) -> JobRecord | None:
        if job is None:
            return None
        registration = self._app.registry.find(job.queue, job.event)
        budget = None
        if registration is not None:
            policy = in_force(
                job.options,
                registration.retry,
                registration.retry_count,
                registration.retry_delay_ms,
                self._app.settings.retry,
            )
            budget = policy.max_retries + 1
        return job_record(job, budget)


async def _within(deadline_s: float | None, asked: Awaitable[T]) -> T:
    """The answer, or `TimeoutError` where the store does not give one in time."""
    try:
        async with asyncio.timeout(None if deadline_s is None else max(_LAST_LOOK_S, deadline_s - monotonic())):
            return await asked
    except TimeoutError:
        raise TimeoutError("the store did not answer in time; what became of the job is not known") from None


def which_job(which: object, queue: object) -> tuple[str, JobRef]:
    """The queue and reference of a job named by id or by handle (whose own queue counts)."""
    if isinstance(which, JobHandle):
        return which.queue, which.ref
    return check_queue(queue), JobRef(check_id(which))


def check_state(value: object) -> State:
    """A state by name, or a `UsageError` naming the six."""
    if not isinstance(value, str) or value not in State.__members__.values():
        raise UsageError(f"state must be one of {', '.join(State)}, got {value!r}")
    return State(value)


def _outcome(queue: str, ref: JobRef, job: StoredJob | None) -> Any:
    if job is None:
        raise JobFailed(Reason.GONE, job_id=ref.id, queue=queue)
    if job.state is State.COMPLETED:
        try:
            return read_result(job)
        except ValueError as damage:
            raise JobFailed(str(damage), job_id=ref.id, queue=queue) from None
    error = job.error
    # `requested` says how it was cancelled; to who waits for the result, the plain word says it.
    reason = job.state if job.reason in (None, Reason.REQUESTED) else job.reason
    raise JobFailed(
        reason,
        job_id=ref.id,
        queue=queue,
        error_type=error.type if error else None,
        error_message=error.message if error else None,
        traceback=error.traceback if error else None,
    )
