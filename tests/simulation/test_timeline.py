"""A timeline is a list of facts and a way of looking at it; equal ones look alike, byte for byte."""

from __future__ import annotations

import copy
import io
import json
import pickle
from html.parser import HTMLParser

import pytest
from rich.console import Console

from simulation.pages import STYLES, render, routine
from simulation.timeline import HUES, Timeline
from taskmanager.errors import UsageError
from taskmanager.job import Fact, Kind
from taskmanager.steps import Step
from tests.simulation.worlds import fact, one_run, retried_mail


def long_world(lives: int) -> list[Fact]:
    return [f for i in range(lives) for f in one_run("sync", i * 60, i * 60, i * 60 + 1)]


def printed(timeline: Timeline, *, width: int = 120, limit: int | None = None, terminal: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=width, force_terminal=terminal, color_system="truecolor" if terminal else None
    )
    render(timeline, console, limit=limit)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_recording_is_appending_to_the_list_of_facts() -> None:
    timeline = Timeline()
    timeline.record(fact(0, Kind.PAUSED))
    assert timeline.facts == [fact(0, Kind.PAUSED)]
    assert list(timeline) == [Step(fact(0, Kind.PAUSED))]


def test_indexing_gives_steps_and_slicing_gives_timelines_of_their_own() -> None:
    timeline = Timeline(retried_mail())
    assert timeline[-1].kind is Kind.COMPLETED
    head = timeline[:2]
    assert isinstance(head, Timeline)
    head.record(fact(9, Kind.PAUSED))
    assert (len(head), len(timeline)) == (3, 7)
    with pytest.raises(IndexError):
        timeline[7]


def test_timelines_are_equal_when_their_steps_are_worker_names_aside() -> None:
    one = Timeline(retried_mail())
    other = Timeline(f._replace(worker=f.worker and f"other-{f.worker}") for f in retried_mail())
    assert one == other
    assert one == list(other)
    assert one != Timeline(retried_mail()[:-1])
    assert one != Timeline([*retried_mail()[:-1], fact(3604.5, Kind.FAILED, "send-email:Xx")])
    assert one != "a timeline"


def test_a_timeline_is_no_key_since_it_grows() -> None:
    with pytest.raises(TypeError):
        hash(Timeline())


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_records_into_itself(copied: object) -> None:
    timeline = Timeline(retried_mail())
    assert callable(copied)
    other = copied(timeline)
    other.record(fact(9, Kind.PAUSED))
    assert (len(other), len(timeline)) == (8, 7)


def test_only_keeps_what_matches_all_that_is_asked() -> None:
    timeline = Timeline([*retried_mail(), *one_run("sync", 0, 1, 2), fact(9, Kind.PAUSED, queue="emails")])
    assert [s.attempt for s in timeline.only(kind="started", event="send-email")] == [1, 2]
    assert len(timeline.only(kind=["retried", Kind.COMPLETED])) == 3
    assert len(timeline.only(job_id="sync")) == 3
    assert [s.kind for s in timeline.only(queue="emails")] == ["paused"]
    assert timeline.only() == timeline


def test_a_kind_that_does_not_exist_is_refused_and_the_accepted_are_named() -> None:
    with pytest.raises(UsageError, match=r"kind must be one of emitted, .*, got 'complete'"):
        Timeline().only(kind="complete")


def test_json_lines_are_ascii_one_object_a_step_and_the_same_for_equal_timelines() -> None:
    facts = [*retried_mail(), fact(9, Kind.FAILED, "é", detail={"error": "E: \ud800 ü\u2028"})]
    text = Timeline(facts).to_json_lines()
    rows = [json.loads(line) for line in text.splitlines()]
    assert text.isascii()
    assert text.endswith("\n")
    assert rows == [step.to_dict() for step in Timeline(facts)]
    turned = [f._replace(detail=f.detail and dict(reversed(f.detail.items()))) for f in facts]
    assert Timeline(turned).to_json_lines() == text
    whole = [f._replace(detail=f.detail and {k: int(v) if v == 1.0 else v for k, v in f.detail.items()}) for f in facts]
    assert Timeline(whole).to_json_lines() == text


def test_json_lines_without_workers_are_equal_wherever_timelines_are() -> None:
    renamed = Timeline(f._replace(worker="x") for f in retried_mail() if f.worker)
    named = Timeline(f for f in retried_mail() if f.worker)
    assert named.to_json_lines() != renamed.to_json_lines()
    assert named.to_json_lines(workers=False) == renamed.to_json_lines(workers=False)


def test_the_table_has_a_line_a_step_under_aligned_columns() -> None:
    lines = str(Timeline(retried_mail())).splitlines()
    assert lines[0].split() == ["time", "what", "event", "job", "attempt", "worker", "detail"]
    assert len(lines) == 8
    where = lines[0].index("detail")
    assert lines[1][where:] == "in 1 h"
    assert lines[4][where:] == "ValueError: boom, took 2 s, again in 1 s"
    assert all(line[where - 1] == " " for line in lines[1:] if len(line) > where)


