"""Registrations that go again, queues that are served without one, and origins that a worker keeps to."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from simulation import Simulation
from taskmanager import Job, UsageError
from taskmanager.job import Plan
from taskmanager.manager import app_of, seat_of
from taskmanager.registry import Registration
from tests.worker.worlds import app, found


async def wait(job: Job[Any]) -> str:
    await asyncio.sleep(60)
    return "ended"


def test_what_is_removed_has_no_handler_and_its_run_ends_on_its_own() -> None:
    tm = app()
    tm.register_handler(wait, "wait")
    tm.register_handler(wait, "wait", queue="other")
    registry = app_of(tm).registry
    with Simulation(tm) as sim:
        sim.emit("wait", id="running", queue="default")
        sim.advance(30)
        registry.remove("default", "wait")
        registry.remove("default", "unknown")
        sim.emit("wait", id="late", queue="default")
        assert sim.emit("wait", id="elsewhere").queue == "other"  # its one home now
        sim.run_until_idle()
        assert found(sim.job("running")).result == "ended"
        assert found(sim.job("late")).state == "failed"
        assert found(sim.job("elsewhere", "other")).result == "ended"
        registry.remove("other", "wait")
        assert registry.queues_of("wait") == []
        assert sim.emit("wait", id="last").queue == "default"


def test_a_queue_may_be_served_without_a_handler() -> None:
    tm = app()
    app_of(tm).registry.serve("empty")
    assert app_of(tm).served_queues() == ["empty"]
    with Simulation(tm) as sim:
        sim.emit("nothing", id="n", queue="empty")
        sim.run_until_idle()
        assert found(sim.job("n", "empty")).state == "failed"


def test_of_an_origin_that_is_owned_the_store_keeps_what_is_registered_and_nothing_else() -> None:
    tm = app()
    registry = app_of(tm).registry
    registry.own("default", "mine")
    daily = Registration.of(wait, "kept", repeat="@daily")
    registry.add(replace(daily, origin="mine"))
    registry.add(replace(Registration.of(wait, "no-schedule"), origin="mine"))
    with Simulation(tm, workers=0) as sim:
        stored: list[tuple[str, str, str | None]] = [
            ("default", "kept", "mine"),
            ("default", "gone", "mine"),
            ("default", "no-schedule", "mine"),
        ]
        stored += [("default", "theirs", "other"), ("second", "gone", "mine"), ("default", "nobodys", None)]

        async def store() -> None:
            for queue, name, origin in stored:
                await seat_of(tm).client.emit(queue, Plan(name, name, "@daily", "UTC", origin=origin))

        sim.run(store())
        sim.run(tm.start())
        left = {(one.queue, one.name) for one in sim.schedules()}
        assert left == {("default", "kept"), ("default", "theirs"), ("default", "nobodys"), ("second", "gone")}
        registry.own("default", "mine", owned=False)
        assert not registry.owns("default", "mine")


def test_of_an_origin_that_is_not_owned_only_who_is_there_without_a_schedule_loses_it() -> None:
    tm = app()
    for name, repeat in (("kept", "@daily"), ("plain", None)):
        registration = Registration.of(wait, name, repeat=repeat)
        app_of(tm).registry.add(replace(registration, origin="mine"))
    with Simulation(tm, workers=0) as sim:

        async def store() -> None:
            for name, origin in (("kept", "mine"), ("plain", "mine"), ("gone", "mine"), ("theirs", "other")):
                await seat_of(tm).client.emit("default", Plan(name, name, "@daily", "UTC", origin=origin))

        sim.run(store())
        sim.run(tm.start())
        assert {one.name for one in sim.schedules()} == {"kept", "gone", "theirs"}


def test_a_decorator_without_its_parentheses_is_refused_at_once() -> None:
    tm = app()
    with pytest.raises(UsageError, match="event name must be"):
        tm.handler(wait)  # type: ignore[arg-type]  # what `@tm.handler` alone does
