"""Names, ids, priorities, debounce windows and dead-letter options."""

from __future__ import annotations

import base64
import enum
import hashlib
import string
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskmanager.errors import UsageError
from taskmanager.job import Edge, Window
from taskmanager.policy.admission import (
    DeadLetters,
    Debounce,
    check_event,
    check_id,
    check_prefix,
    check_priority,
    check_queue,
    default_id,
)
from tests.names import plain


class Name(enum.StrEnum):
    EMAILS = "emails"


class Odd(str):
    def __str__(self) -> str:
        return "another"


NAMES = [(check_event, "event name"), (check_queue, "queue name"), (check_prefix, "prefix")]


@pytest.mark.parametrize(("check", "what"), NAMES)
def test_a_name_is_printable_and_without_white_space_or_braces(check: Any, what: str) -> None:
    for good in (
        "a",
        "send-email",
        "a:b/c.d@2",
        "é",
        "日本",
        "x" * 200,
        string.punctuation.replace("{", "").replace("}", ""),
    ):
        assert check(good) == good
    for wrong in (
        *(
            "",
            "x" * 201,
            "my queue",
            " a",
            "a\t",
            "a\n",
            "a\u00a0b",
            "a\u2003b",
            "a\u2028",
            "{a}",
            "a}",
            "\x00",
            "\x7f",
        ),
        *("\u200e", "\ud800", None, 1, b"a", ["a"]),
    ):
        with pytest.raises(UsageError) as refusal:
            check(wrong)
        assert str(refusal.value).startswith(f"{what} must be 1-200 printable characters without white space or braces")
        assert str(refusal.value).endswith(f"got {wrong!r}")


@given(st.text(max_size=210))
def test_a_name_is_taken_or_refused_as_the_rule_says(text: str) -> None:
    allowed = 1 <= len(text) <= 200 and text.isprintable() and not any(c.isspace() or c in "{}" for c in text)
    try:
        assert check_queue(text) == text
        assert allowed
    except UsageError:
        assert not allowed


def test_a_name_comes_out_as_an_exact_text_whatever_kind_of_text_went_in() -> None:
    assert type(check_queue(Name.EMAILS)) is str
    assert check_queue(Name.EMAILS) == "emails"
    assert check_id(Odd("mine")) == "mine"
    assert type(check_id(Odd("mine"))) is str


def test_an_id_is_taken_verbatim_up_to_500_characters() -> None:
    for good in (" ", "a b", "{x}", "user:42/é", "x" * 500, "\u2028", "🙂"):
        assert check_id(good) == good
    for wrong in ("", "x" * 501, "a\n", "\x00", "\x1f", "\x7f", "\x80", "\x9f", "\ud800", "a\udfff", None, 7, b"x"):
        with pytest.raises(UsageError, match="id must be 1-500 characters") as refusal:
            check_id(wrong)
        assert str(refusal.value).endswith(f"got {wrong!r}")


def test_a_priority_is_a_whole_number_from_minus_100_to_100() -> None:
    assert [check_priority(value) for value in (-100, 0, 100)] == [-100, 0, 100]
    for wrong in (-101, 101, 1.0, True, False, "1", None):
        with pytest.raises(UsageError, match=f"priority must be a whole number from -100 to 100, got {wrong!r}"):
            check_priority(wrong)


@given(st.binary(max_size=64))
def test_the_default_id_is_the_event_and_22_characters_of_blake2b_128(canonical: bytes) -> None:
    digest = hashlib.blake2b(canonical, digest_size=16).digest()
    assert default_id("send", canonical) == "send:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert len(default_id("send", canonical)) == len("send:") + 22


def test_the_default_id_of_known_data_never_changes() -> None:
    assert default_id("process-user", b'{"userId":"123"}') == "process-user:_N5n07IT5Nahc-5excdsKA"


def test_a_leading_window_takes_the_job_id_as_its_key_and_leaves_the_id() -> None:
    window, named = Debounce(300).window_for({"a": 1}, "job-1", "send")
    assert window == Window("job-1", Edge.LEADING, 300_000)
    assert named is None


def test_a_key_is_a_text_or_a_function_of_the_data() -> None:
    assert Debounce(1, key="all").window_for({}, "id", "send") == (Window("all", Edge.LEADING, 1000), None)
    by_user = Debounce(1, key=lambda data: f"user-{data['user']}")
    assert by_user.window_for({"user": 7}, "id", "send")[0].key == "user-7"


