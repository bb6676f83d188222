"""A store of which one queue takes nothing: what happens to emissions that cannot be sent."""

from __future__ import annotations

from typing import Any

import pytest

from taskmanager import EngineUnavailable
from taskmanager.engines import SCHEMES, open_engine


class DeadQueue:
    """An engine that never answers an emission to the queue `dead`."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def enqueue(self, queue: str, entries: Any, batch: Any) -> Any:
        if queue == "dead":
            raise EngineUnavailable("that shard is away")
        return await self._inner.enqueue(queue, entries, batch)


@pytest.fixture
def dead_queue(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store whose queue `dead` takes nothing."""
    monkeypatch.setitem(
        SCHEMES, "dead", ("dead://", lambda url, options, field: DeadQueue(open_engine("memory://", options.clock)))
    )
    return "dead://"
