"""One job's story in words, for whoever asks "why did it run then?".

A life is told from its emission to its end, a sentence a step, each saying when only where that is not already clear.
An id may have several lives one after another (it is emitted again, or a follow-up takes its place): a paragraph each.
What the steps cannot say, how things stand now, is read from the job's record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Protocol

from taskmanager.clock import datetime_of, moment_ms
from taskmanager.job import LIVE, Fact, Kind, Reason, State
from taskmanager.steps import Step, day_words, seconds_words, span_words

__all__ = ["Record", "explain"]


class Record(Protocol):
    """What a story needs of a job record. `run_at` is an aware datetime or milliseconds since the epoch."""

    @property
    def state(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def run_at(self) -> datetime | int: ...


def explain(job_id: str, steps: Iterable[Step], record: Record | None = None, *, queue: str | None = None) -> str:
    """The story of the job of that id, as paragraphs. `record` is its record as it now is, or None where none is kept.

    `queue` tells jobs of one id in several queues apart; it is the record's where there is one. For an unknown id the
    answer is a sentence that says so and names the ids most like it.
    """
    told = list(steps)
    where = queue if queue is not None else record.queue if record is not None else None
    mine = [step.fact for step in told if step.job_id == job_id and where in (None, step.queue)]
    if not mine:
        return _without_steps(job_id, told, record)
    queues = list(dict.fromkeys(fact.queue for fact in mine))
    paragraphs: list[str] = []
    for name in queues:
        here = [fact for fact in mine if fact.queue == name]
        teller = _Teller(job_id, f"{job_id} in queue {name}" if len(queues) > 1 else job_id)
        for fact in _with_pauses(here, told):
            teller.tell(fact)
        if record is None or record.queue == name:
            teller.stand(record)
        paragraphs += teller.paragraphs()
    return "\n\n".join(paragraphs)


def _without_steps(job_id: str, told: Sequence[Step], record: Record | None) -> str:
    if record is not None:
        return f"{job_id} is {_state_words(record)}. Nothing has happened to it in this timeline."
    known = sorted({step.job_id for step in told if step.job_id is not None})
    near = get_close_matches(job_id, known, n=3)
    hint = f" The ids most like it are {', '.join(near)}." if near else ""
    return f"No job {job_id!r} is known: none of the {len(told):,} steps mentions it and no record of it is kept.{hint}"


def _with_pauses(facts: Sequence[Fact], told: Sequence[Step]) -> list[Fact]:
    """The job's facts, and between them those that paused its queue: they explain a wait."""
    wanted = {id(fact) for fact in facts}
    first, last = facts[0].at, facts[-1].at
    return [
        step.fact
        for step in told
        if id(step.fact) in wanted
        or (
            step.fact.kind in {Kind.PAUSED, Kind.RESUMED}
            and step.fact.queue == facts[0].queue
            and first <= step.fact.at <= last
        )
    ]


