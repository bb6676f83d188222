"""One job's story, sentence by sentence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from simulation.story import explain
from simulation.timeline import Timeline
from taskmanager.job import Fact, Kind, State
from tests.simulation.worlds import START, fact, one_run, retried_mail


@dataclass(frozen=True)
class Record:
    """A job record, as far as a story needs one."""

    state: State = State.COMPLETED
    queue: str = "default"
    run_at: datetime | int = datetime(2026, 3, 28, 9, 30, tzinfo=UTC)


def tell(facts: list[Fact], job_id: str = "a", record: Record | None = None, **rest: Any) -> str:
    return explain(job_id, Timeline(facts), record or Record(), **rest)


def life(*facts: Fact) -> list[Fact]:
    return [fact(0, Kind.EMITTED, "a"), fact(0, Kind.STARTED, "a", attempt=1, worker="w1"), *facts]


def test_a_retried_job_is_told_from_its_emission_to_its_end() -> None:
    assert tell(retried_mail(), "send-email:Xx") == (
        "send-email:Xx was emitted at 00:00:00 on 28 March 2026 to run 1 h later. "
        "It became due at 01:00:00, and attempt 1 started at once on worker-1. "
        "At 01:00:02, after a run of 2 s, it raised ValueError: boom; retry 1 was to follow 1 s later. "
        "It became due at 01:00:03, and attempt 2 started at once on worker-2. "
        "It completed at 01:00:04.500 after a run of 1.5 s, 1 h 0 min 4.5 s after it was emitted."
    )


def test_a_wait_is_told_with_its_length_and_the_pause_that_explains_it() -> None:
    facts = [
        fact(0, Kind.EMITTED, "a"),
        fact(1, Kind.PAUSED),
        fact(2, Kind.PAUSED, queue="other"),
        fact(60, Kind.RESUMED),
        fact(61, Kind.STARTED, "a", attempt=1),
        fact(62, Kind.PAUSED),
    ]
    assert tell(facts) == (
        "a was emitted at 00:00:00 on 28 March 2026. Its queue was paused at 00:00:01. "
        "Its queue was resumed at 00:01:00. Attempt 1 started after 1 min 1 s of waiting, at 00:01:01."
    )


def test_another_day_is_named_when_it_comes() -> None:
    assert "It completed at 00:00:01 on 29 March 2026 after a run" in tell(one_run("a", 0, 0, 86_401))


ENDS = [
    (Kind.COMPLETED, None, "It completed at 00:00:05, 5 s after it was emitted."),
    (Kind.SKIPPED, None, "The task declined to run at 00:00:05, so it counts as completed, 5 s after it was emitted."),
    (
        Kind.FAILED,
        {"error": "E: x", "duration": 5},
        "At 00:00:05, after a run of 5 s, it raised E: x and failed for good, ",
    ),
    (Kind.FAILED, {"error": "E: x", "reason": "x"}, "it raised E: x and failed for good, 5 s after"),
    (Kind.FAILED, {"error": "L: y", "reason": "stalled"}, "it failed for good, because its lease was lost too often"),
    (Kind.FAILED, {"error": "E: y", "reason": "result"}, "failed for good, because its result could not be stored"),
    (Kind.FAILED, {"error": "D: no", "reason": "because"}, "it raised D: no and failed for good (because), "),
    (Kind.FAILED, {"error": "E: x", "reason": "superseded"}, "it raised E: x and gave way to its follow-up"),
    (Kind.CANCELLED, {"reason": "requested"}, "It was cancelled at 00:00:05 on request, 5 s after it was emitted."),
    (
        Kind.CANCELLED,
        {"reason": "expired"},
        "It was cancelled at 00:00:05, because it had expired before it could start",
    ),
    (Kind.CANCELLED, {"reason": "deleted"}, "because it was deleted"),
    (Kind.CANCELLED, {"reason": "superseded"}, "It was cancelled at 00:00:05 and gave way to its follow-up"),
    (Kind.RELEASED, None, "w1 stopped at 00:00:05 and gave it back; it waited again."),
    (Kind.STALLED, None, "Its lease was lost at 00:00:05, for its worker was not heard of; it waited again."),
    (Kind.RETRIED, {"delay": 2}, "It asked at 00:00:05 to be run again 2 s later, which spends no retry."),
    (Kind.PROGRESS, {"fraction": 0.5, "note": "half"}, "It reported 50% (half) at 00:00:05."),
    (Kind.PROGRESS, {"fraction": 0.5, "note": None}, "It reported 50% at 00:00:05."),
    (Kind.DUPLICATE, None, "It was emitted again at 00:00:05, which changed nothing: it was already known."),
]


@pytest.mark.parametrize(("kind", "detail", "sentence"), ENDS)
def test_each_end_of_a_run_has_its_sentence(kind: Kind, detail: dict[str, Any] | None, sentence: str) -> None:
    assert sentence in tell(life(fact(5, kind, "a", attempt=1, worker="w1", detail=detail)))


WAITS = [
    (Kind.REPLACED, None, "A later emission at 00:00:05 replaced its data and options."),
    (Kind.REPLACED, {"delay": 60}, "replaced its data and options and put it off to 1 min later."),
    (Kind.DEBOUNCED, {"delay": 60}, "Another emission at 00:00:05 was debounced and it was put off to 1 min later."),
    (Kind.DEBOUNCED, None, "Another emission at 00:00:05 was debounced."),
    (Kind.REQUEUED, None, "An operator retried it at 00:00:05; it waited again."),
    (Kind.DUE, None, "It became due at 00:00:05."),
]


@pytest.mark.parametrize(("kind", "detail", "sentence"), WAITS)
def test_each_step_of_a_wait_has_its_sentence(kind: Kind, detail: dict[str, Any] | None, sentence: str) -> None:
    assert sentence in tell([fact(0, Kind.EMITTED, "a"), fact(5, kind, "a", detail=detail)])


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_is_told_in_one_sentence_that_ends(kind: Kind) -> None:
    story = tell([fact(0, kind, "a")])
    assert story.endswith(".")
    assert story.count("00:00:00") == 1


def test_a_follow_up_takes_its_place_and_counts_its_own_time() -> None:
    story = tell(life(fact(1, Kind.FOLLOW_UP, "a"), fact(4, Kind.COMPLETED, "a"), fact(6, Kind.STARTED, "a", attempt=1),
                      fact(7, Kind.COMPLETED, "a", detail={"duration": 1})))  # fmt: skip
    assert story.endswith(
        "It was emitted again at 00:00:01 while it ran, and that was recorded as its follow-up. "
        "It completed at 00:00:04, 4 s after it was emitted. Its follow-up took its place. "
        "Attempt 1 started after 2 s of waiting, at 00:00:06. "
        "It completed at 00:00:07 after a run of 1 s, 3 s after it was emitted."
    )


def test_a_cancel_on_request_takes_the_follow_up_with_it() -> None:
    end = fact(4, Kind.CANCELLED, "a", detail={"reason": "requested"})
    assert "took its place" not in tell(life(fact(1, Kind.FOLLOW_UP, "a"), end))


def test_an_occurrence_is_told_as_such_with_what_was_dropped() -> None:
    name = "sync@2026-03-28T00:00:00Z"
    story = tell([fact(0, Kind.SCHEDULED, name, detail={"dropped": 2})], name)
    assert (
        story
        == f"{name} was admitted by its schedule at 00:00:00 on 28 March 2026; 2 earlier occurrences were dropped."
    )
    assert "1 earlier occurrence was dropped" in tell([fact(0, Kind.SCHEDULED, name, detail={"dropped": 1})], name)


def test_what_never_was_a_job_is_told_without_a_word_about_its_record() -> None:
    skipped = explain("sync@1", Timeline([fact(0, Kind.SKIPPED, "sync@1")]), None)
    assert skipped == "sync@1 was skipped at 00:00:00 on 28 March 2026, because an earlier occurrence was still live."
    dropped = explain("a", Timeline([fact(0, Kind.DEBOUNCED, "a")]), None)
    assert dropped == "a was emitted at 00:00:00 on 28 March 2026 and debounced: nothing of it was kept."


def test_each_life_of_an_id_is_a_paragraph() -> None:
    first, second = tell([*one_run("a", 0, 0, 1), *one_run("a", 5, 5, 6)]).split("\n\n")
    assert first.startswith("a was emitted at 00:00:00 on 28 March 2026")
    assert second.startswith("a was emitted again at 00:00:05 on 28 March 2026")


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (Record(State.WAITING), "It is now waiting."),
        (Record(State.ACTIVE), "It is now active."),
        (Record(State.DELAYED), "It is now delayed until 09:30:00 on 28 March 2026."),
        (Record(State.DELAYED, run_at=START + 1500), "It is now delayed until 00:00:01.500 on 28 March 2026."),
    ],
)
def test_a_live_job_says_how_it_stands(record: Record, sentence: str) -> None:
    assert tell([fact(0, Kind.EMITTED, "a")], record=record).endswith(sentence)


def test_a_job_whose_record_is_gone_says_so_and_one_that_has_not_ended_too() -> None:
    assert explain("a", Timeline(one_run("a", 0, 0, 1)), None).endswith("No record of it is kept any more.")
    assert explain("a", Timeline([fact(0, Kind.EMITTED, "a")]), None).endswith("It has not ended in these steps.")


def test_a_job_known_by_its_record_alone_is_told_from_it() -> None:
    assert tell([], record=Record(State.DELAYED)) == (
        "a is delayed until 09:30:00 on 28 March 2026. Nothing has happened to it in this timeline."
    )


def test_an_unknown_id_is_said_to_be_unknown_and_the_nearest_are_named() -> None:
    assert explain("report-x", Timeline([fact(0, Kind.EMITTED, "report-1")]), None) == (
        "No job 'report-x' is known: none of the 1 steps mentions it and no record of it is kept. "
        "The ids most like it are report-1."
    )
    assert explain("a", Timeline(), None).endswith("kept.")


def test_one_id_in_two_queues_is_told_apart_or_chosen_by_queue() -> None:
    facts = [fact(0, Kind.EMITTED, "a"), fact(1, Kind.EMITTED, "a", queue="b")]
    both = explain("a", Timeline(facts), None)
    assert "a in queue default was emitted at 00:00:00" in both
    assert "a in queue b was emitted at 00:00:01" in both
    assert explain("a", Timeline(facts), None, queue="b").startswith("a was emitted at 00:00:01")
    assert tell(facts, record=Record(State.WAITING, queue="b")).startswith("a was emitted at 00:00:01")
