"""Between a board and a driver of three methods: what the driver has been told, and what it has still to be told.

Tasks are defined where nobody can await; a driver's methods are async. So changes are noted here at once and told by
`settle`, each until it has been heard: a refusal or a lost connection is raised, logged, and told again next time.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable

from taskmanager.tasks.definitions import Task
from taskmanager.tasks.driver import TaskDriver, TaskRequest
from taskmanager.tasks.running import runner_of

__all__ = ["Relay"]

log = logging.getLogger("taskmanager")


class Relay:
    """See the module's law. It answers what a `ManagerDriver` answers to a board."""

    can_settle = True

    def __init__(self, driver: TaskDriver, find: Callable[[str], Task | None], names: Callable[[], list[str]]) -> None:
        self._driver = driver
        self._find = find
        self._runner = runner_of(self._sought, names)
        self.seekers: list[Callable[[], None]] = []
        self._is_introduced = False
        self._wanted: dict[str, TaskRequest] = {}
        self._told: dict[str, tuple[TaskRequest, str]] = {}
        self._turn = asyncio.Lock()

    def register(self, task: Task) -> None:
        request = task.request()
        if request is None:
            self._wanted.pop(task.name, None)
        else:
            self._wanted[task.name] = request

    def refusal(self, name: str) -> str | None:
        """Any name will do."""
        return None

    def unregister(self, name: str) -> None:
        self._wanted.pop(name, None)

    def _sought(self, name: str) -> Task | None:
        """The task of that name, also one that the `seekers` define when they are asked for it."""
        if self._find(name) is None:
            for seeker in tuple(self.seekers):
                seeker()
        return self._find(name)

    def own(self, origin: str, *, is_whole: bool) -> None:
        """A driver of three methods cannot be asked what it has, so what earlier processes left there is its own."""

    async def settle(self) -> None:
        """The driver has heard of every task's own schedule, and of those that are gone. Raises the first refusal."""
        async with self._turn:
            await self._introduce()
            first: Exception | None = None
            for name in [*self._told, *self._wanted]:
                try:
                    await self._tell(name)
                except Exception as error:
                    log.exception("the driver %r did not take the schedule of task %r", self._driver, name)
                    first = first or error
            if first is not None:
                raise first

    async def create(self, request: TaskRequest) -> str:
        await self._catch_up()
        return await self._driver.create(request)

    async def delete(self, identifier: str) -> None:
        await self._catch_up()
        await self._driver.delete(identifier)

    async def _catch_up(self) -> None:
        try:
            await self.settle()
        except Exception:
            if not self._is_introduced:
                raise
            # The schedule of another task was refused: that is logged, and no reason to refuse this request.

    async def _introduce(self) -> None:
        if not self._is_introduced:
            answer = self._driver.set_task_runner(self._runner)
            if inspect.isawaitable(answer):
                await answer
            self._is_introduced = True

    async def _tell(self, name: str) -> None:
        wanted, told = self._wanted.get(name), self._told.get(name)
        if wanted is None and told is not None:
            await self._driver.delete(told[1])
            del self._told[name]
        elif wanted is not None and (told is None or told[0] != wanted):
            self._told[name] = wanted, await self._driver.create(wanted)
