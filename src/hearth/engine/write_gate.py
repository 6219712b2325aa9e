"""May a write be sent, or is it known that the engine takes none?

Once a stream of a nats-server could not write, it never answers a write again, and does not say
so: each one would wait for its whole deadline. Whoever probes the engine shuts the gate; writes
are then refused at once, those under way too. A write that waits for longer than DOUBT_S puts its
stream under suspicion and wakes whoever probes: other streams of the same server may still work.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from hearth.engine.contract import EngineTakesNoWrites

DOUBT_S: Final = 1.0


class WriteGate:
    def __init__(self) -> None:
        self._is_open = True
        self._reason = ""  # why it was shut last
        self._under_way: set[asyncio.Timeout] = set()
        self._suspects: set[str] = set()
        self._doubted = asyncio.Event()

    @property
    def suspects(self) -> tuple[str, ...]:
        """Streams of which some write was not acknowledged and none since."""
        return tuple(sorted(self._suspects))

    def shut(self, reason: str) -> None:
        """Refuse writes, with this reason, until `open`."""
        self._is_open = False
        self._reason = reason
        now_s = asyncio.get_running_loop().time()
        while self._under_way:
            self._under_way.pop().reschedule(now_s)

    def open(self) -> None:
        self._is_open = True

    def doubt(self, stream: str) -> None:
        """A write to this stream was not acknowledged when it should have been."""
        self._suspects.add(stream)
        self._doubted.set()

    def trust(self, stream: str) -> None:
        """A write to this stream was acknowledged."""
        self._suspects.discard(stream)

    async def wait_doubted(self, timeout_s: float) -> None:
        """Return when there was a doubt since the last call, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._doubted.wait()
        except TimeoutError:
            return
        finally:
            self._doubted.clear()

    @asynccontextmanager
    async def write(self, stream: str) -> AsyncIterator[None]:
        """The body is one write. Raises EngineTakesNoWrites, at once or as soon as it is known."""
        if not self._is_open:
            raise EngineTakesNoWrites(self._reason)
        doubt = asyncio.get_running_loop().call_later(DOUBT_S, self.doubt, stream)
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._under_way.add(scope)
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise
            raise EngineTakesNoWrites(self._reason) from error
        finally:
            doubt.cancel()
            self._under_way.discard(scope)
