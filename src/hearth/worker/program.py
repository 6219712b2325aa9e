"""What is a running program? The process in a sandbox, its Runtime API and its output, as one.

A sandbox may run several, one after another: after a failure the environment is reset and the
next invoke starts a new one.
"""

import asyncio
from typing import Any, Protocol

from hearth.base.http1 import HttpLimits, HttpRefusal, HttpServer
from hearth.base.jobs import Jobs
from hearth.model import limits
from hearth.worker.output import Output
from hearth.worker.report import (
    Failure,
    exit_failure,
    never_executed_failure,
    timeout_failure,
)
from hearth.worker.runtime_api import Event, RuntimeApi, RuntimeEvents, is_streamed
from hearth.worker.sandboxes.contract import Program, Sandbox

_FOREVER_S = 1e9
API_LIMITS = HttpLimits(
    head_bytes_max=64 * 1024,
    # A little more than is allowed, so that the refusal is the Runtime API's own.
    body_bytes_max=limits.PAYLOAD_BYTES_MAX + 1024 * 1024,
    connections_max=64,
    # The runtime keeps its connection through the longest invoke, and waits in `next` for ever.
    head_timeout_s=_FOREVER_S,
    body_timeout_s=_FOREVER_S,
    idle_timeout_s=_FOREVER_S,
)


class ProgramEvents(RuntimeEvents, Protocol):
    """What the environment is told about its program."""

    def program_wrote(self, lines: list[bytes]) -> None: ...

    def program_exited(self, program: Any, failure: Failure) -> None:
        """`program` is the one that told; an earlier one may still have something to say."""
        ...


class RunningProgram:
    """Made by `start`; ended by `end`, after which the sandbox may run another."""

    def __init__(self, sandbox: Sandbox, events: ProgramEvents, jobs: Jobs) -> None:
        self._sandbox = sandbox
        self._events = events
        self._jobs = jobs
        self.api = RuntimeApi(events)
        self._server = HttpServer(
            self.api.handle, API_LIMITS, on_error=self._refused, streams=is_streamed
        )
        self._output: Output | None = None
        self._watch: asyncio.Task[None] | None = None
        self._entry_point = ""

    async def start(self, program: Program) -> None:
        """Raises SandboxFailed."""
        self._entry_point = program.argv[0]
        channels = await self._sandbox.start(program)
        self._output = Output((channels.stdout, channels.stderr), self._events.program_wrote)
        self._watch = self._jobs.spawn(self._wait(), name=f"watch-{self._sandbox.id}")
        await self._server.start(channels.api)

    def deliver(self, event: Event) -> None:
        self.api.deliver(event)

    def drain_output(self) -> None:
        if self._output is not None:
            self._output.drain()

    async def end(self) -> None:
        """Kill what runs, take in its last words, close its Runtime API. Safe to call twice."""
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.cancel()
        await self._sandbox.kill()
        output, self._output = self._output, None
        if output is not None:
            output.close()
        await self._server.close()

    async def _wait(self) -> None:
        exit_ = await self._sandbox.wait()
        if self._watch is None:
            return
        failure = (
            exit_failure(exit_) if exit_.executed else never_executed_failure(self._entry_point)
        )
        self._events.program_exited(self, failure)

    def _refused(self, refusal: HttpRefusal) -> tuple[int, list[tuple[str, str]], bytes]:
        if refusal.status == 413:
            self.api.refuse_oversize()
        body = b'{"errorMessage":"%s","errorType":"%s"}\n' % (
            refusal.reason.encode("ascii", "replace").replace(b'"', b"'"),
            b"RequestEntityTooLarge" if refusal.status == 413 else b"InvalidRequest",
        )
        return refusal.status, [("Content-Type", "application/json")], body


class StartedProgram(Protocol):
    """What the environment needs of a program: RunningProgram, or a test's."""

    async def start(self, program: Program) -> None: ...

    def deliver(self, event: Event) -> None: ...

    def drain_output(self) -> None: ...

    async def end(self) -> None: ...


class NewProgram(Protocol):
    def __call__(self, sandbox: Sandbox, events: ProgramEvents, jobs: Jobs) -> StartedProgram: ...


async def wait_ready(ready: "asyncio.Future[Failure | None]", limit_s: float) -> Failure | None:
    """What the init came to: None if the runtime is ready, else why not; at most `limit_s`."""
    try:
        async with asyncio.timeout(limit_s):
            return await ready
    except TimeoutError:
        return timeout_failure(limit_s)
