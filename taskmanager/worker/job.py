"""What a handler is given to look at and to speak through.

A `Job` is one attempt's view: it is made for one run and speaks only for that run. What it says (`logger`, `progress`)
goes to a `Voice`, so this file knows nothing of engines or event loops.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Awaitable
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from taskmanager.clock import datetime_of
from taskmanager.codec import encode
from taskmanager.errors import UsageError
from taskmanager.job import Claim, Progress

T = TypeVar("T")

LOG_BYTES = 1 << 20
"""An object given to `job.logger` may be this long as JSON; the stored line is cut to 8 KiB."""


class Voice(Protocol):
    """Where a run's reports go, and whether it has been asked to end."""

    @property
    def stopping(self) -> bool: ...

    def say(self, entry: str | Progress) -> Awaitable[None]: ...


class Job(Generic[T]):
    """The job as its handler sees it. Annotate a handler's parameter `Job[Data]` to have `data` validated as `Data`.

    `data` is the decoded JSON, or the validated `Data`. `attempt` counts the hand-outs of this emission from 1;
    `max_attempts` is retries + 1. `schedule` is the name of the schedule that emitted the job, or None.
    """

    __slots__ = ("_claim", "_voice", "data", "max_attempts")

    data: T

    def __init__(self, claim: Claim, data: T, max_attempts: int, voice: Voice) -> None:
        self._claim = claim
        self._voice = voice
        self.data = data
        self.max_attempts = max_attempts

    @property
    def id(self) -> str:
        return self._claim.id

    @property
    def name(self) -> str:
        """The event."""
        return self._claim.event

    @property
    def queue(self) -> str:
        return self._claim.queue

    @property
    def attempt(self) -> int:
        return self._claim.attempt

    @property
    def priority(self) -> int:
        return self._claim.priority

    @property
    def created_at(self) -> datetime:
        """When it was emitted, aware, UTC, by the engine's clock."""
        return datetime_of(self._claim.created_at)

    @property
    def run_at(self) -> datetime:
        """When it was to run: the end of its delay, or the occurrence of its schedule; aware, UTC."""
        return datetime_of(self._claim.run_at)

    @property
    def schedule(self) -> str | None:
        return self._claim.schedule

    @property
    def stopping(self) -> bool:
        """True once this run has been asked to end (timeout, cancel, stop, lost lease): for loops in plain handlers."""
        return self._voice.stopping

    def logger(self, message: object) -> Awaitable[None]:
        """Keeps a line with the job: a text, or an object that is stored as JSON. Awaiting it waits until it is stored.

        At most 1,000 lines a job are kept, the oldest go first; a line is cut at 8 KiB. Raises `UsageError` at once for
        what is not JSON, and for text with lone surrogates.
        """
        if isinstance(message, str):
            text = _text(message, "message")
        else:
            text = encode(message, field="message", max_bytes=LOG_BYTES).decode()
        return self._voice.say(text)

    def progress(self, fraction: float, note: str | None = None) -> Awaitable[None]:
        """Says how far this run is: a fraction from 0 to 1, and a note. Raises `UsageError` for anything else."""
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not math.isfinite(fraction):
            raise UsageError(f"fraction must be a number from 0 to 1, got {fraction!r}")
        if not 0 <= fraction <= 1:
            raise UsageError(f"fraction must be from 0 to 1, got {fraction!r}")
        if note is not None and not isinstance(note, str):
            raise UsageError(f"note must be a text or None, got {note!r}")
        return self._voice.say(Progress(float(fraction), None if note is None else _text(note, "note")))

    def __repr__(self) -> str:
        return f"<Job {self.name} id={self.id!r} queue={self.queue!r} attempt={self.attempt}>"


def _text(value: str, field: str) -> str:
    """The text as it is; `UsageError` where no store can keep it."""
    try:
        return str.encode(value).decode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{field} must be text without lone surrogates, got {reprlib.repr(value)}; "
            "decode what you read with errors='replace'"
        ) from None
