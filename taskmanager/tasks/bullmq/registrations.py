"""What a driver keeps in a BullMQ queue: a date is a delayed job, a cron a job scheduler, and each has one identifier.

The job's name is the task's, its data the task's data; that is CommandKit's layout, and all that a Node worker needs.
The identifier is the id of the job, or of the scheduler: `reminder@0c6f...`, new for each request, so that two of one
name live side by side and each is deleted alone.

A task's own schedule, `refresh@static`, is always a scheduler: it outlives its jobs, and is replaced in one step. A
static date is one that runs once (`limit: 1`) and then stays as the memory of that. So registering again what is there
writes nothing; that matters, because to write a scheduler again would throw away an occurrence that fell due while
nobody was there to run it. Between looking and writing no other process may register the same name: a lock sees to it.
A schedule that has no spelling in BullMQ is logged and not written; whoever asks by `create_task` is refused.

Ids have no colon, which BullMQ keeps for its own: jobs of a scheduler are `repeat:<its id>:<due, in ms>`.
"""

from __future__ import annotations

import logging
from typing import Any

from bullmq import Queue  # type: ignore[import-untyped]  # bullmq ships no types
from bullmq.job import Job  # type: ignore[import-untyped]
from bullmq.job_scheduler import JobScheduler  # type: ignore[import-untyped]

from taskmanager.clock import SystemClock, iso
from taskmanager.codec import new_id
from taskmanager.errors import UsageError
from taskmanager.job import State
from taskmanager.tasks.bullmq.connection import REPLY_S
from taskmanager.tasks.bullmq.crons import next_run, stored_pattern
from taskmanager.tasks.driver import TaskRequest
from taskmanager.tasks.schedules import CronSchedule, DateSchedule

__all__ = ["KEPT", "Registrations"]

KEPT = {"removeOnComplete": {"age": 3600, "count": 1000}, "removeOnFail": {"age": 604_800, "count": 10_000}}
"""How long finished jobs stay to be read, in seconds and jobs: what a TaskManager keeps by default."""

_PENDING = frozenset({State.WAITING, State.DELAYED, "prioritized"})
"""BullMQ's words for a job that has not begun; two of them are ours as well."""

_log = logging.getLogger("taskmanager")


class Registrations:
    """What is written into one queue. Used in one event loop; `close` ends its connections."""

    def __init__(self, queue: str, prefix: str, client: Any) -> None:
        self._queue = Queue(queue, {"connection": client, "prefix": prefix})
        self._schedulers = JobScheduler(self._queue, repeat_strategy=next_run)
        self._client = client

    async def close(self) -> None:
        await self._queue.close()

    async def create(self, request: TaskRequest) -> str:
        """Writes a request and answers its identifier."""
        schedule = request.schedule
        if request.static and schedule is not None:
            return await self._keep(request, schedule)
        identifier = _identifier(request.name, new_id())
        if isinstance(schedule, CronSchedule):
            await self._upsert(identifier, request, _repeat(schedule), request.immediate)
            return identifier
        now_ms = _now_ms()
        delay = 0 if schedule is None else max(0, schedule.at_ms - now_ms)
        options = {**KEPT, "jobId": identifier, "timestamp": now_ms, "delay": delay}
        await self._queue.add(request.name, request.data, options)
        return identifier

    async def delete(self, identifier: str) -> None:
        """Forgets a scheduler and what of it has not begun, or a job that has not begun; else nothing happens."""
        scheduler = await self._scheduler(identifier)
        if scheduler is not None:
            await self._schedulers.removeJobScheduler(identifier)
            # BullMQ takes the next occurrence along while it is delayed; one that has just become due it leaves.
            await self._remove_pending(f"repeat:{identifier}:{scheduler['next']}")
        await self._remove_pending(identifier)

    # ---- a task's own schedule

    async def _keep(self, request: TaskRequest, schedule: CronSchedule | DateSchedule) -> str:
        identifier = _identifier(request.name, "static")
        try:
            wanted = _repeat(schedule)
        except UsageError as error:
            # Raised, it would keep the tasks beside this one from being served.
            _log.error("task %r: its schedule is refused, and what the queue has of it stays: %s", request.name, error)
            return identifier
        turn = f"{self._queue.qualifiedName}:registering:{identifier}"
        async with self._client.lock(turn, timeout=4 * REPLY_S, sleep=0.01):
            kept = await self._scheduler(identifier)
            is_same = kept is not None and all(kept.get(name) == value for name, value in wanted.items())
            if isinstance(schedule, DateSchedule) and schedule.at_ms <= _now_ms():
                if not is_same:
                    _log.warning("task %r: its date %s is past, it does not run", request.name, iso(schedule.at_ms))
                    await self.delete(identifier)
            elif not (kept and is_same and _template(kept) == request.data and await self._goes_on(kept)):
                await self._upsert(identifier, request, wanted, request.immediate and not is_same)
        return identifier

    async def _goes_on(self, kept: dict[str, Any]) -> bool:
        """Whether a cron has the job that adds the next one: where that was lost, nothing would ever run again."""
        if "pattern" not in kept:
            return True
        job = await Job.fromId(self._queue, f"repeat:{kept['key']}:{kept['next']}")
        return job is not None and not job.finishedOn

    # ---- BullMQ's verbs

    async def _scheduler(self, identifier: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] | None = await self._schedulers.getScheduler(identifier)
        except ValueError:
            return None  # where there is none, bullmq fails to unpack the empty answer
        return found

    async def _upsert(
        self, identifier: str, request: TaskRequest, repeat: dict[str, Any], immediate: bool = False
    ) -> None:
        options = {**repeat, "immediately": True} if immediate else repeat
        await self._schedulers.upsertJobScheduler(identifier, options, request.name, request.data, dict(KEPT))

    async def _remove_pending(self, job_id: str) -> None:
        if await self._queue.getJobState(job_id) in _PENDING:
            await self._queue.remove(job_id)


def _repeat(schedule: CronSchedule | DateSchedule) -> dict[str, Any]:
    """A schedule in the words of a BullMQ job scheduler."""
    if isinstance(schedule, CronSchedule):
        return {"pattern": stored_pattern(schedule.pattern), "tz": schedule.timezone}
    # BullMQ starts anew, at `startDate`, where the interval has changed. So another date is another interval; there is
    # no second run for it to matter to.
    return {"every": schedule.at_ms, "startDate": schedule.at_ms, "limit": 1}


def _template(kept: dict[str, Any]) -> Any:
    """A scheduler's data; BullMQ does not store an empty object."""
    return kept.get("template", {}).get("data", {})


def _identifier(name: str, mark: str) -> str:
    return f"{name.replace('%', '%25').replace(':', '%3A')}@{mark}"


def _now_ms() -> int:
    return SystemClock().now_us() // 1000
