"""Jobs in this process's memory: the reference engine, and the one that simulations run on by default."""

from taskmanager.engines.memory.engine import MemoryEngine
from taskmanager.engines.memory.store import MemoryStore, shared_store

__all__ = ["MemoryEngine", "MemoryStore", "shared_store"]
