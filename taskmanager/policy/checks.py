"""What several rules refuse alike: wrong numbers, wrong functions, unknown names in a mapping.

Each check raises `UsageError` naming the field, the value seen and what is accepted, and is made when a policy is
made: a mistake surfaces where it was written, not hours later in a worker.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping

from taskmanager.errors import UsageError


def check_whole(value: object, field: str, least: int, most: int) -> int:
    """A whole number within bounds; a bool is none."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{field} must be a whole number from {least} to {most}, got {value!r}")
    return value


def check_number(value: object, field: str, least: float, most: float = math.inf) -> float:
    """A finite number within bounds; a bool is none, and NaN fails every comparison."""
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not least <= value <= most
        or value == math.inf
    ):
        accepted = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
        raise UsageError(f"{field} must be a finite number {accepted}, got {value!r}")
    return value


def check_callable(value: object, field: str) -> None:
    """A function that answers at once; a coroutine function answers too late for a rule."""
    if not callable(value):
        raise UsageError(f"{field} must be a function, got {value!r}")
    if inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(type(value).__call__):
        raise UsageError(f"{field} must be a plain function, got the coroutine function {value!r}; write it with def")


def check_names(value: Mapping[str, object], field: str, names: Iterable[str]) -> None:
    """A mapping without names that nothing would read."""
    accepted = list(names)
    for name in value:
        if name not in accepted:
            raise UsageError(f"{field} has no {name!r}; it takes {', '.join(accepted)}")
