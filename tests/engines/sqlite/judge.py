"""Judges a store after a kill: what was acknowledged is there, nothing ran twice at once, and the file is sound."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from taskmanager.job import FINISHED, LIVE, Kind, State

VICTIM = "w0"


def judge(path: Path, journal: Sequence[str], queue: str) -> str | None:
    """What is wrong, None where nothing is."""
    with closing(sqlite3.connect(path)) as file:
        [sound] = file.execute("PRAGMA integrity_check").fetchone()
        if sound != "ok":
            return f"the file is damaged: {sound}"
        states = dict(file.execute("SELECT id, state FROM jobs").fetchall())
        counted = file.execute(f"SELECT {', '.join(State)} FROM queues WHERE name = ?", (queue,)).fetchone()
        lines = {row[0] for row in file.execute("SELECT message FROM logs")}
        windows = {row[0] for row in file.execute("SELECT key FROM windows")}
        kept_serials = {row[0] for row in file.execute("SELECT serial FROM jobs")}
        logged = {row[0] for row in file.execute("SELECT DISTINCT serial FROM logs")}
        ends = file.execute("SELECT number, place FROM ends").fetchall()
        ended = file.execute("SELECT ended, place FROM jobs WHERE ended IS NOT NULL").fetchall()
        payloads = file.execute("SELECT count(*) FROM payloads LEFT JOIN jobs ON place = job WHERE place IS NULL")
        if orphans := payloads.fetchone()[0]:
            return f"{orphans} payloads of jobs that are gone"
        leases = file.execute("SELECT count(*) FROM jobs WHERE lease IS NOT NULL").fetchone()[0]
    number_of = Counter(states.values())
    if tuple(counted) != tuple(number_of[state] for state in State):
        return f"the queue counts {counted}, and holds {number_of}"
    if left := [id for id, state in states.items() if state in LIVE]:
        return f"never run to an end: {left}"
    if set(ends) != set(ended) or len(ends) != sum(number_of[state] for state in FINISHED):
        return f"the ends are {ends}, and those of the jobs {ended}"
    if leases:
        return f"{leases} jobs are still under a lease"
    if logged - kept_serials:
        return f"log lines of jobs that are gone: {logged - kept_serials}"
    return _judge_journal([line.split() for line in journal], states, lines, windows)


def _judge_journal(told: list[list[str]], states: dict[str, str], lines: set[str], windows: set[str]) -> str | None:
    pruned = State.COMPLETED  # only these may be gone: the workers keep forty
    running: dict[str, tuple[str, str]] = {}
    ended: dict[str, str] = {}
    emitted: set[str] = set()
    for worker, what, *words in told:
        match what, words:
            case "emitted", [id]:
                emitted.add(id)
            case "start", [id, claim]:
                if id in running and running[id][0] != VICTIM:
                    return f"{id} was begun by {worker} while {running[id]} ran it"
                if ended.get(id) in {*FINISHED} and not id.endswith("-again"):
                    return f"{id} was run again after {ended[id]} was acknowledged"
                running[id] = (worker, claim)
            case "lost", [id, _]:
                running.pop(id, None)
            case "end", [id, claim]:
                if running.pop(id, None) != (worker, claim):
                    return f"{worker} ended a run of {id}, which it did not run"
            case "settled", [id, _, state]:
                if state == "None":
                    return f"{worker} lost {id} though its lease had not run out"
                ended[id] = state
            case "debounce", [status, key, id]:
                closed = states.get(id) == State.FAILED
                if status == Kind.EMITTED and key not in windows and not closed:
                    return f"the window {key} is lost"
    for id, state in ended.items():
        if state in FINISHED and not id.endswith("-again") and states.get(id, pruned) != state:
            return f"{id} was acknowledged as {state}, and is {states.get(id)}"
    # A worker's last words: what was emitted and never settled by anybody but the survivor must have been there.
    seen = {words[0] for _, what, *words in told if what in ("start", "settled")}
    if lost := [id for id in emitted if id not in states and id not in seen]:
        return f"acknowledged and lost: {lost}"
    gone = [line for line in _lines_of(told, states) if line not in lines]
    return f"log lines lost: {gone}" if gone else None


def _lines_of(told: list[list[str]], states: dict[str, str]) -> list[str]:
    """The acknowledged log lines of jobs that are still kept, and were never another job of that id."""
    return [
        f"line of {words[1]}"
        for _, what, *words in told
        if what == "line" and words[0] in states and not words[0].endswith("-again")
    ]
