"""What data is accepted, how it is written, and what is refused with the path of the place."""

from __future__ import annotations

import collections
import dataclasses
import enum
import math
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pydantic
import pytest
from freezegun import freeze_time

from taskmanager.codec import canonical, decode, encode, new_id
from taskmanager.errors import UsageError
from taskmanager.lowering import MAX_DEPTH

WHEN = datetime(2026, 3, 29, 1, 2, 3, 4000, tzinfo=UTC)
SURROGATE = "\ud800"


class Text(str):
    pass


class Whole(int):
    pass


class Real(float):
    pass


class Listed(list[Any]):
    pass


class Mapped(dict[str, Any]):
    pass


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2
    PAIR = (1, "x")


class Suit(enum.StrEnum):
    HEARTS = "hearts"


class Level(enum.IntEnum):
    HIGH = 3


class Coded(enum.StrEnum):
    """Its text and its value differ: the text is what is written, as msgspec does."""

    GERMANY = ("germany", "DE")

    def __new__(cls, text: str, code: str) -> Coded:
        member = str.__new__(cls, text)
        member._value_ = code
        return member


class Point(NamedTuple):
    x: int
    y: object


class Mail(TypedDict):
    to: str


@dataclasses.dataclass
class Order:
    id: int
    lines: Any = ()
    _note: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    at: object


class Plain(msgspec.Struct):
    user: int
    extra: object = None


class Renamed(msgspec.Struct, tag="mail", rename="camel", omit_defaults=True):
    user_id: object
    cc_list: list[str] = []
    note: str | msgspec.UnsetType = msgspec.UNSET


class Arrayed(msgspec.Struct, array_like=True, tag=True):
    a: object
    b: int = 2


@attrs.define
class Attributed:
    a: object
    _hidden: int = 1


class Model(pydantic.BaseModel):
    to: str
    when: datetime | None = None
    score: float = 0.5
    tags: set[str] = set()


def written(value: object) -> Any:
    return decode(encode(value, field="data", max_bytes=1 << 20))


def refusal(value: object, field: str = "data") -> str:
    with pytest.raises(UsageError) as raised:
        encode(value, field=field, max_bytes=1 << 20)
    return str(raised.value)


def nested(depth: int, innermost: object = None) -> object:
    for level in range(depth):
        innermost = [innermost] if level % 2 else {"k": innermost}
    return innermost


