"""Taking the seat of the running loop, where perhaps another loop sits already.

asyncio knows one running loop a thread, and refuses to start a second. A simulation is often driven from inside a
running loop (a notebook cell, an async test), so the one that runs is set aside and put back, together with its current
task, its hooks for asynchronous generators and its coroutine origin tracking.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import events, tasks
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

__all__ = ["seated"]


@contextmanager
def seated(loop: Any) -> Iterator[None]:
    """Within, `loop` is this thread's running loop."""
    outer = events._get_running_loop()
    task = _leave(outer)
    hooks = sys.get_asyncgen_hooks()
    driver = loop._thread_id
    loop._thread_id = get_ident()
    events._set_running_loop(loop)
    sys.set_asyncgen_hooks(firstiter=loop._asyncgen_firstiter_hook, finalizer=loop._asyncgen_finalizer_hook)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        loop._thread_id = driver
        events._set_running_loop(outer)
        if outer is not None and task is not None:
            tasks._enter_task(outer, task)


def _leave(outer: asyncio.AbstractEventLoop | None) -> asyncio.Task[Any] | None:
    """Steps out of the outer loop's current task: from 3.14 on a thread has one, whichever loop it belongs to."""
    if outer is None:
        return None
    task = tasks.current_task(outer)
    if task is not None:
        tasks._leave_task(outer, task)
    return task
