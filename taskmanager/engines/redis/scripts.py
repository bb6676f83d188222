"""The Lua scripts: one a verb, put together from its own file and the parts that its header says it needs.

Each begins with a header: what it does, `ARGV`, `Answer`, `Cost`, `Needs`. In front of the prelude go the keys and the
words of `keys`, as far as the script uses them, so that no key and no state is spelt in Lua.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from taskmanager.engines.redis.keys import KEYS, WORDS

__all__ = ["Script", "script"]

_FOLDER = files("taskmanager.engines.redis") / "scripts"
_NEEDS = re.compile(r"^-- Needs +(.*)$", re.MULTILINE)


class Script(NamedTuple):
    """A script's text and the name under which a server keeps it."""

    text: str
    sha: str


@cache
def script(verb: str) -> Script:
    """The script of that verb."""
    own = read(verb)
    needs = _NEEDS.search(own)
    assert needs is not None, f"{verb}.lua does not say what it needs"
    parts = [] if needs[1] == "nothing more" else needs[1].split()
    body = "\n".join([read("prelude"), *(read(part) for part in parts), own])
    text = _declarations(body) + body
    return Script(text, hashlib.sha1(text.encode()).hexdigest())


def read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()


def _declarations(body: str) -> str:
    used = set(re.findall(r"\b[A-Z][A-Z_]+\b", re.sub(r"--.*", "", body)))
    keys = [f"local {name} = KEYS[1] .. '{rest}'\n" for name, (rest, _) in KEYS.items() if name in used]
    words = [f"local {name} = {value!r}\n" for name, value in WORDS.items() if name in used]
    return "".join(keys + words)