def test_a_trailing_key_names_the_job_where_no_id_is_given() -> None:
    debounce = Debounce(timedelta(seconds=2), edge="trailing", key="all", max_wait=10)
    window, named = debounce.window_for({}, "id", "send")
    assert window == Window("all", Edge.TRAILING, 2000, 10_000)
    assert named == default_id("send", b"all")
    assert Debounce(2, "trailing").window_for({}, "id", "send") == (Window("id", Edge.TRAILING, 2000), None)


@pytest.mark.parametrize("answer", [None, 7, b"x", "", "x" * 501, "a\nb", "\ud800"])
def test_a_key_function_that_answers_no_key_refuses_the_emission(answer: Any) -> None:
    with pytest.raises(UsageError, match=r"the answer of Debounce\.key must be 1-500 characters") as refusal:
        Debounce(1, key=lambda data: answer).window_for({}, "id", "send")
    assert repr(answer) in str(refusal.value)


def test_a_key_function_that_raises_refuses_the_emission_and_keeps_the_cause() -> None:
    with pytest.raises(UsageError, match=r"raised KeyError: 'user'") as refusal:
        Debounce(1, key=lambda data: str(data["user"])).window_for({}, "id", "send")
    assert isinstance(refusal.value.__cause__, KeyError)


async def _coroutine(data: object) -> str:
    return "key"


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({"window": -1}, "window"),
        ({"window": None}, "window"),
        ({"window": "5m"}, "window"),
        ({"window": float("inf")}, "window"),
        ({"window": True}, "window"),
        ({"window": 1, "edge": "both"}, "edge"),
        ({"window": 1, "edge": None}, "edge"),
        ({"window": 1, "edge": []}, "edge"),
        ({"window": 1, "key": 5}, "key"),
        ({"window": 1, "key": ""}, "key"),
        ({"window": 1, "key": _coroutine}, "key"),
        ({"window": 2, "edge": "trailing", "max_wait": 1.999}, "max_wait"),
        ({"window": 2, "edge": "trailing", "max_wait": -1}, "max_wait"),
        ({"window": 2, "max_wait": 3}, "max_wait"),
    ],
    ids=plain,
)
def test_a_wrong_part_of_a_debounce_is_refused_at_once_and_named(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as refusal:
        Debounce(**parts)
    assert f"Debounce.{named} must" in str(refusal.value)
    assert repr(parts[named]) in str(refusal.value)


def test_a_max_wait_of_one_window_is_accepted() -> None:
    assert Debounce(2, "trailing", max_wait=2).window_for({}, "id", "send")[0].max_wait_ms == 2000


def test_a_debounce_is_made_of_a_window_a_mapping_or_itself() -> None:
    assert Debounce.of(300) == Debounce(300)
    assert Debounce.of(timedelta(minutes=5)) == Debounce(timedelta(minutes=5))
    assert Debounce.of({"window": 5, "edge": "trailing"}) == Debounce(5, "trailing")
    debounce = Debounce(1)
    assert Debounce.of(debounce) is debounce
    with pytest.raises(UsageError, match="debounce has no 'wait'; it takes window, edge, key, max_wait"):
        Debounce.of({"window": 5, "wait": 1})
    with pytest.raises(UsageError, match="debounce must have a window"):
        Debounce.of({"edge": "trailing"})
    with pytest.raises(UsageError, match="window must be a timedelta or a number of seconds, got 'soon'"):
        Debounce.of("soon")  # type: ignore[arg-type]


def test_dead_letter_options_come_from_a_mapping_of_the_same_names() -> None:
    def should_send(job: object, error: object, attempts: int) -> bool:
        return attempts > 1

    assert DeadLetters.of(None) == DeadLetters()
    letters = DeadLetters.of({"stream_key": "my dlq {x}", "should_send": should_send})
    assert letters == DeadLetters("my dlq {x}", should_send)
    assert DeadLetters.of(letters) is letters


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "dlq must be a mapping"),
        ("dlq", "dlq must be a mapping"),
        ({"streamKey": "x"}, "dlq has no 'streamKey'; it takes stream_key, should_send"),
        ({"stream_key": 5}, "dlq.stream_key must be .*got 5"),
        ({"stream_key": ""}, "dlq.stream_key must be .*got ''"),
        ({"should_send": True}, "dlq.should_send must be a function, got True"),
        ({"should_send": _coroutine}, "dlq.should_send must be a plain function"),
    ],
)
def test_wrong_dead_letter_options_are_refused(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DeadLetters.of(value)
