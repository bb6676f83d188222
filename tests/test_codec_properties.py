"""For any data at all: JSON comes back as it was, anything else is lowered or refused, and never half of each."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.codec import canonical, decode, encode
from taskmanager.errors import UsageError

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
plain_json = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4))

moments = st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC))
lowered_scalars = scalars | moments | st.dates() | st.uuids() | st.decimals(allow_nan=False, allow_infinity=False)
lowerable = st.recursive(
    lowered_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(text, inner, max_size=3),
)

poison: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, Decimal("nan"), b"", {1}, "\ud800", object(), {1: 1}, {None: 1}]),
    st.datetimes(),
    st.binary(max_size=3),
    st.frozensets(st.integers(), max_size=2),
    st.complex_numbers(),
)


def write(value: object) -> bytes:
    return encode(value, field="data", max_bytes=1 << 20)


def exactly(value: object) -> str:
    """Tells apart what == does not: 1, 1.0 and True, -0.0 and 0.0; not the order of keys."""
    return json.dumps(value, sort_keys=True)


@given(plain_json)
def test_json_comes_back_exactly_and_any_json_reader_agrees(value: object) -> None:
    encoded = write(value)
    assert exactly(decode(encoded)) == exactly(value)
    assert exactly(json.loads(encoded)) == exactly(value)


@given(lowerable)
def test_what_is_accepted_is_stable_and_does_not_depend_on_what_stands_beside_it(value: object) -> None:
    encoded = write(value)
    assert write(decode(encoded)) == encoded
    # A tuple beside it sends plain data, too, through the careful walk.
    assert write([(), value]) == b"[[]," + encoded + b"]"


@given(plain_json, st.randoms(use_true_random=False))
def test_the_canonical_form_does_not_depend_on_the_order_of_keys(value: object, rng: Any) -> None:
    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            items = list(value.items())
            rng.shuffle(items)
            return {key: shuffled(item) for key, item in items}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    form = canonical(write(value))
    assert form == canonical(write(shuffled(value))) == canonical(form)
    assert exactly(decode(form)) == exactly(value)


@given(st.data(), st.lists(st.sampled_from(["list", "tuple", "dict"]), max_size=5), poison)
def test_one_bad_value_anywhere_refuses_the_whole_and_is_found(
    data: st.DataObject, shapes: list[str], bad: Any
) -> None:
    value, path = bad, ""
    for shape in shapes:
        beside = data.draw(lowerable)
        if shape == "dict":
            value, path = {"beside": beside, "k": value}, ".k" + path
        else:
            value, path = [beside, value] if shape == "list" else (beside, value), "[1]" + path
    with pytest.raises(UsageError) as refusal:
        write(value)
    assert str(refusal.value).startswith(f"data{path}: ")


@given(st.dates() | moments)
def test_a_moment_reads_back_as_the_same_moment(value: date) -> None:
    assert type(value).fromisoformat(decode(write(value))) == value


@given(plain_json, st.integers(0, 40))
def test_the_size_limit_is_exact(value: object, limit: int) -> None:
    size = len(write(value))
    try:
        assert len(encode(value, field="data", max_bytes=limit)) == size <= limit
    except UsageError:
        assert size > limit
