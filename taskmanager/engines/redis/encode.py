"""What goes to the scripts: arguments as their headers say, plain where the plain case is common.

What a script need not look into travels as one JSON text: the options of an emission, an error, a plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import json

from taskmanager.engine import Command, JobRef, Journal, Purge, RequeueAll, Settlement, Unschedule, cut_line
from taskmanager.job import DEFAULT_OPTIONS, Emission, ErrorInfo, Kind, Plan, Progress, RunOptions, Transition, Window

__all__ = ["command", "entries", "journal", "occurrences", "settlements"]


def entries(given: Sequence[Emission | Plan]) -> list[Any]:
    """How many values an entry has, then these: id, event, data, and '' or the JSON of what is not default.

    That last one is left out where all are plain and no id is there twice.
    """
    plain = _plain_entries(given)
    if plain is not None:
        return plain
    arguments: list[Any] = [4]
    for entry in given:
        if isinstance(entry, Emission):
            arguments += (entry.id, entry.event, entry.data, b"" if _is_plain(entry) else json.encode(_more(entry)))
        else:
            arguments += (entry.name, entry.event, entry.data, json.encode(_plan(entry)))
    return arguments


def _plain_entries(given: Sequence[Emission | Plan]) -> list[Any] | None:
    arguments: list[Any] = [3]
    for entry in given:
        if not isinstance(entry, Emission) or not _is_plain(entry):
            return None
        arguments += (entry.id, entry.event, entry.data)
    are_distinct = len(set(arguments[1::3])) == len(given)
    return arguments if given and are_distinct else None


def occurrences(given: Sequence[Emission]) -> list[Any]:
    """Four an occurrence: id, event, data, and the JSON of what is not default."""
    arguments: list[Any] = []
    for one in given:
        arguments += (one.id, one.event, one.data, json.encode(_more(one)))
    return arguments


def _is_plain(entry: Emission) -> bool:
    return (
        entry.options is DEFAULT_OPTIONS
        and not entry.priority
        and not entry.delay_ms
        and entry.run_at is None
        and entry.window is None
        and not entry.replace
        and not entry.awaited
        and entry.expires_ms is None
        and entry.expires_at is None
    )


def _more(entry: Emission) -> dict[str, Any]:
    more = {
        "priority": entry.priority,
        "delay": entry.delay_ms,
        "run_at": entry.run_at,
        "expires_in": entry.expires_ms,
        "expires_at": entry.expires_at,
        "options": options_text(entry.options),
        "window": None if entry.window is None else _window(entry.window),
        "replace": entry.replace,
        "awaited": entry.awaited,
    }
    return {key: value for key, value in more.items() if value or (key in _MOMENTS and value is not None)}


_MOMENTS = ("run_at", "expires_at")
"""What may be 0 and still be meant."""


def _window(window: Window) -> dict[str, Any]:
    fields = {"key": window.key, "edge": window.edge, "within": window.window_ms}
    return fields if window.max_wait_ms is None else fields | {"max_wait": window.max_wait_ms}


def options_text(options: RunOptions) -> str:
    """'' where nothing is set."""
    if options == DEFAULT_OPTIONS:
        return ""
    return json.encode((options.retry_count, options.retry_delay_ms, options.timeout_ms)).decode()


def _plan(plan: Plan) -> dict[str, Any]:
    fields = {
        "plan": json.encode(plan_fields(plan)).decode(),
        "pattern": plan.pattern,
        "timezone": plan.timezone,
        "overlap": plan.overlap,
        "immediate": plan.immediate,
        "priority": plan.priority,
        "options": options_text(plan.options),
        "expires_in": plan.expires_ms,
        "not_before_in": plan.not_before_ms,
        "not_before_at": plan.not_before_at,
    }
    given = fields.items()
    return {key: value for key, value in given if value or (key == "not_before_at" and value is not None)}


def plan_fields(plan: Plan) -> list[Any]:
    """All of a plan but name, event and data, in the order of its fields."""
    return [
        plan.pattern,
        plan.timezone,
        plan.priority,
        options_text(plan.options),
        plan.expires_ms,
        plan.catch_up,
        plan.misfire_grace_ms,
        plan.overlap,
        plan.immediate,
        plan.not_before_ms,
        plan.not_before_at,
        plan.origin,
    ]


# ---- settlements


def settlements(given: Sequence[Settlement]) -> list[Any]:
    """How many values a settlement has, the number of forms, the forms, then these: claim, unstarted ms, result or '',
    number of its form. Where all have one form, no result and were started at once, the claim is all.
    """
    forms: dict[Any, int] = {}
    texts: list[bytes] = []
    rest: list[Any] = []
    are_bare = True
    for claim, transition, _, unstarted_ms in given:
        # Most are completed, and then nothing else of a transition is set: a short key for these.
        is_plain = transition.kind is Kind.COMPLETED
        key = transition.max_attempts if is_plain else _form_key(transition)
        form = forms.get(key)
        if form is None:
            form = forms[key] = len(forms) + 1
            texts.append(_form(_form_key(transition)))
        result = transition.result or b""
        are_bare = are_bare and not (unstarted_ms or result)
        rest += (claim, unstarted_ms, result, form)
    if are_bare and len(texts) == 1:
        return [1, 1, *texts, *rest[::4]]
    return [4, len(texts), *texts, *rest]


def _form_key(transition: Transition) -> tuple[Any, ...]:
    return (
        transition.kind,
        transition.to,
        transition.delay_ms,
        transition.failures,
        transition.losses,
        transition.reason,
        transition.error,
        transition.dead_letter,
        transition.superseded,
        transition.max_attempts,
    )


def _form(key: tuple[Any, ...]) -> bytes:
    kind, to, delay_ms, failures, losses, reason, error, dead_letter, superseded, max_attempts = key
    form = {
        "kind": kind,
        "to": to,
        "delay": delay_ms,
        "failures": failures,
        "losses": losses,
        "reason": None if reason is None else str(reason),
        "error": None if error is None else error_text(error),
        "error_type": None if error is None else error.type,
        "dead_letter": dead_letter,
        "superseded": superseded,
        "max_attempts": max_attempts,
    }
    return json.encode({name: value for name, value in form.items() if value is not None})


def error_text(error: ErrorInfo) -> str:
    return json.encode((error.type, error.message, error.traceback)).decode()


# ---- the journal and commands


def journal(given: Iterable[Journal]) -> list[Any]:
    """Four an entry: claim, number, 'log' or 'progress', JSON."""
    arguments: list[Any] = []
    for claim, number, entry in given:
        if isinstance(entry, Progress):
            arguments += (claim, number, "progress", json.encode((entry.fraction, entry.note)))
        else:
            arguments += (claim, number, "log", json.encode(cut_line(entry)))
    return arguments


def command(given: Command) -> tuple[Any, ...]:
    """The command's name and what it takes."""
    name = _NAMES.get(type(given).__name__, type(given).__name__.lower())
    match given:
        case RequeueAll(event, limit):
            return (name, event or "", limit)
        case Purge(state, limit):
            return (name, state.value, limit)
        case Unschedule(schedule):
            return (name, schedule, "")
        case _:
            ref: JobRef | None = getattr(given, "ref", None)
            return (name, "", "") if ref is None else (name, ref.id, "" if ref.serial is None else ref.serial)


_NAMES = {"RequeueAll": "requeue_all"}
