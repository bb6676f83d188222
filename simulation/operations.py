"""The operations of `TaskManager` as plain calls, answered at the instant at which they are made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from taskmanager.handles import JobHandle
from taskmanager.records import JobRecord, LogRecord, ScheduleRecord

if TYPE_CHECKING:
    from taskmanager.manager import TaskManager

T = TypeVar("T")
Which = str | JobHandle


class Operations:
    """See `TaskManager` for what each does, takes and raises."""

    _tm: TaskManager

    def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Answers what the person at the controls asks, before the world goes on."""
        raise NotImplementedError

    def run(self, awaitable: Awaitable[T]) -> T:
        """Runs an awaitable inside the world."""
        raise NotImplementedError

    def emit(self, event: str, data: Any = None, **options: Any) -> JobHandle:
        return self.ask(lambda: self._tm.emit(event, data, **options))

    def emit_many(self, entries: Iterable[Mapping[str, Any]]) -> list[JobHandle]:
        return self.ask(lambda: self._tm.emit_many(entries))

    def emit_and_wait(self, event: str, data: Any = None, *, timeout: timedelta | float, **options: Any) -> Any:
        """Lets the world run until the job has ended."""
        return self.run(self._tm.emit_and_wait(event, data, timeout=timeout, **options))

    def get_job(self, job: Which, queue: str = "default") -> JobRecord | None:
        return self.ask(lambda: self._tm.get_job(job, queue))

    job = get_job

    def logs(self, job: Which, queue: str = "default") -> list[LogRecord]:
        return self.ask(lambda: self._tm.logs(job, queue))

    def cancel(self, job: Which, queue: str = "default") -> JobRecord | None:
        return self.ask(lambda: self._tm.cancel(job, queue))

    def retry(self, job: Which, queue: str = "default") -> JobRecord | None:
        return self.ask(lambda: self._tm.retry(job, queue))

    def promote(self, job: Which, queue: str = "default") -> JobRecord | None:
        return self.ask(lambda: self._tm.promote(job, queue))

    def delete_job(self, job: Which, queue: str = "default") -> JobRecord | None:
        return self.ask(lambda: self._tm.delete_job(job, queue))

    def jobs(
        self,
        queue: str = "default",
        state: str | None = None,
        limit: int = 100,
        after: Which | JobRecord | None = None,
    ) -> list[JobRecord]:
        return self.ask(lambda: self._tm.jobs(queue, state, limit, after))

    def counts(self, queue: str = "default") -> dict[str, int]:
        return self.ask(lambda: self._tm.counts(queue))

    def pause_queue(self, queue: str = "default") -> None:
        self.ask(lambda: self._tm.pause_queue(queue))

    def resume_queue(self, queue: str = "default") -> None:
        self.ask(lambda: self._tm.resume_queue(queue))

    def is_queue_paused(self, queue: str = "default") -> bool:
        return self.ask(lambda: self._tm.is_queue_paused(queue))

    def purge(self, queue: str, state: str) -> int:
        return self.ask(lambda: self._tm.purge(queue, state))

    def retry_all(self, queue: str = "default", event: str | None = None) -> int:
        return self.ask(lambda: self._tm.retry_all(queue, event))

    def queues(self) -> list[str]:
        return self.ask(self._tm.queues)

    def schedules(self) -> list[ScheduleRecord]:
        return self.ask(self._tm.schedules)

    def unschedule(self, name: str, queue: str = "default") -> bool:
        return self.ask(lambda: self._tm.unschedule(name, queue))

    def start(self) -> None:
        """Boots every node that is down."""
        self.run(self._tm.start())

    def stop(self) -> None:
        """Stops every node gracefully."""
        self.run(self._tm.stop())
