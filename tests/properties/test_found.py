"""What random programs have found, as the short stories they came down to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskmanager.engine import JobRef, Requeue, Settlement
from taskmanager.job import Edge, Emission, Kind, State, StoredJob, Window
from tests.engines.conformance.builders import completed, failed, retried, trailing
from tests.engines.conformance.conftest import ENGINES
from tests.properties.pair import Pair
from tests.properties.shelf import QUEUE
from tests.servers import Servers


@pytest.fixture(params=list(ENGINES))
def pair(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Pair]:
    pair = Pair(ENGINES[request.param](servers))
    yield pair
    pair.close()


def job(pair: Pair, id: str) -> StoredJob:
    found = pair.drive(pair.engine.get(QUEUE, JobRef(id)))
    assert found is not None
    return found


def test_a_replaced_job_no_longer_has_the_budget_of_the_options_that_went(pair: Pair) -> None:
    pair.enqueue(Emission("send", "a"))
    pair.claim("w", 1)
    pair.settle("w", [Settlement(number, retried()) for number in pair.hands["w"]], ())
    assert job(pair, "a").max_attempts == 4
    pair.enqueue(Emission("send", "a", replace=True))
    assert job(pair, "a").max_attempts is None


def test_a_follow_up_that_became_another_event_has_no_window_of_that_event(pair: Pair) -> None:
    """A window is of one event: nobody has debounced the other."""
    pair.enqueue(Emission("send", "a"))
    pair.claim("w", 1)
    pair.enqueue(Emission("send", "a", window=trailing()), Emission("other", "a"))
    pair.settle("w", [Settlement(number, completed()) for number in pair.hands["w"]], ())
    pair.enqueue(Emission("other", "b", window=trailing()))
    assert job(pair, "b").state == State.DELAYED


def test_a_requeued_job_has_no_trailing_window_any_more(pair: Pair) -> None:
    pair.enqueue(Emission("send", "a", window=trailing()))
    pair.pass_time(100)
    pair.claim("w", 1)
    pair.settle("w", [Settlement(number, failed()) for number in pair.hands["w"]], ())
    pair.control(Requeue(JobRef("a")))
    pair.enqueue(Emission("send", "b", window=trailing(), data=b"2"))
    assert (job(pair, "a").data, job(pair, "b").data) == (b"{}", b"2")


def test_a_clock_that_steps_back_into_a_leading_window_finds_it_open(pair: Pair) -> None:
    """Deadlines come later then. Once pruned it is gone, which is why programs do not step back over a window's end."""
    window = Window("k", Edge.LEADING, 20)
    pair.enqueue(Emission("send", "a", window=window))
    pair.claim("w", 1)
    pair.pass_time(25)
    pair.pass_time(-15)
    answer = pair.enqueue(Emission("send", "a", window=window))
    assert [fact.kind for fact in answer.facts] == [Kind.DEBOUNCED]
