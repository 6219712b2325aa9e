"""Who carries a coroutine through that needs no Task? An errand: steps, and callbacks of futures.

A Task costs a warm invoke some 8 µs: itself, its end, two turns of the loop, and a system call. An
errand runs at once, up to the first future that is not done, and goes on when that is. What it
awaits must not ask for its task: no `asyncio.timeout`, no task group (`Jobs.apart` has one).
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from hearth.base.log import Log

log = Log("jobs")


class Errand:
    """One coroutine on its way. Owned by a Jobs scope, which begins and cancels it."""

    __slots__ = ("_ended", "_is_doomed", "_name", "_on_end", "_waits_for", "_work")

    def __init__(
        self, work: Coroutine[Any, Any, None], name: str, on_end: Callable[["Errand"], None]
    ) -> None:
        """`on_end` is called once, when it is over, however that came."""
        self._work = work
        self._name = name
        self._on_end = on_end
        self._is_doomed = False
        self._waits_for: asyncio.Future[Any] | None = None
        self._ended: asyncio.Future[None] | None = None

    def step(self, _: object = None) -> None:
        """Go on until a future is to be waited for, or to the end. An error is logged, here."""
        self._waits_for = None
        try:
            if self._is_doomed:
                self._is_doomed = False
                awaited = self._work.throw(asyncio.CancelledError())
            else:
                awaited = self._work.send(None)
        except (StopIteration, asyncio.CancelledError):
            self._end()
        except Exception as error:  # noqa: BLE001 -- nobody else hears of it
            self._end()
            log.error("job failed", job=self._name, error=error)
        except BaseException:
            self._end()
            raise
        else:
            self._wait(awaited)

    def _wait(self, awaited: Any) -> None:
        if awaited is None:  # a bare yield, as of asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(self.step)
            return
        awaited._asyncio_future_blocking = False  # noqa: SLF001 -- as a Task says that it waits
        self._waits_for = awaited
        awaited.add_done_callback(self.step)
        if self._is_doomed:
            self.cancel()

    def cancel(self) -> None:
        """Let what it awaits end, as a Task does; if that is over already, the next step does."""
        if self._waits_for is None or not self._waits_for.cancel():
            self._is_doomed = True

    def ended(self) -> "asyncio.Future[None]":
        """Done when this is over. Only while it is not."""
        if self._ended is None:
            self._ended = asyncio.get_running_loop().create_future()
        return self._ended

    def _end(self) -> None:
        self._on_end(self)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
