"""How does a function run where nothing can isolate it, or where that is not wanted?

`--sandbox process`: a plain subprocess, in a directory and a session of its own. **No isolation**:
it has the user's own rights, sees the user's files and network, and its memory limit is a look
every 50 ms. Only for trusted code, and only when asked for by name.

A process that leaves its parent and its session behind (a daemon) is not found again: that takes
a pid namespace.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hearth.base.clock import Clock
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.base.trees import remove_tree
from hearth.model.ids import SandboxId
from hearth.worker.limits.contract import MB, Bounds
from hearth.worker.limits.watch import MemoryWatch
from hearth.worker.limits.watched import Watched, WatchedCell
from hearth.worker.sandboxes.contract import (
    Capabilities,
    Channels,
    Exit,
    ExitKind,
    Mount,
    Program,
    SandboxFailed,
    SandboxSpec,
    Usage,
)
from hearth.worker.sandboxes.host_api import HostApi
from hearth.worker.sandboxes.session import kill_session

log = Log("sandboxes")

_GONE_S: Final = 10.0
_LOOK_AGAIN_S: Final = 0.005


class ProcessBackend:
    """The SandboxBackend without isolation. Its files are below `run_directory`/INSTANCE."""

    name = "process"
    can_merge = False

    def __init__(self, instance: str, run_directory: Path, clock: Clock, jobs: Jobs) -> None:
        self._directory = run_directory / f"processes-{instance}"
        self._jobs = jobs
        self._watch = MemoryWatch(clock, jobs)
        self._limits = Watched()
        self._sandboxes: set[ProcessSandbox] = set()

    async def open(self) -> Capabilities:
        _remove(self._directory)  # what a killed worker left behind
        self._directory.mkdir(mode=0o700, parents=True)
        return Capabilities(
            name=self.name,
            usable=True,
            memory_limit="watched" if sys.platform == "linux" else "",
            freezer="SIGSTOP" if sys.platform == "linux" else "",
            notes=("no isolation: functions run with your own rights, files and network",),
        )

    async def create(self, spec: SandboxSpec) -> "ProcessSandbox":
        directory = self._directory / spec.sandbox
        try:
            directory.mkdir(mode=0o700)
            api = HostApi()
        except OSError as error:
            raise SandboxFailed(f"no directory or port for the sandbox: {error}") from error
        bounds = Bounds(
            memory_bytes=spec.memory_mb * MB,
            tmp_bytes=spec.tmp_mb * MB,
            processes_max=spec.processes_max,
        )
        cell = self._limits.create(spec.sandbox, bounds, lambda: 0)
        sandbox = ProcessSandbox(
            spec.sandbox, directory, api, Watching(cell, self._watch), self._jobs
        )
        sandbox.on_destroyed = lambda: self._sandboxes.discard(sandbox)
        self._sandboxes.add(sandbox)
        return sandbox

    async def close(self) -> None:
        await asyncio.gather(*(sandbox.destroy() for sandbox in list(self._sandboxes)))
        _remove(self._directory)


class Watching:
    """A cell, and the job that looks at it."""

    def __init__(self, cell: WatchedCell, watch: MemoryWatch) -> None:
        self.cell = cell
        self._watch = watch

    def began(self, pid: int, on_exceeded: Callable[[], None]) -> None:
        self.cell.began(pid)
        self._watch.add(self.cell, on_exceeded)

    def ended(self) -> None:
        self._watch.remove(self.cell)
        self.cell.thaw()
        self.cell.ended()


class ProcessSandbox:
    """See contract.Sandbox."""

    def __init__(
        self, id_: SandboxId, directory: Path, api: HostApi, watching: Watching, jobs: Jobs
    ) -> None:
        self.id = id_
        self.on_destroyed: Callable[[], object] = lambda: None
        self._directory = directory
        self._api = api
        self._watching = watching
        self._jobs = jobs
        self._process: asyncio.subprocess.Process | None = None
        self._ended: asyncio.Future[Exit] | None = None
        self._starting = asyncio.Lock()
        self._is_over_memory = False
        self._is_destroyed = False

    @property
    def api_address(self) -> str:
        return self._api.address

    @property
    def tmp_directory(self) -> str:
        return str(self._directory)

    def inside(self, mount: Mount) -> str:
        return str(mount.source)

    async def start(self, program: Program) -> Channels:
        if self._is_destroyed or self._is_running():
            raise SandboxFailed("the sandbox is destroyed, or runs a program already")
        self._is_over_memory = False
        self._ended = asyncio.get_running_loop().create_future()
        api = self._api.hand_out()  # before there is a program: it connects at once
        stdout, stdout_write = _pipe()
        stderr, stderr_write = _pipe()
        try:
            async with self._starting:
                self._process = None
                await self._spawn(program, stdout_write, stderr_write)
        except OSError as error:  # what bubblewrap says about such a program, said here
            os.write(stderr_write, f"{program.argv[0]}: {error}\n".encode())
            self._end(Exit(ExitKind.EXITED, 1, executed=False))
        except BaseException:
            api.close()
            os.close(stdout)
            os.close(stderr)
            self._end(Exit(ExitKind.SIGNALED, signal.SIGKILL))
            raise
        finally:
            os.close(stdout_write)
            os.close(stderr_write)
        return Channels(api, stdout, stderr)

    async def wait(self) -> Exit:
        if self._ended is None:
            raise SandboxFailed("no program was started")
        return await asyncio.shield(self._ended)

    async def terminate(self) -> None:
        async with self._starting:
            process = self._process
        if process is not None and self._is_running():
            self.thaw()
            with contextlib.suppress(ProcessLookupError):
                process.terminate()

    async def open_socket(self, *, datagrams: bool = False) -> socket.socket:
        kind = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
        opened = socket.socket(socket.AF_INET, kind)
        opened.setblocking(False)
        return opened

    async def kill(self) -> None:
        async with self._starting:  # a process that is being made can be killed when it is made
            process = self._process
        if process is not None and self._is_running():
            kill_session(process.pid)
            await self.wait()

    async def destroy(self) -> None:
        if self._is_destroyed:
            return
        await self.kill()
        self._is_destroyed = True
        self._api.close()
        _remove(self._directory)
        self.on_destroyed()

    def freeze(self) -> None:
        if self._is_running() and sys.platform == "linux":
            self._watching.cell.freeze()

    def thaw(self) -> None:
        self._watching.cell.thaw()

    def limit_cpu(self, memory_mb: int | None) -> None:
        self._watching.cell.limit_cpu(memory_mb)

    def usage(self) -> Usage:
        seen = self._watching.cell.usage()
        return Usage(seen.memory_bytes, seen.memory_peak_bytes, seen.cpu_s)

    def peak_bytes(self) -> int:
        return self._watching.cell.peak_bytes()

    def reset_peak(self) -> None:
        self._watching.cell.reset_peak()

    def _is_running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    async def _spawn(self, program: Program, stdout: int, stderr: int) -> None:
        """Raises OSError if the program cannot be executed."""
        # Looked for here, since below it is setpriv that would not find it.
        file = shutil.which(program.argv[0], path=program.environment.get("PATH", os.defpath))
        if file is None:
            raise FileNotFoundError(2, "no such file, or it is not executable")
        self._process = await asyncio.create_subprocess_exec(
            *_dying_with_us(),
            file,
            *program.argv[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stderr if program.one_output else stdout,
            stderr=stderr,
            env=dict(program.environment),
            cwd=program.working_directory,
            start_new_session=True,
        )
        self._watching.began(self._process.pid, self._over_memory)
        try:
            self._jobs.spawn(self._reap(self._process), name=f"reap-{self.id}")
        except RuntimeError:  # the worker is shutting down
            kill_session(self._process.pid)
            raise

    async def _reap(self, process: asyncio.subprocess.Process) -> None:
        try:
            code = await process.wait()
        except asyncio.CancelledError:  # the worker's jobs end before its sandboxes
            kill_session(process.pid)
            self._end(Exit(ExitKind.SIGNALED, signal.SIGKILL))
            raise
        async with asyncio.timeout(_GONE_S):
            while kill_session(process.pid):  # noqa: ASYNC110 - nobody tells of the last death
                await asyncio.sleep(_LOOK_AGAIN_S)
        if self._is_over_memory:
            self._end(Exit(ExitKind.OUT_OF_MEMORY, signal.SIGKILL))
        elif code < 0:
            self._end(Exit(ExitKind.SIGNALED, -code))
        else:
            self._end(Exit(ExitKind.EXITED, code))

    def _end(self, exit_: Exit) -> None:
        if self._ended is not None and not self._ended.done():
            self._watching.ended()
            self._ended.set_result(exit_)

    def _over_memory(self) -> None:
        log.info("sandbox exceeded its memory", sandbox=self.id)
        self._is_over_memory = True
        if self._process is not None:
            kill_session(self._process.pid)


def _remove(directory: Path) -> None:
    """However deep functions have made it. What cannot be removed now is at the next start: a
    process that has left its session may still be writing there."""
    try:
        if directory.exists():
            remove_tree(directory)
    except OSError as error:
        log.warning("a sandbox's files were left behind", directory=directory, why=str(error))


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    return read, write


def _dying_with_us() -> tuple[str, ...]:
    """Linux kills the program when the worker dies, if somebody asks it to before the exec."""
    setpriv = shutil.which("setpriv", path="/usr/bin:/bin")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()
