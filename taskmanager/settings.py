"""What a TaskManager was told when it was made: checked once, then only read.

Nothing here opens a connection or looks at a clock, so a TaskManager can be made at import time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskmanager.clock import duration_ms
from taskmanager.engine import Limit
from taskmanager.errors import UsageError
from taskmanager.job import State
from taskmanager.policy.admission import DeadLetters, Debounce, check_prefix, check_queue
from taskmanager.policy.retention import Retention, transient
from taskmanager.policy.retry import Retry

DEFAULT_URL = "sqlite:///tasks.db"
_PROCESSOR_KEYS = ("retry", "debounce", "dlq", "ignore_config_errors")


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one TaskManager. Durations are milliseconds; see SPEC section 3 for what each is for."""

    db: Any
    streamdb: Any
    ctx: Any
    lifespan: Callable[..., Any] | None
    concurrency: int
    queues: tuple[str, ...] | None
    lease_ms: int
    grace_ms: int
    max_stalled: int
    max_block_ms: int
    max_data_bytes: int
    limits: Mapping[State, Limit]
    transient: frozenset[State]
    prefix: str
    retry: Retry | None
    debounce: Debounce | None
    dead_letters: DeadLetters
    ignore_config_errors: bool

    @property
    def beat_s(self) -> float:
        """Seconds between heartbeats: five to a lease, and often enough to find what a lost reply stranded in 2 s."""
        return min(self.lease_ms / 5, 2000) / 1000

    def dead_letter_stream(self, queue: str) -> str:
        """The stream that gets the queue's dead letters: the one named, verbatim, else one of the queue's own."""
        return self.dead_letters.stream_key or f"{self.prefix}:{{{queue}}}:dead"

    @staticmethod
    def of(
        *,
        db: Any,
        ctx: Any,
        concurrency: object,
        streamdb: Any,
        processor: object,
        lifespan: Any,
        queues: object,
        lease: timedelta | float,
        grace: timedelta | float,
        max_stalled: object,
        max_block: timedelta | float,
        max_data_bytes: object,
        retention: object,
        prefix: object,
    ) -> Settings:
        rules = _mapping(processor, "processor", _PROCESSOR_KEYS)
        limits = Retention.of(retention)  # type: ignore[arg-type]  # checked there
        ignore = rules.get("ignore_config_errors", True)
        if not isinstance(ignore, bool):
            raise UsageError(f"processor.ignore_config_errors must be True or False, got {ignore!r}")
        if lifespan is not None and not callable(lifespan):
            raise UsageError(f"lifespan must be a function that returns an async context manager, got {lifespan!r}")
        return Settings(
            db=_store(db, "db"),
            streamdb=streamdb,
            ctx=ctx,
            lifespan=lifespan,
            concurrency=whole(concurrency, "concurrency", 1, 100_000),
            queues=_queues(queues),
            lease_ms=_at_least(duration_ms(lease, "lease"), 100, "lease", lease),
            grace_ms=duration_ms(grace, "grace"),
            max_stalled=whole(max_stalled, "max_stalled", 1, 1_000_000),
            max_block_ms=_at_least(duration_ms(max_block, "max_block"), 1, "max_block", max_block),
            max_data_bytes=whole(max_data_bytes, "max_data_bytes", 2, 512 << 20),
            limits=limits,
            transient=transient(limits),
            prefix=check_prefix(prefix),
            retry=None if (retry := rules.get("retry")) is None else Retry.of(retry),
            debounce=None if (debounce := rules.get("debounce")) is None else Debounce.of(debounce),
            dead_letters=DeadLetters.of(rules.get("dlq")),
            ignore_config_errors=ignore,
        )


def whole(value: object, field: str, low: int, high: int) -> int:
    """An integer (and no bool) from `low` to `high`, or a `UsageError` naming `field`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{field} must be an integer from {low:,} to {high:,}, got {value!r}")
    return value


def _at_least(ms: int, low_ms: int, field: str, value: object) -> int:
    if ms < low_ms:
        raise UsageError(f"{field} must be at least {low_ms / 1000} seconds, got {value!r}")
    return ms


def _mapping(value: object, field: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{field} must be a mapping with {', '.join(keys)}, got {value!r}")
    for key in value:
        if key not in keys:
            raise UsageError(f"{field} has no {key!r}; it takes {', '.join(keys)}")
    return value


def _queues(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise UsageError(f"queues must be a list of queue names, got {value!r}")
    names = tuple(dict.fromkeys(check_queue(name) for name in value))
    if not names:
        raise UsageError("queues must name at least one queue, got none; leave it out to serve those of the handlers")
    return names


def _store(db: Any, field: str) -> Any:
    if db is None:
        return os.environ.get("TASKMANAGER_URL") or DEFAULT_URL
    if isinstance(db, str) and not db.strip():
        raise UsageError(f"{field} must be a URL or a redis.asyncio client, got {db!r}")
    return db
