"""The layout: the only place where a key is spelt, and where the scripts get their words from.

All keys of a queue begin with its base, `prefix:{queue}`; the braces are Redis's hash tag, so they share one slot.
`README.md` shows the layout to operators, from these tables.
"""

from __future__ import annotations

import re

from taskmanager.clock import LATEST_MS
from taskmanager.engine import ATTEMPTS_KEPT, AWAITED_MS, DUE_LIMIT, LOG_LINES, REPLAY_MS
from taskmanager.job import Edge, Kind, Reason, State

__all__ = ["KEYS", "WORDS", "Layout"]

TOGETHER = 64
"""An entry of the index names the jobs of at most so many emission numbers: a multiple of this, and those behind it."""

KEYS: dict[str, tuple[str, str]] = {
    # name in the scripts: (what follows the base, what is there); a name that ends in a colon is followed by one more
    "META": (":meta", "hash: the queue's counters, its lines, whether it is paused"),
    "JOB": (":job:", "hash by job id: one job"),
    "NEXT": (":next:", "hash by job id: the follow-up recorded while that job runs"),
    "LOGS": (":logs:", "list by job id: log lines as JSON (at, attempt, message), oldest first"),
    "LINE": (":line:", "stream by priority: the waiting and active jobs; its group `workers` delivers them"),
    "DELAYED_SET": (":delayed", "sorted set by run_at: the delayed jobs, 16 digits of emission number before the id"),
    "FINISHED": (":finished:", "stream by state: the finished jobs in the order of their ends"),
    "INDEX": (":index", "stream by emission number: every job, those that were emitted together in one entry"),
    "INDEXED": (":indexed", f"hash by {TOGETHER} emission numbers: how many of these are left in the index"),
    "LEASES": (":leases", "sorted set by the end of the lease: the workers that hold jobs"),
    "STALE": (":stale", "set of ids: the waiting jobs whose line's entry is older than their record"),
    "HELD": (":held:", "hash by worker: the claims under its lease, each with its job's id at the end"),
    "REAPED": (":reaped:", "hash by worker: the same of what it took over from a lost worker"),
    "MARKS": (":marks", "set: the claims whose jobs are to be cancelled"),
    "SCHEDULES": (":schedules", "sorted set by next occurrence (0: not computed yet): the schedules' names"),
    "SCHEDULE": (":schedule:", "hash by name: one schedule"),
    "LIVE": (":live", "hash: how many jobs of a schedule are not finished"),
    "WINDOWS": (":windows", "hash: the open debounce windows: serial, opening, end, job id"),
    "CLOSING": (":closing", "sorted set by end: the leading windows"),
    "OUTCOME": (":outcome:", "hash by serial: how an awaited job ended"),
    "OUTCOMES": (":outcomes", "sorted set by end of keeping: the serials of these"),
    "ANSWERS": (":answers", "hash by verb and caller: number, moment and answer of the last call"),
    "CALLS": (":calls", "sorted set by moment: the same callers"),
    "BELL": (":bell", "list: a token for one waiting worker"),
    "ENDED": (":ended", "channel: the serials of awaited jobs that ended"),
    "ROOM": (":room", "nothing: deleting it lets a script run on a full server"),
}

CARRIED = 256
"""Up to so many bytes of data stand in the line too, where a start reads them."""
GROUP = "workers"
ASIDE = "(aside)"

WORDS: dict[str, str | int] = {
    "CARRIED": CARRIED,
    "TOGETHER": TOGETHER,
    "GROUP": GROUP,
    "ASIDE": ASIDE,
    "LATEST_MS": LATEST_MS,
    "DUE_LIMIT": DUE_LIMIT,
    "REPLAY_MS": REPLAY_MS,
    "AWAITED_MS": AWAITED_MS,
    "LOG_LINES": LOG_LINES,
    "ATTEMPTS_KEPT": ATTEMPTS_KEPT,
    **{state.name: state.value for state in State},
    **{kind.name: kind.value for kind in Kind if kind.name not in State.__members__},
    "CANCELLED_STEP": Kind.CANCELLED.value,
    **{reason.name: reason.value for reason in (Reason.EXPIRED, Reason.REQUESTED, Reason.DELETED, Reason.SUPERSEDED)},
    **{edge.name: edge.value for edge in Edge},
}
"""What the scripts say, in the words of `taskmanager.job`."""


class Layout:
    """The keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.store = f"{prefix}:store"
        self.queues = f"{prefix}:queues"

    def base(self, queue: str) -> str:
        return f"{self.prefix}:{{{queue}}}"

    def key(self, queue: str, name: str, rest: str = "") -> str:
        return self.base(queue) + KEYS[name][0] + rest

    def pattern(self, queue: str) -> str:
        """What fits all its keys, for SCAN."""
        return re.sub(r"([\\*?\[\]^])", r"\\\1", self.base(queue)) + ":*"

    def queue_of(self, key: str) -> str:
        """The queue of one of its keys."""
        start = len(self.prefix) + 2
        return key[start : key.index("}", start)]
