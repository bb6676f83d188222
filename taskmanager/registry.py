"""Which function runs which event, and under which terms.

A registration is checked when it is made. The last one for (queue, event) wins, and whoever serves the registry hears
of each, so a handler registered after the start is served as well.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from taskmanager.clock import LATEST_MS, duration_ms
from taskmanager.codec import TypedDecoder
from taskmanager.errors import UsageError
from taskmanager.policy.admission import Debounce, check_event, check_priority, check_queue
from taskmanager.policy.cron import Repeat
from taskmanager.policy.retry import Retry, check_retry_count
from taskmanager.worker.job import Job

Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Registration:
    """One handler and what it asks for; None leaves a thing to the processor or the default.

    `origin` marks one that was loaded from somewhere, and its schedule; see `Registry.own`.
    """

    queue: str
    event: str
    function: Handler
    is_async: bool
    takes_ctx: bool
    decoder: TypedDecoder | None
    retry_count: int | None
    retry_delay_ms: int | None
    retry: Retry | None
    timeout_ms: int | None
    debounce: Debounce | None
    priority: int | None
    repeat: Repeat | None
    concurrency: int | None
    origin: str | None = None

    @staticmethod
    def of(
        function: Handler,
        event: object,
        queue: object = "default",
        *,
        retry_count: object = None,
        attempts: object = None,
        retry_delay: object = None,
        retry_delay_ms: object = None,
        retry: Any = None,
        timeout: object = None,
        debounce: Any = None,
        debounce_ms: object = None,
        priority: object = None,
        repeat: Any = None,
        concurrency: object = None,
    ) -> Registration:
        if not callable(function):
            raise UsageError(f"handler must be a function (job, ctx) or (job), got {function!r}")
        if concurrency is not None and (
            not isinstance(concurrency, int) or isinstance(concurrency, bool) or concurrency < 1
        ):
            raise UsageError(f"concurrency must be an integer of at least 1, got {concurrency!r}")
        return Registration(
            queue=check_queue(queue),
            event=check_event(event),
            function=function,
            is_async=is_async(function),
            takes_ctx=_takes_ctx(function),
            decoder=_decoder(function),
            retry_count=retries(retry_count, attempts),
            retry_delay_ms=either_ms("retry_delay", retry_delay, retry_delay_ms),
            retry=None if retry is None else Retry.of(retry),
            timeout_ms=timeout_ms(timeout),
            debounce=debounce_of(debounce, debounce_ms),
            priority=None if priority is None else check_priority(priority),
            repeat=None if repeat is None else Repeat.of(repeat),
            concurrency=concurrency,
        )


class Registry:
    """The registrations of one TaskManager, by (queue, event). `registered` counts its changes."""

    def __init__(self) -> None:
        self._registrations: dict[tuple[str, str], Registration] = {}
        self._homes: dict[str, list[str]] = {}
        self._standing: dict[str, None] = {}
        self._origins: dict[tuple[str, str], None] = {}
        self.registered = 0
        self._listeners: list[Callable[[Registration], None]] = []
        self.seekers: list[Callable[[], None]] = []

    def add(self, registration: Registration) -> None:
        self._registrations[registration.queue, registration.event] = registration
        self.registered += 1
        homes = self._homes.setdefault(registration.event, [])
        if registration.queue not in homes:
            homes.append(registration.queue)
        for listener in tuple(self._listeners):
            listener(registration)

    def remove(self, queue: str, event: str) -> None:
        """Takes a registration back: from now on a job of that event has no handler. One that runs ends on its own."""
        if self._registrations.pop((queue, event), None) is None:
            return
        self.registered += 1
        self._homes[event].remove(queue)
        if not self._homes[event]:
            del self._homes[event]

    def serve(self, queue: str) -> None:
        """Names a queue that is served even while it has no handler."""
        self._standing[queue] = None

    def own(self, queue: str, origin: str, *, owned: bool = True) -> None:
        """Says whether the registrations of that origin in the queue are all that there are.

        While they are, a schedule that the store has under this origin and no registration asks for is to be dropped.
        """
        if owned:
            self._origins[queue, origin] = None
        else:
            self._origins.pop((queue, origin), None)

    def owns(self, queue: str, origin: str | None) -> bool:
        return (queue, origin) in self._origins

    @property
    def has_origins(self) -> bool:
        return bool(self._origins) or any(one.origin is not None for one in self._registrations.values())

    def find(self, queue: str, event: str) -> Registration | None:
        return self._registrations.get((queue, event))

    def seek(self) -> bool:
        """Asks the `seekers` to register what is there by now and has not been; whether anything has changed.

        For a job that nobody here has a handler for: its emitter may have loaded what we have not seen yet.
        """
        before = self.registered
        for seeker in tuple(self.seekers):
            seeker()
        return self.registered != before

    def __iter__(self) -> Iterator[Registration]:
        return iter(tuple(self._registrations.values()))

    def queues(self) -> list[str]:
        """The queues that are always served, then those of the handlers, in the order of their first registration."""
        return list(self._standing | dict.fromkeys(queue for queue, _ in self._registrations))

    def queues_of(self, event: str) -> list[str]:
        return list(self._homes.get(event, ()))

    def home_of(self, event: str) -> str:
        """The queue of an emission that names none: `default`, unless the event has a handler elsewhere only."""
        homes = self._homes.get(event)
        return homes[0] if homes is not None and len(homes) == 1 else "default"

    def listen(self, listener: Callable[[Registration], None]) -> Callable[[], None]:
        """Calls it with every registration to come; returns what ends that, which may be called again."""
        self._listeners.append(listener)

        def unlisten() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unlisten


# ---- options that a registration and an emission share


def retries(retry_count: object, attempts: object) -> int | None:
    """The number of retries: `retry_count`, or its alias `attempts`; `retry_count` wins."""
    if retry_count is not None:
        return check_retry_count(retry_count, "retry_count")
    return None if attempts is None else check_retry_count(attempts, "attempts")


def either_ms(name: str, value: object, value_ms: object) -> int | None:
    """A duration given in seconds as `name`, or in integer milliseconds as `name_ms`; not both."""
    if value is not None and value_ms is not None:
        raise UsageError(f"give {name} or {name}_ms, not both; got {value!r} and {value_ms!r}")
    if value_ms is not None:
        if not isinstance(value_ms, int) or isinstance(value_ms, bool):
            raise UsageError(f"{name}_ms must be an integer number of milliseconds, got {value_ms!r}")
        if value_ms < 0:
            raise UsageError(f"{name}_ms must not be negative, got {value_ms!r}")
        if value_ms > LATEST_MS:
            raise UsageError(f"{name}_ms must end before the year 10000, got {value_ms!r}")
        return value_ms
    return None if value is None else duration_ms(value, name)


def timeout_ms(value: object) -> int | None:
    if value is None:
        return None
    ms = duration_ms(value, "timeout")
    if ms == 0:
        raise UsageError(f"timeout must be longer than 0 seconds, got {value!r}; leave it out for none")
    return ms


def debounce_of(debounce: Any, debounce_ms: object) -> Debounce | None:
    window_ms = either_ms("debounce", None, debounce_ms)
    if window_ms is None:
        return None if debounce is None else Debounce.of(debounce)
    if debounce is not None:
        raise UsageError(f"give debounce or debounce_ms, not both; got {debounce!r} and {debounce_ms!r}")
    return Debounce.of(timedelta(milliseconds=window_ms))


# ---- what a function's signature says


def is_async(function: Handler) -> bool:
    """Whether calling it gives a coroutine, as far as that can be known."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself is wanted


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with so many positional arguments; False too where it has no signature."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def _takes_ctx(function: Handler) -> bool:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise UsageError(f"handler must take (job, ctx) or (job), got {function!r}, which has no signature") from None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"handler must return its result, got the generator function {function!r}, which yields")
    if takes(function, 2) or takes(function, 1):
        return takes(function, 2)
    raise UsageError(f"handler must take (job, ctx) or (job), got {function!r} with the signature {signature}")


def _decoder(function: Handler) -> TypedDecoder | None:
    """The decoder for `job: Job[Data]`, None where the job is not annotated so."""
    try:
        parameter = next(iter(inspect.signature(function).parameters.values()))
    except StopIteration:  # pragma: no cover - _takes_ctx has refused it
        return None
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = _resolved(function, annotation)
    if typing.get_origin(annotation) is not Job:
        return None
    return TypedDecoder(typing.get_args(annotation)[0])


def _resolved(function: Handler, annotation: str) -> Any:
    """A postponed annotation, looked up where the function was defined and where it is being registered."""
    if "Job" not in annotation or "[" not in annotation:
        return None
    target = function
    while isinstance(target, functools.partial):
        target = target.func
    names: dict[str, Any] = {}
    frame = sys._getframe(1)
    while frame is not None and frame.f_back is not None:
        frame = frame.f_back
        names = {**frame.f_locals, **names} if frame.f_code.co_name != "<module>" else names
    names = {**getattr(inspect.unwrap(target), "__globals__", {}), **names}
    try:
        return eval(annotation, names)
    except Exception as error:
        raise UsageError(
            f"handler {function!r} has the annotation {annotation!r}, which cannot be resolved ({error}); "
            "define the type before the handler"
        ) from None
