"""The scripts as texts: each verb has one, with a header that says what it takes, answers and costs, and no state or
key is spelt in them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import taskmanager.engines.redis
from taskmanager.engines.redis.keys import KEYS
from taskmanager.engines.redis.scripts import script
from taskmanager.job import State
from tests.servers import Server

FOLDER = Path(taskmanager.engines.redis.__file__).parent / "scripts"
PARTS = {
    *("prelude", "replay", "index", "enqueue_plain", "places"),
    *("admit", "leases", "operate", "remove", "standing"),
}
VERBS = sorted(path.stem for path in FOLDER.glob("*.lua") if path.stem not in PARTS)
LONGEST = 280


def code(name: str) -> str:
    return re.sub(r"--.*", "", (FOLDER / f"{name}.lua").read_text())


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_begins_with_a_header(verb: str) -> None:
    header = (FOLDER / f"{verb}.lua").read_text().split("\n\n")[0]
    assert header.startswith(f"-- {verb}: ")
    assert re.search(r"^-- Answer ", header, re.MULTILINE)
    assert re.search(r"^-- Needs  ", header, re.MULTILINE)
    takes = "ARGV[3]" in code(verb) or "#ARGV" in code(verb)
    assert bool(re.search(r"^-- ARGV +3 ", header, re.MULTILINE)) == takes


@pytest.mark.parametrize("name", sorted([*PARTS, *VERBS]))
def test_no_key_and_no_state_is_spelt_in_a_script(name: str) -> None:
    literals = set(re.findall(r"'([^']*)'", code(name)))
    assert not literals & set(State)
    assert not any(text.startswith(":") for text in literals)
    assert len((FOLDER / f"{name}.lua").read_text().splitlines()) <= LONGEST


def test_every_key_is_used() -> None:
    used = "".join(map(code, [*PARTS, *VERBS]))
    assert {name for name in KEYS if not re.search(rf"\b{name}\b", used)} == set()


@pytest.mark.parametrize("verb", VERBS)
def test_every_server_takes_every_script(every_server: Server, verb: str) -> None:
    assert every_server.ask("SCRIPT", "LOAD", script(verb).text) == script(verb).sha
