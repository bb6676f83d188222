"""The audit notices what it is there to notice: each test tells it a story with one thing wrong in it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.engines.redis.audit import Account, Record, Silence, audit
from tests.engines.redis.diary import Line, Phase

LEASE_S = 1.0
A, B, C = 1, 2, 3
DONE = Record("completed", (("completed", A),))
TWICE = Record("completed", (("stalled", A), ("completed", B)))

Event = tuple[float, int, Phase, int] | tuple[float, int, Phase, int, str]


def story(*events: Event, job: str = "j") -> list[Line]:
    """(moment, worker, phase, attempt, detail) of one job, or of a worker where the attempt is 0."""
    return [
        Line("-" if attempt == 0 else job, attempt, pid, phase, detail[0] if detail else "", t)
        for t, pid, phase, attempt, *detail in events
    ]


def run(t: float, pid: int, attempt: int = 1) -> list[Event]:
    return [
        (t, pid, Phase.HELD, attempt),
        (t + 0.01, pid, Phase.BEGUN, attempt),
        (t + 0.02, pid, Phase.RAN, attempt),
        (t + 0.03, pid, Phase.SETTLED, attempt, "completed"),
    ]


def killed(t: float, pid: int) -> list[Event]:
    """Held, and killed in the handler half a second later."""
    return [(t, pid, Phase.HELD, 1), (t + 0.1, pid, Phase.BEGUN, 1), (t + 0.5, pid, Phase.KILLED, 0, "mid-handler")]


def reaped(t: float, pid: int) -> list[Event]:
    return [(t, pid, Phase.REAPED, 1), (t + 0.01, pid, Phase.FREED, 1, "waiting")]


def judged(
    lines: Sequence[Line], record: Record | None = DONE, *, silences: Sequence[Silence] = (), expected: str = "j"
) -> Account:
    records = {} if record is None else {"j": record}
    return audit(sorted(lines, key=lambda line: line.t), records, expected.split(), LEASE_S, silences)


# ---- what is right


def test_one_run_is_right() -> None:
    assert judged(story(*run(0, A))).problems == []


def test_a_second_run_after_a_kill_is_right_and_counted() -> None:
    account = judged(story(*killed(0, A), *reaped(1.4, B), *run(1.5, C, attempt=2)), TWICE)
    assert account.problems == []
    assert account.kills == {"mid-handler": 1}
    assert account.second_runs == 1
    assert account.slowest_s == pytest.approx(1.0)


def test_a_second_run_after_a_reaper_was_killed_too_is_measured_from_the_last_death() -> None:
    lines = story(
        *killed(0, A),
        (2.5, B, Phase.REAPED, 1),
        (2.6, B, Phase.KILLED, 0, "reap-reply"),
        *reaped(4.0, C),
        *run(4.1, C, attempt=2),
    )
    account = judged(lines, TWICE)
    assert account.problems == []
    assert account.slowest_s == pytest.approx(1.5)


def test_a_second_run_after_a_worker_was_stopped_from_outside_is_right() -> None:
    lines = story((0, A, Phase.HELD, 1), *reaped(1.4, B), *run(1.5, B, attempt=2))
    assert judged(lines, TWICE, silences=[Silence(A, 0.1, 3.0)]).problems == []


def test_a_second_run_from_a_worker_that_found_itself_late_is_right_and_counted() -> None:
    lines = story((0, A, Phase.HELD, 1), *reaped(1.4, B), *run(1.5, B, attempt=2), (1.6, A, Phase.LATE, 0))
    account = judged(lines, TWICE)
    assert account.problems == []
    assert account.lates == 1


def test_a_job_handed_again_to_the_worker_that_holds_it_is_right() -> None:
    assert judged(story((0, A, Phase.HELD, 1), *run(0.5, A))).problems == []


def test_a_second_hand_out_after_a_stopping_worker_gave_the_job_back_is_right_and_counted() -> None:
    lines = story((0, A, Phase.HELD, 1), (0.1, A, Phase.SETTLED, 1, "waiting"), *run(0.2, B, attempt=2))
    account = judged(lines, Record("completed", (("released", A), ("completed", B))))
    assert account.problems == []
    assert account.releases == 1


def test_a_job_is_waited_for_from_the_moment_that_somebody_is_there() -> None:
    lines = story((0, A, Phase.READY, 0), *killed(0, A), (9.0, B, Phase.READY, 0), *reaped(9.1, B), *run(9.5, B, 2))
    account = judged(lines, TWICE)
    assert account.problems == []
    assert account.slowest_s == pytest.approx(0.5)


def test_what_a_worker_did_while_it_died_of_something_else_is_taken_from_the_store() -> None:
    end_unwritten = story(*run(0, A)[:3], (0.5, A, Phase.KILLED, 0, "emit-reply"))
    assert judged(end_unwritten).problems == []
    claim_unwritten = story((0.5, A, Phase.KILLED, 0, "emit-reply"), *reaped(1.4, B), *run(1.5, B, attempt=2))
    assert judged(claim_unwritten, TWICE).problems == []


# ---- what is wrong

WRONG: dict[str, tuple[list[Line], Record | None, str]] = {
    "a lost job": (story(*run(0, A)), None, "is lost"),
    "a job that was never handed out": ([], Record("waiting", ()), "is waiting"),
    "a job that failed": (story(*run(0, A)), Record("failed", (("failed", A),)), "is failed"),
    "two ends in the store": (story(*run(0, A)), Record("completed", (("completed", A), ("completed", B))), "one end"),
    "an end that was stored twice": (
        story(*run(0, A), (0.1, B, Phase.SETTLED, 1, "completed")),
        DONE,
        "was stored 2 times",
    ),
    "an end without a side effect": (
        story((0, A, Phase.HELD, 1), (1, A, Phase.SETTLED, 1, "completed")),
        DONE,
        "no side effect",
    ),
    "an end that a living worker did not write": (story(*run(0, A)[:3]), DONE, "was stored 0 times"),
    "a claim that a living worker did not write": (
        story(*reaped(1.4, B), *run(1.5, B, attempt=2)),
        TWICE,
        "attempts [2] were handed out",
    ),
    "a hand-out that the store forgot": (
        story(*killed(0, A), *reaped(1.4, B), *run(1.5, C, attempt=2)),
        DONE,
        "attempts [1, 2] were handed out, and 1 have ended",
    ),
    "a second run of a living worker's job": (
        story((0, A, Phase.HELD, 1), *run(0.5, B, attempt=2)),
        TWICE,
        "second run unexplained",
    ),
    "a job reaped from a living worker": (
        story((0, A, Phase.HELD, 1), *reaped(1.4, B), *run(1.5, B, attempt=2)),
        TWICE,
        "neither dead nor late",
    ),
    "a job reaped from a worker that died only later": (
        story(
            (0, A, Phase.HELD, 1), *reaped(1.4, B), *run(1.5, B, attempt=2), (9.0, A, Phase.KILLED, 0, "claim-reply")
        ),
        TWICE,
        "neither dead nor late",
    ),
    "a run after the end": (
        story(*run(0, A), (0.1, A, Phase.KILLED, 0, "settle-reply"), *reaped(1.2, B), *run(1.3, B, attempt=2)),
        TWICE,
        "after worker 1 had settled it",
    ),
    "a reaped job that was not given back": (
        story(*killed(0, A), (1.4, B, Phase.REAPED, 1), *run(1.5, C, attempt=2)),
        TWICE,
        "not given it back",
    ),
    "a job that lay too long": (
        story(*killed(0, A), *reaped(1.4, B), *run(3.6, C, attempt=2)),
        TWICE,
        "lay 3.10 s",
    ),
    "a dead worker that writes": (
        story(*run(0, A), (0.01, A, Phase.KILLED, 0, "mid-handler")),
        DONE,
        "after its death",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_it_notices(wrong: str) -> None:
    lines, record, words = WRONG[wrong]
    assert any(words in problem for problem in judged(lines, record).problems), judged(lines, record).problems


def test_it_notices_a_job_that_nobody_emitted() -> None:
    problems = judged(story(*run(0, A)), expected="").problems
    assert problems == ["j: ran, though nobody emitted it", "j: is stored, though nobody emitted it"]
