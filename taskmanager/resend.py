"""Asking a store again when it does not answer.

Every verb of the port is safe to send twice, so a caller that got no answer simply sends the same call again, waiting a
little longer each time, with jitter so that a restarted store is not met by everybody at once. `for_s` bounds it for
callers who have somebody waiting; a worker's own duties ask for ever, because giving up would help nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from taskmanager.clock import monotonic
from taskmanager.connection import Connection
from taskmanager.engine import Engine
from taskmanager.errors import EngineUnavailable

T = TypeVar("T")
log = logging.getLogger("taskmanager")

RESEND_S = 30.0
"""How long a caller resends before it raises `EngineUnavailable`, in seconds (SPEC: at most 30)."""
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 2.0


async def resend(
    connection: Connection,
    call: Callable[[Engine], Awaitable[T]],
    rng: random.Random,
    *,
    for_s: float | None = RESEND_S,
    is_over: Callable[[], bool] = lambda: False,
) -> T:
    """The answer of `call`, repeated while the engine is unavailable, for `for_s` seconds in all.

    It is given up sooner where `is_over()`: nobody needs the answer any more.
    """
    until_s = None if for_s is None else monotonic() + for_s
    wait_s = _FIRST_WAIT_S
    while True:
        try:
            return await call(connection.opened or await connection.engine())
        except EngineUnavailable as error:
            if is_over():
                raise
            if for_s is not None and not error.may_be_stored:
                raise  # no room does not mend by waiting, and for a lock the engine has waited
            pause_s = wait_s * rng.uniform(0.5, 1.0)
            if until_s is not None and monotonic() + pause_s > until_s:
                raise EngineUnavailable(
                    f"no answer within {for_s:g} s ({error}); what was sent is perhaps stored, and may be sent again"
                ) from error
            log.warning("the engine does not answer (%s); asking again in %.2f s", error, pause_s)
            await asyncio.sleep(pause_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
