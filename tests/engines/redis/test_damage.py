"""What somebody deleted by hand: one job that is gone keeps no other from running."""

from __future__ import annotations

from tests.engines.redis.ground import EVENT, started, until
from tests.servers import Server

JOB = "taskmanager:{default}:job:"


async def test_a_waiting_job_whose_record_is_gone_holds_up_no_neighbour(every_server: Server) -> None:
    async with started(every_server.url, concurrency=2) as app:
        await app.tm.pause_queue()
        await app.emit("a", "b", "c")
        every_server.ask("DEL", f"{JOB}b")
        await app.tm.resume_queue()
        await app.ended("a")
        await app.ended("c")
        await app.tm.drain()
        assert sorted(app.ran) == ["a", "c"]
        assert [job.event for job in await app.tm.jobs()] == [EVENT, EVENT]
        await until(lambda: every_server.ask("XLEN", "taskmanager:{default}:line:0") == 0)
