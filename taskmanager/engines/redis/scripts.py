"""The Lua scripts: one a verb, put together from its own file and the parts that its header says it needs.

Each begins with a header: what it does, `ARGV`, `Answer`, `Cost`, `Needs`. In front of the prelude go the keys of
`keys`, as far as the script uses them, and its words stand where their names are: no key and no state is spelt in Lua.
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
_STRING_OR_NAME = re.compile(r"'[^']*'|\b[A-Z][A-Z_]+\b")
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
    prelude, body = _spelt(read("prelude")), _spelt("\n".join([*map(read, parts), own]))
    # A function finds each local that it captures by a walk along all captured ones of its chunk; those of an outer
    # function it has at hand. Scripts are many small functions, so the prelude's locals are captured once, by one.
    text = f"{_keys(prelude + body)}{prelude}\nreturn (function()\n{body}\nend)()\n"
    text = f"{own.splitlines()[0]}\n{text}"  # by which people know it in a SLOWLOG
    return Script(text, hashlib.sha1(text.encode()).hexdigest())


def read(name: str) -> str:
    return (_FOLDER / f"{name}.lua").read_text()


def _spelt(text: str) -> str:
    """Without comments, and with the values of WORDS for their names."""
    code = re.sub(r"--.*", "", text)
    return _STRING_OR_NAME.sub(lambda found: repr(WORDS[found[0]]) if found[0] in WORDS else found[0], code)


def _keys(code: str) -> str:
    used = set(_STRING_OR_NAME.findall(code))
    return "".join(f"local {name} = KEYS[1] .. '{rest}'\n" for name, (rest, _) in KEYS.items() if name in used)
