"""Who owns a task? A `Jobs` scope: no task without an owner, no failure unseen.

A job is work that outlives the request that asked for it (stopping a sandbox, unpacking a
package). Leaving the scope cancels what is left and waits for it. What passes by often and awaits
nothing but futures may do without a Task: `begin`.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from hearth.base.errands import Errand
from hearth.base.log import Log

log = Log("jobs")

T = TypeVar("T")


class Jobs:
    """Owns background tasks. Use as `async with Jobs() as jobs`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errands: set[Errand] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True
        while self._tasks or self._errands:
            await self.cancel_all()

    def spawn(self, work: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Run `work` in the background. An error is logged, once, here.

        Raises RuntimeError after the scope was left.
        """
        if self._closed:
            work.close()
            raise RuntimeError(f"job {name} was spawned after its scope had ended")
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def begin(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """The same without a Task, and at once: see `errands.py` for what it may await.

        Raises RuntimeError after the scope was left.
        """
        if self._closed:
            work.close()
            raise RuntimeError(f"job {name} was begun after its scope had ended")
        errand = Errand(work, name, self._errands.discard)
        self._errands.add(errand)
        errand.step()

    async def apart(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises, from a Task of its own: for whoever may have none."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await task

    async def wait_idle(self) -> None:
        """Return when no job is left."""
        while waiting := self._ends():
            await asyncio.wait(waiting)

    async def cancel_all(self) -> None:
        """End what runs now, and wait for that. More may be spawned later."""
        doomed = self._ends()
        for task in self._tasks:
            task.cancel()
        for errand in tuple(self._errands):
            errand.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    def _ends(self) -> set["asyncio.Future[Any]"]:
        return {*self._tasks, *(errand.ended() for errand in self._errands)}

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job failed", job=task.get_name(), error=error)
