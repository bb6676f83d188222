"""A process that forks while its store is open, and uses it on both sides: `... forked URL`."""

from __future__ import annotations

import asyncio
import os
import sys

from taskmanager.engine import Batch
from taskmanager.engines import open_engine
from taskmanager.job import Emission


def main(url: str) -> None:
    engine = open_engine(url)
    asyncio.run(engine.enqueue("q", [Emission("send", "before")], Batch("parent", 1)))
    child = os.fork()
    if not child:
        asyncio.run(engine.enqueue("q", [Emission("send", "child")], Batch("child", 1)))
        asyncio.run(engine.close())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    asyncio.run(engine.enqueue("q", [Emission("send", "parent")], Batch("parent", 2)))
    print(*sorted(job.id for job in asyncio.run(engine.list("q", None, 10, None)) if job.id != "before"))


if __name__ == "__main__":
    main(sys.argv[1])
