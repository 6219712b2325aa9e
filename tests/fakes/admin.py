"""Something to administer, on a real unix socket, in a thread of its own."""

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

from hearth.api import admin
from hearth.api.admin import ADMIN_LIMITS, AdminApi, Routes, SandboxRow, StatusReport
from hearth.base.clock import SystemClock
from hearth.base.http1 import HttpServer
from hearth.base.jobs import Jobs
from hearth.cli import run_directory
from hearth.logs.store import LogStore
from hearth.model.logs import LogGroup
from hearth.settings import StatePaths

STREAM = "2026/01/01/[$LATEST]0123"


class AdminPlatform:
    """Something to administer: says what it is told to, logs for real, ends when stopped."""

    def __init__(self, paths: StatePaths, more: Routes | None = None) -> None:
        self.paths = paths
        self.broken = False
        self._more = more
        self.sandboxes: list[SandboxRow] = []
        self.ready = threading.Event()
        self.store: LogStore | None = None
        self._stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.thread = threading.Thread(target=uvloop.run, args=(self._run(),))

    def report(self) -> StatusReport:
        if self.broken:
            raise RuntimeError("a bug")
        return StatusReport(
            version="0.1.0",
            pid=os.getpid(),
            endpoint="http://127.0.0.1:4566",
            state=str(self.paths.state),
            auth="open",
            sandbox="bubblewrap",
            uptime_s=125.0,
            functions=3,
            sandboxes=2,
            sandboxes_busy=1,
            concurrency_used=1,
            concurrency_max=1_000,
            invokes=42,
            log_lines_lost=0,
        )

    def rows(self) -> Sequence[SandboxRow]:
        return self.sandboxes

    def stop(self) -> None:
        self._stop.set()

    def append(self, where: LogGroup, at_ms: int, *lines: bytes) -> None:
        assert self._loop is not None
        assert self.store is not None
        self._loop.call_soon_threadsafe(self.store.append, where, STREAM, at_ms, lines)

    def end(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(timeout=60)
        assert not self.thread.is_alive()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        with run_directory.hold(self.paths):
            async with Jobs() as jobs:
                self.store = LogStore(self.paths.state / "logs", SystemClock(), jobs)
                api = AdminApi(
                    status=self,
                    sandboxes=self,
                    logs=self.store,
                    stop=self,
                    jobs=jobs,
                    more=self._more,
                )
                server = HttpServer(api.handle, ADMIN_LIMITS)
                await server.start(admin.listen(self.paths.admin_socket))
                self.ready.set()
                await self._stop.wait()
                await server.close()
                await self.store.close()


@contextmanager
def administered(state: Path, more: Routes | None = None) -> Iterator[AdminPlatform]:
    platform = AdminPlatform(StatePaths(state), more)
    platform.thread.start()
    assert platform.ready.wait(timeout=60)
    try:
        yield platform
    finally:
        if platform.thread.is_alive():
            platform.end()