def test_columns_that_tell_nothing_are_left_out() -> None:
    assert "worker" not in str(Timeline(one_run("a", 0, 1, 2))).splitlines()[0].split()
    assert "queue" not in str(Timeline(one_run("a", 0, 1, 2))).splitlines()[0].split()
    two = Timeline([*one_run("a", 0, 1, 2), fact(3, Kind.PAUSED, queue="emails")])
    assert "queue" in str(two).splitlines()[0].split()


def test_wide_characters_do_not_break_the_columns() -> None:
    lines = str(Timeline([fact(0, Kind.EMITTED, "日本"), fact(0, Kind.EMITTED, "a", detail={"delay": 1})])).splitlines()
    assert lines[2].endswith("in 1 s")
    assert lines[1].rstrip().endswith("日本")


def test_repr_shows_head_and_tail_with_a_count_and_str_shows_all() -> None:
    timeline = Timeline(long_world(100))
    assert len(str(timeline).splitlines()) == 301
    lines = repr(timeline).splitlines()
    assert lines[0] == "Timeline of 300 steps"
    assert len(lines) == 43
    assert lines[22] == "… 260 more …"
    assert lines[-1].split()[-1] == "s"
    assert repr(Timeline()) == "Timeline of 0 steps"
    assert str(Timeline()) == "(nothing has happened)"


class Cells(HTMLParser):
    """Collects tags and the text of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_html_table_escapes_everything_and_has_a_row_a_step() -> None:
    evil = "<script>alert('&')</script>"
    html = Timeline([fact(0, Kind.FAILED, evil, event=evil, queue=evil, worker=evil, detail={"error": evil}),
                     fact(1, Kind.FAILED, "b", worker="w")])._repr_html_()  # fmt: skip
    seen = Cells()
    seen.feed(html)
    assert "script" not in seen.tags
    assert seen.tags.count("tr") == 3
    assert seen.texts.count(evil) == 5


def test_the_html_table_sets_no_ink_and_no_paper_so_it_reads_on_light_and_dark() -> None:
    html = Timeline(retried_mail())._repr_html_()
    assert "background: none" in html
    assert "color: inherit" in html
    assert set(HUES.values()).isdisjoint({"#000", "#fff", "black", "white"})


def test_a_very_long_html_table_shows_head_and_tail() -> None:
    html = Timeline(long_world(200))._repr_html_()
    assert "… 400 more …" in html
    assert html.count("<tr>") == 202
    assert "Timeline of 600 steps" in html


def test_every_kind_has_a_symbol_for_the_terminal() -> None:
    assert set(STYLES) == set(Kind)


def test_rendering_puts_days_as_headings_and_leaves_no_step_out() -> None:
    facts = [*one_run("late", 86_000, 86_000, 87_000), fact(87_001, Kind.PAUSED)]
    text = printed(Timeline(facts))
    lines = text.splitlines()
    assert lines[0] == "Saturday 28 March 2026"
    assert "Sunday 29 March 2026" in lines
    assert next(line for line in lines if "completed" in line).endswith("took 16 min 40 s")
    assert sum(":" in line for line in lines) == 4
    assert "queue default" in text


def test_rendering_never_cuts_an_error() -> None:
    error = "ValueError: " + "why " * 40
    text = printed(Timeline([fact(0, Kind.FAILED, "a", detail={"error": error.strip()})]), width=60)
    assert text.count("why") == 40


def test_rendering_with_a_limit_says_how_many_are_left_out() -> None:
    text = printed(Timeline(long_world(100)), limit=10)
    assert "… 290 more …" in text
    assert sum("sync" in line for line in text.splitlines()) == 10
    assert "Nothing has happened." in printed(Timeline())


def test_a_console_prints_a_timeline_by_itself_and_the_same_each_time() -> None:
    one, other = printed(Timeline(retried_mail()), terminal=True), printed(Timeline(retried_mail()), terminal=True)
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system="truecolor")
    console.print(Timeline(retried_mail()))
    assert isinstance(console.file, io.StringIO)
    assert one == other == console.file.getvalue()


def test_routine_is_a_life_without_trouble_after_another_such_life() -> None:
    good = one_run("sync", 0, 0, 1)
    bad = one_run("sync", 2, 2, 3, Kind.FAILED)
    assert routine([*good, *good]) == {3, 4, 5}
    assert routine([*good, *bad, *good, *good]) == {9, 10, 11}
    assert routine([*retried_mail(), *good]) == frozenset()


def test_routine_lives_are_listed_but_dim() -> None:
    lines = printed(Timeline(long_world(2)), terminal=True).splitlines()
    shown = [line for line in lines if "completed" in line]
    assert "\x1b[32m" in shown[0]
    assert "\x1b[32m" not in shown[1]
    assert "\x1b[2m" in shown[1]
