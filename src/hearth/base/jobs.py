"""Who owns a task? A `Jobs` scope: no task without an owner, no failure unseen.

A job is work that outlives the request that asked for it (stopping a sandbox, unpacking a
package). Leaving the scope cancels what is left and waits for it.
"""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from hearth.base.log import Log

log = Log("jobs")


class Jobs:
    """Owns background tasks. Use as `async with Jobs() as jobs`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
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
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

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

    async def wait_idle(self) -> None:
        """Return when no job is left."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def cancel_all(self) -> None:
        """End what runs now, and wait for that. More may be spawned later."""
        for task in (doomed := set(self._tasks)):
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job failed", job=task.get_name(), error=error)
