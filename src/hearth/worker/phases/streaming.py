"""What happens to a response that comes bit by bit? It goes on at once, or is collected.

Whoever takes streams (`Invocation.sink`) gets each piece in the turn of the loop in which it came,
and holds the function back by pausing its source: nothing is kept here. For a plain Invoke the
pieces are collected, up to what an Invoke may answer.

A connection that breaks off in the middle says that something is wrong, but not what: mostly the
process has died, which is told a little later, by somebody else. Only a runtime that lives on has
truncated its response.
"""

import asyncio
from typing import Final

from hearth.model import limits
from hearth.model.invocations import ResponseSource, StreamStart
from hearth.worker import report
from hearth.worker.lifecycle import State
from hearth.worker.phases.core import Core
from hearth.worker.phases.invoke import InvokePhase
from hearth.worker.run import Run

EXIT_NOTICE_S: Final = 1.0
"""How long after its connection the end of a process may become known."""


class StreamPhase:
    """At most one streamed response at a time."""

    __slots__ = ("_collected", "_core", "_invokes", "_run", "_taken")

    def __init__(self, core: Core, invokes: InvokePhase) -> None:
        self._core = core
        self._invokes = invokes
        self._run: Run | None = None
        self._taken = 0
        self._collected = bytearray()

    def begin(self, source: ResponseSource, content_type: str | None) -> None:
        run = self._core.run
        if run is None or self._core.lifecycle.state is not State.BUSY:
            return
        self._forget()
        self._run = run
        self._taken = 0
        run.response_began_s = self._core.clock.monotonic_s()
        run.content_type = content_type
        if run.invocation.sink is not None:
            start = StreamStart(content_type, self._core.function.version)
            run.invocation.sink.begin(source, start)

    def take(self, data: bytes) -> None:
        run = self._run
        if run is None or not self._is_going_on(run):
            return
        sink = run.invocation.sink
        bytes_max = limits.PAYLOAD_BYTES_MAX if sink is None else limits.STREAM_BYTES_MAX
        room = bytes_max - self._taken
        self._taken += len(data)
        run.produced_bytes = self._taken
        if sink is None:
            self._collected += data
        else:
            sink.write(data if len(data) <= room else data[:room])
        if len(data) > room:
            self._forget()
            self._invokes.fail(report.oversize_failure(bytes_max))

    def collected(self, payload: bytes) -> bytes:
        """The whole of a response that has ended: `payload`, unless it was collected."""
        if self._run is None or self._run is not self._core.run:
            return payload
        payload = bytes(self._collected) or payload
        self._forget()
        return payload

    def broke(self) -> None:
        run = self._run
        self._forget()
        if run is not None and self._is_going_on(run):
            loop = asyncio.get_running_loop()
            run.broken_timer = loop.call_later(EXIT_NOTICE_S, self._truncated, run)

    def _truncated(self, run: Run) -> None:
        if self._is_going_on(run):
            self._invokes.fail(report.truncated_failure())

    def _is_going_on(self, run: Run) -> bool:
        return self._core.run is run and self._core.lifecycle.state is State.BUSY

    def _forget(self) -> None:
        self._run = None
        self._collected = bytearray()
