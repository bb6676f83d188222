"""The pytest plugin, in sessions of its own: each writes a small suite and looks at what pytest makes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import simulation.simulation  # before any inner session, which would import its own and drop it again

pytest_plugins = ["pytester"]

APP = """
import asyncio, random, time
import pytest
from taskmanager import TaskManager

app = TaskManager("memory://")

@app.handler("nap", timeout=None)
async def nap(job):
    await asyncio.sleep(job.data.get("seconds", 1))
    return "rested"

@app.handler("fall")
async def fall(job):
    raise ValueError("over the edge")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester) -> SuiteOf:
    return SuiteOf(pytester)


class SuiteOf:
    """Runs test code in a pytest session within this process; the plugin is there by its entry point."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\nfilterwarnings = error\n")

    def run(self, code: str, *args: str) -> pytest.RunResult:
        self.pytester.makepyfile(APP + dedent(code))
        return self.pytester.runpytest_inprocess(*args)


# ---- the fixture


def test_simulate_makes_several_worlds_each_at_its_own_time(suite: SuiteOf) -> None:
    suite.run(
        """
        def test_two(simulate):
            one = simulate(app, start="2026-03-28T00:00Z", seed=7, workers=2, engine="memory://")
            two = simulate(lambda: TaskManager("memory://"), start="2030-01-01T00:00Z")
            one.advance(days=1)
            assert one.now.isoformat() == "2026-03-29T00:00:00+00:00"
            assert two.now.isoformat() == "2030-01-01T00:00:00+00:00"
            assert len(one.nodes) == 2
        """
    ).assert_outcomes(passed=1)


def test_simulate_holds_time_during_its_calls_only_and_closes_at_teardown(suite: SuiteOf) -> None:
    suite.run(
        """
        made = []

        def test_between_calls(simulate):
            before = time.time()
            made.append(sim := simulate(app, start="2036-01-01T00:00Z"))
            sim.emit("nap", {"seconds": 3600})
            sim.run_until_idle()
            assert before <= time.time() < before + 60

        def test_afterwards():
            from taskmanager import UsageError
            with pytest.raises(UsageError, match="closed"):
                made[0].step()
            async def real():
                async with app:
                    return await app.emit_and_wait("nap", {"seconds": 0}, timeout=5)
            assert asyncio.run(real()) == "rested"
        """
    ).assert_outcomes(passed=2)


# ---- the mark


def test_a_marked_test_runs_itself_in_virtual_time(suite: SuiteOf) -> None:
    suite.run(
        """
        from datetime import datetime, timezone

        @pytest.mark.simulation(tm=app, start="2026-03-28T00:00Z", seed=7)
        async def test_inside(sim):
            assert datetime.now(timezone.utc).isoformat() == "2026-03-28T00:00:00+00:00"
            handle = await app.emit("nap", {"seconds": 86_400})
            assert await handle.result(timeout=100_000) == "rested"
            await asyncio.sleep(3600)
            assert sim.now.isoformat() == "2026-03-29T01:00:00+00:00"
            assert sim.seed == 7
        """
    ).assert_outcomes(passed=1)


def test_a_marked_test_may_use_every_plain_call_of_its_sim(suite: SuiteOf) -> None:
    suite.run(
        """
        @pytest.mark.simulation(tm=app, start="2026-03-28T00:00Z")
        async def test_inside(sim):
            job = sim.emit("nap", {"seconds": 60}, delay=3600)
            assert sim.job(job).state == "delayed"
            assert sim.step().kind == "due"
            sim.advance(seconds=30)
            assert sim.counts()["active"] == 1
            sim.run_until_idle()
            await asyncio.sleep(5)
            assert sim.job(job).result == "rested"
            assert "nap" in sim.explain(job)
            assert sim.run(nap_twice()) == 2
            assert [step.kind for step in sim.timeline][:3] == ["emitted", "due", "started"]

        async def nap_twice():
            await asyncio.sleep(1)
            await asyncio.sleep(1)
            return 2
        """
    ).assert_outcomes(passed=1)


def test_a_marked_test_without_sim_runs_in_virtual_time_all_the_same(suite: SuiteOf) -> None:
    suite.run(
        """
        @pytest.mark.simulation
        async def test_inside():
            before = time.monotonic()
            await asyncio.sleep(1_000_000)
            assert time.monotonic() - before == 1_000_000
        """
    ).assert_outcomes(passed=1)


def test_the_fixture_tm_is_the_application_where_the_mark_names_none(suite: SuiteOf) -> None:
    suite.run(
        """
        @pytest.fixture
        def tm():
            return app

        @pytest.mark.simulation
        async def test_with(sim, tm):
            assert tm is app
            assert await tm.emit_and_wait("nap", {"seconds": 50}, timeout=60) == "rested"

        @pytest.mark.simulation
        async def test_unnamed(sim):
            assert await app.emit_and_wait("nap", {"seconds": 50}, timeout=60) == "rested"

        @pytest.mark.simulation(tm=lambda: TaskManager("memory://"))
        async def test_the_mark_comes_first(sim):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.sleep(3), 2)
            assert sim.counts()["completed"] == 0
        """
    ).assert_outcomes(passed=3)


def test_a_tm_fixture_that_lacks_a_fixture_of_its_own_says_so(suite: SuiteOf) -> None:
    result = suite.run(
        """
        @pytest.fixture
        def tm(nowhere_to_be_found):
            return app

        @pytest.mark.simulation
        async def test_inside(sim): ...
        """
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'nowhere_to_be_found' not found*"])


def test_marks_of_classes_and_modules_parameters_and_methods_work(suite: SuiteOf) -> None:
    suite.run(
        """
        pytestmark = pytest.mark.simulation(tm=app, start="2026-03-28T00:00Z")

        class TestInAClass:
            def setup_method(self):
                self.mine = 3

            @pytest.mark.parametrize("seconds", [10, 20])
            async def test_method(self, sim, seconds):
                assert self.mine == 3
                await asyncio.sleep(seconds)
                assert sim.now.second == seconds

            @pytest.mark.simulation(start="2027-01-01T00:00Z")
            async def test_the_closest_mark_counts(self, sim):
                assert sim.now.year == 2027

        def test_a_plain_one_drives_it_from_outside(sim):
            sim.advance(hours=1)
            assert sim.now.hour == 1
        """
    ).assert_outcomes(passed=4)


def test_a_mark_with_an_unknown_word_is_refused(suite: SuiteOf) -> None:
    result = suite.run(
        """
        @pytest.mark.simulation(beginning="2026")
        async def test_inside(sim): ...

        @pytest.mark.simulation("2026")
        async def test_by_place(sim): ...

        def test_unmarked(sim): ...
        """
    )
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["*takes tm=, start=, *max_steps=, got beginning*", "*got '2026'*", "*belongs to tests marked*"]
    )


# ---- what a failing test says


def test_a_failing_test_prints_its_seed_and_the_end_of_its_timeline(suite: SuiteOf) -> None:
    result = suite.run(
        """
        def test_fixture(simulate):
            sim = simulate(app, seed=41)
            for n in range(30):
                sim.emit("nap", {"n": n})
            sim.emit("fall")
            sim.run_until_idle()
            assert sim.counts()["failed"] == 0

        @pytest.mark.simulation(tm=app, seed=42)
        async def test_mark(sim):
            raise RuntimeError("in the test")

        def test_without_the_fixture():
            from simulation import Simulation
            with Simulation(app, seed=43) as sim:
                sim.emit("fall")
                sim.run_until_idle()
                assert False

        def test_passes(simulate):
            simulate(app, seed=44)
        """
    )
    result.assert_outcomes(passed=1, failed=3)
    text = result.stdout.str()
    assert text.count("- simulation, seed=") == 3
    result.stdout.fnmatch_lines(
        [
            "*simulation, seed=41, at 2026-*",
            "*steps before*",
            "*fall*over the edge*",
            "*simulation, seed=42*",
            "*nothing happened*",
            "*simulation, seed=43*",
            "*fall*over the edge*",
        ]
    )


def test_the_traceback_of_a_marked_test_begins_in_the_test(suite: SuiteOf) -> None:
    result = suite.run(
        """
        @pytest.mark.simulation(tm=app)
        async def test_mark(sim):
            await asyncio.sleep(1)
            assert sim.now.year == 1999
        """
    )
    assert "run_inside" not in result.stdout.str()
    assert "self._loop.drive" not in result.stdout.str()
    result.stdout.fnmatch_lines([">       assert sim.now.year == 1999"])


# ---- being a good neighbour


COROUTINE_PLUGIN = """
import asyncio, inspect, pytest

