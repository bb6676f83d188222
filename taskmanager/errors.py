"""One family of errors, by whose fault it is and what to do next.

`UsageError` is yours: change the call. `EngineUnavailable` is the store's: try again later. `LeaseLost` ends a run that
another worker has taken over. `JobFailed` is the handler's. `InvariantError` is ours: please report it. A store's own
exceptions are translated at the engine's border and never reach a user.

`Discard` and `RetryLater` are no faults: a handler raises them to say how its attempt ends.
"""

from __future__ import annotations

from datetime import timedelta


class TaskManagerError(Exception):
    """Base of every error this package raises."""


class UsageError(TaskManagerError, ValueError):
    """The call cannot be carried out as written; nothing was changed.

    The message names the field, the value seen, what is accepted and, where there is one, the remedy.
    """


class EngineUnavailable(TaskManagerError):
    """The store did not answer in time. A write that ended so is *perhaps* stored; sending it again is safe."""

    may_be_stored = True
    """False where nothing was stored, and sending it again at once would not help."""


class EngineFull(EngineUnavailable):
    """The store has no room left. Nothing of the call was stored; what runs can still be settled."""

    may_be_stored = False


class EngineLocked(EngineUnavailable):
    """Somebody else kept the store locked for as long as a call waits. Nothing of the call was stored."""

    may_be_stored = False

    def __init__(self, message: str, waited_s: float) -> None:
        super().__init__(message)
        self.waited_s = waited_s


class EngineGone(EngineUnavailable):
    """The store was taken away while it was in use. Nothing of the call was stored."""

    may_be_stored = False


class LeaseLost(TaskManagerError):
    """This worker no longer holds the job: its lease was reaped. What the handler still does changes nothing."""


class JobFailed(TaskManagerError):
    """Raised to whoever awaits a result that will never come.

    `reason` is the job's recorded reason (`failed`, `cancelled`, `expired`, `stalled`, ...), `gone` for a job that is
    no longer kept, or `debounced` for an emission that was dropped. `error_type`, `error_message` and `traceback`
    repeat what the handler raised, where it raised.
    """

    def __init__(
        self,
        reason: str,
        *,
        job_id: str | None = None,
        queue: str | None = None,
        error_type: str | None = None,
        error_message: str | None = None,
        traceback: str | None = None,
    ) -> None:
        reason = str(reason)  # plain text, whatever kind of text it was given as
        detail = f": {error_type}: {error_message}" if error_type and error_message != reason else ""
        super().__init__(f"job {job_id!r} in queue {queue!r} has no result, reason {reason!r}{detail}")
        self.reason = reason
        self.job_id = job_id
        self.queue = queue
        self.error_type = error_type
        self.error_message = error_message
        self.traceback = traceback


class InvariantError(TaskManagerError):
    """A promise of this package was broken from within. Nothing a user does should ever raise it."""


class Discard(Exception):
    """Raised by a handler: this job can never succeed. It fails at once, whatever budget is left."""

    def __init__(self, reason: str = "discarded") -> None:
        super().__init__(reason)
        self.reason = reason


class RetryLater(Exception):
    """Raised by a handler: not now. The job is delayed by `delay` (seconds or a timedelta), and no retry is spent."""

    def __init__(self, delay: timedelta | float) -> None:
        super().__init__(f"retry later, in {delay}")
        self.delay = delay
