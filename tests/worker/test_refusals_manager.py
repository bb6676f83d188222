"""What a TaskManager refuses when it is made and given handlers: in words, and with nothing left behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Debounce, Job, Retry, TaskManager, UsageError
from tests.names import plain
from tests.worker.apps import keeping

NAME = "must be 1-200 printable characters without white space or braces"

CONSTRUCTOR: list[tuple[dict[str, Any], str]] = [
    *(
        ({"concurrency": value}, f"concurrency must be an integer from 1 to 100,000, got {value!r}")
        for value in (0, -1, 1.5, True, "4", None)
    ),
    *(({"lease": value}, f"lease must be at least 0.1 seconds, got {value!r}") for value in (0, 0.05)),
    *(({field: -1}, f"{field} must not be negative, got -1") for field in ("lease", "grace", "max_block")),
    *(
        ({field: math.nan}, f"{field} must be a finite number of seconds, got nan")
        for field in ("lease", "grace", "max_block")
    ),
    *(
        ({field: "9"}, f"{field} must be a timedelta or a number of seconds, got '9'")
        for field in ("lease", "grace", "max_block")
    ),
    ({"max_block": 0}, "max_block must be at least 0.001 seconds, got 0"),
    ({"max_stalled": 0}, "max_stalled must be an integer from 1 to 1,000,000, got 0"),
    ({"max_data_bytes": 1}, "max_data_bytes must be an integer from 2 to"),
    ({"max_data_bytes": "1MB"}, "max_data_bytes must be an integer from 2 to 536,870,912, got '1MB'"),
    ({"prefix": "a b"}, f"prefix {NAME}, got 'a b'"),
    ({"prefix": "{x}"}, f"prefix {NAME}, got '{{x}}'"),
    ({"prefix": ""}, f"prefix {NAME}, got ''"),
    ({"queues": "default"}, "queues must be a list of queue names, got 'default'"),
    ({"queues": 7}, "queues must be a list of queue names, got 7"),
    ({"queues": []}, "queues must name at least one queue, got none"),
    ({"queues": ["a b"]}, f"queue name {NAME}, got 'a b'"),
    ({"lifespan": 7}, "lifespan must be a function that returns an async context manager, got 7"),
    ({"ctx": {"emit": 1}}, "ctx must not have its own 'emit'"),
    ({"ctx": SimpleNamespace(emit_many=1)}, "ctx must not have its own 'emit_many'"),
    ({"db": "  "}, "db must be a URL or a redis.asyncio client, got '  '"),
    ({"processor": 7}, "processor must be a mapping with retry, debounce, dlq, ignore_config_errors, got 7"),
    ({"processor": {"retries": 3}}, "processor has no 'retries'; it takes retry, debounce, dlq, ignore_config_errors"),
    ({"processor": {"retry": 3}}, "retry must be a Retry or a mapping of its fields, got 3"),
    ({"processor": {"retry": {"max_retrys": 3}}}, "retry has no 'max_retrys'; it takes max_retries, delay,"),
    ({"processor": {"debounce": -1}}, "Debounce.window must not be negative, got -1"),
    ({"processor": {"dlq": "dead"}}, "dlq must be a mapping with stream_key and should_send, got 'dead'"),
    ({"processor": {"dlq": {"key": "dead"}}}, "dlq has no 'key'; it takes stream_key, should_send"),
    ({"processor": {"dlq": {"stream_key": 7}}}, "dlq.stream_key must be 1-500 characters"),
    ({"processor": {"dlq": {"should_send": 7}}}, "dlq.should_send must be a function, got 7"),
    ({"processor": {"ignore_config_errors": 1}}, "processor.ignore_config_errors must be True or False, got 1"),
    ({"retention": 7}, "retention must be a mapping of states to (seconds, jobs) or 0, got 7"),
    ({"retention": {"waiting": (1, 1)}}, "finished states (cancelled, completed, failed), got 'waiting'"),
    ({"retention": {"completed": 5}}, "must be a pair (seconds, jobs), either None for no end, or 0, got 5"),
    ({"retention": {"completed": (-1, 5)}}, "retention['completed'] seconds must not be negative, got -1"),
    ({"retention": {"completed": (1, -5)}}, "['completed'] jobs must be a whole number of 0 or more, or None, got -5"),
]


@pytest.mark.parametrize(("options", "says"), CONSTRUCTOR, ids=[str(options) for options, _ in CONSTRUCTOR])
def test_a_manager_is_not_made_from_what_it_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as raised:
        TaskManager(**{"db": "memory://", **options})
    assert says in str(raised.value)


@pytest.mark.parametrize("db", ["nonsense", "nope://somewhere", "http://x", 7, object()], ids=plain)
def test_a_store_of_an_unknown_kind_is_refused_when_it_is_first_needed(db: Any) -> None:
    tm = TaskManager(db=db)
    with pytest.raises(UsageError, match=r"db must be .*memory://"):
        asyncio.run(tm.start())


RETRY: list[tuple[dict[str, Any], str]] = [
    ({"max_retries": -1}, "Retry.max_retries must be a whole number from 0 to"),
    ({"max_retries": 1.5}, "got 1.5"),
    ({"delay": -1}, "Retry.delay must not be negative, got -1"),
    ({"max_delay": math.inf}, "Retry.max_delay must be a finite number of seconds, got inf"),
    ({"backoff": "linear"}, "Retry.backoff must be one of ('exponential', 'fixed') or a function of n, got 'linear'"),
    ({"backoff": 7}, "Retry.backoff must be a function, got 7"),
    ({"factor": 0.5}, "Retry.factor must be a finite number of 1 or more, got 0.5"),
    ({"jitter": 1.1}, "Retry.jitter must be a finite number from 0 to 1, got 1.1"),
    ({"jitter": math.nan}, "Retry.jitter must be a finite number from 0 to 1, got nan"),
    ({"retry_on": int}, "Retry.retry_on must name exception types, got <class 'int'>"),
    ({"retry_on": (ValueError, 7)}, "Retry.retry_on must name exception types"),
    ({"retry_on": "ValueError"}, "Retry.retry_on must be a function, got 'ValueError'"),
]


@pytest.mark.parametrize(("parts", "says"), RETRY, ids=[str(parts) for parts, _ in RETRY])
def test_a_retry_policy_is_refused_wherever_it_is_written(parts: dict[str, Any], says: str) -> None:
    async def work(job: Job[Any]) -> None: ...

    for write in (
        lambda: Retry(**parts),
        lambda: TaskManager(db="memory://", processor={"retry": parts}),
        lambda: TaskManager(db="memory://").register_handler(work, event="work", retry=parts),
    ):
        with pytest.raises(UsageError) as raised:
            write()
        assert says in str(raised.value)


async def a_coroutine_key(data: Any) -> str:
    return "k"


def test_a_rule_that_answers_too_late_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Debounce.key must be a plain function, got the coroutine function"):
        Debounce(5, key=a_coroutine_key)  # type: ignore[arg-type]  # that is the point


def no_argument() -> None: ...
def three(job: Any, ctx: Any, more: Any) -> None: ...
def keyword_only(*, job: Any) -> None: ...


def yields(job: Any) -> Iterator[int]:
    yield 1


HANDLERS: list[tuple[Any, str]] = [
    (7, "handler must be a function (job, ctx) or (job), got 7"),
    (None, "handler must be a function (job, ctx) or (job), got None"),
    (no_argument, "handler must take (job, ctx) or (job), got"),
    (three, "(job: 'Any', ctx: 'Any', more: 'Any')"),
    (keyword_only, "handler must take (job, ctx) or (job), got"),
    (yields, "handler must return its result, got the generator function"),
    (int, "handler must take (job, ctx) or (job), got <class 'int'>, which has no signature"),
]


@pytest.mark.parametrize(("function", "says"), HANDLERS, ids=[plain(function) for function, _ in HANDLERS])
def test_a_handler_that_cannot_be_called_with_a_job_is_refused(function: Any, says: str) -> None:
    tm = TaskManager(db="memory://")
    writes: list[Callable[[], object]] = [
        lambda: tm.register_handler(function, event="work"),
        lambda: tm.handler("work")(function),
    ]
    for write in writes:
        with pytest.raises(UsageError) as raised:
            write()
        assert says in str(raised.value)
    with Simulation(tm) as sim:
        assert sim.queues() == []  # neither call has left a handler behind


HANDLER_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"event": "two words"}, f"event name {NAME}, got 'two words'"),
    ({"queue": "{q}"}, f"queue name {NAME}, got '{{q}}'"),
    ({"attempts": -1}, "attempts must be a whole number from 0 to"),
    ({"retry_count": "3"}, "retry_count must be a whole number from 0 to"),
    ({"retry_delay": -1}, "retry_delay must not be negative, got -1"),
    ({"retry_delay": 1, "retry_delay_ms": 1}, "give retry_delay or retry_delay_ms, not both; got 1 and 1"),
    ({"timeout": 0}, "timeout must be longer than 0 seconds, got 0"),
    ({"timeout": "30"}, "timeout must be a timedelta or a number of seconds, got '30'"),
    ({"debounce": 1, "debounce_ms": 1}, "give debounce or debounce_ms, not both; got 1 and 1"),
    ({"priority": 101}, "priority must be a whole number from -100 to 100, got 101"),
    ({"repeat": {"pattern": "@reboot"}}, "@reboot"),
    ({"concurrency": 0}, "concurrency must be an integer of at least 1, got 0"),
    ({"concurrency": True}, "concurrency must be an integer of at least 1, got True"),
]


@pytest.mark.parametrize(("options", "says"), HANDLER_OPTIONS, ids=[str(options) for options, _ in HANDLER_OPTIONS])
def test_a_handler_is_not_registered_on_terms_that_cannot_be(options: dict[str, Any], says: str) -> None:
    tm = TaskManager(db="memory://")

    async def work(job: Job[Any]) -> None: ...

    with pytest.raises(UsageError) as raised:
        tm.register_handler(work, **{"event": "work", **options})
    assert says in str(raised.value)
    with Simulation(tm) as sim:
        assert sim.queues() == []


def test_a_word_that_a_signature_does_not_have_is_pythons_own_type_error() -> None:
    tm = TaskManager(db="memory://")
    with pytest.raises(TypeError, match="concurency"):
        TaskManager(db="memory://", concurency=4)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError, match="retrys"):
        tm.handler("work", retrys=3)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(TypeError, match="retrys"):
        tm.register_handler(lambda job: None, event="work", retrys=3)


def test_init_again_with_other_options_is_refused_and_changes_nothing() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match=r"there is no TaskManager yet; call TaskManager.init"):
            TaskManager.instance()
        first = TaskManager.init("memory://", concurrency=2)
        try:
            assert TaskManager.init("memory://", concurrency=2) is first
            with pytest.raises(UsageError, match=r"called before with other options .concurrency differ."):
                TaskManager.init("memory://", concurrency=3)
            assert TaskManager.instance() is first
        finally:
            await TaskManager.reset()
        with pytest.raises(UsageError, match=r"there is no TaskManager yet"):
            TaskManager.instance()
        await TaskManager.reset()  # there is none any more, and that is fine

    asyncio.run(main())


def test_a_store_that_another_world_marked_is_refused() -> None:
    async def real() -> None:
        tm = TaskManager(db="memory://marked-as-real")
        await tm.emit("work")
        await tm.stop()

    asyncio.run(real())
    with pytest.raises(UsageError, match="marked-as-real"):
        Simulation(TaskManager(db="memory://"), engine="memory://marked-as-real")


def test_after_a_simulation_the_application_takes_new_handlers_as_before() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work")
    with Simulation(tm):
        pass
    kept = keeping(tm, "later", repeat={"pattern": "@hourly", "immediate": True})
    with Simulation(tm) as sim:
        sim.advance(1)
    assert kept == [{}]
