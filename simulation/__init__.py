"""The same application, unmodified, in simulated time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulation.errors import SimulationStuck
    from simulation.loop import SimulationBlocked, SimulationRefused
    from simulation.simulation import Simulation
    from simulation.summary import Summary
    from simulation.timeline import Timeline

__all__ = ["Simulation", "SimulationBlocked", "SimulationRefused", "SimulationStuck", "Summary", "Timeline"]

# Found when first asked for: pytest imports this package at every start, also where nobody simulates anything.
_HOMES = {
    "Simulation": "simulation.simulation",
    "SimulationBlocked": "simulation.world",
    "SimulationRefused": "simulation.world",
    "SimulationStuck": "simulation.errors",
    "Summary": "simulation.summary",
    "Timeline": "simulation.timeline",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
