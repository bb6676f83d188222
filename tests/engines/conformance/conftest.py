"""The engines that must all behave alike, and how a test gets one.

A new engine is one more row of `ENGINES`: a factory that takes a clock and opens an empty store that goes by it. Tests
are coroutines; each runs in an event loop of its own, and its world is opened and closed inside that loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from taskmanager.engine import Engine
from taskmanager.engines import open_engine
from tests.engines.conformance.world import Factory, ManualClock, World
from tests.servers import Servers, server_kinds


@asynccontextmanager
async def opened(url: str, clock: ManualClock) -> AsyncIterator[Engine]:
    """A store that is empty, and goes by that clock."""
    engine = open_engine(url, clock)
    await engine.open(simulated=True)
    try:
        yield engine
    finally:
        await engine.close()


@asynccontextmanager
async def opened_file(clock: ManualClock) -> AsyncIterator[Engine]:
    with TemporaryDirectory() as folder:
        async with opened(f"sqlite:///{folder}/tasks.db", clock) as engine:
            yield engine


def of_url(url: str, servers: Servers) -> Factory:
    return partial(opened, url)


def of_file(servers: Servers) -> Factory:
    return opened_file


def of_server(kind: str, servers: Servers) -> Factory:
    server = servers.shared(kind)
    server.empty()
    return partial(opened, server.url)


ENGINES: dict[str, Callable[[Servers], Factory]] = {
    "memory": partial(of_url, "memory://"),
    "sqlite-memory": partial(of_url, "sqlite://"),
    "sqlite-file": of_file,
    "fakeredis": partial(of_url, "fakeredis://"),
    **{kind: partial(of_server, kind) for kind in server_kinds()},
}


@pytest.fixture(params=list(ENGINES))
def world(request: pytest.FixtureRequest, servers: Servers) -> World:
    return World(ENGINES[request.param](servers))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(test).parameters}

    async def drive(arguments: dict[str, Any]) -> None:
        async with AsyncExitStack() as stack:
            for argument in arguments.values():
                if isinstance(argument, World):
                    await stack.enter_async_context(argument.opened())
            await test(**arguments)

    asyncio.run(drive(arguments))
    return True
