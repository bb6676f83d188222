"""From what a user hands over to plain JSON, or to a refusal that points at the place.

This is the careful walk behind `codec.encode`, taken only by data that is not plain JSON already. It accepts what JSON
can say and what msgspec writes as such: objects with text keys, arrays, text, finite numbers, booleans, null; aware
datetimes, dates, times, durations, UUIDs, Decimals; Enums by their value; dataclasses, msgspec Structs, attrs classes
and pydantic models by their fields; and subclasses of all these, whatever made them (freezegun's `FakeDatetime` too).

It refuses what would come out as something else: NaN and the infinities (null), other keys (text), sets (a list in an
order of chance), bytes (text), naive datetimes (a moment nobody knows), lone surrogates, and what nests without end.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from taskmanager.errors import UsageError

MAX_DEPTH = 200
"""How many arrays and objects may be nested: well within every reader's recursion limit, whatever it runs under."""


class _Refused(Exception):
    """Travels up from the offending value; each container on the way adds its step to the path."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []


def lower(value: object, field: str) -> object:
    """`value` in exact dicts, lists, strs, ints, floats, bools and None. `UsageError` names the path from `field`."""
    try:
        return _lower(value, 0)
    except _Refused as refused:
        path = "".join([field, *reversed(refused.steps)])
        shown = path if len(path) <= 200 else path[:200] + "..."
        raise UsageError(f"{shown}: {refused.reason}") from None
    except RecursionError:
        raise UsageError(f"{field}: nested deeper than {MAX_DEPTH} levels; is it cyclic?") from None


def _lower(value: Any, depth: int) -> object:
    if value is None or value is True or value is False:
        return value
    for kind, rule in _RULES:
        if isinstance(value, kind):
            return rule(value, depth)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _object(_fields_of(value, (field.name for field in dataclasses.fields(value))), depth)
    pydantic = sys.modules.get("pydantic")  # whoever has a model has imported it; nobody else has to
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return _lower(value.model_dump(mode="json"), depth)
    if hasattr(type(value), "__attrs_attrs__"):
        names = (attribute.name for attribute in type(value).__attrs_attrs__)
        return _object(_fields_of(value, (name for name in names if not name.startswith("_"))), depth)
    raise _Refused(
        f"{_shown(value)} is not JSON; give dicts, lists, text, numbers, bools, None, aware datetimes, UUIDs, "
        "Decimals, Enums, dataclasses, Structs or pydantic models"
    )


def _text(value: str, depth: int) -> str:
    try:
        return str.encode(value).decode()
    except UnicodeEncodeError:
        raise _Refused(f"text with a lone surrogate, {reprlib.repr(value)}, cannot be written as UTF-8") from None


def _whole(value: int, depth: int) -> int:
    exact = int.__int__(value)
    try:
        str(exact)
    except ValueError:  # sys.get_int_max_str_digits: what cannot be written cannot be read either
        raise _Refused(f"a whole number of {exact.bit_length()} bits is too large to be written; send text") from None
    return exact


def _real(value: float, depth: int) -> float:
    if not math.isfinite(value):
        raise _Refused(f"{float.__float__(value)} is not a JSON number; send None or text")
    return float.__float__(value)


def _decimal(value: Decimal, depth: int) -> str:
    if not value.is_finite():
        raise _Refused(f"the Decimal {value} is not finite; send None or text")
    return str(value)


def _moment(value: datetime, depth: int) -> str:
    offset = value.utcoffset()
    if offset is None:
        raise _Refused(f"naive datetime {value.isoformat()}; add a tzinfo, e.g. datetime.UTC")
    if offset % timedelta(minutes=1):  # RFC 3339 has offsets of whole minutes; local mean times have not
        value = value.astimezone(UTC)
    text = datetime.isoformat(value)
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def _array(value: Iterable[object], depth: int) -> list[object]:
    lowered: list[object] = []
    _check_depth(depth)
    for item in value:
        try:
            lowered.append(_lower(item, depth + 1))
        except _Refused as refused:
            refused.steps.append(f"[{len(lowered)}]")
            raise
    return lowered


def _object(items: Iterable[tuple[object, object]], depth: int) -> dict[str, object]:
    lowered: dict[str, object] = {}
    _check_depth(depth)
    for given, item in items:
        key = _key(given)
        if key in lowered:
            raise _Refused(f"two keys are both written as {key!r}")
        try:
            lowered[key] = _lower(item, depth + 1)
        except _Refused as refused:
            refused.steps.append(f".{key}" if key.isidentifier() else f"[{key!r}]")
            raise
    return lowered


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise _Refused(f"nested deeper than {MAX_DEPTH} levels; is it cyclic?")


def _key(given: object) -> str:
    key = given.value if isinstance(given, Enum) and not isinstance(given, str) else given
    if not isinstance(key, str):
        raise _Refused(f"key {_shown(given)} is not text; use str(key)")
    return _text(key, 0)


def _fields_of(value: object, names: Iterable[str]) -> Iterator[tuple[str, object]]:
    """The fields that are set: msgspec leaves out what is UNSET, and a field without a default may be missing."""
    for name in names:
        item = getattr(value, name, msgspec.UNSET)
        if item is not msgspec.UNSET:
            yield name, item


def _struct(value: msgspec.Struct, depth: int) -> object:
    """By msgspec's own account of names, tags, omitted defaults and array form, with each field lowered by ours."""
    names = dict(zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True))
    lowered = _object(_fields_of(value, names), depth)
    shape = msgspec.to_builtins(value, enc_hook=lambda _: None)
    if isinstance(shape, list):
        tags = shape[: len(shape) - len(names)]
        return tags + [lowered.get(name) for name in names]
    written = {names[name]: item for name, item in lowered.items()}
    return {name: written.get(name, item) for name, item in shape.items()}


def _refuse(reason: str) -> Callable[[Any, int], object]:
    def rule(value: object, depth: int) -> object:
        raise _Refused(reason.format(_shown(value)))

    return rule


def _shown(value: object) -> str:
    """Small values as they are. Of others only the type: an address or a set's order would differ between runs."""
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if value is None or isinstance(value, _SHOWN):
        return reprlib.repr(value)
    return f"an object of type {type(value).__qualname__}"


_SHOWN = (str, int, float, complex, bytes, bytearray, date, time, timedelta, Decimal, UUID, Enum, range)
_RULES: tuple[tuple[type | tuple[type, ...], Callable[[Any, int], object]], ...] = (
    # The first that fits: of an Enum that is a str or an int msgspec writes just that, and a datetime is a date.
    (str, _text),
    (int, _whole),
    (Enum, lambda value, depth: _lower(value.value, depth)),
    (float, _real),
    (dict, lambda value, depth: _object(value.items(), depth)),
    ((list, tuple), _array),
    (datetime, _moment),
    (date, lambda value, depth: date.isoformat(value)),
    (time, lambda value, depth: msgspec.to_builtins(value)),
    (timedelta, lambda value, depth: msgspec.to_builtins(value)),
    (UUID, lambda value, depth: str(value)),
    (Decimal, _decimal),
    (msgspec.Struct, _struct),
    ((bytes, bytearray, memoryview), _refuse("{} is not JSON; send text, e.g. base64")),
    ((set, frozenset), _refuse("{} has no order; send a sorted list")),
)
