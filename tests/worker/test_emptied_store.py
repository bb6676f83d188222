"""A store that is emptied under a worker: it hears so by the tide, which fell, and registers its schedules again."""

from __future__ import annotations

from simulation import Simulation
from taskmanager import TaskManager
from tests.worker.apps import keeping


def test_schedules_come_back_though_the_store_was_emptied_at_the_moment_of_the_last_answer() -> None:
    tm = TaskManager(db="memory://")
    keeping(tm, "work")
    tm.register_handler(lambda job: None, "tick", repeat="* * * * *")
    with Simulation(tm) as sim:
        sim.advance(hours=1)
        sim.emit_many([{"event": "work", "data": {"n": n}} for n in range(5)])
        sim.run(sim._exchange.store.forget(everything=True))  # no time passes
        sim.emit("work", {"n": "first"})
        assert sim.schedules() == []
        sim.advance(minutes=10)
        assert [schedule.name for schedule in sim.schedules()] == ["tick"]
        assert len(sim.attempts("tick")) > 60
