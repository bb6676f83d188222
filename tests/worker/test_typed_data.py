"""A type on the data: what fits is built, what does not fit fails the job before its handler runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest

from simulation import Simulation
from taskmanager import Job, TaskManager, UsageError


class EmailStruct(msgspec.Struct):
    to: str
    tries: int = 1


@dataclass
class EmailDataclass:
    to: str
    tries: int = 1


class EmailDict(TypedDict):
    to: str
    tries: int


class EmailModel(pydantic.BaseModel):
    to: str
    tries: int = pydantic.Field(default=1, ge=0)


TYPES: list[tuple[type, Any]] = [
    (EmailStruct, EmailStruct("a", 2)),
    (EmailDataclass, EmailDataclass("a", 2)),
    (EmailDict, EmailDict(to="a", tries=2)),
    (EmailModel, EmailModel(to="a", tries=2)),
]
IDS = [kind.__name__ for kind, _ in TYPES]


def app_for(kind: Any, seen: list[Any], **options: Any) -> TaskManager:
    tm = TaskManager(db="memory://")

    async def send(job: Any) -> None:
        seen.append(job.data)

    send.__annotations__["job"] = Job[kind]
    tm.register_handler(send, event="send", **options)
    return tm


@pytest.mark.parametrize(("kind", "expected"), TYPES, ids=IDS)
def test_a_handler_gets_data_of_the_type_it_declares(kind: type, expected: Any) -> None:
    seen: list[Any] = []
    with Simulation(app_for(kind, seen)) as sim:
        sim.emit("send", {"to": "a", "tries": 2})
        sim.run_until_idle()
    assert seen == [expected]
    assert type(seen[0]) is type(expected)


@pytest.mark.parametrize(("kind", "expected"), TYPES, ids=IDS)
def test_an_instance_of_the_type_can_be_emitted_as_it_is(kind: type, expected: Any) -> None:
    seen: list[Any] = []
    with Simulation(app_for(kind, seen)) as sim:
        handle = sim.emit("send", expected)
        sim.run_until_idle()
        record = sim.job(handle)
    assert seen == [expected]
    assert record is not None
    assert record.data == {"to": "a", "tries": 2}


@pytest.mark.parametrize("kind", [kind for kind, _ in TYPES], ids=IDS)
def test_data_that_does_not_validate_fails_at_once_and_its_handler_never_runs(kind: type) -> None:
    seen: list[Any] = []
    with Simulation(app_for(kind, seen, attempts=5)) as sim:
        handle = sim.emit("send", {"to": 3, "tries": "many"})
        sim.run_until_idle()
        record = sim.job(handle)
    assert seen == []
    assert record is not None
    assert (record.state, record.reason, record.attempt) == ("failed", "data", 1)
    assert record.dead_letter is not None
    assert record.error is not None
    assert "to" in record.error.message


@pytest.mark.parametrize("kind", [kind for kind, _ in TYPES], ids=IDS)
def test_a_missing_field_is_named(kind: type) -> None:
    with Simulation(app_for(kind, [])) as sim:
        handle = sim.emit("send", {"tries": 1})
        sim.run_until_idle()
        record = sim.job(handle)
    assert record is not None
    assert record.error is not None
    assert "to" in record.error.message


class Booking(msgspec.Struct):
    id: UUID
    at: datetime


def test_what_json_writes_as_text_comes_back_as_what_it_was() -> None:
    tm = TaskManager(db="memory://")
    seen: list[Booking] = []

    @tm.handler("book")
    async def book(job: Job[Booking]) -> None:
        seen.append(job.data)

    booking = Booking(UUID(int=1), datetime(2026, 3, 29, 1, tzinfo=UTC))
    with Simulation(tm) as sim:
        sim.emit("book", booking)
        sim.run_until_idle()
    assert seen == [booking]


def test_a_plain_handler_has_its_data_validated_too() -> None:
    tm = TaskManager(db="memory://")
    seen: list[EmailStruct] = []

    @tm.handler("send")
    def send(job: Job[EmailStruct], ctx: Any) -> None:
        seen.append(job.data)

    with Simulation(tm) as sim:
        sim.emit("send", {"to": "a"})
        sim.run_until_idle()
    assert seen == [EmailStruct("a", 1)]


class NoJson:
    """Nothing that JSON could become."""


def test_a_type_that_json_cannot_become_is_refused_at_the_registration() -> None:
    with pytest.raises(UsageError, match=r"cannot be declared as .*NoJson"):
        app_for(NoJson, [])
