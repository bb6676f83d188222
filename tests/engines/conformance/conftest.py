"""The engines that must all behave alike, and how a test gets one.

A new engine is one more row of `ENGINES`: a factory that takes a clock and opens an empty store that goes by it. Tests
are coroutines; each runs in an event loop of its own, and its world is opened and closed inside that loop.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from taskmanager.engine import Engine
from taskmanager.engines import open_engine
from tests.engines.conformance.world import Factory, ManualClock, World


@asynccontextmanager
async def memory(clock: ManualClock) -> AsyncIterator[Engine]:
    engine = open_engine("memory://", clock)
    await engine.open()
    try:
        yield engine
    finally:
        await engine.close()


ENGINES: dict[str, Factory] = {"memory": memory}


@pytest.fixture(params=list(ENGINES))
def world(request: pytest.FixtureRequest) -> World:
    return World(ENGINES[request.param])


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
