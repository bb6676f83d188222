"""Pictures of a world, one call each. Every one returns a matplotlib `Figure` and takes `ax=` to be drawn into another.

matplotlib is an extra (`taskmanager[plots]`) and is wanted only by whoever imports this. pyplot is never touched: no
window, no backend, no figure that stays behind. In a notebook the last value of a cell shows itself.
"""

from __future__ import annotations

from taskmanager.errors import UsageError

try:
    import matplotlib  # noqa: F401 - asked first, so that its absence is told in our words and not from somewhere below
except ModuleNotFoundError as missing:
    raise UsageError(
        "plots need matplotlib, which is not installed; install the extra with: pip install 'taskmanager[plots]'"
    ) from missing

from simulation.plots.crons import Crons, collisions, year
from simulation.plots.jobs import job, timeline
from simulation.plots.nights import catch_up, night
from simulation.plots.states import lifecycle

__all__ = ["Crons", "catch_up", "collisions", "job", "lifecycle", "night", "timeline", "year"]
