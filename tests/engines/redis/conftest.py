"""What the Redis tests stand on: the session's servers, and tests that are coroutines.

An `async def` test runs in an event loop of its own; its fixtures are plain values.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator

import pytest

from tests.servers import Server, Servers, server_kinds

FIRST = server_kinds()[0]
"""The kind that tests run on where one is enough."""


@pytest.fixture(params=server_kinds())
def every_server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """An empty server, of each kind in turn."""
    return servers.shared(request.param)


@pytest.fixture
def server(servers: Servers) -> Server:
    """An empty server of the first kind."""
    return servers.shared(FIRST)


@pytest.fixture
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    """Makes servers of a test's own, for what a shared one must not suffer: `private("redis", maxmemory="4mb")`."""
    own = Private()
    yield own
    own.stop()


class Private:
    """The servers that one test has started."""

    def __init__(self) -> None:
        self._servers: list[Server] = []

    def __call__(self, kind: str = FIRST, *, password: str | None = None, **options: object) -> Server:
        server = Server(kind, password=password, **options)
        self._servers.append(server)
        return server

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}
    asyncio.run(test(**arguments))
    return True
