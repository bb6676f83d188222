"""What a caller was answered last, kept for the case that the answer was lost: the same call gets the same again."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from taskmanager.engine import REPLAY_MS, Answer, Batch
from taskmanager.engines.sqlite import statements as sql
from taskmanager.engines.sqlite.queue import Queue
from taskmanager.engines.sqlite.rows import packed, unpacked

__all__ = ["find", "keep"]

A = TypeVar("A", bound=Answer)


def find(queue: Queue, kind: type[A], verb: str, batch: Batch, now: int) -> A | None:
    """The stored answer where this call is the caller's last one again; None for a new call."""
    row = queue.file.execute(sql.GET_REPLAY, (queue.number, batch.caller, verb)).fetchone()
    if row is None:
        # A caller we do not know comes once; a good moment to forget those who will not come again.
        queue.file.execute(sql.DROP_REPLAYS, (queue.number, now - REPLAY_MS))
        return None
    number, at, answer = row
    if at + REPLAY_MS <= now or not queue.is_again(verb, batch, number):
        return None
    return replace(unpacked(answer, kind), replayed=True)


def keep(queue: Queue, verb: str, batch: Batch, now: int, answer: Answer) -> None:
    row = (queue.number, batch.caller, verb, batch.number, now, packed(answer))
    queue.file.execute(sql.PUT_REPLAY, row)
