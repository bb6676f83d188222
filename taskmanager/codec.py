"""Between Python values and the JSON bytes that engines keep, so that a handler sees the same on every engine.

The law: what is accepted comes back equal to its JSON form; what would not is refused with the path of the place. Most
data is plain JSON, so `encode` first writes it, reads it back and compares. Equal means that nothing was changed on the
way: NaN would have become null, a tuple or a set a list, bytes text, a key 1 the key "1", and none of these equals what
it was. Where True equals 1, or an Enum its value, what is written is right as well. Only what is unequal, or failed,
takes the careful walk of `lowering`, which lowers it to plain JSON or refuses it.
"""

from __future__ import annotations

import inspect
import sys
import uuid
from collections.abc import Callable
from datetime import date
from functools import cache, partial
from typing import Any, TypeVar

import msgspec
import msgspec.inspect

from taskmanager.errors import TaskManagerError, UsageError
from taskmanager.lowering import MAX_DEPTH, lower

__all__ = ["InvalidData", "TypedDecoder", "canonical", "decode", "encode", "new_id"]

_ENCODER = msgspec.json.Encoder()
_SORTED = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder()


class InvalidData(TaskManagerError):
    """A job's data does not fit the type its handler declares; no retry can change that."""


def new_id() -> str:
    """An id that nothing else has, for an emission that must run whatever else waits."""
    return str(uuid.uuid4())  # through the module at each call: that is where a simulation puts its own


def encode(value: object, *, field: str, max_bytes: int) -> bytes:
    """`value` as JSON, keys in their own order. `UsageError` names the offending path from `field`, or the size."""
    try:
        encoded = _ENCODER.encode(value)
        plain = _DECODER.decode(encoded)
        unchanged = bool(plain == value) and (len(encoded) <= MAX_DEPTH or not _is_too_deep(encoded, plain))
    except Exception:
        unchanged = False  # the walk below finds the place, and says what is wrong there
    if not unchanged:
        encoded = _ENCODER.encode(lower(value, field))
    if len(encoded) > max_bytes:
        raise UsageError(
            f"{field} must be at most max_data_bytes={max_bytes} bytes of JSON, got {len(encoded)}; "
            "keep it elsewhere and send where it is"
        )
    return encoded


def canonical(encoded: bytes) -> bytes:
    """What `encode` wrote, with sorted keys: equal bytes for equal data, so identity can be a hash of them."""
    return _SORTED.encode(_DECODER.decode(encoded))


def decode(data: bytes) -> Any:
    """What a handler sees of `encode`'s bytes: dicts, lists, strs, ints, floats, bools and None."""
    return _DECODER.decode(data)


class TypedDecoder:
    """Builds a handler's declared data type from JSON bytes, validating; made once, at registration.

    Takes a msgspec Struct, dataclass, TypedDict, pydantic model or anything else msgspec can decode into; None and Any
    take all JSON. Raises `UsageError` for a type that JSON cannot become. `decode` raises `InvalidData`.
    """

    __slots__ = ("_decode",)

    def __init__(self, data_type: Any = None) -> None:
        self._decode: Callable[[bytes], Any]
        if data_type is None or data_type is Any or data_type is object or isinstance(data_type, TypeVar):
            self._decode = _DECODER.decode
        elif _is_pydantic(data_type):
            self._decode = _pydantic_validator(data_type)
        else:
            self._decode = _msgspec_decoder(data_type)

    def decode(self, data: bytes) -> Any:
        try:
            return self._decode(data)
        except (msgspec.DecodeError, ValueError) as error:
            raise InvalidData(_one_line(error)) from error


def _is_too_deep(encoded: bytes, plain: object) -> bool:
    if encoded.count(b"[") + encoded.count(b"{") <= MAX_DEPTH:
        return False
    level: list[Any] = [plain]
    for _ in range(MAX_DEPTH):
        containers = (item.values() if type(item) is dict else item for item in level if type(item) in (dict, list))
        level = [child for container in containers for child in container]
    return any(type(item) in (dict, list) for item in level)


def _is_pydantic(data_type: object) -> bool:
    return isinstance(data_type, type) and hasattr(data_type, "__pydantic_validator__")


@cache
def _pydantic_validator(model: type) -> Callable[[bytes], Any]:
    """By field name, as `encode` writes models, and by alias, as others may; JSON rules: strict models read dates."""
    adapter = sys.modules["pydantic"].TypeAdapter(model)
    both = {"by_name": True, "by_alias": True}
    known = inspect.signature(adapter.validate_json).parameters.keys() >= both.keys()  # since pydantic 2.11
    return partial(adapter.validate_json, **both) if known else adapter.validate_json


def _msgspec_decoder(data_type: Any) -> Callable[[bytes], Any]:
    try:
        decoder = msgspec.json.Decoder(data_type, dec_hook=_custom)
        foreign = isinstance(msgspec.inspect.type_info(data_type), msgspec.inspect.CustomType)
    except Exception as error:
        raise UsageError(f"a job's data cannot be declared as {data_type!r}: {error}") from error
    if foreign and not _is_clock_type(data_type):
        raise UsageError(
            f"a job's data cannot be declared as {data_type!r}: it is not made of JSON; "
            "use a dataclass, a msgspec Struct, a TypedDict or a pydantic model"
        )
    return decoder.decode


def _custom(expected: type, value: object) -> object:
    """What msgspec leaves to us inside a declared type: pydantic models, and the classes that freezegun substitutes."""
    if isinstance(value, expected):
        return value
    if _is_pydantic(expected):
        try:
            return _pydantic_validator(expected)(_ENCODER.encode(value))
        except ValueError as error:
            raise ValueError(_one_line(error)) from error  # msgspec adds the place, and raises its own
    if _is_clock_type(expected):
        return msgspec.convert(value, next(base for base in expected.__mro__ if base.__module__ == "datetime"))
    raise TypeError(f"{expected.__qualname__} cannot be made from JSON")


def _is_clock_type(data_type: object) -> bool:
    return isinstance(data_type, type) and issubclass(data_type, date)


def _one_line(error: Exception) -> str:
    places = getattr(error, "errors", None)
    if not callable(places):
        return str(error)
    return "; ".join(f"{'.'.join(map(str, place['loc'])) or '$'}: {place['msg']}" for place in places())
