"""Each picture has what it is to show, leaves the user's settings alone, and never touches pyplot."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime

import matplotlib
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from simulation import plots
from simulation.diagram import arrows
from simulation.timeline import Timeline
from taskmanager.errors import UsageError
from taskmanager.job import Fact, Kind, State
from taskmanager.policy.lifecycle import GONE
from tests.simulation.worlds import HOUR, START, fact, one_run, retried_mail

WORLD = Timeline([*retried_mail(), *one_run("sync", 7200, 7260, 9000, Kind.FAILED), fact(9000, Kind.EMITTED, "live")])
CRONS: plots.Crons = {"backup": "30 2 * * *", "hourly": "0 * * * *", "half": [START + HOUR // 2, START + HOUR]}
MISSED = [(START + hour * HOUR, START + 5 * HOUR) for hour in (2, 3)]
PARIS = "Europe/Paris"

PICTURES: dict[str, Callable[..., Figure]] = {
    "lifecycle": plots.lifecycle,
    "timeline": lambda **kw: plots.timeline(WORLD, **kw),
    "job": lambda **kw: plots.job(WORLD, "send-email:Xx", **kw),
    "year": lambda **kw: plots.year(CRONS, **kw),
    "collisions": lambda **kw: plots.collisions(CRONS, **kw),
    "night": lambda **kw: plots.night(CRONS, date(2026, 3, 29), timezone=PARIS, **kw),
    "catch_up": lambda **kw: plots.catch_up(
        {"all": MISSED}, [d for d, _ in MISSED], (START + HOUR, START + 5 * HOUR), **kw
    ),
}


def drawn(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def texts(figure: Figure) -> list[str]:
    """Every text that is seen, tick labels too."""
    from matplotlib.text import Text

    figure.canvas.draw()
    return [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_text()]


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_is_drawn_in_one_call_the_same_each_time_and_without_a_warning(name: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = PICTURES[name]()
    assert isinstance(figure, Figure)
    assert drawn(figure) == drawn(PICTURES[name]())
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", PICTURES)
def test_each_picture_can_be_drawn_into_axes_of_another_figure(name: str) -> None:
    outer = Figure(figsize=(12, 8))
    part = outer.add_subfigure(outer.add_gridspec(1, 2)[0, 0])
    ax = part.add_subplot()
    assert PICTURES[name](ax=ax) is outer
    assert ax.has_data()
    assert drawn(outer)


def test_all_pictures_are_public() -> None:
    assert sorted(plots.__all__) == sorted([*PICTURES, "Crons"])


def test_a_picture_shows_itself_in_a_notebook() -> None:
    figure = plots.job(WORLD, "send-email:Xx")
    shown = getattr(figure, "_repr_png_")()  # noqa: B009 - the protocol of notebooks, not of Figure
    assert shown.startswith(b"\x89PNG")


def test_pyplot_is_never_imported() -> None:
    code = "import sys; from simulation import plots; plots.lifecycle(); print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("simulation.plots")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_extra_is_named() -> None:
    with pytest.raises(UsageError, match=r"pip install 'taskmanager\[plots\]'"):
        __import__("simulation.plots")


def test_the_lifecycle_has_exactly_the_arrows_of_the_table_and_their_steps() -> None:
    figure = plots.lifecycle()
    drawn_arrows = [patch.get_gid() for patch in figure.axes[0].patches if isinstance(patch, FancyArrowPatch)]
    assert sorted(map(str, drawn_arrows)) == sorted(f"{origin} to {target}" for origin, target in arrows())
    words = texts(figure)
    for (_, target), steps in arrows().items():
        if target != GONE:
            assert "\n".join(steps) in words
            words.remove("\n".join(steps))
    assert {str(state) for state in State} <= set(words)


def test_the_timeline_has_a_lane_an_event_and_a_legend_of_what_there_is() -> None:
    figure = plots.timeline(WORLD)
    ax = figure.axes[0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["send-email", "sync", "live"]
    legend = ax.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["delayed", "waiting", "running", "retried", "failed"]
    assert sorted(str(line.get_marker()) for line in ax.lines if line.get_marker() != "None") == ["X", "^"]


def test_the_timeline_stacks_jobs_that_overlap_and_keeps_a_life_in_its_row() -> None:
    figure = plots.timeline(Timeline([*one_run("a:1", 0, 1, 9), *one_run("a:2", 2, 3, 9), *one_run("a:3", 10, 11, 12)]))
    runs = figure.axes[0].collections[-1]
    bottoms = [round(path.get_extents().y0, 3) for path in runs.get_paths()]
    assert bottoms[0] != bottoms[1]
    assert bottoms[2] == bottoms[0]


def test_a_timeline_may_be_steps_or_a_simulation_or_empty() -> None:
    class Sim:
        timeline = WORLD

    assert drawn(plots.timeline(Sim())) == drawn(plots.timeline(WORLD)) == drawn(plots.timeline(list(WORLD)))
    assert "Nothing happened" in texts(plots.timeline(Timeline()))


def test_thousands_of_overlapping_jobs_stay_in_a_dozen_rows() -> None:
    facts: list[Fact] = [f for i in range(300) for f in one_run(f"a:{i}", i / 100, 5, 9)]
    figure = plots.timeline(Timeline(sorted(facts, key=lambda f: f.at)))
    runs = figure.axes[0].collections[-1]
    assert len({round(path.get_extents().y0, 3) for path in runs.get_paths()}) == 12


def test_a_job_is_stairs_with_its_attempts_lengths_and_turns() -> None:
    words = texts(plots.job(WORLD, "send-email:Xx"))
    for word in ("1 h", "#1  2 s", "1 s", "#2  1.5 s", "retried\nValueError: boom", "completed", "delayed", "running"):
        assert word in words
    assert "00:00:00\n2026-03-28" in words
    assert "1 h 0 min 4.5 s in all, UTC, not to scale" in words


def test_a_job_that_lives_is_drawn_as_far_as_it_came_and_an_unknown_one_is_refused() -> None:
    later = Timeline([*WORLD.facts, fact(9060, Kind.PAUSED)])
    assert "1 min so far" in texts(plots.job(later, "live"))
    with pytest.raises(UsageError, match="got 'nobody'"):
        plots.job(WORLD, "nobody")


def test_a_year_counts_each_run_in_its_local_hour() -> None:
    figure = plots.year({"backup": "30 2 * * *"}, timezone=PARIS)
    counts = figure.axes[0].collections[0].get_array()
    assert counts is not None
    table = counts.reshape(24, 365)
    spring = date(2026, 3, 29).timetuple().tm_yday - 1
    assert table.sum() == 365
    assert table[2].count() == 364
    assert table[3, spring] == 1
    assert "365 runs in 2026" in texts(figure)


def test_a_year_names_its_busiest_day_and_has_366_days_when_it_leaps() -> None:
    words = texts(plots.year({"a": "0 0 * * *", "b": "0 1 1 6 *"}))
    assert "366 runs in 2026; the busiest day is 1 June with 2" in words
    assert "366 runs in 2028" in texts(plots.year({"a": "0 0 * * *"}, year=2028))
    assert "0 runs in 2026" in texts(plots.year({}))


@pytest.mark.parametrize(
    ("crons", "more", "message"),
    [
        ({"a": "0 0 31 2 *"}, {}, "pattern"),
        ({"a": [datetime(2026, 1, 1)]}, {}, r"crons\['a'\] must be an aware datetime"),
        ({"a": ["noon"]}, {}, r"crons\['a'\] must be an aware datetime or milliseconds since the epoch, got 'noon'"),
        ({}, {"timezone": "Mars"}, "timezone"),
        ({}, {"year": 12026}, "year must be a whole number from 1970 to 9998, got 12026"),
    ],
)
def test_a_year_refuses_what_it_cannot_read(crons: plots.Crons, more: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plots.year(crons, **more)  # type: ignore[arg-type]  # the refusal is the test


def test_collisions_count_shared_minutes_and_name_the_crowd() -> None:
    figure = plots.collisions({"hourly": "0 * * * *", "noon": "0 12 * * *", "half": "30 * * * *"})
    words = texts(figure)
    assert "365" in words
    assert words.count("·") == 2
    assert "365 minutes are shared\n2 at once on 1 January, 12:00" in words
    assert "no two fall in the same minute" in texts(plots.collisions({"a": "0 * * * *"}))


def test_the_spring_night_marks_the_gap_and_the_run_at_its_end() -> None:
    figure = plots.night({"backup": "30 2 * * *"}, date(2026, 3, 29), timezone=PARIS)
    words = texts(figure)
    assert "never comes" in words
    assert "03:00" in [text.get_text() for text in figure.axes[0].texts]
    assert "comes twice" not in words


def test_the_autumn_night_marks_the_hour_that_comes_twice_and_the_one_run_in_it() -> None:
    figure = plots.night({"backup": "30 2 * * *"}, date(2026, 10, 25), timezone=PARIS)
    assert "comes twice" in texts(figure)
    assert [text.get_text() for text in figure.axes[0].texts] == ["02:30"]


def test_an_ordinary_night_has_no_legend() -> None:
    assert plots.night({}, date(2026, 6, 1), timezone=PARIS).axes[0].get_legend() is None


def test_catch_up_draws_what_ran_what_ran_late_and_what_was_dropped() -> None:
    due = [START + hour * HOUR for hour in range(6)]
    world = Timeline(
        [
            fact(0, Kind.SCHEDULED, "sync@2026-03-28T00:00:00Z"),
            fact(4.5 * 3600, Kind.SCHEDULED, "sync@2026-03-28T04:00:00Z", detail={"dropped": 3}),
            fact(5 * 3600, Kind.SCHEDULED, "sync@2026-03-28T05:00:00Z"),
        ]
    )
    outage = (datetime(2026, 3, 28, 0, 30, tzinfo=UTC), START + 9 * HOUR // 2)
    lines = plots.catch_up({"latest": world}, due, outage).axes[0].lines
    rings = [line for line in lines if line.get_marker() == "o" and to_hex(line.get_markerfacecolor()) == "#ffffff"]
    assert [line.get_marker() for line in lines].count("x") == 3
    assert len(rings) == 1
    assert [line.get_marker() for line in lines].count("o") == 4


def test_an_outage_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(UsageError, match="outage must be"):
        plots.catch_up({}, [], (START + 1, START))
