"""From the words of `emit` to one validated entry: everything that can be refused is refused here, before any write.

What decides admission (queue, priority, debounce) comes from the emission, else from what this TaskManager registered
for the event, else from its processor rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from taskmanager.app import App
from taskmanager.clock import LATEST_MS, SystemClock, duration_ms, moment_ms
from taskmanager.codec import canonical, encode
from taskmanager.errors import UsageError
from taskmanager.job import DEFAULT_OPTIONS, Emission, Plan, RunOptions
from taskmanager.policy.admission import Debounce, check_event, check_id, check_priority, check_queue, default_id
from taskmanager.policy.cron import Repeat
from taskmanager.registry import Registration, debounce_of, either_ms, retries, timeout_ms

EMIT_OPTIONS = frozenset(
    [
        *("queue", "id", "priority", "replace", "delay", "delay_until", "expires", "timeout", "repeat"),
        *("retry_count", "attempts", "retry_delay", "retry_delay_ms", "debounce", "debounce_ms"),
    ]
)
_CENTURIES_MS = 10**13  # shorter ones need no look at the clock
_ENTRY_WORDS = EMIT_OPTIONS | {"event", "data"}
_EVERY_MESSAGE = "an entry of emit_many must be a mapping with 'event' and, if wanted, 'data' and the options of emit"


def compose(
    app: App,
    event: object,
    data: object = None,
    queue: object = None,  # all by name, but not marked so: Python would look up each that is left out
    id: object = None,
    priority: object = None,
    delay: object = None,
    delay_until: object = None,
    retry_count: object = None,
    attempts: object = None,
    retry_delay: object = None,
    retry_delay_ms: object = None,
    repeat: Any = None,
    debounce: Any = None,
    debounce_ms: object = None,
    timeout: object = None,
    expires: object = None,
    replace: object = False,
    awaited: bool = False,
) -> tuple[str, Emission | Plan]:
    """The queue and the entry of one emission, or a `UsageError` naming the field, the value and what is accepted."""
    event = check_event(event)
    queue = app.registry.home_of(event) if queue is None else check_queue(queue)
    registration = app.registry.find(queue, event)
    data = {} if data is None else data
    max_bytes = app.settings.max_data_bytes
    encoded = encode(data, field="data", max_bytes=max_bytes)
    job_id = default_id(event, canonical(encoded)) if id is None else check_id(id)
    if priority is not None:
        priority = check_priority(priority)
    else:
        priority = (registration.priority if registration else None) or 0
    delay_ms, run_at = (0, None) if delay is None and delay_until is None else _when(delay, delay_until)
    expires_ms, expires_at = (None, None) if expires is None else _expiry(expires)
    if not isinstance(replace, bool):
        raise UsageError(f"replace must be True or False, got {replace!r}")
    options = DEFAULT_OPTIONS
    if not (retry_count is attempts is retry_delay is retry_delay_ms is timeout is None):
        options = RunOptions(
            retries(retry_count, attempts),
            either_ms("retry_delay", retry_delay, retry_delay_ms),
            timeout_ms(timeout),
        )
    if repeat is not None:
        _check_repeat(debounce is not None or debounce_ms is not None, expires_at, expires, awaited)
        return queue, plan(Repeat.of(repeat), job_id, event, encoded, priority, options, expires_ms, delay_ms, run_at)
    window = None
    if (bounce := _debounce(app, registration, debounce, debounce_ms)) is not None:
        window, named = bounce.window_for(data, job_id, event)
        job_id = named if id is None and named is not None else job_id
    return queue, Emission(
        event, job_id, encoded, priority, delay_ms, run_at, expires_ms, expires_at, options, window, replace, awaited
    )


def check_options(options: Mapping[str, object]) -> None:
    """A `UsageError` for a word that `emit` does not know: a misspelt `delay` must not run the job at once."""
    if not EMIT_OPTIONS.issuperset(options):
        unknown = next(name for name in options if name not in EMIT_OPTIONS)
        raise UsageError(f"emit has no option {unknown!r}; it takes {', '.join(sorted(EMIT_OPTIONS))}")


def compose_many(app: App, entries: Iterable[object]) -> list[tuple[str, Emission | Plan]]:
    """The entries of `emit_many`: mappings with the words of `emit`."""
    composed: list[tuple[str, Emission | Plan]] = []
    homes: dict[str, tuple[str, int] | None] = {}
    max_bytes = app.settings.max_data_bytes
    for entry in entries:
        if not isinstance(entry, (dict, Mapping)) or "event" not in entry:
            raise UsageError(f"{_EVERY_MESSAGE}, got {entry!r}")
        # Most are so, and need no look at what they lack.
        if type(entry) is dict and len(entry) == 3 and "id" in entry and "data" in entry:
            event, job_id, data = entry["event"], entry["id"], entry["data"]
            if type(event) is str and event not in homes:
                homes[event] = _plain_home(app, event)
            if type(event) is str and job_id is not None and data is not None and (home := homes[event]) is not None:
                encoded = encode(data, field="data", max_bytes=max_bytes)
                composed.append((home[0], Emission(event, check_id(job_id), encoded, home[1])))
                continue
        if not _ENTRY_WORDS.issuperset(entry):
            unknown = next(name for name in entry if name not in _ENTRY_WORDS)
            raise UsageError(f"{_EVERY_MESSAGE}; {unknown!r} is none of them")
        composed.append(compose(app, **entry))
    return composed


def _plain_home(app: App, event: str) -> tuple[str, int] | None:
    """The queue and the priority of emissions of this event that say neither, None where these are debounced."""
    queue = app.registry.home_of(check_event(event))
    registration = app.registry.find(queue, event)
    is_debounced = _debounce(app, registration, None, None) is not None
    return None if is_debounced else (queue, (registration.priority if registration else None) or 0)


def handler_plan(app: App, registration: Registration) -> Plan:
    """The schedule that a handler with `repeat` registers at the start of a worker."""
    assert registration.repeat is not None
    empty = encode({}, field="data", max_bytes=app.settings.max_data_bytes)
    return plan(
        registration.repeat,
        registration.event,
        registration.event,
        empty,
        registration.priority or 0,
        DEFAULT_OPTIONS,
        None,
        0,
        None,
        registration.origin,
    )


def plan(
    repeat: Repeat,
    name: str,
    event: str,
    data: bytes,
    priority: int,
    options: RunOptions,
    expires_ms: int | None,
    not_before_ms: int,
    not_before_at: int | None,
    origin: str | None = None,
) -> Plan:
    return Plan(
        name,
        event,
        repeat.pattern,
        repeat.timezone,
        data,
        priority,
        options,
        expires_ms,
        repeat.catch_up,
        repeat.misfire_grace_ms,
        repeat.overlap,
        repeat.immediate,
        not_before_ms,
        not_before_at,
        origin,
    )


def _check_repeat(is_debounced: bool, expires_at: int | None, expires: object, is_awaited: bool) -> None:
    """What an emission that registers a schedule cannot ask for."""
    if is_debounced:
        raise UsageError("debounce cannot be given together with repeat: occurrences of a schedule are not debounced")
    if expires_at is not None:
        raise UsageError(f"expires must be a duration where repeat is given, got {expires!r}: it counts from each run")
    if is_awaited:
        raise UsageError("repeat cannot be awaited: it registers a schedule and has no result")


def _when(delay: object, delay_until: object) -> tuple[int, int | None]:
    if delay is not None and delay_until is not None:
        raise UsageError(f"give delay or delay_until, not both; got {delay!r} and {delay_until!r}")
    if delay_until is not None:
        return 0, moment_ms(delay_until, "delay_until")
    return (0 if delay is None else _coming(delay, "delay")), None


def _expiry(expires: object) -> tuple[int | None, int | None]:
    if expires is None:
        return None, None
    if isinstance(expires, datetime):
        return None, moment_ms(expires, "expires")
    return _coming(expires, "expires"), None


def _coming(value: object, field: str) -> int:
    """A duration that ends, counted from now, before the year 10000."""
    ms = duration_ms(value, field)
    if ms > _CENTURIES_MS and SystemClock().now_us() // 1000 + ms > LATEST_MS:
        raise UsageError(f"{field} must end before the year 10000, got {value!r}")
    return ms


def _debounce(app: App, registration: Registration | None, debounce: Any, debounce_ms: object) -> Debounce | None:
    if debounce is debounce_ms is None:
        return (registration.debounce if registration else None) or app.settings.debounce
    if debounce is False or debounce == 0 or debounce_ms == 0:
        return None
    return debounce_of(debounce, debounce_ms)
