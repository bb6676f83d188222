"""A step is a fact made public: it cannot be changed, and says the same wherever it is equal."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from taskmanager.job import ErrorInfo, Fact, Kind
from taskmanager.steps import Step, clock_text, detail_words, span_words

AT = int(datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp() * 1000)
FACT = Fact(AT, Kind.RETRIED, "emails", "send", "send:1", 2, "w1", {"delay": 1.0, "duration": 2.0, "error": "E: x"})


def test_a_step_shows_every_field_of_its_fact_with_an_aware_utc_datetime() -> None:
    step = Step(FACT)
    assert step.at == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert step.at.tzinfo is UTC
    assert (step.kind, step.queue, step.event, step.job_id, step.attempt, step.worker) == FACT[1:7]
    assert step.detail == {"delay": 1.0, "duration": 2.0, "error": "E: x"}


def test_a_detail_is_never_empty() -> None:
    assert Step(FACT._replace(detail={})).detail is None
    assert Step(FACT._replace(detail={})) == Step(FACT._replace(detail=None))


@pytest.mark.parametrize("field", ["at", "kind", "worker", "fact", "new"])
def test_a_step_cannot_be_changed(field: str) -> None:
    step = Step(FACT)
    with pytest.raises(AttributeError, match="cannot be changed"):
        setattr(step, field, 1)
    with pytest.raises(AttributeError):
        delattr(step, field)
    with pytest.raises(TypeError):
        step.detail["delay"] = 2  # type: ignore[index]  # the refusal is the test
    assert step == Step(FACT)


def test_steps_are_equal_when_all_but_the_worker_is() -> None:
    other = Step(FACT._replace(worker="w2"))
    assert Step(FACT) == other
    assert hash(Step(FACT)) == hash(other)


@pytest.mark.parametrize(
    "change",
    [
        {"at": AT + 1},
        {"kind": Kind.FAILED},
        {"queue": "q"},
        {"event": "e"},
        {"job_id": "j"},
        {"attempt": 3},
        {"detail": {"delay": 2.0}},
        {"detail": None},
    ],
)
def test_steps_differ_in_any_other_field(change: dict[str, Any]) -> None:
    assert Step(FACT) != Step(FACT._replace(**change))
    assert Step(FACT) != FACT


def test_to_dict_leaves_out_what_has_no_meaning_and_writes_equal_numbers_alike() -> None:
    step = Step(Fact(AT + 5, Kind.EMITTED, "q", "e", "e:1", detail={"delay": 60.0}))
    told = step.to_dict()
    assert told == {
        "at": "2026-03-29T01:00:00.005Z",
        "kind": "emitted",
        "queue": "q",
        "event": "e",
        "job_id": "e:1",
        "detail": {"delay": 60},
    }
    assert json.dumps(told["detail"]) == '{"delay": 60}'
    assert list(Step(FACT).to_dict()["detail"]) == ["error", "duration", "delay"]


def test_a_detail_of_none_is_not_told() -> None:
    step = Step(FACT._replace(kind=Kind.PROGRESS, detail={"fraction": 0.5, "note": None}))
    assert step.to_dict()["detail"] == {"fraction": 0.5}
    assert str(step).endswith("50%")


def test_a_step_is_one_line_of_text() -> None:
    assert str(Step(FACT)) == (
        "2026-03-29 01:00:00.000Z  retried  send:1  attempt 2  on w1  E: x, took 2 s, again in 1 s"
    )
    assert str(Step(Fact(AT, Kind.PAUSED, "q"))) == "2026-03-29 01:00:00.000Z  paused  queue q"
    assert "(send)" in str(Step(FACT._replace(job_id="other")))
    assert "\n" not in str(Step(FACT._replace(detail={"reason": "a\nb\r\nc"})))


def test_the_repr_names_what_is_there() -> None:
    assert repr(Step(Fact(AT, Kind.PAUSED, "q", detail={}))) == (
        "Step(at='2026-03-29 01:00:00.000Z', kind='paused', queue='q')"
    )


def test_a_step_survives_copying_and_pickling() -> None:
    step = Step(FACT)
    assert copy.deepcopy(step) == step
    assert pickle.loads(pickle.dumps(step)) == step


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (0, "0 s"),
        (1, "1 ms"),
        (999, "999 ms"),
        (1500, "1.5 s"),
        (60_000, "1 min"),
        (60_250, "1 min 0.25 s"),
        (9_000_000, "2 h 30 min"),
        (3_603_000, "1 h 0 min 3 s"),
        (90_000_000, "1 d 1 h"),
        (-1500, "-1.5 s"),
    ],
)
def test_a_length_of_time_is_said_exactly_and_as_people_say_it(ms: int, words: str) -> None:
    assert span_words(ms) == words


def test_a_clock_text_always_has_one_width() -> None:
    assert len(clock_text(AT)) == len(clock_text(AT + 1)) == len("2026-03-29 01:00:00.000Z")


@pytest.mark.parametrize(
    ("kind", "detail", "words"),
    [
        (Kind.EMITTED, {"delay": 3600}, "in 1 h"),
        (Kind.RETRIED, {"delay": 1}, "again in 1 s"),
        (Kind.COMPLETED, {"duration": 0.25}, "took 250 ms"),
        (Kind.SCHEDULED, {"dropped": 3}, "3 dropped"),
        (Kind.CANCELLED, {"reason": "expired"}, "expired"),
        (Kind.FAILED, {"zeal": 1.0, "error": "E: {x}"}, "E: {x}, zeal 1"),
        (Kind.DUE, None, ""),
    ],
)
def test_details_are_put_in_words(kind: Kind, detail: dict[str, Any] | None, words: str) -> None:
    assert detail_words(Fact(AT, kind, "q", detail=detail)) == words


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x0b", "\x85", "\u2028"])
def test_an_error_and_a_detail_are_one_line_whatever_ends_a_line(end: str) -> None:
    assert str(ErrorInfo("E", f"a{end}b")) == "E: a b"
    assert detail_words(FACT._replace(detail={"reason": f"a{end}b"})) == "a b"
