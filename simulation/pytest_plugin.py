"""pytest: simulations as fixtures, and tests that run themselves in virtual time.

    def test_the_mail_goes_out_in_the_morning(simulate):
        sim = simulate(tm, start="2026-03-28T22:00Z")
        sim.emit("send-email", {"to": "a"}, delay=36_000)
        sim.run_until_idle()
        assert sim.now.hour == 8

    @pytest.mark.simulation(tm=tm, start="2026-03-28T22:00Z", seed=7)
    async def test_the_same_from_inside(sim):
        await tm.emit("send-email", {"to": "a"})
        await asyncio.sleep(36_000)
        assert sim.counts()["completed"] == 1

pytest imports this module at every start, in every environment where the package is installed. So it imports nothing
but pytest: whoever simulates nothing pays nothing, and code under coverage is first imported by the tests that use it.

A marked test becomes a plain function before other plugins look at it, so those that run coroutines (pytest-asyncio,
anyio) leave it alone, in their automatic modes too.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulation.simulation import Simulation

_MARK = "simulation"
_OPTIONS = ("tm", "start", "seed", "workers", "engine", "max_steps")
_SHOWN_STEPS = 20
_first_of_test = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{_MARK}({', '.join(f'{name}=...' for name in _OPTIONS)}): the test runs itself in virtual time, in a "
        "simulation of `tm` (default: the fixture `tm`, else a new TaskManager), and receives it as `sim`",
    )


# ---- making simulations


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulation]]:
    """Makes simulations: `sim = simulate(tm, start=..., seed=..., workers=..., engine=...)`.

    Each holds time, randomness and its application during its calls only, and is closed when the test ends.
    """
    from simulation.simulation import Simulation

    made: list[Simulation] = []

    def simulate(tm: Any, **options: Any) -> Simulation:
        made.append(Simulation(tm, **options))
        return made[-1]

    yield simulate
    for sim in reversed(made):
        sim.close()


@pytest.fixture
def sim(request: pytest.FixtureRequest, simulate: Callable[..., Simulation]) -> Simulation:
    """The simulation that a test marked `@pytest.mark.simulation(...)` runs in."""
    mark = request.node.get_closest_marker(_MARK)
    if mark is None:
        pytest.fail(
            f"the fixture `sim` belongs to tests marked @pytest.mark.{_MARK}(...); mark this one, "
            "or make a simulation with the fixture `simulate`",
            pytrace=False,
        )
    options = _options_of(mark)
    tm = options.pop("tm", None)
    return simulate(_application(request) if tm is None else tm, **options)


def _options_of(mark: pytest.Mark) -> dict[str, Any]:
    unknown = [repr(value) for value in mark.args] + [name for name in mark.kwargs if name not in _OPTIONS]
    if unknown:
        takes = ", ".join(f"{name}=" for name in _OPTIONS)
        pytest.fail(f"@pytest.mark.{_MARK} takes {takes}, got {', '.join(unknown)}", pytrace=False)
    return dict(mark.kwargs)


def _application(request: pytest.FixtureRequest) -> Any:
    """The fixture `tm`, where the test has one; else an application without handlers."""
    try:
        return request.getfixturevalue("tm")
    except pytest.FixtureLookupError as error:
        if error.argname != "tm":
            raise
    from taskmanager import TaskManager

    return TaskManager("memory://")


# ---- running marked tests


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem() -> Generator[None, Any, Any]:
    """Innermost, so that other plugins see what a marked coroutine function has been made into."""
    made = yield
    for item in made if isinstance(made, list) else [made]:
        if _is_marked(item):
            if "sim" not in item.fixturenames:
                item.fixturenames.append("sim")
            item.obj = _inside(item, item.obj)
    return made


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """Once more before the call: pytest may have looked the function up anew, on the test's own instance."""
    if _is_marked(pyfuncitem):
        pyfuncitem.obj = _inside(pyfuncitem, pyfuncitem.obj)
    return (yield)


def _is_marked(item: object) -> bool:
    return (
        isinstance(item, pytest.Function)
        and item.get_closest_marker(_MARK) is not None
        and inspect.iscoroutinefunction(item.obj)
    )


def _inside(item: pytest.Function, test: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(test)
    def run_inside(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True
        sim: Any = item.funcargs["sim"]
        sim.run(test(*args, **kwargs))

    return run_inside


# ---- telling what happened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    item.stash[_first_of_test] = max((number for number, _ in _made_since(0)), default=0) + 1
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        report.sections += [_section(sim) for _, sim in _made_since(item.stash.get(_first_of_test, 1))]
    return report


def _made_since(first: int) -> Iterable[tuple[int, Simulation]]:
    """The simulations that are still about, by number; empty where nobody has made any."""
    module = sys.modules.get("simulation.simulation")
    made = dict(module.made) if module is not None else {}
    return [(number, made[number]) for number in sorted(made) if number >= first]


def _section(sim: Simulation) -> tuple[str, str]:
    timeline = sim.timeline
    lines = str(timeline[-_SHOWN_STEPS:]).splitlines()
    if len(timeline) > _SHOWN_STEPS:
        lines.insert(0, f"... {len(timeline) - _SHOWN_STEPS:,} steps before")
    told = "\n".join(lines) if timeline else "nothing happened"
    return f"simulation, seed={sim.seed!r}, at {sim.now.isoformat()}", told
