"""What is kept of an exception: its type, its message, and the part of the traceback that is the user's."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import TracebackType

from taskmanager.job import ErrorInfo

_OURS = str(Path(__file__).parent.parent)
_FRAMES = 20
_MESSAGE_CHARS = 2000


def error_info(error: BaseException) -> ErrorInfo:
    """The error as plain text, lone surrogates escaped, with at most the last 20 frames below our own."""
    trace = _below_ours(error.__traceback__)
    lines = traceback.format_list(traceback.extract_tb(trace)[-_FRAMES:]) if trace else []
    text = "Traceback (most recent call last):\n" + "".join(lines) if lines else None
    return ErrorInfo(type(error).__name__, _text(error)[:_MESSAGE_CHARS], text and _clean(text))


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
