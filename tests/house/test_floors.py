"""The floors of the house: who may import whom. A module may use its own floor and those below, never one above."""

from __future__ import annotations

import sys

from tests.house.source import PRODUCT, imports, modules, within

FLOORS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # from the ground up; a module belongs to the longest name that fits
    ("ground", ("job", "errors", "clock")),
    ("policy", ("policy",)),
    ("port", ("engine",)),
    ("rules", ("engines.rules",)),
    ("engines", ("engines",)),
    ("words", ("lowering", "codec", "steps", "telemetry", "records", "handles", "overlay")),
    ("application", ("worker.job", "worker.context", "settings", "registry", "app", "compose")),
    ("client", ("connection", "gather", "resend", "outbox", "inspector", "runtime", "client")),
    ("worker", ("worker",)),
    ("façade", ("emitter", "seat", "serving", "manager")),
    ("public names", ("",)),
    ("tasks", ("tasks",)),
    ("roof", ("cli", "commands", "target")),
)
PURE = frozenset(
    {
        *("__future__", "collections", "collections.abc", "dataclasses", "enum", "functools", "itertools", "operator"),
        *("binascii", "bisect", "hashlib", "math", "random", "re", "types", "typing", "inspect", "logging"),
        *("calendar", "datetime", "zoneinfo", "croniter"),
    }
)
"""What policy may import beside the ground: nothing that waits, reads a clock or touches the world."""
LOADS_ZONES = ("taskmanager.policy.zones", "importlib.resources")
"""The one exception: time zones are data, and data is read from where it is installed."""

TASKMANAGER = modules("taskmanager")


def floor_of(name: str) -> int:
    """The number of a module's floor."""
    best, found = -1, -1
    for number, (_, places) in enumerate(FLOORS):
        for place in places:
            full = f"taskmanager.{place}" if place else "taskmanager"
            fits = name == full if full == "taskmanager" else within(name, full)
            if fits and len(full) > best:
                best, found = len(full), number
    return found


def test_every_module_has_a_floor_and_imports_nothing_from_above() -> None:
    above = []
    for module in TASKMANAGER:
        own = floor_of(module.name)
        assert own >= 0, f"{module.name} is on no floor; give it one in FLOORS"
        used = [name for name in imports(module) if within(name, "taskmanager")]
        above += [f"{module.name} ({FLOORS[own][0]}) imports {name}" for name in used if floor_of(name) > own]
    assert above == []


def test_nothing_in_taskmanager_imports_simulation_and_no_product_imports_tests() -> None:
    assert [m.name for m in TASKMANAGER if any(within(used, "simulation") for used in imports(m))] == []
    assert [m.name for m in modules(*PRODUCT) if any(within(used, "tests") for used in imports(m))] == []


def test_the_ground_is_the_standard_library() -> None:
    ground = [module for module in TASKMANAGER if FLOORS[floor_of(module.name)][0] == "ground"]
    assert len(ground) == 3
    for module in ground:
        foreign = [
            used for used in imports(module) if used.split(".")[0] not in {*sys.stdlib_module_names, "taskmanager"}
        ]
        assert foreign == [], module.name


def test_policy_is_pure() -> None:
    policy = [module for module in TASKMANAGER if within(module.name, "taskmanager.policy")]
    assert len(policy) > 5
    for module in policy:
        for used in imports(module):
            is_allowed = used in PURE or within(used, "taskmanager") or (module.name, used) == LOADS_ZONES
            assert is_allowed, f"{module.name} imports {used}"


def test_the_port_knows_the_ground_only() -> None:
    port = next(module for module in TASKMANAGER if module.name == "taskmanager.engine")
    assert {used for used in imports(port) if within(used, "taskmanager")} == {"taskmanager.job"}


def test_no_engine_knows_another() -> None:
    engines = [m for m in TASKMANAGER if FLOORS[floor_of(m.name)][0] == "engines"]
    homes = {".".join(m.name.split(".")[:3]) for m in engines if m.name.count(".") == 3}
    assert homes == {f"taskmanager.engines.{store}" for store in ("memory", "sqlite", "redis")}
    for home in homes:
        for module in (m for m in TASKMANAGER if within(m.name, home)):
            others = [used for used in imports(module) if any(within(used, other) for other in homes - {home})]
            assert others == [], module.name


def test_a_worker_names_no_engine() -> None:
    above = [
        m for m in TASKMANAGER if floor_of(m.name) > floor_of("taskmanager.engines") and m.name != "taskmanager.seat"
    ]
    for module in above:
        assert not [used for used in imports(module) if within(used, "taskmanager.engines")], module.name


def test_the_roof_uses_public_names_only() -> None:
    roof = next(module for module in TASKMANAGER if module.name == "taskmanager.cli")
    assert {used for used in imports(roof) if within(used, "taskmanager")} <= {"taskmanager"}
