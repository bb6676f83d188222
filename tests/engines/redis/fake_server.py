"""A server that speaks enough of the protocol to be refused: of an old version, or none of ours at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.engines.redis.resp import frame_end, words_of
from tests.servers import HOST


def _bulk(text: str) -> bytes:
    return f"${len(text)}\r\n{text}\r\n".encode()


def old_redis(version: str) -> dict[str, bytes]:
    """The answers of a Redis of that version, by command; what it does not know it refuses."""
    answers = {
        "PING": b"+PONG\r\n",
        "GET": b"$-1\r\n",
        "SELECT": b"+OK\r\n",
        "AUTH": b"+OK\r\n",
        "CLIENT": b"-ERR Unknown subcommand or wrong number of arguments\r\n",
        "INFO": _bulk(f"# Server\r\nredis_version:{version}\r\nredis_mode:standalone\r\nrole:master\r\n"),
        "CONFIG": b"*0\r\n",
        "TIME": b"*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n",
    }
    if int(version.split(".")[0]) >= 6:
        pairs = {"server": "redis", "version": version, "mode": "standalone", "role": "master"}
        answers["HELLO"] = b"%4\r\n" + b"".join(_bulk(name) + _bulk(value) for name, value in pairs.items())
    return answers


@asynccontextmanager
async def serving(answers: dict[str, bytes]) -> AsyncIterator[str]:
    """A server with these answers; its URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = b""
        try:
            while received := await reader.read(65_536):
                buffer += received
                while buffer and (end := frame_end(buffer)) is not None:
                    name = words_of(buffer)[0].decode().upper()
                    writer.write(answers.get(name, f"-ERR unknown command '{name}'\r\n".encode()))
                    buffer = buffer[end:]
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, HOST, 0)
    try:
        yield f"redis://{HOST}:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


@asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[str]:
    """A server that answers everything with this text, which is no answer of ours; its URL."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(text)
        writer.close()

    server = await asyncio.start_server(talk, HOST, 0)
    try:
        yield f"redis://{HOST}:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()
