"""A server's user: which rights are enough, as the README says, and what is said where one is missing."""

from __future__ import annotations

import asyncio
import logging
import re
from itertools import pairwise
from pathlib import Path

import pytest

from taskmanager import JobFailed, TaskManager, UsageError
from tests.engines.redis.ground import PATIENCE_S, App, started, until
from tests.servers import HOST, Server

README = Path(__file__).parents[3] / "README.md"
ENOUGH = re.search(r"^ACL SETUSER app on >secret (.*)$", README.read_text(), re.MULTILINE)


def url_of(server: Server, *rights: str) -> str:
    """The address of the server for a user with these rights and no others."""
    server.ask("ACL", "SETUSER", "app", "reset", "on", ">secret", *rights)
    return f"redis://app:secret@{HOST}:{server.port}/0"


async def test_what_the_readme_grants_is_enough_for_everything_a_worker_does(every_server: Server) -> None:
    assert ENOUGH is not None
    tm = TaskManager(url_of(every_server, *ENOUGH[1].split()))

    ran: list[str | None] = []

    @tm.handler("work", retry={"max_retries": 1, "delay": 0.01})
    async def work(job, ctx):  # type: ignore[no-untyped-def]  # as a user writes it
        ran.append(job.schedule)
        await job.logger("began")
        await ctx.emit("work", {"child": True}, delay=0.01, expires=60, debounce=1)
        if not job.data.get("good"):
            raise ValueError("no")

    async with asyncio.timeout(PATIENCE_S), tm:
        await tm.emit_and_wait("work", {"good": True}, timeout=PATIENCE_S)
        with pytest.raises(JobFailed):
            await tm.emit_and_wait("work", {}, timeout=PATIENCE_S)
        await tm.emit("work", {"good": True}, id="often", repeat="* * * * * *")
        await until(lambda: "often" in ran)
        assert await tm.unschedule("often")
        await tm.pause_queue()
        await tm.emit("work", id="late", delay=60)
        assert await tm.promote("late") is not None
        assert await tm.cancel("late") is not None
        assert await tm.retry_all() > 0
        assert await tm.purge("default", "cancelled") == 1
        await tm.resume_queue()
        await tm.drain()


@pytest.mark.parametrize("lacking", ["-client", "-eval", "-info", "resetkeys", "resetchannels"])
async def test_a_user_who_lacks_a_right_is_told_so_at_the_start(server: Server, lacking: str) -> None:
    app = App(url_of(server, "~*", "allchannels", "+@all", lacking))
    with pytest.raises(UsageError, match="lacks a right"):
        await app.tm.start()


async def test_a_right_that_only_a_script_misses_is_told_when_it_does(every_server: Server) -> None:
    tm = TaskManager(url_of(every_server, "~*", "allchannels", "+@all", "-hset"))
    with pytest.raises(UsageError, match="the server's user lacks a right: the README says which ones it needs"):
        await tm.emit("work")
    await tm.stop()


async def test_a_key_of_another_program_is_told_by_a_script(every_server: Server) -> None:
    every_server.ask("SET", "taskmanager:{default}:meta", "somebody else's")
    tm = TaskManager(every_server.url)
    with pytest.raises(UsageError, match="another program writes under this prefix: give one of its own"):
        await tm.emit("work")
    await tm.stop()


async def test_a_worker_that_may_not_wait_at_the_server_says_so_without_spinning(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(url_of(server, "~*", "allchannels", "+@all", "-blpop")) as app:
        with caplog.at_level(logging.WARNING):
            await app.emit("a")
            await app.ended("a")
            warnings = [record for record in caplog.records if "waiting at" in record.message]
            await until(lambda: len([r for r in caplog.records if "waiting at" in r.message]) > 3)
            warnings = [record for record in caplog.records if "waiting at" in record.message]
    gaps = [later.created - earlier.created for earlier, later in pairwise(warnings)]
    assert max(gaps) > 2 * min(gaps)
