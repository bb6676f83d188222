"""Counts and lengths of time, against worlds small enough to count by hand."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from simulation.summary import EventSummary, Spread, Summary
from taskmanager.job import Kind
from tests.simulation.worlds import fact, one_run, retried_mail


def test_every_count_is_the_number_of_its_steps() -> None:
    facts = [
        *retried_mail(),
        fact(0, Kind.SCHEDULED, "sync@1"),
        fact(0, Kind.STARTED, "sync@1"),
        fact(1, Kind.STALLED, "sync@1"),
        fact(2, Kind.STARTED, "sync@1"),
        fact(2, Kind.FOLLOW_UP, "sync@1"),
        fact(3, Kind.FAILED, "sync@1"),
        fact(4, Kind.CANCELLED, "sync@1"),
        fact(5, Kind.SKIPPED, "sync@2"),
        fact(5, Kind.DUPLICATE, "sync@2"),
        fact(6, Kind.PAUSED),
    ]
    summary = Summary.of(facts, {"sync": 1})
    assert list(summary.events) == ["send-email", "sync"]
    mail = summary["send-email"]
    assert (mail.emitted, mail.runs, mail.completed, mail.retries, mail.failed, mail.dead_letters) == (1, 2, 1, 1, 0, 0)
    sync = summary["sync"]
    assert (sync.emitted, sync.runs, sync.lost, sync.failed, sync.dead_letters, sync.cancelled) == (2, 2, 1, 1, 1, 1)
    assert (sync.completed, sync.skipped) == (0, 1)


def test_waits_and_runs_have_their_median_and_their_longest() -> None:
    facts = [*one_run("a:1", 0, 1, 2), *one_run("a:2", 0, 4, 9), *one_run("a:3", 0, 2, 5), *one_run("b", 0, 0, 1)]
    summary = Summary.of(facts)
    assert summary["a"].waiting == Spread(2.0, 4.0)
    assert summary["a"].running == Spread(3.0, 5.0)
    assert summary["b"].waiting == Spread(0.0, 0.0)


def test_a_delay_is_no_wait_and_each_hand_out_waits_anew() -> None:
    assert Summary.of(retried_mail())["send-email"].waiting == Spread(0.0, 0.0)
    facts = [
        fact(0, Kind.EMITTED, "a"),
        fact(2, Kind.STARTED, "a"),
        fact(3, Kind.RELEASED, "a"),
        fact(9, Kind.STARTED, "a"),
    ]
    assert Summary.of(facts)["a"].waiting == Spread(4.0, 6.0)


def test_what_the_step_says_of_the_run_goes_before_the_time_between_the_steps() -> None:
    facts = one_run("a", 0, 0, 5)
    facts[-1] = facts[-1]._replace(detail={"duration": 0.0})
    assert Summary.of(facts)["a"].running == Spread(0.0, 0.0)
    facts[-1] = facts[-1]._replace(detail=None)
    assert Summary.of(facts)["a"].running == Spread(5.0, 5.0)


def test_what_never_started_has_no_lengths() -> None:
    only = Summary.of([fact(0, Kind.EMITTED, "a"), fact(9, Kind.CANCELLED, "a")])["a"]
    assert (only.waiting, only.running) == (None, None)


def test_dead_letters_of_an_event_without_steps_are_shown_too() -> None:
    assert Summary.of([], {"a": 2})["a"] == EventSummary("a", dead_letters=2)


def test_to_dict_is_json_in_alphabetical_order() -> None:
    told = Summary.of([*one_run("b", 0, 1, 2), *one_run("a", 0, 1, 2)]).to_dict()
    assert list(told) == ["a", "b"]
    assert json.loads(json.dumps(told))["a"]["waiting"] == {"median": 1.0, "max": 1.0}


def test_the_text_shows_columns_that_tell_something() -> None:
    heading, row = str(Summary.of(one_run("a", 0, 1, 3))).splitlines()
    assert heading.split("  ")[0].strip() == "event"
    assert "dead letters" not in heading
    assert "retries" not in heading
    assert row.split() == ["a", "1", "1", "1", "·", *["1", "s"] * 2, *["2", "s"] * 2]
    assert "dead letters" in str(Summary.of([], {"a": 1}))
    assert str(Summary.of([])) == "(nothing has happened)"


@pytest.mark.parametrize("word", ["a", "1 s", "2 s", "completed"])
def test_rich_and_html_show_the_same(word: str) -> None:
    summary = Summary.of(one_run("a", 0, 1, 3))
    console = Console(file=io.StringIO(), width=120)
    console.print(summary)
    assert isinstance(console.file, io.StringIO)
    assert word in console.file.getvalue()
    assert f">{word}<" in summary._repr_html_()


def test_an_event_name_is_escaped_in_html() -> None:
    assert "<b>" not in Summary.of([fact(0, Kind.EMITTED, "x", event="<b>")])._repr_html_()
