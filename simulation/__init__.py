"""The same application, unmodified, in simulated time."""

from simulation.errors import SimulationStuck
from simulation.loop import SimulationBlocked, SimulationRefused
from simulation.simulation import Simulation
from simulation.summary import Summary
from simulation.timeline import Timeline

__all__ = ["Simulation", "SimulationBlocked", "SimulationRefused", "SimulationStuck", "Summary", "Timeline"]
