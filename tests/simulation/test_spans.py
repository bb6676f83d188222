"""Stretches of time, read off the facts."""

from __future__ import annotations

from simulation.spans import Span, spans
from taskmanager.job import Fact, Kind, State
from tests.simulation.worlds import START, fact, one_run, retried_mail

D, W, A = State.DELAYED, State.WAITING, State.ACTIVE


def told(facts: list[Fact]) -> list[tuple[State, float, float | None, Kind | None]]:
    return [
        (s.state, (s.start - START) / 1000, None if s.end is None else (s.end - START) / 1000, s.ended_by)
        for s in spans(facts)
    ]


def test_a_life_is_its_stretches_each_closed_by_the_step_that_ended_it() -> None:
    assert told(retried_mail()) == [
        (D, 0, 3600, Kind.DUE),
        (W, 3600, 3600, Kind.STARTED),
        (A, 3600, 3602, Kind.RETRIED),
        (D, 3602, 3603, Kind.DUE),
        (W, 3603, 3603, Kind.STARTED),
        (A, 3603, 3604.5, Kind.COMPLETED),
    ]
    assert spans(retried_mail())[2] == Span(
        A, "default", "send-email", "send-email:Xx", START + 3_600_000, START + 3_602_000, Kind.RETRIED, 1, "worker-1"
    )


def test_where_due_is_left_out_the_wait_begins_when_the_delay_was_to_end() -> None:
    facts = [f for f in retried_mail() if f.kind is not Kind.DUE]
    assert told(facts) == told(retried_mail())


def test_released_stalled_and_requeued_jobs_wait_again() -> None:
    facts = [
        fact(0, Kind.EMITTED, "a"),
        fact(1, Kind.STARTED, "a"),
        fact(2, Kind.RELEASED, "a"),
        fact(3, Kind.STARTED, "a"),
        fact(5, Kind.STALLED, "a"),
        fact(6, Kind.STARTED, "a"),
        fact(7, Kind.FAILED, "a"),
        fact(9, Kind.REQUEUED, "a"),
    ]
    waits = [(start, end) for state, start, end, _ in told(facts) if state is W]
    assert waits == [(0, 1), (2, 3), (5, 6), (9, None)]


def test_a_follow_up_waits_from_the_end_of_the_run_or_until_its_own_delay_is_over() -> None:
    run = [fact(0, Kind.EMITTED, "a"), fact(0, Kind.STARTED, "a")]
    at_once = [*run, fact(1, Kind.FOLLOW_UP, "a"), fact(4, Kind.COMPLETED, "a"), fact(6, Kind.STARTED, "a")]
    assert (W, 4, 6, Kind.STARTED) in told(at_once)
    later = [
        *run,
        fact(1, Kind.FOLLOW_UP, "a", detail={"delay": 9}),
        fact(4, Kind.COMPLETED, "a"),
        fact(10, Kind.DUE, "a"),
    ]
    assert told(later)[-2:] == [(D, 4, 10, Kind.DUE), (W, 10, None, None)]
    moved = [
        *run,
        fact(1, Kind.FOLLOW_UP, "a"),
        fact(2, Kind.DEBOUNCED, "a", detail={"delay": 8}),
        fact(4, Kind.FAILED, "a"),
    ]
    assert told(moved)[-1] == (D, 4, None, None)


def test_a_cancel_on_request_drops_the_follow_up() -> None:
    facts = [
        fact(0, Kind.EMITTED, "a"),
        fact(0, Kind.STARTED, "a"),
        fact(1, Kind.FOLLOW_UP, "a"),
        fact(2, Kind.CANCELLED, "a", detail={"reason": "requested"}),
    ]
    assert [state for state, *_ in told(facts)] == [W, A]


def test_a_replacement_begins_the_wait_anew_and_a_debounced_emission_does_not() -> None:
    facts = [
        fact(0, Kind.EMITTED, "a", detail={"delay": 5}),
        fact(2, Kind.DEBOUNCED, "a", detail={"delay": 5}),
        fact(3, Kind.REPLACED, "a", detail={"delay": 6}),
        fact(4, Kind.REPLACED, "a"),
        fact(5, Kind.DUPLICATE, "a"),
        fact(8, Kind.STARTED, "a"),
    ]
    assert told(facts)[:3] == [(D, 0, 3, Kind.REPLACED), (D, 3, 4, Kind.REPLACED), (W, 4, 8, Kind.STARTED)]


def test_a_debounced_delay_ends_when_it_was_moved_to() -> None:
    facts = [
        fact(0, Kind.EMITTED, "a", detail={"delay": 5}),
        fact(2, Kind.DEBOUNCED, "a", detail={"delay": 5}),
        fact(9, Kind.STARTED, "a"),
    ]
    assert told(facts)[:2] == [(D, 0, 7, Kind.DUE), (W, 7, 9, Kind.STARTED)]


def test_what_has_not_ended_is_last_and_open_and_a_life_may_begin_in_the_middle() -> None:
    facts = [fact(0, Kind.COMPLETED, "b"), fact(0, Kind.STARTED, "a"), *one_run("c", 1, 2, 3), fact(4, Kind.PAUSED)]
    assert told(facts)[-1] == (A, 0, None, None)
    assert len(told(facts)) == 3


def test_one_id_in_two_queues_is_two_jobs() -> None:
    facts = [fact(0, Kind.EMITTED, "a"), fact(0, Kind.EMITTED, "a", queue="other"), fact(3, Kind.STARTED, "a")]
    assert told(facts)[0] == (W, 0, 3, Kind.STARTED)
    assert [s.queue for s in spans(facts) if s.end is None] == ["other", "default"]
