"""Where jobs stand that nobody runs: the lines of the waiting, one a priority, and the heap of the delayed.

Both answer "who is next" in constant or logarithmic time and let anyone leave from the middle. A line never holds an
entry of somebody who left; the heap may, and is rebuilt before such entries outnumber the others.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

from taskmanager.job import StoredJob

__all__ = ["Delays", "Line", "Lines"]

Line = OrderedDict[int, StoredJob]
"""One priority's waiting jobs by `order`, which only grows: the first is the next."""


class Lines:
    """The waiting jobs of a queue: highest priority first, then in the order in which they became waiting."""

    __slots__ = ("by_priority", "ranks")

    def __init__(self) -> None:
        self.by_priority: dict[int, Line] = {}
        self.ranks: list[int] = []

    def __len__(self) -> int:
        return sum(map(len, self.by_priority.values()))

    def __iter__(self) -> Iterator[StoredJob]:
        for rank in self.ranks:
            yield from self.by_priority[rank].values()

    def append(self, job: StoredJob) -> None:
        """To the end of its priority; its `order` must be the newest."""
        line = self.by_priority.get(job.priority)
        if line is None:
            line = self.by_priority[job.priority] = OrderedDict()
            self.ranks = sorted(self.by_priority, reverse=True)
        line[job.order] = job

    def remove(self, job: StoredJob) -> None:
        del self.by_priority[job.priority][job.order]


class Delays:
    """The delayed jobs of a queue, in the order of (run_at, emission)."""

    __slots__ = ("heap", "jobs")

    def __init__(self) -> None:
        self.jobs: dict[int, StoredJob] = {}
        """By emission number, which no two jobs share."""
        self.heap: list[tuple[int, int]] = []
        """(run_at, emission); an entry counts only while the job is here with that very `run_at`."""

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[StoredJob]:
        return iter(sorted(self.jobs.values(), key=lambda job: (job.run_at, job.emission)))

    def add(self, job: StoredJob) -> None:
        self.jobs[job.emission] = job
        heapq.heappush(self.heap, (job.run_at, job.emission))

    def remove(self, job: StoredJob) -> None:
        del self.jobs[job.emission]
        if len(self.heap) > 2 * len(self.jobs) + 16:
            self.heap = [(one.run_at, emission) for emission, one in self.jobs.items()]
            heapq.heapify(self.heap)

    def first(self) -> StoredJob | None:
        """The next to become due. What is stale at the top goes on the way."""
        while self.heap:
            run_at, emission = self.heap[0]
            job = self.jobs.get(emission)
            if job is not None and job.run_at == run_at:
                return job
            heapq.heappop(self.heap)
        return None