class CoroutineFunction(pytest.Function):
    def runtest(self):
        test = self.obj
        self.obj = lambda **kwargs: asyncio.run(test(**kwargs))
        super().runtest()

@pytest.hookimpl(wrapper=True)
def pytest_pycollect_makeitem(collector, name, obj):
    made = yield
    return [
        CoroutineFunction.from_parent(item.parent, name=item.name, callobj=item.obj, fixtureinfo=item._fixtureinfo)
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) else item
        for item in made
    ] if isinstance(made, list) else made

@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if inspect.iscoroutinefunction(pyfuncitem.obj):
        raise AssertionError("a coroutine function came through")
"""
"""What pytest-asyncio does in its automatic mode (an item class) and anyio in its (the call)."""


def test_plugins_that_run_every_coroutine_test_leave_the_marked_ones_alone(suite: SuiteOf) -> None:
    suite.pytester.makeconftest(COROUTINE_PLUGIN)
    suite.run(
        """
        @pytest.mark.simulation(start="2036-01-01T00:00Z")
        async def test_ours(sim):
            await asyncio.sleep(1_000_000)
            assert sim.now.year == 2036

        async def test_theirs():
            assert asyncio.get_running_loop().time() > 0
            assert type(asyncio.get_running_loop()).__name__ != "VirtualLoop"
        """
    ).assert_outcomes(passed=2)


def test_the_plugin_imports_neither_the_simulation_nor_the_package(tmp_path: Path) -> None:
    code = (
        "import sys, simulation.pytest_plugin;"
        "print([name for name in sys.modules if name.startswith(('taskmanager', 'time_machine', 'redis', 'msgspec'))"
        " or name.startswith('simulation.') and name != 'simulation.pytest_plugin'])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert out.stdout.strip() == "[]"


def test_the_public_names_are_found_when_asked_for_and_no_others() -> None:
    assert {name for name in simulation.__all__ if getattr(simulation, name).__name__ == name} == set(
        simulation.__all__
    )
    assert set(simulation.__all__) <= set(dir(simulation))
    with pytest.raises(AttributeError, match="no attribute 'Simulator'"):
        simulation.Simulator  # noqa: B018  # asking is the test