class _Teller:
    """Tells facts one by one; knows when it last named a moment, and what the job was doing then."""

    def __init__(self, job_id: str, name: str) -> None:
        self.job_id = job_id
        self.name = name
        self.told: list[list[str]] = []
        self.clock: int | None = None
        self.day: str | None = None
        self.born: int | None = None
        self.since: int | None = None
        self.failures = 0
        self.is_running = False
        self.has_follow_up = False
        self.has_ended = False
        self.has_lived = False

    def tell(self, fact: Fact) -> None:
        sentence = _SENTENCES[fact.kind](self, fact)
        self.has_lived = self.has_lived or fact.kind not in {Kind.DEBOUNCED, Kind.SKIPPED}
        if sentence:
            if not self.told:
                self.told.append([])
            self.told[-1].append(sentence)
        self.clock = fact.at

    def paragraphs(self) -> list[str]:
        return [" ".join(sentences) for sentences in self.told]

    def moment(self, ms: int) -> str:
        """`at 01:00:00`, with the day where it is another than the one last named."""
        day, last = day_words(ms), self.day
        self.day = day
        return f"at {_clock_words(ms)}" + ("" if day == last else f" on {day}")

    def when(self, ms: int) -> str:
        """The moment, or nothing where the last sentence already was about it."""
        return "" if ms == self.clock else f" {self.moment(ms)}"

    def lead(self, fact: Fact) -> str:
        """`At 01:00:02, after a run of 2 s, it`: when and after how long comes first, for what follows may be long."""
        parts = [part for part in (self.when(fact.at).strip(), _took(fact).strip()) if part]
        text = ", ".join([*parts, "it"])
        return text[0].upper() + text[1:]

    def stand(self, record: Record | None) -> None:
        """The last sentence: how things stand."""
        if record is None and not self.has_lived:
            return  # an emission that was dropped never was a job
        if record is None:
            gone, open_end = "No record of it is kept any more.", "It has not ended in these steps."
            self.told[-1].append(gone if self.has_ended else open_end)
        elif State(record.state) in LIVE:
            self.told[-1].append(f"It is now {_state_words(record)}.")

    # ---- a sentence a kind

    def emitted(self, fact: Fact) -> str:
        self._begin(fact)
        delay = _detail(fact, "delay")
        later = f" to run {seconds_words(delay)} later" if delay else ""
        return f"{self.name} was emitted{' again' if len(self.told) > 1 else ''} {self.moment(fact.at)}{later}."

    def scheduled(self, fact: Fact) -> str:
        self._begin(fact)
        dropped = _detail(fact, "dropped")
        missed = f"; {dropped} earlier occurrence{'s were' if dropped != 1 else ' was'} dropped" if dropped else ""
        return f"{self.name} was admitted by its schedule {self.moment(fact.at)}{missed}."

    def due(self, fact: Fact) -> str:
        self.since = fact.at
        return f"It became due{self.when(fact.at)}."

    def started(self, fact: Fact) -> str:
        place = f" on {fact.worker}" if fact.worker else ""
        number = "It" if fact.attempt is None else f"Attempt {fact.attempt}"
        waited = None if self.since is None else fact.at - self.since
        self.is_running, self.since = True, None
        if waited == 0 and self.told and self.told[-1]:
            before = self.told[-1].pop().removesuffix(".")
            return f"{before}, and {number[0].lower()}{number[1:]} started at once{place}."
        after = "" if waited is None else f" after {span_words(waited)} of waiting,"
        return f"{number} started{after}{self.when(fact.at)}{place}."

    def completed(self, fact: Fact) -> str:
        return self._end(fact, f"It completed{self.when(fact.at)}{_took(fact)}")

    def skipped(self, fact: Fact) -> str:
        if self.is_running:
            return self._end(fact, f"The task declined to run{self.when(fact.at)}, so it counts as completed")
        if not self.told:
            self.told.append([])
        self.has_ended = True
        return f"{self.name} was skipped {self.moment(fact.at)}, because an earlier occurrence was still live."

    def retried(self, fact: Fact) -> str:
        self.is_running = False
        delay = seconds_words(_detail(fact, "delay") or 0)
        if (error := _detail(fact, "error")) is None:
            return f"It asked{self.when(fact.at)} to be run again {delay} later, which spends no retry."
        self.failures += 1
        return f"{self.lead(fact)} raised {error}; retry {self.failures} was to follow {delay} later."

    def failed(self, fact: Fact) -> str:
        error, reason = _detail(fact, "error"), _one_line(_detail(fact, "reason"))
        did = f"raised {error} and " if error and reason != Reason.STALLED else ""
        if reason == Reason.SUPERSEDED:
            return self._end(fact, f"{self.lead(fact)} {did}gave way to its follow-up")
        why = _FAILED.get(str(reason), f" ({reason})" if reason and str(reason) not in str(error) else "")
        return self._end(fact, f"{self.lead(fact)} {did}failed for good{why}")

    def cancelled(self, fact: Fact) -> str:
        reason = _one_line(_detail(fact, "reason"))
        why = _CANCELLED.get(str(reason), f" ({reason})" if reason else "")
        return self._end(fact, f"It was cancelled{self.when(fact.at)}{why}")

    def released(self, fact: Fact) -> str:
        return self._wait_again(fact, f"{fact.worker or 'Its worker'} stopped{self.when(fact.at)} and gave it back")

    def stalled(self, fact: Fact) -> str:
        return self._wait_again(fact, f"Its lease was lost{self.when(fact.at)}, for its worker was not heard of")

    def requeued(self, fact: Fact) -> str:
        self.failures, self.has_ended = 0, False
        return self._wait_again(fact, f"An operator retried it{self.when(fact.at)}")

    def progress(self, fact: Fact) -> str:
        fraction, note = _detail(fact, "fraction"), _detail(fact, "note")
        share = "progress" if fraction is None else f"{fraction:.0%}"
        return f"It reported {share}{f' ({note})' if note else ''}{self.when(fact.at)}."

    def duplicate(self, fact: Fact) -> str:
        return f"It was emitted again{self.when(fact.at)}, which changed nothing: it was already known."

    def replaced(self, fact: Fact) -> str:
        delay = _detail(fact, "delay")
        self.since = None if delay else fact.at
        later = f" and put it off to {seconds_words(delay)} later" if delay else ""
        return f"A later emission{self.when(fact.at)} replaced its data and options{later}."

    def follow_up(self, fact: Fact) -> str:
        self.has_follow_up = True
        return f"It was emitted again{self.when(fact.at)} while it ran, and that was recorded as its follow-up."

    def debounced(self, fact: Fact) -> str:
        if not self.has_lived:
            self.told.append([])
            return f"{self.name} was emitted {self.moment(fact.at)} and debounced: nothing of it was kept."
        delay = _detail(fact, "delay")
        moved = f" and it was put off to {seconds_words(delay)} later" if delay else ""
        return f"Another emission{self.when(fact.at)} was debounced{moved}."

    def paused(self, fact: Fact) -> str:
        return f"Its queue was paused{self.when(fact.at)}."

    def resumed(self, fact: Fact) -> str:
        return f"Its queue was resumed{self.when(fact.at)}."

    def _begin(self, fact: Fact) -> None:
        self.told.append([])
        self.day = None
        self.born, self.since = fact.at, None if _detail(fact, "delay") else fact.at
        self.failures, self.is_running, self.has_follow_up, self.has_ended = 0, False, False, False

    def _wait_again(self, fact: Fact, what: str) -> str:
        self.is_running, self.since = False, fact.at
        return f"{what}; it waited again."

    def _end(self, fact: Fact, what: str) -> str:
        age = "" if self.born is None else f", {span_words(fact.at - self.born)} after it was emitted"
        self.is_running, self.has_ended, self.since = False, True, None
        if not self.has_follow_up or _detail(fact, "reason") == Reason.REQUESTED:  # a cancel drops the follow-up too
            self.has_follow_up = False
            return f"{what}{age}."
        self.has_follow_up, self.has_ended, self.born, self.failures, self.since = False, False, fact.at, 0, fact.at
        return f"{what}{age}. Its follow-up took its place."


