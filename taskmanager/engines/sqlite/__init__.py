"""Jobs in a SQLite file (or in SQLite's memory): durable, and shared by the processes of one machine."""

from taskmanager.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
