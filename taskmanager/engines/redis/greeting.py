"""What is looked at when a store is opened: whether this server can hold it, and whether it is ours to use."""

from __future__ import annotations

import logging
import re
from typing import Any

from redis import exceptions as redis_errors

from taskmanager.engines.redis.address import Address
from taskmanager.engines.redis.connection import Connections, translate
from taskmanager.engines.redis.keys import Layout
from taskmanager.errors import EngineUnavailable, UsageError

__all__ = ["greet"]

log = logging.getLogger("taskmanager")

_OLDEST = (6, 2)
_KEEPS_ALL = "noeviction"


async def greet(connections: Connections, address: Address, rings: Address, layout: Layout, simulated: bool) -> None:
    """Raises `UsageError` or `EngineUnavailable` where the server, or the store on it, will not do."""
    mark = await connections.ask("GET", layout.store)
    wanted = "simulated" if simulated else "real"
    if mark is not None and mark.decode() != wanted:
        raise UsageError(
            f"the store {address.name} (prefix {layout.prefix!r}) is {mark.decode()} and cannot be used as a {wanted}"
            " one; give each a database of its own, or the real one another prefix"
        )
    if address.is_fake:
        return
    facts = _parsed(await connections.ask("INFO"))
    _check_kind(facts, address)
    await _check_rights(connections, layout)
    _check_eviction(facts, address)
    if rings is not address:
        await _check_same(connections, facts, address, rings)


def _parsed(info: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)


async def _check_rights(connections: Connections, layout: Layout) -> None:
    """Of what a user may lack, that which would be missed late, in the middle of things."""
    await connections.ask("PUBLISH", f"{layout.store}:greeting", "")
    await connections.ask("CLIENT", "ID")
    await connections.ask("EVAL", "return 1", 0)


def _check_kind(facts: dict[str, str], address: Address) -> None:
    # Valkey calls itself a Redis 7 in redis_version, for those who ask.
    version = facts.get("redis_version", "0")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
        raise UsageError(f"{address.name}: db must be Redis 6.2 or later, or Valkey; got version {version}")
    if facts.get("redis_mode") == "cluster" or facts.get("cluster_enabled") == "1":
        raise UsageError(f"{address.name}: db must be one server, got a node of a Redis Cluster")
    if facts.get("redis_mode") == "sentinel":
        raise UsageError(f"{address.name}: db must be a server, got a sentinel; ask it for the primary's address")
    if facts.get("role") == "slave":
        raise EngineUnavailable(f"{address.name}: this server is a read-only replica; give db the primary's address")


def _check_eviction(facts: dict[str, str], address: Address) -> None:
    policy = facts.get("maxmemory_policy", _KEEPS_ALL)
    if policy != _KEEPS_ALL and facts.get("maxmemory", "0") != "0":
        log.warning(
            "%s: maxmemory-policy is %s, so the server may throw jobs away when its memory is full; set it to %s",
            address.name,
            policy,
            _KEEPS_ALL,
        )


async def _check_same(connections: Connections, facts: dict[str, str], address: Address, rings: Address) -> None:
    """The blocking reads must be on the same server and database."""
    other = Connections(rings)
    try:
        theirs: Any = _parsed(await other.ask("INFO"))
    except (redis_errors.RedisError, OSError) as error:
        raise translate(error, rings) from error
    finally:
        await other.close()
    same = facts.get("run_id") == theirs.get("run_id") and _database(address) == _database(rings)
    if not same:
        raise UsageError(f"streamdb must be the same server and database as db, {address.name}; got {rings.name}")


def _database(address: Address) -> int:
    return int(address.options.get("db") or 0)
