"""What a simulation raises besides the errors of the package it simulates."""

from __future__ import annotations

from taskmanager.errors import TaskManagerError


class SimulationStuck(TaskManagerError):
    """The goal is not reached, and nothing that could still happen will reach it; it says who waits for what."""