def _state_words(record: Record) -> str:
    if State(record.state) is not State.DELAYED:
        return str(record.state)
    run_at = record.run_at if isinstance(record.run_at, int) else moment_ms(record.run_at, "run_at")
    return f"delayed until {_clock_words(run_at)} on {day_words(run_at)}"


def _clock_words(ms: int) -> str:
    return f"{datetime_of(ms):%H:%M:%S}" + (f".{ms % 1000:03d}" if ms % 1000 else "")


def _detail(fact: Fact, key: str) -> Any:
    return None if fact.detail is None else fact.detail.get(key)


def _took(fact: Fact) -> str:
    duration = _detail(fact, "duration")
    return "" if duration is None else f" after a run of {seconds_words(duration)}"


_CANCELLED: dict[str, str] = {
    Reason.EXPIRED: ", because it had expired before it could start",
    Reason.SUPERSEDED: " and gave way to its follow-up",
    Reason.REQUESTED: " on request",
    Reason.DELETED: ", because it was deleted",
}

_FAILED: dict[str, str] = {
    Reason.STALLED: ", because its lease was lost too often",
    Reason.RESULT: ", because its result could not be stored",
}

_SENTENCES: dict[Kind, Callable[[_Teller, Fact], str]] = {
    Kind.EMITTED: _Teller.emitted,
    Kind.DUPLICATE: _Teller.duplicate,
    Kind.REPLACED: _Teller.replaced,
    Kind.FOLLOW_UP: _Teller.follow_up,
    Kind.DEBOUNCED: _Teller.debounced,
    Kind.DUE: _Teller.due,
    Kind.STARTED: _Teller.started,
    Kind.COMPLETED: _Teller.completed,
    Kind.SKIPPED: _Teller.skipped,
    Kind.RETRIED: _Teller.retried,
    Kind.FAILED: _Teller.failed,
    Kind.CANCELLED: _Teller.cancelled,
    Kind.RELEASED: _Teller.released,
    Kind.STALLED: _Teller.stalled,
    Kind.REQUEUED: _Teller.requeued,
    Kind.PROGRESS: _Teller.progress,
    Kind.SCHEDULED: _Teller.scheduled,
    Kind.PAUSED: _Teller.paused,
    Kind.RESUMED: _Teller.resumed,
}


def _one_line(text: Any) -> str | None:
    return None if text is None else " ".join(str(text).split())
