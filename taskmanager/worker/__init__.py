"""The worker: the same over every engine, one duty a file, and no engine named in any of them."""
