"""Where do calls wait that may take long, and that nobody waits for at the end? In daemon threads.

A pool of the standard library joins its threads before the process ends: a long poll would hold up
the end for as long as it takes. These do not. There are as many as calls at a time, up to a bound;
one that has had nothing to do for a while ends.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

T = TypeVar("T")

IDLE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class _Call:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"
    abandoned: Callable[[Any], None] | None


class DaemonThreads:
    def __init__(self, name: str, threads_max: int) -> None:
        self._name = name
        self._max = threads_max
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._unanswered = 0
        """Calls that wait or run. There is a thread for each, up to the bound."""

    async def call(self, work: Callable[[], T], abandoned: Callable[[T], None] | None = None) -> T:
        """Run `work` in a thread. If this is cancelled it runs on, and its answer goes to
        `abandoned`, in a thread too."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(_Call(work, loop, future, abandoned))
        try:
            return await future
        except asyncio.CancelledError:
            has_come = future.done() and not future.cancelled() and future.exception() is None
            if abandoned is not None and has_come:  # and was cancelled before it was seen
                answer = future.result()
                self._put(_Call(lambda: abandoned(answer), loop, loop.create_future(), None))
            raise

    def _put(self, call: _Call) -> None:
        with self._lock:
            self._calls.put(call)
            self._unanswered += 1
            if self._threads >= min(self._unanswered, self._max):
                return
            self._threads += 1
        threading.Thread(target=self._run, name=self._name, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._calls.empty():
                        self._threads -= 1
                        return
                continue
            self._answer(call)
            with self._lock:
                self._unanswered -= 1

    def _answer(self, call: _Call) -> None:
        answer: Any = None
        error: BaseException | None = None
        try:
            answer = call.work()
        except BaseException as caught:  # noqa: BLE001 -- whoever waits gets it
            error = caught
        try:
            call.loop.call_soon_threadsafe(_tell, call, answer, error)
        except RuntimeError:  # the loop has ended: nobody waits any more
            return


def _tell(call: _Call, answer: Any, error: BaseException | None) -> None:
    """In the loop: only there is it known whether somebody still waits."""
    future = call.future
    if not future.cancelled():
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)
            future.exception()  # nobody may be there to see it
    elif error is None and call.abandoned is not None:
        threading.Thread(target=call.abandoned, args=(answer,), daemon=True).start()
