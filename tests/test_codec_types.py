"""Declared data types: what a handler that says `Job[EmailData]` gets, and what fails its job."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from freezegun import freeze_time
from pydantic.alias_generators import to_camel

from taskmanager.codec import InvalidData, TypedDecoder, encode
from taskmanager.errors import UsageError

WHEN = datetime(2026, 3, 29, 1, 2, 3, 4000, tzinfo=UTC)


class Kind(enum.StrEnum):
    HTML = "html"


class EmailStruct(msgspec.Struct, rename="camel"):
    to_address: str
    when: datetime | None = None


@dataclasses.dataclass
class Line:
    price: Decimal
    ident: UUID


@dataclasses.dataclass
class EmailClass:
    to: str
    kind: Kind = Kind.HTML
    lines: tuple[Line, ...] = ()
    wait: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if "@" not in self.to:
            raise ValueError(f"{self.to!r} is no address")


class EmailDict(TypedDict):
    to: str
    cc: NotRequired[list[str]]


class EmailModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(alias_generator=to_camel, strict=True)
    to_address: str
    when: datetime | None = None


def model(to_address: str, when: datetime | None = None) -> EmailModel:
    return EmailModel.model_validate({"toAddress": to_address, "when": when})


@pydantic.dataclasses.dataclass
class EmailPydantic:
    to: str
    size: int = pydantic.Field(default=1, ge=1)


@attrs.define
class EmailAttrs:
    to: str
    on: date | None = None


@dataclasses.dataclass
class Wrapped:
    model: EmailModel
    rest: Any = None


class Foreign:
    pass


@dataclasses.dataclass
class HoldsForeign:
    foreign: Foreign


ROUND_TRIPS: list[tuple[Any, object]] = [
    (EmailStruct, EmailStruct("a@b", WHEN)),
    (EmailClass, EmailClass("a@b", Kind.HTML, (Line(Decimal("1.50"), UUID(int=7)),), timedelta(hours=1))),
    (EmailDict, EmailDict(to="a@b", cc=["c@d"])),
    (EmailModel, model("a@b", WHEN)),
    (EmailPydantic, EmailPydantic("a@b", 3)),
    (EmailAttrs, EmailAttrs("a@b", date(2026, 3, 29))),
    (Wrapped, Wrapped(model("a@b"), {"x": [1]})),
    (list[EmailStruct], [EmailStruct("a@b"), EmailStruct("c@d")]),
    (dict[str, EmailModel], {"one": model("a@b", WHEN)}),
    (EmailStruct | None, None),
    (Annotated[int, msgspec.Meta(ge=1)], 1),
    (str, "text"),
    (datetime, WHEN),
]


@pytest.mark.parametrize(("declared", "value"), ROUND_TRIPS, ids=repr)
def test_what_was_emitted_as_the_declared_type_arrives_as_it(declared: Any, value: object) -> None:
    arrived = TypedDecoder(declared).decode(encode(value, field="data", max_bytes=9999))
    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize("declared", [None, Any, object, TypeVar("T"), dict, dict[str, object]])
def test_a_type_that_says_nothing_takes_the_plain_data(declared: Any) -> None:
    assert TypedDecoder(declared).decode(b'{"a":[1,null]}') == {"a": [1, None]}


def test_a_type_that_says_nothing_takes_any_json() -> None:
    assert [TypedDecoder().decode(data) for data in (b"1", b'"x"', b"null", b"[]")] == [1, "x", None, []]


def test_a_model_is_read_by_field_name_and_by_alias() -> None:
    decoder = TypedDecoder(EmailModel)
    by_name, by_alias = (decoder.decode(data) for data in (b'{"to_address":"a@b"}', b'{"toAddress":"a@b"}'))
    assert by_name == by_alias == model("a@b")


MISFITS: list[tuple[Any, bytes, str]] = [
    (EmailStruct, b"{}", "Object missing required field `toAddress`"),
    (EmailStruct, b'{"toAddress":"a","when":"soon"}', "Invalid RFC3339 encoded datetime - at `$.when`"),
    (EmailClass, b'{"to":5}', "Expected `str`, got `int` - at `$.to`"),
    (EmailClass, b'{"to":"nowhere"}', "'nowhere' is no address"),
    (EmailClass, b'{"to":"a@b","kind":"pdf"}', "Invalid enum value 'pdf' - at `$.kind`"),
    (EmailClass, b'{"to":"a@b","lines":[{"price":"1"}]}', "missing required field `ident` - at `$.lines[0]`"),
    (EmailDict, b'{"to":"a@b","cc":[1]}', "Expected `str`, got `int` - at `$.cc[0]`"),
    (EmailModel, b'{"toAddress":5}', "toAddress: Input should be a valid string"),
    (EmailModel, b"[]", "$: Input should be an object"),
    (EmailPydantic, b'{"to":"a@b","size":0}', "size: Input should be greater than or equal to 1"),
    (EmailAttrs, b'{"to":"a@b","on":"x"}', "Invalid RFC3339 encoded date - at `$.on`"),
    (Wrapped, b'{"model":{}}', "toAddress: Field required - at `$.model`"),
    (HoldsForeign, b'{"foreign":{}}', "Foreign cannot be made from JSON - at `$.foreign`"),
    (list[int], b'[1,"2"]', "Expected `int`, got `str` - at `$[1]`"),
]


@pytest.mark.parametrize(("declared", "data", "message"), MISFITS, ids=[message for *_, message in MISFITS])
def test_data_that_does_not_fit_is_invalid_and_the_place_is_named(declared: Any, data: bytes, message: str) -> None:
    with pytest.raises(InvalidData) as misfit:
        TypedDecoder(declared).decode(data)
    assert message in str(misfit.value)


def test_a_models_complaints_fit_a_line_and_are_all_told() -> None:
    with pytest.raises(InvalidData) as misfit:
        TypedDecoder(EmailModel).decode(b'{"when":5}')
    assert str(misfit.value).count("; ") == 1
    assert "\n" not in str(misfit.value)


@pytest.mark.parametrize(
    "declared", [Foreign, Callable, "Nowhere", 5, int | Foreign, EmailStruct | EmailClass], ids=repr
)
def test_a_type_that_json_cannot_become_is_refused_when_it_is_declared(declared: Any) -> None:
    with pytest.raises(UsageError, match="a job's data cannot be declared as") as refusal:
        TypedDecoder(declared)
    assert repr(declared) in str(refusal.value)


def test_a_declaration_evaluated_in_a_frozen_test_still_reads_moments() -> None:
    with freeze_time("2026-01-02"):
        frozen = datetime
        assert frozen is not type(WHEN)
        for declared in (frozen, dict[str, frozen], date):  # type: ignore[valid-type]  # the substitutes are the point
            value: Any = {"at": WHEN} if declared not in (frozen, date) else WHEN if declared is frozen else WHEN.date()
            assert TypedDecoder(declared).decode(encode(value, field="data", max_bytes=99)) == value