PLAIN: list[object] = [{}, [], "", 0, -1, 1.5, True, False, None, "é🙂\x00\u2028", 2**64, -(2**70)]
ACCEPTED: list[tuple[object, object]] = [
    # ---- JSON itself
    *((plain, plain) for plain in PLAIN),
    ({"a": [1, {"b": None}], "": "x"}, {"a": [1, {"b": None}], "": "x"}),
    (1e22, 1e22),
    (5e-324, 5e-324),
    ([True, 1, 1.0, 0, False, -0.0], [True, 1, 1.0, 0, False, -0.0]),
    # ---- other shapes of the same
    ((1, (2, "x")), [1, [2, "x"]]),
    (Point(1, (2,)), [1, [2]]),
    (Text("x"), "x"),
    (Whole(3), 3),
    (Real(0.5), 0.5),
    (Listed([Text("x")]), ["x"]),
    (Mapped(a=Whole(1)), {"a": 1}),
    (collections.OrderedDict(b=1, a=(2,)), {"b": 1, "a": [2]}),
    (collections.Counter("aa"), {"a": 2}),
    ({Text("k"): 1}, {"k": 1}),
    ({Suit.HEARTS: 1}, {"hearts": 1}),
    ({Colour.RED: (1,)}, {"red": [1]}),
    (Mail(to="a@example.com"), {"to": "a@example.com"}),
    # ---- what msgspec writes as text and numbers
    (WHEN, "2026-03-29T01:02:03.004000Z"),
    (datetime(2026, 3, 29, 3, tzinfo=ZoneInfo("Europe/Paris")), "2026-03-29T03:00:00+02:00"),
    (datetime(2026, 3, 29, 3, tzinfo=timezone(timedelta(0))), "2026-03-29T03:00:00Z"),
    (datetime(2026, 3, 29, 3, tzinfo=timezone(timedelta(minutes=9, seconds=21))), "2026-03-29T02:50:39Z"),
    (date(2026, 3, 29), "2026-03-29"),
    (time(1, 2, 3), "01:02:03"),
    (timedelta(days=1, seconds=0.5), "P1DT0.5S"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (Decimal("1.50"), "1.50"),
    (Colour.RED, "red"),
    (Colour.BLUE, 2),
    (Colour.PAIR, [1, "x"]),
    (Suit.HEARTS, "hearts"),
    (Level.HIGH, 3),
    ([Coded.GERMANY, (1,)], ["germany", [1]]),
    ({Coded.GERMANY: (1,)}, {"germany": [1]}),
    (Coded.GERMANY, "germany"),
    # ---- records
    (Order(1, (Order(2),)), {"id": 1, "lines": [{"id": 2, "lines": [], "_note": None}], "_note": None}),
    (Slotted(WHEN), {"at": "2026-03-29T01:02:03.004000Z"}),
    (Slotted(msgspec.UNSET), {}),
    (Plain(1, Plain(2, (3,))), {"user": 1, "extra": {"user": 2, "extra": [3]}}),
    (Renamed(1), {"type": "mail", "userId": 1}),
    (Renamed((WHEN,), ["x"], "n"), {"type": "mail", "userId": [written(WHEN)], "ccList": ["x"], "note": "n"}),
    (Arrayed((1,)), ["Arrayed", [1], 2]),
    (Attributed((1,)), {"a": [1]}),
    (
        Model(to="a", when=WHEN, tags={"x"}),
        {"to": "a", "when": "2026-03-29T01:02:03.004000Z", "score": 0.5, "tags": ["x"]},
    ),
    ({"m": [Model(to="a")]}, {"m": [{"to": "a", "when": None, "score": 0.5, "tags": []}]}),
]


@pytest.mark.parametrize(("value", "expected"), ACCEPTED, ids=repr)
def test_what_is_accepted_is_written_as_plain_json(value: object, expected: object) -> None:
    seen = written(value)
    assert seen == expected
    assert repr(seen) == repr(expected)  # 1, 1.0 and True are equal, but not the same


@pytest.mark.parametrize(("value", "expected"), ACCEPTED, ids=repr)
def test_what_was_written_is_written_the_same_again(value: object, expected: object) -> None:
    first = encode(value, field="data", max_bytes=1 << 20)
    assert encode(decode(first), field="data", max_bytes=1 << 20) == first


@pytest.mark.parametrize("value", [Order(1), Plain(1), Renamed(1), Arrayed(1), Attributed(1), uuid.UUID(int=1), WHEN])
def test_the_careful_walk_writes_what_msgspec_writes(value: object) -> None:
    assert encode([value], field="data", max_bytes=1000) == msgspec.json.encode([value])


REFUSED: list[tuple[object, str]] = [
    (math.nan, "data: nan is not a JSON number"),
    ({"a": [1, math.inf]}, "data.a[1]: inf is not a JSON number"),
    ({"a": -math.inf}, "data.a: -inf is not a JSON number"),
    (Real("nan"), "data: nan is not a JSON number"),
    (Decimal("nan"), "data: the Decimal NaN is not finite"),
    (Decimal("-Infinity"), "data: the Decimal -Infinity is not finite"),
    ({1: "a"}, "data: key 1 is not text; use str(key)"),
    ({"a": {None: 1}}, "data.a: key None is not text"),
    ({True: 1}, "data: key True is not text"),
    ({1.5: 1}, "data: key 1.5 is not text"),
    ({(1,): 1}, "data: key an object of type tuple is not text"),
    ({b"a": 1}, "data: key b'a' is not text"),
    ({Level.HIGH: 1}, "data: key <Level.HIGH: 3> is not text"),
    ({WHEN.date(): 1}, "data: key datetime.date(2026, 3, 29) is not text"),
    ({Colour.RED: 1, "red": 2}, "data: two keys are both written as 'red'"),
    ({1, 2}, "data: an object of type set has no order; send a sorted list"),
    (set(), "data: an object of type set has no order"),
    ({"x": frozenset({1})}, "data.x: an object of type frozenset has no order"),
    (b"x", "data: b'x' is not JSON; send text, e.g. base64"),
    (b"", "data: b'' is not JSON"),
    ([bytearray(b"x")], "data[0]: bytearray(b'x') is not JSON"),
    (datetime(2026, 1, 1), "data: naive datetime 2026-01-01T00:00:00; add a tzinfo, e.g. datetime.UTC"),
    (
        {"items": [1, 2, 3, {"when": datetime(2026, 1, 1)}]},
        "data.items[3].when: naive datetime 2026-01-01T00:00:00; add a tzinfo, e.g. datetime.UTC",
    ),
    (SURROGATE, "data: text with a lone surrogate, '\\ud800', cannot be written as UTF-8"),
    ({"a": [Text(SURROGATE)]}, "data.a[0]: text with a lone surrogate"),
    ({SURROGATE: 1}, "data: text with a lone surrogate"),
    ({"a key": {"it's": math.nan}}, "data['a key'][\"it's\"]: nan is not a JSON number"),
    (object, "data: the class object is not JSON; give dicts, lists, text, numbers"),
    ({"f": 1j}, "data.f: 1j is not JSON"),
    (iter([1]), "data: an object of type list_iterator is not JSON"),
    (range(3), "data: range(0, 3) is not JSON"),
    (msgspec.UNSET, "data: an object of type UnsetType is not JSON"),
    ([msgspec.Raw(b"{bad")], "data[0]: an object of type Raw is not JSON"),
    (Order, "data: the class Order is not JSON"),
    (Order(1, [{1}]), "data.lines[0]: an object of type set has no order"),
    (Slotted(math.nan), "data.at: nan is not a JSON number"),
    (Plain(1, Plain(2, b"x")), "data.extra.extra: b'x'"),
    (Renamed({1: 2}), "data.user_id: key 1 is not text"),
    (Arrayed({1}), "data.a: an object of type set"),
    (Attributed(math.nan), "data.a: nan"),
    ([Model(to="a", score=math.nan)], "data[0].score: nan is not a JSON number"),
    (10**5000, "data: a whole number of 16610 bits is too large to be written; send text"),
    ({"a": (Whole(10**5000),)}, "data.a[0]: a whole number of 16610 bits"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_would_come_back_as_something_else_is_refused_with_its_path(value: object, message: str) -> None:
    assert refusal(value).startswith(message)


def test_a_refusal_starts_with_the_field_it_is_about() -> None:
    assert refusal([math.nan], field="result").startswith("result[0]: nan")


def test_equality_with_plain_json_does_not_let_anything_else_in() -> None:
    class Agreeable:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert "data.a: an object of type" in refusal({"a": Agreeable()})


def test_a_value_whose_comparison_raises_is_judged_by_what_it_is() -> None:
    @dataclasses.dataclass(eq=False)
    class Touchy:
        a: int

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("not comparable")

    assert written({"t": Touchy(1)}) == {"t": {"a": 1}}


def test_as_many_levels_as_are_allowed_come_back() -> None:
    for innermost in (None, "x", (1,)):
        value = nested(MAX_DEPTH - isinstance(innermost, tuple), innermost)
        assert encode(written(value), field="data", max_bytes=9999) == encode(value, field="data", max_bytes=9999)


@pytest.mark.parametrize("innermost", [None, [], "x", (), {1}])
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 900, 20_000])
def test_more_levels_are_refused_with_a_path_that_can_be_read(depth: int, innermost: object) -> None:
    message = refusal(nested(depth, innermost))
    assert f"nested deeper than {MAX_DEPTH} levels; is it cyclic?" in message
    assert len(message) < 400


def test_many_shallow_containers_are_not_deep() -> None:
    value = [{"k": [i]} for i in range(MAX_DEPTH * 3)]
    assert written(value) == value


def test_what_contains_itself_is_refused() -> None:
    cyclic: list[object] = []
    cyclic.append({"again": cyclic})
    order = Order(1)
    order.lines = [order]
    struct = Plain(1)
    struct.extra = struct
    for value in (cyclic, order, struct):
        assert "is it cyclic?" in refusal(value)


def test_data_is_measured_in_bytes_of_json() -> None:
    assert encode("é" * 9, field="data", max_bytes=20) == '"ééééééééé"'.encode()
    for value in ("é" * 9, ("é" * 4, "é" * 3)):  # plain, and through the careful walk
        with pytest.raises(UsageError, match=r"data must be at most max_data_bytes=19 bytes of JSON, got \d+; keep"):
            encode(value, field="data", max_bytes=19)


def test_a_frozen_tests_datetime_is_written_like_any_other() -> None:
    with freeze_time("2026-01-02 03:04:05"):
        assert type(datetime.now(UTC)) is not type(WHEN)
        assert written({"at": datetime.now(UTC), "on": date.today()}) == {
            "at": "2026-01-02T03:04:05Z",
            "on": "2026-01-02",
        }
        assert "naive datetime 2026-01-02T03:04:05" in refusal(datetime.now())
        assert written(WHEN) == "2026-03-29T01:02:03.004000Z"


def test_the_order_of_keys_is_kept_in_data_and_lost_in_the_canonical_form() -> None:
    one, other = {"b": 1, "a": {"d": 1, "c": (2,)}}, {"a": {"c": [2], "d": 1}, "b": 1}

    forms = [encode(value, field="data", max_bytes=99) for value in (one, other)]
    assert forms == [b'{"b":1,"a":{"d":1,"c":[2]}}', b'{"a":{"c":[2],"d":1},"b":1}']
    assert [canonical(form) for form in forms] == [b'{"a":{"c":[2],"d":1},"b":1}'] * 2


def test_the_canonical_form_tells_apart_what_a_handler_can_tell_apart() -> None:
    values = (1, 1.0, True, "1", None, -0.0, 0, 0.0)
    forms = {canonical(encode([value], field="data", max_bytes=99)) for value in values}
    assert len(forms) == 8


def test_a_new_id_is_asked_of_the_uuid_module_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    assert new_id() != new_id()
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=5))
    assert new_id() == "00000000-0000-0000-0000-000000000005"


def test_pydantic_is_never_imported_on_our_account() -> None:
    program = (
        "import sys; from taskmanager.codec import TypedDecoder, encode;"
        "encode({'a': (1,)}, field='data', max_bytes=99); TypedDecoder(dict).decode(b'{}');"
        "assert 'pydantic' not in sys.modules and 'attrs' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
