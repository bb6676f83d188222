"""Background jobs that can be trusted because they can be simulated.

One `TaskManager` over interchangeable engines; the same application, unmodified, runs in simulated time (see the
`simulation` package).
"""

from taskmanager.codec import new_id
from taskmanager.errors import (
    Discard,
    EngineFull,
    EngineUnavailable,
    InvariantError,
    JobFailed,
    LeaseLost,
    RetryLater,
    TaskManagerError,
    UsageError,
)
from taskmanager.handles import JobHandle
from taskmanager.job import State
from taskmanager.manager import TaskManager
from taskmanager.policy.admission import Debounce
from taskmanager.policy.retry import Retry
from taskmanager.records import JobRecord, LogRecord, ScheduleRecord
from taskmanager.steps import Step
from taskmanager.worker.context import Context
from taskmanager.worker.job import Job

__all__ = [
    "Context",
    "Debounce",
    "Discard",
    "EngineFull",
    "EngineUnavailable",
    "InvariantError",
    "Job",
    "JobFailed",
    "JobHandle",
    "JobRecord",
    "LeaseLost",
    "LogRecord",
    "Retry",
    "RetryLater",
    "ScheduleRecord",
    "State",
    "Step",
    "TaskManager",
    "TaskManagerError",
    "UsageError",
    "new_id",
]
