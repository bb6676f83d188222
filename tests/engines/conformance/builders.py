"""The nouns of the suite: short ways to say what is emitted, planned, and how a run ends."""

from __future__ import annotations

from typing import Any

from taskmanager.engine import Answer, JobRef
from taskmanager.job import Edge, Emission, ErrorInfo, Fact, Kind, Plan, Reason, State, Transition, Window

QUEUE = "q"
START_MS = 1_700_000_000_000
LEASE_MS = 15_000
BOOM = ErrorInfo("ValueError", "boom")


def emission(id: str = "x", event: str = "send", **fields: Any) -> Emission:
    return Emission(event=event, id=id, **fields)


def emissions(count: int, **fields: Any) -> list[Emission]:
    """Many alike, with ids that sort as they are numbered."""
    return [emission(f"j{number:05}", **fields) for number in range(count)]


def plan(name: str = "nightly", event: str = "report", **fields: Any) -> Plan:
    return Plan(**{"name": name, "event": event, "pattern": "0 * * * *", "timezone": "UTC"} | fields)


def leading(window_ms: int = 100, key: str = "k") -> Window:
    return Window(key, Edge.LEADING, window_ms)


def trailing(window_ms: int = 100, key: str = "k", max_wait_ms: int | None = None) -> Window:
    return Window(key, Edge.TRAILING, window_ms, max_wait_ms)


def completed(result: bytes | None = None) -> Transition:
    return Transition(Kind.COMPLETED, State.COMPLETED, result=result)


def skipped() -> Transition:
    return Transition(Kind.SKIPPED, State.COMPLETED)


def failed(reason: str | None = None, dead_letter: str | None = None) -> Transition:
    return Transition(Kind.FAILED, State.FAILED, failures=1, reason=reason, error=BOOM, dead_letter=dead_letter)


def retried(delay_ms: int = 50) -> Transition:
    return Transition(
        Kind.RETRIED, State.DELAYED, delay_ms=delay_ms, failures=1, error=BOOM, superseded=State.FAILED, max_attempts=4
    )


def postponed(delay_ms: int = 50) -> Transition:
    return Transition(Kind.RETRIED, State.DELAYED, delay_ms=delay_ms, superseded=State.FAILED)


def released() -> Transition:
    return Transition(Kind.RELEASED, State.WAITING, superseded=State.CANCELLED)


def stalled() -> Transition:
    return Transition(Kind.STALLED, State.WAITING, losses=1, superseded=State.CANCELLED)


def stalled_for_good() -> Transition:
    error = ErrorInfo("LeaseLost", "the lease was lost 3 times")
    return Transition(Kind.FAILED, State.FAILED, losses=1, reason=Reason.STALLED, error=error, dead_letter="dlq")


def cancel_heard() -> Transition:
    return Transition(Kind.CANCELLED, State.CANCELLED, reason=Reason.REQUESTED)


def ref(id: str = "x", serial: int | None = None) -> JobRef:
    return JobRef(id, serial)


def told(answer: Answer) -> list[tuple[Kind, str | None]]:
    """What an answer says happened: (kind, job id), in order."""
    return [(fact.kind, fact.job_id) for fact in answer.facts]


def the_fact(answer: Answer, kind: Kind) -> Fact:
    [fact] = [fact for fact in answer.facts if fact.kind == kind]
    return fact
