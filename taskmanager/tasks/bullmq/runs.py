"""What a driver takes out of a BullMQ queue: the worker, and what the end of a run means to it.

The outcome is written by BullMQ: returned is completed, raised is failed with the error (and tried again where whoever
added the job gave it `attempts`), and a worker that dies is found out by BullMQ's stalled check. Three ends are ours:

* `prepare` declined, or an earlier occurrence of the same schedule is still running: completed, the value `skipped`.
  BullMQ itself adds the next occurrence as soon as one begins, so that a slow task would run several times at once. Of
  two active ones the later to begin yields; both are in the list of active jobs before either looks.
* `RetryLater`, and a `stop()` whose grace is over: the job goes back to the queue, no attempt counted.
* `Discard`, and a task that is not defined here: failed at once, whatever `attempts` says.
"""

from __future__ import annotations

import asyncio
import logging
from functools import cached_property
from typing import Any

from bullmq import Worker  # type: ignore[import-untyped]  # bullmq ships no types
from bullmq.custom_errors import DelayedError, UnrecoverableError  # type: ignore[import-untyped]
from bullmq.job import Job  # type: ignore[import-untyped]
from bullmq.job_scheduler import JobScheduler  # type: ignore[import-untyped]
from redis.exceptions import RedisError

from taskmanager.clock import SystemClock, datetime_of, duration_ms
from taskmanager.errors import Discard, RetryLater
from taskmanager.job import State
from taskmanager.tasks.bullmq.crons import next_run
from taskmanager.tasks.bullmq.registrations import KEPT
from taskmanager.tasks.driver import TaskRun, TaskRunner, UnknownTask

__all__ = ["Runs"]

SKIPPED = "skipped"
_RETRY_MS = 1000
"""How long the worker waits before it asks a server again that was gone."""
_LOOK_S = 0.05
"""How often an ending worker is looked at, in seconds."""
_SETTLE_S = 5.0
"""How long it may take to tell the server of the last ends."""
_log = logging.getLogger("taskmanager")


class _Worker(Worker):  # type: ignore[misc]  # bullmq ships no types
    """BullMQ's, with our reading of patterns."""

    @cached_property
    def jobScheduler(self) -> Any:  # BullMQ's name for it
        return JobScheduler(self, repeat_strategy=next_run)


