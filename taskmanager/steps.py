"""The public view of what happened: a `Step` for each `Fact`.

A fact is what an engine or a worker reports, a tuple with integers in it; a step is the same thing at the border, with
an aware datetime and no way to change it. Steps are made when somebody looks, so recording costs a tuple and no more.

Two steps are equal when everything but the worker's name is: names are given by chance, what happened is not. The text
and JSON forms are the same wherever the steps are equal (but for that name): detail keys are in a fixed order, and 60.0
is written 60.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from taskmanager.clock import datetime_of
from taskmanager.job import Fact, Kind

__all__ = ["Step", "clock_text", "day_words", "detail_words", "same", "seconds_words", "span_words"]

FIELDS = ("at", "kind", "queue", "event", "job_id", "attempt", "worker", "detail")
_DETAIL_ORDER = ("error", "duration", "delay", "reason", "fraction", "note")
# fmt: off
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
# fmt: on
_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000))


class Step:
    """One thing that happened: when (`at`, UTC), what (`kind`), where (`queue`) and to whom; None is without meaning.

    `detail` has `delay` and `duration` in seconds, `error` as `Type: message`, `reason`, and where there are any,
    others of the kind; it is None where there is nothing to tell, never empty.
    """

    __slots__ = ("fact",)
    fact: Fact

    def __init__(self, fact: Fact) -> None:
        object.__setattr__(self, "fact", fact)

    @property
    def at(self) -> datetime:
        """When, by the engine's clock: an aware UTC datetime in whole milliseconds."""
        return datetime_of(self.fact.at)

    @property
    def kind(self) -> Kind:
        return self.fact.kind

    @property
    def queue(self) -> str:
        return self.fact.queue

    @property
    def event(self) -> str | None:
        return self.fact.event

    @property
    def job_id(self) -> str | None:
        return self.fact.job_id

    @property
    def attempt(self) -> int | None:
        return self.fact.attempt

    @property
    def worker(self) -> str | None:
        return self.fact.worker

    @property
    def detail(self) -> Mapping[str, Any] | None:
        return MappingProxyType(self.fact.detail) if self.fact.detail else None

    def to_dict(self) -> dict[str, Any]:
        """The step as JSON: `at` as ISO 8601 with milliseconds, fields without meaning left out."""
        fact = self.fact
        row: dict[str, Any] = {"at": clock_text(fact.at).replace(" ", "T"), "kind": str(fact.kind), "queue": fact.queue}
        for name in ("event", "job_id", "attempt", "worker"):
            value = getattr(fact, name)
            if value is not None:
                row[name] = value
        if fact.detail:
            row["detail"] = {key: _plain_number(fact.detail[key]) for key in _ordered(fact.detail)}
        return row

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return same(self.fact, other.fact)

    def __hash__(self) -> int:
        return hash((self.fact[:6], frozenset((self.fact.detail or {}).items())))

    def __str__(self) -> str:
        fact = self.fact
        parts = [clock_text(fact.at), str(fact.kind), fact.job_id or fact.event or f"queue {fact.queue}"]
        if fact.job_id and fact.event and not fact.job_id.startswith(fact.event):
            parts.append(f"({fact.event})")
        if fact.attempt is not None:
            parts.append(f"attempt {fact.attempt}")
        if fact.worker is not None:
            parts.append(f"on {fact.worker}")
        if words := detail_words(fact):
            parts.append(words)
        return "  ".join(parts)

    def __repr__(self) -> str:
        shown = {name: value for name, value in zip(FIELDS, self.fact, strict=True) if value is not None}
        shown |= {"at": clock_text(self.fact.at), "kind": str(self.fact.kind)}
        return f"Step({', '.join(f'{name}={value!r}' for name, value in shown.items() if value != {})})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a step cannot be changed: {name!r} is read-only")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a step cannot be changed: {name!r} is read-only")

    def __reduce__(self) -> tuple[type[Step], tuple[Fact]]:
        return (Step, (self.fact,))


def same(one: Fact, other: Fact) -> bool:
    """Whether two facts are the same step: every field but the worker's name."""
    return one[:6] == other[:6] and (one.detail or None) == (other.detail or None)


def clock_text(ms: int) -> str:
    """A moment as people read it, always of one width: `2026-03-29 01:00:00.000Z`."""
    return datetime_of(ms).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00") + "Z"


def day_words(ms: int) -> str:
    """The day of a moment in English, whatever the process's locale: `28 March 2026`."""
    at = datetime_of(ms)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def span_words(ms: int) -> str:
    """A length of time in milliseconds, exactly, as people say it: `250 ms`, `1.5 s`, `2 h 30 min`, `1 h 0 min 3 s`."""
    if ms < 0:
        return f"-{span_words(-ms)}"
    if 0 < ms < 1000:
        return f"{ms} ms"
    parts: list[str] = []
    for unit, size in _UNITS_MS:
        count, ms = divmod(ms, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    seconds = f"{ms // 1000}.{ms % 1000:03d}".rstrip("0").rstrip(".")
    parts.append(f"{seconds} s")
    while len(parts) > 1 and parts[-1].startswith("0 "):
        parts.pop()
    return " ".join(parts)


def seconds_words(seconds: float) -> str:
    """`span_words` of a detail's number of seconds."""
    return span_words(round(seconds * 1000))


def detail_words(fact: Fact) -> str:
    """What a fact's detail says, in one line of words; empty where there is none."""
    if not fact.detail:
        return ""
    said = _SAID | {"delay": "again in {}" if fact.kind is Kind.RETRIED else "in {}"}
    return ", ".join(_say(said.get(key, key + " {}"), key, fact.detail[key]) for key in _ordered(fact.detail))


_SAID = {"error": "{}", "duration": "took {}", "reason": "{}", "fraction": "{}", "note": "{}", "dropped": "{} dropped"}


def _say(phrase: str, key: str, value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key in {"delay", "duration"}:
            return phrase.format(seconds_words(value))
        if key == "fraction":
            return phrase.format(f"{value:.0%}")
        return phrase.format(_plain_number(value))
    return phrase.format(" ".join(str(value).splitlines()))


def _ordered(detail: Mapping[str, Any]) -> list[str]:
    """The keys of a detail in one order for all engines: the well-known ones as they read best, then the rest.

    What is None tells nothing (a progress without a note) and is left out.
    """
    told = {key for key, value in detail.items() if value is not None}
    return [key for key in _DETAIL_ORDER if key in told] + sorted(told.difference(_DETAIL_ORDER))


def _plain_number(value: Any) -> Any:
    """60.0 is the same delay as 60 and is written so; anything else is itself."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
