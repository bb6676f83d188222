"""What may be emitted, under which id, and which debounce window it belongs to.

Names are refused for what they would break further down: braces would move a Redis key to another slot, white space
and control characters hide in logs and command lines, a lone surrogate has no UTF-8. An id is the user's own and taken
verbatim, so of it only that is refused which no store can keep.

Identity is (queue, id). Without an id the event and a hash of the data make one, so that emitting the same again while
it waits is one job; a debounce key makes one the same way. BLAKE2b of 128 bits is collision-free at any scale of jobs,
and 22 characters of base64url travel through URLs and file names.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from taskmanager.clock import duration_ms
from taskmanager.errors import UsageError
from taskmanager.job import Edge, Window
from taskmanager.policy.checks import check_callable, check_names, check_whole

__all__ = [
    "DeadLetters",
    "Debounce",
    "check_event",
    "check_id",
    "check_prefix",
    "check_priority",
    "check_queue",
    "default_id",
]

_NAME_LENGTH = 200
_ID_LENGTH = 500
_FORBIDDEN = frozenset(" {}")
_UNSPEAKABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_HASH = hashlib.blake2b(digest_size=16)
"""Of nothing yet: a copy costs less than a new one."""
_TO_URL = bytes.maketrans(b"+/", b"-_")


def check_event(value: object) -> str:
    """An event name: 1-200 printable characters, no braces or white space."""
    return _check_name(value, "event name")


def check_queue(value: object) -> str:
    """A queue name: 1-200 printable characters, no braces or white space."""
    return _check_name(value, "queue name")


def check_prefix(value: object) -> str:
    """A key prefix: 1-200 printable characters, no braces or white space."""
    return _check_name(value, "prefix")


def check_id(value: object) -> str:
    """A job's id: 1-500 characters but control characters, taken verbatim."""
    return _check_text(value, "id")


def check_priority(value: object) -> int:
    """A priority: a whole number from -100 to 100, higher first."""
    return check_whole(value, "priority", -100, 100)


def default_id(event: str, canonical: bytes) -> str:
    """The id of an emission that brings none: `event:` and 22 characters of base64url of BLAKE2b-128."""
    hashed = _HASH.copy()
    hashed.update(canonical)
    text = binascii.b2a_base64(hashed.digest(), newline=False).translate(_TO_URL)
    return f"{event}:{text[:22].decode()}"


@dataclass(frozen=True, slots=True)
class Debounce:
    """Of the emissions of one key within a window, only one runs. Raises `UsageError` at once where a part is wrong.

    `window`: seconds or a timedelta. `edge`: `"leading"` runs the first and drops the others, `"trailing"` runs the
    last, one window after it came. `key`: what belongs together: a text, or a function of the data that returns one
    (1-500 characters but control characters); None means the job's id. `max_wait`: trailing only; how long after the
    first emission the job runs even if emissions keep coming, at least one window; None means however long they do.
    """

    window: timedelta | float
    edge: str = "leading"
    key: str | Callable[[Any], str] | None = None
    max_wait: timedelta | float | None = None

    def __post_init__(self) -> None:
        window_ms = duration_ms(self.window, "Debounce.window")
        if self.edge not in tuple(Edge):
            raise UsageError(f"Debounce.edge must be 'leading' or 'trailing', got {self.edge!r}")
        if isinstance(self.key, str):
            _check_text(self.key, "Debounce.key")
        elif self.key is not None:
            check_callable(self.key, "Debounce.key")
        if self.max_wait is None:
            return
        if duration_ms(self.max_wait, "Debounce.max_wait") < window_ms:
            raise UsageError(f"Debounce.max_wait must be at least the window {self.window!r}, got {self.max_wait!r}")
        if self.edge == Edge.LEADING:
            raise UsageError(
                f"Debounce.max_wait must be left out at the leading edge, where nothing waits, got {self.max_wait!r}"
            )

    @staticmethod
    def of(value: Debounce | Mapping[str, object] | timedelta | float) -> Debounce:
        """A `Debounce` from itself, from a mapping of the same names, or from a window alone."""
        if isinstance(value, Debounce):
            return value
        if not isinstance(value, Mapping):
            return Debounce(window=value)
        check_names(value, "debounce", [field.name for field in fields(Debounce)])
        if "window" not in value:
            raise UsageError(f"debounce must have a window, in seconds or a timedelta, got {value!r}")
        return Debounce(**value)  # type: ignore[arg-type]  # the constructor checks every type itself

    def window_for(self, data: Any, job_id: str, event: str) -> tuple[Window, str | None]:
        """The window of an emission of `data`, and the id it takes where it was given none (None: it keeps `job_id`).

        Raises `UsageError` where `key` raises or answers something else than a text, which refuses the emission.
        """
        key = job_id if self.key is None else self._key_of(data)
        max_wait_ms = None if self.max_wait is None else duration_ms(self.max_wait, "Debounce.max_wait")
        window = Window(key, Edge(self.edge), duration_ms(self.window, "Debounce.window"), max_wait_ms)
        if self.key is None or window.edge is Edge.LEADING:
            return window, None
        return window, default_id(event, key.encode())

    def _key_of(self, data: Any) -> str:
        if not callable(self.key):
            return _check_text(self.key, "Debounce.key")
        try:
            key = self.key(data)
        except Exception as error:
            raise UsageError(f"Debounce.key {self.key!r} raised {type(error).__name__}: {error}") from error
        return _check_text(key, "the answer of Debounce.key")


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """Where failed jobs leave an entry, and which of them do. Raises `UsageError` at once where a part is wrong.

    `stream_key`: the stream, verbatim; None means the queue's own. `should_send`: a function `(job, error, attempts)
    -> bool`; None means every failed job.
    """

    stream_key: str | None = None
    should_send: Callable[[Any, Any, int], bool] | None = None

    def __post_init__(self) -> None:
        if self.stream_key is not None:
            _check_text(self.stream_key, "dlq.stream_key")
        if self.should_send is not None:
            check_callable(self.should_send, "dlq.should_send")

    @staticmethod
    def of(value: DeadLetters | Mapping[str, object] | None) -> DeadLetters:
        """`DeadLetters` from itself, from a mapping of the same names, or from None, which takes every default."""
        if isinstance(value, DeadLetters):
            return value
        if value is None:
            return DeadLetters()
        if not isinstance(value, Mapping):
            raise UsageError(f"dlq must be a mapping with stream_key and should_send, got {value!r}")
        check_names(value, "dlq", [field.name for field in fields(DeadLetters)])
        return DeadLetters(**value)  # type: ignore[arg-type]  # the constructor checks every type itself


def _check_name(value: object, what: str) -> str:
    if isinstance(value, str):
        text = str.__str__(value)
        if _is_name(text):
            return text
    raise UsageError(
        f"{what} must be 1-{_NAME_LENGTH} printable characters without white space or braces, got {value!r}"
    )


@functools.lru_cache(maxsize=1024)  # an application has few names, and says them with each job
def _is_name(value: str) -> bool:
    # isprintable knows the space as its only white space, and refuses controls and surrogates.
    return 0 < len(value) <= _NAME_LENGTH and value.isprintable() and _FORBIDDEN.isdisjoint(value)


def _check_text(value: object, what: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= _ID_LENGTH:
        text = str.__str__(value)
        if text.isprintable() or _UNSPEAKABLE.search(text) is None:  # the first is far cheaper, and mostly enough
            return text
    raise UsageError(
        f"{what} must be 1-{_ID_LENGTH} characters without control characters or lone surrogates, got {value!r}"
    )
