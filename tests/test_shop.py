"""The example application, and a month of its life: what the README's first command shows.

Its numbers follow from its code and its seed, so they are told here as they are to be read there.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from simulation import Simulation, Summary, Timeline
from simulation.spans import spans
from taskmanager import State, TaskManager
from taskmanager.target import load_application

ROOT = Path(__file__).resolve().parent.parent
SHOP = ROOT / "notebooks" / "shop.py"


def shop() -> TaskManager | Callable[[], TaskManager]:
    return load_application(f"{SHOP}:tm")


class Month:
    """What is left of a month: its timeline, its summary, and the last report."""

    def __init__(self, seed: int = 0) -> None:
        with Simulation(shop(), seed=seed) as sim:
            sim.run_until(datetime(2026, 3, 30, 0, 45, tzinfo=UTC))
            self.report = sim.jobs("office", State.COMPLETED, limit=1)[0].result
            sim.advance(hours=23, minutes=15)
            self.timeline: Timeline = sim.timeline
            self.summary: Summary = sim.summary


@pytest.fixture(scope="module")
def month() -> Month:
    return Month()


def moments(timeline: Timeline) -> list[datetime]:
    return [step.at for step in timeline]


def test_the_month_begins_with_march_and_crosses_the_night_in_which_the_clocks_go_forward(month: Month) -> None:
    assert month.timeline[0].at == datetime(2026, 3, 1, 1, 30, tzinfo=UTC)
    assert month.timeline[-1].at.date() == datetime(2026, 3, 30, tzinfo=UTC).date()


def test_the_report_is_made_each_night_once_and_in_the_night_without_half_past_two_as_the_gap_ends(
    month: Month,
) -> None:
    starts = moments(month.timeline.only(kind="started", event="nightly-report"))
    local = {at.astimezone(ZoneInfo("Europe/Berlin")).date(): at.astimezone(ZoneInfo("Europe/Berlin")) for at in starts}
    assert len(starts) == len(local) == 30
    times = Counter(f"{at:%H:%M}" for at in local.values())
    assert times == {"02:30": 29, "03:00": 1}
    assert datetime(2026, 3, 29, 1, 0, tzinfo=UTC) in starts


def test_the_report_reads_the_clock_and_the_queues_of_the_simulated_world(month: Month) -> None:
    assert isinstance(month.report, dict)
    assert month.report["written_at"].startswith("2026-03-30T00:3")
    assert month.report["refused"] == 1  # failed jobs are kept for a week


def test_a_payment_waits_longer_before_each_retry(month: Month) -> None:
    waits: dict[str, list[float]] = {}
    for step in month.timeline.only(kind="retried", event="charge"):
        assert step.job_id is not None
        assert step.detail is not None
        assert step.detail["error"] == "GatewayTimeout: the payment provider does not answer"
        waits.setdefault(step.job_id, []).append(step.detail["delay"])
    assert len(waits) > 10
    assert max(map(len, waits.values())) >= 2
    assert all(found == [30, 60, 120, 240][: len(found)] for found in waits.values())


def test_sales_within_half_an_hour_refresh_the_index_once(month: Month) -> None:
    sales, refreshes = month.summary["order"].completed, month.summary["refresh-index"].completed
    debounced = len(month.timeline.only(kind="debounced", event="refresh-index"))
    assert debounced > 0
    assert refreshes + debounced == sales


def test_two_people_pack_an_hour_for_each_parcel(month: Month) -> None:
    packing = [s for s in spans(month.timeline.facts) if s.event == "pack" and s.state is State.ACTIVE]
    assert len(packing) > 100
    assert {s.end - s.start for s in packing if s.end is not None} == {3_600_000}
    changes = sorted([(s.start, 1) for s in packing] + [(s.end, -1) for s in packing if s.end is not None])
    busy = [sum(change for _, change in changes[: i + 1]) for i in range(len(changes))]
    assert max(busy) == 2


def test_every_monday_the_supplier_refuses_and_a_dead_letter_is_left(month: Month) -> None:
    stock = month.summary["order-stock"]
    assert (stock.emitted, stock.runs, stock.retries, stock.failed, stock.dead_letters) == (5, 15, 10, 5, 5)


def test_a_letter_follows_five_days_after_the_payment(month: Month) -> None:
    paid = {s.job_id: s.at for s in month.timeline.only(kind="emitted", event="ask-for-review")}
    asked = {s.job_id: s.at for s in month.timeline.only(kind="started", event="ask-for-review")}
    assert len(asked) > 50
    assert {asked[job] - paid[job] for job in asked} == {timedelta(days=5)}


def test_an_order_becomes_jobs_of_its_own(month: Month) -> None:
    numbers = {
        event: {str(s.job_id).partition("-")[2] for s in month.timeline.only(kind="completed", event=event)}
        for event in ("order", "charge", "pack")
    }
    assert len(numbers["order"]) > 100
    assert numbers["charge"] <= numbers["order"]
    assert numbers["pack"] <= numbers["charge"]
    assert len(numbers["order"] - numbers["pack"]) <= 4  # the last evening's are still on their way


def test_the_same_seed_gives_the_same_month_also_in_another_process_and_another_a_different_one(month: Month) -> None:
    assert Month(seed=1).timeline != month.timeline
    code = "import sys; from taskmanager.cli import main; sys.argv[0] = 'taskmanager'; main()"
    words = [sys.executable, "-c", code, "simulate", "notebooks/shop.py:tm", "--days", "30", "--json"]
    elsewhere = subprocess.run(
        words, cwd=ROOT, env={"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}, capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout == month.timeline.to_json_lines()


def test_importing_the_shop_touches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(shop(), TaskManager)
    assert list(tmp_path.iterdir()) == []