class Runs:
    """A worker of one queue, in one event loop: there from `begin` to `end`, it takes jobs once it has a runner."""

    def __init__(self, context: object, grace_s: float) -> None:
        self._runner: TaskRunner
        self._is_introduced = asyncio.Event()
        self._context = context
        self._grace_s = grace_s
        self._running: set[asyncio.Task[bool]] = set()
        self._is_ending = False

    async def begin(self, queue: str, prefix: str, client: Any, concurrency: int) -> None:
        """Connects the worker; `end` ends the client too."""
        options = {
            "connection": client,
            "prefix": prefix,
            "concurrency": concurrency,
            "autorun": False,
            "runRetryDelay": _RETRY_MS,
            **KEPT,
        }
        self._client = client
        self._worker = _Worker(queue, self.process, options)
        self._worker.on("error", self._trouble)
        self._worker.on("stalled", self._lost)
        # Until the worker knows the server's version it waits for whole seconds, and a delayed job runs that much late.
        await self._worker.blockingRedisConnection.getRedisVersion()
        self._serving = asyncio.ensure_future(self._serve())
        self._serving.add_done_callback(self._served)

    def introduce(self, runner: TaskRunner) -> None:
        """Runs are given to this runner from now on."""
        self._runner = runner
        self._is_introduced.set()

    async def _serve(self) -> None:
        await self._is_introduced.wait()
        await self._worker.run()

    async def end(self) -> None:
        """Takes no more jobs, gives those that run their grace, gives back what runs still, and closes.

        Cancelled while it waits for them, it does the rest at once.
        """
        self._is_ending = True
        await self._worker.pause(True)
        try:
            if self._running:
                await asyncio.wait(self._running, timeout=self._grace_s)
        finally:
            for run in self._running:
                run.cancel()
            await self._close()

    async def _close(self) -> None:
        """Ends the worker when nothing of it is under way. (BullMQ's `close` cuts off what has just begun.)"""
        try:
            async with asyncio.timeout(_SETTLE_S):
                while under_way := [each for each in self._worker.processing if not each.done()]:
                    if self._worker.waiting is not None:
                        self._worker.waiting.cancel()  # pausing wakes a read that waits for a job, not one to come
                    await asyncio.wait(under_way, timeout=_LOOK_S)
        except TimeoutError:
            _log.warning("the BullMQ worker could not settle all within %g s; BullMQ will find it stalled", _SETTLE_S)
        ended = [each for each in self._worker.processing if each.done() and not each.cancelled()]
        while not self._serving.done():
            self._serving.cancel()  # again, because a time-out that begins may swallow one (cpython gh-86296)
            await asyncio.wait({self._serving}, timeout=_LOOK_S)
        for job in [each.result() for each in ended if each.exception() is None]:
            if job is not None:  # it was handed out in this moment, and nobody has begun it
                await self._return(job)
        await self._client.aclose()

    async def _return(self, job: Any) -> None:
        try:
            await self._give_back(job, job.token, 0)
        except DelayedError:
            return
        except Exception as error:  # BullMQ finds it stalled
            self._trouble(error, job)

    # ---- one run

    async def process(self, job: Any, token: str) -> str | None:
        """What BullMQ calls for each job."""
        if self._is_ending:
            await self._give_back(job, token, 0)
        if await self._overlaps(job):
            _log.info("task %r: job %s is skipped, an earlier run of it is not over", job.name, job.id)
            return SKIPPED
        due = datetime_of(_due_ms(job))
        run = asyncio.ensure_future(self._executed(TaskRun(job.name, job.data, due, self._context, job)))
        self._running.add(run)
        try:
            await asyncio.wait({run})
        finally:
            self._running.discard(run)
            run.cancel()
        if run.cancelled() and self._is_ending:
            await self._give_back(job, token, 0)
        return await self._ended(job, token, run)

    async def _executed(self, run: TaskRun) -> bool:
        return await self._runner(run)

    async def _ended(self, job: Any, token: str, run: asyncio.Task[bool]) -> str | None:
        try:
            return None if run.result() else SKIPPED
        except RetryLater as later:
            await self._give_back(job, token, max(1, duration_ms(later.delay, "delay")))
            return None
        except (Exception, asyncio.CancelledError) as error:
            _log.exception("task %r: job %s failed", job.name, job.id)
            raise _as_bullmq_takes_it(error) from error

    async def _give_back(self, job: Any, token: str, delay_ms: int) -> None:
        await job.moveToDelayed(SystemClock().now_us() // 1000 + delay_ms, token)
        raise DelayedError

    async def _overlaps(self, job: Any) -> bool:
        """Whether another job of the same scheduler is active and began before this one."""
        if not job.repeatJobKey:
            return False
        of_scheduler = f"repeat:{job.repeatJobKey}:"
        try:
            active = await self._worker.backend.getRanges([State.ACTIVE], 0, -1)
            others = [each for each in active if each.startswith(of_scheduler) and each != job.id]
            found = [await Job.fromId(self._worker, each) for each in others]
        except (RedisError, OSError) as error:
            self._trouble(error, job)
            return False  # a run too many is better than one that fails for this
        return any(other and (other.processedOn, other.id) < (job.processedOn, job.id) for other in found)

    def _served(self, serving: asyncio.Task[None]) -> None:
        error = None if serving.cancelled() else serving.exception()
        if error is not None:
            _log.critical("the BullMQ worker has ended, nothing is run any more: %s", error, exc_info=error)

    def _lost(self, job_id: str) -> None:
        _log.warning("job %s was lost by the worker that had it, and runs again", job_id)

    def _trouble(self, error: object, job: Any = None) -> None:
        about = "" if job is None else f", about job {job.id} of task {job.name!r}"
        _log.error("the BullMQ worker reports%s: %s", about, error or type(error).__name__)


def _as_bullmq_takes_it(error: BaseException) -> Exception:
    """An error whose text is the job's reason, and whose class says whether it may be tried again."""
    reason = str(error) or type(error).__name__
    is_final = isinstance(error, (Discard, UnknownTask, UnrecoverableError))
    return UnrecoverableError(reason) if is_final else RuntimeError(reason)


def _due_ms(job: Any) -> int:
    """When a job was due, in ms: an occurrence's id says it, any other job was added with its delay."""
    _, _, due = str(job.id).rpartition(":")
    if job.repeatJobKey and due.isdecimal():
        return int(due)
    return int(job.timestamp) + int(job.opts.get("delay") or 0)
