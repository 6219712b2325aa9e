"""Who waits for the disk? Two threads, so that the event loop never does.

Writing has a thread of its own: a reader that looks through all of a long log delays no writer.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Disk(Protocol):
    """Runs blocking work. Writes run one after the other, in the order in which they came."""

    async def write(self, work: Callable[[], T]) -> T: ...

    async def read(self, work: Callable[[], T]) -> T: ...

    def close(self) -> None:
        """Return when all the work that was taken is done."""
        ...


class ThreadedDisk:
    def __init__(self) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="logs-write")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="logs-read")

    async def write(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def read(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, work)

    def close(self) -> None:
        self._writer.shutdown()
        self._reader.shutdown(cancel_futures=True)
