"""Schedules whose reason is gone: a task file was deleted, a task renamed, a schedule taken out of it.

Whoever loads registrations from somewhere marks them, and their schedules in the store, with that origin. Of an origin
that is known in full (`Registry.own`) the store is to hold what is registered and nothing else. Of one that is not, a
registration that asks for no schedule any more loses its own. Schedules of another origin, or of none, are nobody's to
drop.
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
        registration = registry.find(schedule.queue, schedule.name)
        if registration is not None and registration.repeat is not None:
            continue
        has_lost_it = registration is not None and registration.origin == schedule.origin is not None
        if has_lost_it or registry.owns(schedule.queue, schedule.origin):
            log.info("schedule %r of %s is gone and dropped", schedule.name, schedule.origin)
            await inspector.unschedule(schedule.name, schedule.queue)
