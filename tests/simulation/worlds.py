"""Hand-made facts: small worlds whose every number can be checked by eye."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from taskmanager.job import Fact, Kind

START = int(datetime(2026, 3, 28, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


def fact(second: float, kind: Kind, job_id: str | None = None, **rest: Any) -> Fact:
    """A fact `second` seconds after the start; the event is what the id begins with, unless it is given."""
    event = None if job_id is None else job_id.partition(":")[0].partition("@")[0]
    fields = {
        "queue": "default",
        "event": event,
        "job_id": job_id,
        "attempt": None,
        "worker": None,
        "detail": None,
    } | rest
    return Fact(START + round(second * 1000), kind, **fields)


def retried_mail() -> list[Fact]:
    """A mail that is delayed an hour, fails once, and is sent by the second attempt."""
    mail, run = "send-email:Xx", {"attempt": 1, "worker": "worker-1"}
    return [
        fact(0, Kind.EMITTED, mail, detail={"delay": 3600.0}),
        fact(3600, Kind.DUE, mail),
        fact(3600, Kind.STARTED, mail, **run),
        fact(3602, Kind.RETRIED, mail, **run, detail={"error": "ValueError: boom", "duration": 2.0, "delay": 1.0}),
        fact(3603, Kind.DUE, mail),
        fact(3603, Kind.STARTED, mail, attempt=2, worker="worker-2"),
        fact(3604.5, Kind.COMPLETED, mail, attempt=2, worker="worker-2", detail={"duration": 1.5}),
    ]


def one_run(job_id: str, emitted: float, started: float, ended: float, end: Kind = Kind.COMPLETED) -> list[Fact]:
    """One life with one attempt."""
    return [
        fact(emitted, Kind.EMITTED, job_id),
        fact(started, Kind.STARTED, job_id, attempt=1, worker="worker-1"),
        fact(ended, end, job_id, attempt=1, worker="worker-1", detail={"duration": ended - started}),
    ]
