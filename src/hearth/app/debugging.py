"""What happens while a function is debugged? An environment of its own, and a port of loopback.

    begin    count it, make the environment, open the port, start it: it waits for a debugger
    run      when it is initialised, one invoke; then the environment is gone

Only by way of the admin socket, which only the owner of the state directory can open: whoever is
attached to a debugger runs code as the function. The environment is in no pool, serves nobody else
and has no timeout. What is begun and not run within BEGUN_S is ended.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from hearth.app.choices import new_id
from hearth.app.parts import Parts
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.frontend.sampling import completed
from hearth.model.debugging import PORTS, TIMEOUT_S, debugger_of
from hearth.model.errors import InvalidRuntime
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey, RequestId
from hearth.model.invocations import Invocation, InvokeResult
from hearth.worker.environment import ExecutionEnvironment
from hearth.worker.sandboxes.contract import Sandbox, SandboxFailed

BEGUN_S: Final = 30.0
LISTENS_S: Final = 60.0
"""How long a debugger may take from its environment's start until it can be attached to."""
LOOK_S: Final = 0.1
CHUNK: Final = 65_536
LOOPBACK: Final = "127.0.0.1"

log = Log("debug")


class Relay:
    """A port of this machine's loopback that is one of a sandbox's."""

    def __init__(self, sandbox: Sandbox, inside: int, jobs: Jobs) -> None:
        self._sandbox = sandbox
        self._inside = inside
        self._jobs = jobs
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, port: int | None) -> int:
        """None: the debugger's usual one, or any. Raises OSError."""
        wanted = self._inside if port is None else port
        try:
            self._server = await asyncio.start_server(self._serve, LOOPBACK, wanted)
        except OSError:
            if port is not None:
                raise
            self._server = await asyncio.start_server(self._serve, LOOPBACK, 0)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with asyncio.timeout(LISTENS_S):
                inner_reader, inner_writer = await self._connect()
            self._writers.add(inner_writer)
            try:
                async with asyncio.TaskGroup() as pumps:
                    pumps.create_task(_pump(reader, inner_writer), name="debug-in")
                    pumps.create_task(_pump(inner_reader, writer), name="debug-out")
            finally:
                self._writers.discard(inner_writer)
                inner_writer.transport.abort()
        except (TimeoutError, SandboxFailed) as error:
            log.warning("no debugger to attach to", sandbox=self._sandbox.id, why=error)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As soon as the debugger listens."""
        while True:
            with suppress(ConnectionError, SandboxFailed):
                opened = await self._sandbox.open_socket()
                try:
                    await _connected(opened, self._inside)
                    return await asyncio.open_connection(sock=opened)
                except BaseException:
                    opened.close()
                    raise
            await asyncio.sleep(LOOK_S)


async def _connected(opened: socket.socket, port: int) -> None:
    await asyncio.get_running_loop().sock_connect(opened, (LOOPBACK, port))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until one side ends, or is gone."""
    with suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _refuse_shared(sandbox: Sandbox) -> None:
    """Raises InvalidRuntime where the port inside would be one of this machine."""
    if sandbox.api_address.startswith(f"{LOOPBACK}:"):
        raise InvalidRuntime(
            "A function can only be debugged in a sandbox that has a network of its own: "
            "not with --sandbox process, and not with the network host."
        )


@dataclass(slots=True, kw_only=True)
class Session:
    function: FunctionVersion
    debugger: str
    port: int
    environment: ExecutionEnvironment
    relay: Relay
    starting: "asyncio.Task[None]"
    give_back: Callable[[], None]
    end_unless_run: asyncio.TimerHandle
    ending: "asyncio.Task[None] | None" = None


class Debugging:
    """All sessions of this Hearth."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._sessions: dict[str, Session] = {}

    async def begin(
        self, key: FunctionKey, qualifier: str | None, port: int | None
    ) -> tuple[str, Session]:
        """Its name, and the session, which waits for a debugger. Raises ServiceError, OSError."""
        parts = self._parts
        function = await parts.functions.get(key, qualifier)
        debugger = debugger_of(function.runtime)
        if debugger is None:
            raise InvalidRuntime(
                f"{function.runtime} cannot be debugged here; python3.x and nodejsN.x can."
            )
        give_back = parts.front.hold(function)
        environment: ExecutionEnvironment | None = None
        relay: Relay | None = None
        try:
            function = replace(function, timeout_s=TIMEOUT_S, is_debugged=True, is_traced=False)
            environment = await parts.worker.make_debugged(function)
            _refuse_shared(environment.sandbox)
            relay = Relay(environment.sandbox, PORTS[debugger], parts.jobs)
            opened = await relay.open(port)
        except BaseException:
            if environment is not None:
                await environment.stop()
            give_back()
            raise
        name = secrets.token_hex(8)
        loop = asyncio.get_running_loop()
        session = self._sessions[name] = Session(
            function=function,
            debugger=debugger,
            port=opened,
            environment=environment,
            relay=relay,
            starting=parts.jobs.spawn(environment.start(), name=f"debug-{name}"),
            give_back=give_back,
            end_unless_run=loop.call_later(BEGUN_S, self._give_up, name),
        )
        log.info("a function is debugged", function=function.arn, port=opened)
        return name, session

    async def run(self, name: str, payload: bytes) -> tuple[InvokeResult | None, Session]:
        """The answer, None if it was not initialised; the session is over then. Cancelling ends
        it too. Raises KeyError if there is no such session, ServiceError."""
        session = self._sessions[name]
        session.end_unless_run.cancel()
        request = RequestId(new_id())
        root = f"Root=1-{self._parts.clock.epoch_ms() // 1000:08x}-{new_id().replace('-', '')[:24]}"
        function = session.function
        invocation = Invocation(
            request=request,
            function=function,
            invoked_arn=function.arn,
            payload=payload,
            trace_id=completed(root, request),
            log_tail=True,
        )
        try:
            await asyncio.shield(session.starting)
            if not session.environment.is_waiting:
                return None, session
            result = await session.environment.run(invocation, lambda _is_good: None)
            return result, session
        finally:
            await self.end(name)

    async def end(self, name: str) -> None:
        """Return when nothing of it is left. Safe to call twice, and while it runs."""
        session = self._sessions.get(name)
        if session is None:
            return
        if session.ending is None:
            work = self._take_apart(name, session)
            session.ending = self._parts.jobs.spawn(work, name=f"end-debug-{name}")
        await asyncio.shield(session.ending)

    async def _take_apart(self, name: str, session: Session) -> None:
        session.end_unless_run.cancel()
        session.relay.close()
        try:
            await session.environment.stop()
        finally:
            session.give_back()
            del self._sessions[name]

    def _give_up(self, name: str) -> None:
        self._parts.jobs.spawn(self.end(name), name=f"end-debug-{name}")

    async def close(self) -> None:
        for name in list(self._sessions):
            await self.end(name)
