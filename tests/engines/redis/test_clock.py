"""The server's clock as seen from here: never ahead of it, and soon right again."""

from __future__ import annotations

import pytest

from taskmanager.engines.redis import clock
from taskmanager.engines.redis.clock import ServerClock

SECOND = 1_000_000
SERVER = 1_700_000_000 * SECOND


class Local:
    """The local clock, in microseconds."""

    us = 5 * SECOND


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Local:
    local = Local()
    monkeypatch.setattr(clock, "_local_us", lambda: local.us)
    return local


def test_it_says_nothing_before_it_has_heard_anything(local: Local) -> None:
    assert ServerClock().now_us() == 0


def test_the_fastest_reply_counts_and_it_is_never_ahead(local: Local) -> None:
    heard = ServerClock()
    for delay_us in (900, 120, 4000):
        heard.hear(SERVER + local.us - delay_us)
        assert heard.now_us() <= SERVER + local.us
    assert heard.now_us() == SERVER + local.us - 120


def test_a_clock_that_was_set_back_is_believed_after_a_while(local: Local) -> None:
    heard = ServerClock()
    heard.hear(SERVER + local.us)
    local.us += 31 * SECOND
    heard.hear(SERVER + local.us - 60 * SECOND)
    assert heard.now_us() == SERVER + local.us - 60 * SECOND


def test_a_busy_worker_believes_it_at_once(local: Local) -> None:
    heard = ServerClock()
    heard.hear(SERVER + local.us)
    for _ in range(32):
        heard.hear(SERVER + local.us - 60 * SECOND)
    assert heard.now_us() == SERVER + local.us - 60 * SECOND
