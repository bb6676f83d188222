"""What is kept of an exception: its type, its message, and the part of the traceback that is the user's.

And what the log says of it.
"""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from types import TracebackType

from taskmanager.errors import Discard, RetryLater
from taskmanager.job import Claim, ErrorInfo, Kind, State, Transition

log = logging.getLogger("taskmanager")

_OURS = str(Path(__file__).parent.parent)
_FRAMES = 20
_MESSAGE_CHARS = 2000


def error_info(error: BaseException) -> ErrorInfo:
    """The error as plain text, lone surrogates escaped, with at most the last 20 frames below our own."""
    trace = _below_ours(error.__traceback__)
    lines = traceback.format_list(traceback.extract_tb(trace)[-_FRAMES:]) if trace else []
    text = "Traceback (most recent call last):\n" + "".join(lines) if lines else None
    return ErrorInfo(type(error).__name__, _text(error)[:_MESSAGE_CHARS], text and _clean(text))


def tell(claim: Claim, decided: Transition, error: BaseException) -> None:
    """Says in the log what a run that went wrong comes to; with a traceback where a fault was raised, not a word."""
    is_word = isinstance(error, (Discard, RetryLater)) or error.__traceback__ is None
    trace = None if is_word else error
    job = f"job {claim.id!r} (event {claim.event!r}, queue {claim.queue!r})"
    if decided.to == State.FAILED:
        log.error("%s failed in attempt %d: %s", job, claim.attempt, decided.error or decided.reason, exc_info=trace)
    elif decided.kind == Kind.RETRIED and trace is not None:
        again_s = decided.delay_ms / 1000
        log.warning("%s raised in attempt %d and runs again in %g s", job, claim.attempt, again_s, exc_info=trace)


def _text(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except Exception:
        return f"<the message of this {type(error).__name__} cannot be read>"


def _clean(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _below_ours(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    return trace
