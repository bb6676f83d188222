"""What operations, subscriptions and a running job refuse: in words, and with nothing changed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError
from tests.worker.apps import everything, keeping

NAME = "must be 1-200 printable characters without white space or braces"


ON_A_JOB = ("get_job", "logs", "cancel", "retry", "promote", "delete_job")
ON_A_QUEUE = ("jobs", "counts", "pause_queue", "resume_queue", "is_queue_paused", "retry_all")
ASKED: list[tuple[str, tuple[Any, ...], str]] = [
    # the operation, its arguments, what the refusal says
    *((name, ("",), "id must be 1-500 characters") for name in ON_A_JOB),
    *((name, (7,), "got 7") for name in ON_A_JOB),
    *((name, ("j", "my queue"), f"queue name {NAME}, got 'my queue'") for name in (*ON_A_JOB, "unschedule")),
    *((name, ("my queue",), f"queue name {NAME}, got 'my queue'") for name in ON_A_QUEUE),
    ("jobs", ("default", "sleeping"), "delayed, active, completed, failed, cancelled, got 'sleeping'"),
    ("jobs", ("default", 7), "state must be one of waiting"),
    ("jobs", ("default", None, 0), "limit must be an integer from 1 to 1,000, got 0"),
    ("jobs", ("default", None, 1001), "limit must be an integer from 1 to 1,000, got 1001"),
    ("jobs", ("default", None, "9"), "limit must be an integer from 1 to 1,000, got '9'"),
    ("jobs", ("default", None, 10, "absent"), "after must name a job that is still kept, got 'absent'"),
    ("purge", ("default", "sleeping"), "state must be one of waiting"),
    ("purge", ("default", None), "state must be one of waiting"),
    ("purge", ("my queue", "waiting"), f"queue name {NAME}, got 'my queue'"),
    ("retry_all", ("default", "two words"), f"event name {NAME}, got 'two words'"),
    ("unschedule", ("",), "id must be 1-500 characters"),
]


@pytest.mark.parametrize(("operation", "arguments", "says"), ASKED, ids=[f"{name}{args}" for name, args, _ in ASKED])
def test_an_operation_refuses_in_words_and_changes_nothing(
    operation: str, arguments: tuple[Any, ...], says: str
) -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work")
    with Simulation(tm, workers=0) as sim:
        sim.emit("work", id="j")
        before = everything(sim)
        with pytest.raises(UsageError) as raised:
            getattr(sim, operation)(*arguments)
        assert everything(sim) == before
    assert says in str(raised.value)


def test_on_takes_the_kinds_of_steps_and_functions() -> None:
    tm = TaskManager(db="memory://")
    with pytest.raises(UsageError, match=r"kind must be one of emitted, duplicate, .*, resumed, got 'finished'"):
        tm.on("finished", print)
    with pytest.raises(UsageError, match="callback must be callable, got 7"):
        tm.on("completed", 7)  # type: ignore[arg-type]  # that is the point


def test_use_takes_functions() -> None:
    with pytest.raises(UsageError, match=r"middleware must be an async function .job, ctx, next., got 7"):
        TaskManager(db="memory://").use(7)  # type: ignore[arg-type]  # that is the point


def test_what_a_job_is_told_is_checked_at_the_call() -> None:
    tm = TaskManager(db="memory://")
    caught: list[str] = []

    @tm.handler("work")
    async def work(job: Job[Any]) -> None:
        calls: list[Callable[[], object]] = [
            lambda: job.progress(1.5),
            lambda: job.progress(math.nan),
            lambda: job.progress(True),
            lambda: job.progress(0.5, 7),  # type: ignore[arg-type]  # that is the point
            lambda: job.logger({1, 2}),
        ]
        for call in calls:
            try:
                call()
            except UsageError as error:
                caught.append(str(error))

    with Simulation(tm) as sim:
        sim.emit_and_wait("work", id="j", timeout=1)
        assert sim.logs("j") == []
    assert [message.split(" ")[0] for message in caught] == ["fraction", "fraction", "fraction", "note", "message:"]
