"""Schedules whose reason is gone: a task file was deleted, a task renamed, a schedule taken out of it.

Whoever loads registrations from somewhere marks them, and their schedules in the store, with that origin. Of an origin
that is known in full (`Registry.own`) the store is to hold what is registered and nothing else. Schedules of another
origin, or of none, are nobody's to drop.
"""

from __future__ import annotations

import logging

from taskmanager.inspector import Inspector
from taskmanager.registry import Registry

log = logging.getLogger("taskmanager")


async def drop_gone(registry: Registry, inspector: Inspector) -> None:
    """Unschedules what the store has of our origins and nothing here asks for any more."""
    if not registry.has_origins:
        return
    for schedule in await inspector.schedules():
        if not registry.owns(schedule.queue, schedule.origin):
            continue
        registration = registry.find(schedule.queue, schedule.name)
        if registration is None or registration.repeat is None:
            log.info("schedule %r of %s is gone and dropped", schedule.name, schedule.origin)
            await inspector.unschedule(schedule.name, schedule.queue)
