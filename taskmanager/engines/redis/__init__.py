"""Jobs on a Redis or Valkey server, in streams: the engine for production."""

from __future__ import annotations

from taskmanager.clock import Clock
from taskmanager.engines.redis.address import Address, client_address, fake_address, url_address
from taskmanager.engines.redis.engine import RedisEngine
from taskmanager.errors import UsageError

__all__ = ["RedisEngine", "redis_engine"]


def redis_engine(
    store: object, prefix: str = "taskmanager", clock: Clock | None = None, rings: object = None, field: str = "db"
) -> RedisEngine:
    """The engine of a URL or a `redis.asyncio.Redis` client; `rings` is the same for its blocking reads, if apart."""
    return RedisEngine(_address(store, field), prefix, clock, None if rings is None else _address(rings, "streamdb"))


def _address(store: object, field: str) -> Address:
    if not isinstance(store, str):
        return client_address(store, field)
    if not store.startswith("fakeredis://"):
        return url_address(store, field)
    if store != "fakeredis://":
        raise UsageError(f"{field} must be fakeredis:// alone, a server of its own each time; got {store!r}")
    return fake_address()
