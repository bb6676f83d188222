"""Every statement, by SQLite's own plan: none looks through a table, and the words in it are words of the house."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from taskmanager.engines.sqlite import opening, statements
from taskmanager.engines.sqlite.address import Address
from taskmanager.job import State

TEXTS = {
    name: text
    for name, text in vars(statements).items()
    if name.isupper() and isinstance(text, str) and text.startswith("/* ")
}
WRITES_OR_READS = [name for name, text in TEXTS.items() if re.search(r"SELECT|UPDATE|DELETE|INSERT", text)]
NAMED = ("queue", "state", "now", "low", "high", "first", "last", "limit", "depth", "event", "id")
SORTS = {"FIND_LAPSED", "LIST_RECENT", "LIST_WAITING", "LIST_DELAYED", "LIST_ACTIVE", "LIST_FINISHED"}
"""What sorts: the claims of leases that ran out, and a page of a list, of which it keeps no more than the page."""


@pytest.fixture
def file() -> Iterator[sqlite3.Connection]:
    address = Address(None)
    connected = opening.connect(address)
    opening.prepare(connected, address)
    yield connected
    connected.close()


@pytest.mark.parametrize("name", WRITES_OR_READS)
def test_no_statement_looks_through_a_table(name: str, file: sqlite3.Connection) -> None:
    text = TEXTS[name]
    given = [None] * text.count("?") if "?" in text else dict.fromkeys(NAMED)
    plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {text}", given)]
    tables = [row[0] for row in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    looked_through = [step for step in plan for table in tables if step.startswith(f"SCAN {table}")]
    assert looked_through == (["SCAN queues USING INDEX sqlite_autoindex_queues_1"] if name == "LIST_QUEUES" else [])
    assert any("TEMP B-TREE" in step for step in plan) == (name in SORTS)


@pytest.mark.parametrize("name", ["PUT_CLAIM", "PUT_END", "ADD_ENDS"])
def test_what_is_written_of_a_stretch_looks_at_no_row_beside_it(name: str, file: sqlite3.Connection) -> None:
    text = TEXTS[name]
    plan = [row[3] for row in file.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?"))]
    assert plan == ["SEARCH jobs USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]


def test_the_states_that_statements_and_indexes_name_are_the_states_of_the_house(file: sqlite3.Connection) -> None:
    indexes = [row[0] or "" for row in file.execute("SELECT sql FROM sqlite_master WHERE type = 'index'")]
    named = {word for text in [*TEXTS.values(), *indexes] for word in re.findall(r"state = '(\w+)'", text)}
    assert named == {State.WAITING, State.DELAYED, State.ACTIVE}
    columns = {row[1] for row in file.execute("PRAGMA table_info(queues)")}
    assert columns >= {*State}


@pytest.mark.parametrize("name", TEXTS)
def test_a_statement_begins_with_its_name(name: str) -> None:
    assert TEXTS[name].startswith(f"/* {name.lower()} */ ")
