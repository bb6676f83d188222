"""A server and a Node side for the tests of the BullMQ driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import Server, Servers, server_kinds
from tests.tasks.bullmq.node import NodeSide, installed


@pytest.fixture(scope="session")
def node_home() -> Path:
    """Where BullMQ for Node is."""
    return installed()


@pytest.fixture
def server(servers: Servers) -> Server:
    """A server without a key: Redis where the machine has it, which is what BullMQ is written for."""
    return servers.shared(server_kinds()[0])


@pytest.fixture
def node(node_home: Path, server: Server) -> Callable[[], NodeSide]:
    """Makes the Node side of the queue: `async with node() as other:`."""
    return lambda: NodeSide(node_home, server.port)
