"""What a handler meets in there: its own unmodified code, virtual clocks, and a refusal where the world ends."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import orjson
import pydantic
import pytest
from freezegun import freeze_time

from simulation import Simulation, SimulationRefused
from taskmanager import Job, TaskManager
from tests.worker.worlds import found, kinds

START = "2036-03-28T12:00Z"
NOON = datetime(2036, 3, 28, 12, tzinfo=UTC)


def simulated(handler: Callable[..., Any], data: Any = None, **options: Any) -> Any:
    """The result of a handler that runs in a world of its own; what it raises ends its job, and is told here."""
    tm = TaskManager("memory://")
    tm.register_handler(handler, "it")
    with Simulation(tm, start=START, **options) as sim:
        job = sim.emit("it", data)
        sim.run_until_idle()
        record = found(sim.job(job))
        assert record.state == "completed", record.error
        return record.result


# ---- clocks


def test_every_clock_of_an_async_handler_is_virtual() -> None:
    async def it(job: Job[Any]) -> list[float]:
        def clocks() -> list[float]:
            now = datetime.now(UTC).timestamp()
            return [time.time(), now, time.monotonic(), asyncio.get_running_loop().time(), time.time_ns() / 1e9]

        before = clocks()
        await asyncio.sleep(47 * 3600)
        return [round(later - sooner, 6) for sooner, later in zip(before, clocks(), strict=True)]

    assert simulated(it) == [47 * 3600] * 5


def test_every_clock_of_a_plain_handler_is_virtual() -> None:
    def it(job: Job[Any]) -> list[float]:
        before = time.time(), time.monotonic()
        time.sleep(3600)
        assert not threading.Event().wait(60)
        return [time.time() - before[0], time.monotonic() - before[1]]

    assert simulated(it) == [3660, 3660]


def test_the_local_time_zone_is_utc_and_today_is_the_worlds() -> None:
    async def it(job: Job[Any]) -> list[str]:
        return [date.today().isoformat(), datetime.now().isoformat(), time.strftime("%H:%M")]

    assert simulated(it) == ["2036-03-28", "2036-03-28T12:00:00", "12:00"]


def test_timeouts_of_a_handler_are_virtual() -> None:
    async def it(job: Job[Any]) -> float:
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1800):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(1e6), 1800)
        return time.monotonic() - before

    assert simulated(it) == 3600


def test_time_sleep_in_an_async_handler_holds_the_whole_world_and_warns() -> None:
    tm = TaskManager("memory://", concurrency=2)
    woke: list[datetime] = []

    @tm.handler("block")
    async def block(job: Job[Any]) -> None:
        time.sleep(30)  # noqa: ASYNC251  # the fault that is told

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> None:
        await asyncio.sleep(10)
        woke.append(datetime.now(UTC))

    with Simulation(tm, start=START) as sim:
        sim.emit("nap")
        sim.emit("block")
        with pytest.warns(RuntimeWarning, match=r"time.sleep\(30\) at .*test_simulation_handlers.py:\d+ blocks"):
            sim.run_until_idle()
    assert woke == [NOON + timedelta(seconds=30)]


# ---- data


@dataclass
class Reading:
    at: datetime


class Struct(msgspec.Struct):
    at: datetime


class Model(pydantic.BaseModel):
    at: datetime


ENCODERS: dict[str, Callable[[datetime], Any]] = {
    "msgspec": lambda at: msgspec.json.decode(msgspec.json.encode({"at": at})),
    "msgspec Struct": lambda at: msgspec.json.decode(msgspec.json.encode(Struct(at))),
    "orjson": lambda at: orjson.loads(orjson.dumps(Reading(at))),
    "pydantic": lambda at: msgspec.json.decode(Model(at=at).model_dump_json()),
}


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_datetime_now_gives_in_a_handler_is_encoded_by(encoder: str) -> None:
    async def it(job: Job[Any]) -> Any:
        assert type(datetime.now(UTC)) is datetime
        return ENCODERS[encoder](datetime.now(UTC))

    assert datetime.fromisoformat(simulated(it)["at"]) == NOON


@pytest.mark.parametrize("make", [lambda at: {"at": at}, Reading, Struct, lambda at: Model(at=at)])
def test_what_datetime_now_gives_can_be_emitted_and_returned(make: Callable[[datetime], Any]) -> None:
    tm = TaskManager("memory://")

    @tm.handler("tell")
    async def tell(job: Job[Any]) -> Any:
        handle = await tm.emit("keep", make(datetime.now(UTC)), delay_until=datetime.now(UTC) + timedelta(hours=1))
        return await handle.result(timeout=4000)

    @tm.handler("keep")
    async def keep(job: Job[Any]) -> Any:
        return [job.data, make(datetime.now(UTC))]

    with Simulation(tm, start=START, workers=2) as sim:
        assert sim.emit_and_wait("tell", timeout=5000) == [
            {"at": "2036-03-28T12:00:00Z"},
            {"at": "2036-03-28T13:00:00Z"},
        ]


# ---- the end of the world


async def open_connection() -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def serve() -> None:
    await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)


async def look_up() -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def run_process() -> None:
    await asyncio.create_subprocess_exec("true")


async def connect() -> None:
    with socket.socket() as one:
        one.connect(("127.0.0.1", 9))


async def fetch() -> None:
    urllib.request.urlopen("http://127.0.0.1:9/")  # noqa: ASYNC210  # the fault that is told


async def run() -> None:
    subprocess.run(["true"], check=True)  # noqa: ASYNC221  # the fault that is told


REACHING: dict[Callable[[], Any], str] = {
    open_connection: "",
    serve: "",
    look_up: "loop.getaddrinfo",
    run_process: "",
    connect: "socket.socket.connect",
    fetch: "",
    run: "subprocess.Popen",
}


@pytest.mark.parametrize("reach", REACHING, ids=lambda reach: str(reach.__name__))
def test_reaching_outside_is_refused_with_the_name_of_the_call_and_what_to_stub(reach: Callable[[], Any]) -> None:
    tm = TaskManager("memory://")

    @tm.handler("it")
    async def it(job: Job[Any]) -> None:
        await reach()

    with Simulation(tm, start=START) as sim:
        job = sim.emit("it")
        sim.run_until_idle()
        error = found(sim.job(job)).error
    assert error is not None
    told = error.message
    assert REACHING[reach] in told
    assert "is refused in a simulation" in told
    assert "Stub what makes the call" in told
    assert SimulationRefused.__name__ in (error.type, "URLError") or "Refused" in told


def test_a_plain_handlers_socket_is_refused_as_well_and_the_outside_is_untouched() -> None:
    def it(job: Job[Any]) -> str:
        with socket.socket() as one, pytest.raises(SimulationRefused, match=r"socket\.socket\.connect is refused"):
            one.connect(("127.0.0.1", 9))
        return "refused"

    assert simulated(it) == "refused"
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", 9)) != 0


def test_files_are_real_and_take_no_time(tmp_path: Any) -> None:
    async def it(job: Job[Any]) -> float:
        before = time.monotonic()
        path = tmp_path / "report.txt"
        await asyncio.to_thread(path.write_text, "hello")
        assert path.read_text() == "hello"
        return time.monotonic() - before

    assert simulated(it) == 0


def test_a_handlers_own_randomness_follows_the_seed_and_the_process_own_goes_on() -> None:
    async def it(job: Job[Any]) -> list[Any]:
        return [random.random(), str(uuid.uuid4()), os.urandom(4).hex(), random.Random().random()]

    random.seed(5)
    mine = [random.random(), random.random()]
    random.seed(5)
    first = [random.random()]
    one, same, other = simulated(it, seed=1), simulated(it, seed=1), simulated(it, seed=2)
    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert [*first, random.random()] == mine


# ---- freezegun


@freeze_time("2030-06-01T10:00:00")
def test_a_test_frozen_by_freezegun_starts_at_its_instant_and_its_clock_is_moved() -> None:
    tm = TaskManager("memory://")

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> str:
        await asyncio.sleep(3600)
        return datetime.now(UTC).isoformat()

    with Simulation(tm) as sim:
        assert sim.now.isoformat() == "2030-06-01T10:00:00+00:00"
        job = sim.emit("nap")
        sim.run_until_idle()
        assert found(sim.job(job)).result == "2030-06-01T11:00:00+00:00"
        assert datetime.now(UTC).hour == 11
    assert datetime.now(UTC).hour == 11


def test_the_freezer_fixture_is_honoured(freezer: Any) -> None:
    freezer.move_to("2031-01-01T08:00:00")
    with Simulation(TaskManager("memory://")) as sim:
        assert sim.now == datetime(2031, 1, 1, 8, tzinfo=UTC)
        sim.advance(days=1)
        assert date.today().isoformat() == "2031-01-02"


@freeze_time("2030-06-01T10:00:00")
def test_what_freezegun_calls_a_datetime_can_be_emitted_and_waited_for() -> None:
    tm = TaskManager("memory://")

    @tm.handler("keep")
    async def keep(job: Job[Any]) -> Any:
        await tm.emit("other", {"at": datetime.now(UTC)}, expires=datetime.now(UTC) + timedelta(hours=1))
        return {"given": job.data["at"], "now": datetime.now(UTC)}

    with Simulation(tm) as sim:
        now = datetime.now(UTC)
        job = sim.emit("keep", {"at": now}, delay_until=now + timedelta(minutes=5))
        sim.run_until(now + timedelta(minutes=10))
        assert found(sim.job(job)).result == {"given": "2030-06-01T10:00:00Z", "now": "2030-06-01T10:05:00Z"}


@freeze_time("2030-06-01T10:00:00")
def test_a_start_that_is_given_comes_before_the_frozen_instant() -> None:
    with Simulation(TaskManager("memory://"), start=START) as sim:
        assert sim.now == NOON


# ---- handles


def test_a_handle_of_a_plain_call_is_awaited_inside() -> None:
    tm = TaskManager("memory://")

    @tm.handler("nap")
    async def nap(job: Job[Any]) -> int:
        await asyncio.sleep(60)
        return 42

    with Simulation(tm, start=START) as sim:
        handle = sim.emit("nap")
        assert sim.run(handle.result(timeout=100)) == 42
        assert found(sim.run(handle.refresh())).state == "completed"
        assert kinds(sim) == ["emitted", "started", "completed"]
