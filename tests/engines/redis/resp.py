"""Where a message of the protocol ends, and what a request says: as much of RESP2 and RESP3 as counting needs.

https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md
"""

from __future__ import annotations

_LINES = frozenset(b"+-:_#,(")
_BULKS = frozenset(b"$!=")
_MEMBERS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}
PUSH = ord(">")


def frame_end(buffer: bytes | bytearray, start: int = 0) -> int | None:
    """The index just behind the message that begins at `start`, None while it is incomplete."""
    wanted = 1
    while wanted:
        line_end = buffer.find(b"\r\n", start)
        if line_end < 0:
            return None
        kind = buffer[start]
        wanted -= 1
        if kind in _BULKS:
            length = int(buffer[start + 1 : line_end])
            start = line_end + 2 if length < 0 else line_end + 4 + length
            if start > len(buffer):
                return None
        elif kind in _MEMBERS:
            wanted += max(0, int(buffer[start + 1 : line_end])) * _MEMBERS[kind]
            wanted += kind == ord("|")  # an attribute goes before what it describes
            start = line_end + 2
        elif kind in _LINES:
            start = line_end + 2
        else:
            raise ValueError(f"no message begins with {bytes([kind])!r}; near {bytes(buffer[start : start + 40])!r}")
    return start


def words_of(frame: bytes | bytearray) -> list[bytes]:
    """The words of a request: an array of bulk strings."""
    at = frame.index(b"\r\n")
    words = []
    for _ in range(int(frame[1:at])):
        line_end = frame.index(b"\r\n", at + 2)
        length = int(frame[at + 3 : line_end])
        at = line_end + 2 + length
        words.append(bytes(frame[line_end + 2 : at]))
    return words
