"""Does the engine still take writes, and what is done when it does not?

A write is probed every few seconds, and at once when one is not acknowledged. When writes fail on
a live connection, that is said once, with the likely reason, and they are refused until they work
again. A nats-server whose store could not be written once refuses writes for as long as it lives:
it is restarted in place, as soon as there is room on the disk; not before, since it could not come
up there. Reads, watches and whoever lives without writes hardly notice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.engine.contract import EngineUnavailable
from hearth.engine.room import Room
from hearth.engine.server import ServerStartFailed
from hearth.engine.server_files import StoreRefused
from hearth.engine.write_gate import WriteGate

CHECK_S: Final = 3.0
CHECK_FAILING_S: Final = 1.0
PROBE_S: Final = 3.0
"""A live server on this machine needs a thousandth of it. In a cluster it must be longer than the
election of a leader."""
FAILING_S_MIN: Final = 10.0
"""Before the first restart. Also the wait after one that did not help, which doubles."""
RESTART_S_MAX: Final = 600.0

log = Log("engine")


class Probed(Protocol):
    """What this needs of the connection: NatsEngine."""

    gate: WriteGate

    @property
    def is_connected(self) -> bool: ...

    async def probe(self) -> None: ...


class Restartable(Protocol):
    """What this needs of the server: EmbeddedServer."""

    async def restart(self) -> None: ...


class EngineHealth:
    """`run` it for as long as the engine is used."""

    def __init__(
        self,
        engine: Probed,
        server: Restartable,
        measure: Callable[[], Awaitable[Room]],
        clock: Clock,
        failing_s_min: float = FAILING_S_MIN,
    ) -> None:
        self._engine = engine
        self._server = server
        self._measure = measure
        self._clock = clock
        self._failing_since_s: float | None = None
        self._is_down = False  # a restart has ended the server and could not start it
        self._restart_at_s = 0.0
        self._restart_wait_s = self._failing_s_min = failing_s_min

    @property
    def is_working(self) -> bool:
        """As of the last probe."""
        return self._failing_since_s is None

    async def run(self) -> None:
        while True:
            await self.turn()
            if self._failing_since_s is None:
                await self._engine.gate.wait_doubted(CHECK_S)
            else:
                await asyncio.sleep(CHECK_FAILING_S)

    async def turn(self) -> None:
        """Probe once, and act on it."""
        if self._is_down:
            room = await self._measure()
        elif not self._is_connected():
            return  # which is said elsewhere; it comes back by itself
        else:
            cause = await self._probe()
            if cause is None:
                self._works()
                return
            room = await self._measure()
            if not self._is_connected():
                return
            self._fails(room, cause)
        if room.is_enough and self._clock.monotonic_s() >= self._restart_at_s:
            await self._restart(room)

    def _is_connected(self) -> bool:
        return self._engine.is_connected

    async def _probe(self) -> Exception | None:
        try:
            async with asyncio.timeout(PROBE_S):
                await self._engine.probe()
        except (EngineUnavailable, TimeoutError) as error:
            return error
        return None

    def _works(self) -> None:
        if self._failing_since_s is None:
            return
        failed_s = self._clock.monotonic_s() - self._failing_since_s
        self._failing_since_s = None
        self._restart_wait_s = self._failing_s_min
        self._engine.gate.open()
        log.info("engine takes writes again", after_s=failed_s)

    def _fails(self, room: Room, cause: Exception) -> None:
        self._engine.gate.shut(_reason(room))
        if self._failing_since_s is None:
            self._failing_since_s = self._clock.monotonic_s()
            self._restart_at_s = self._failing_since_s + self._restart_wait_s
            log.error(
                "engine takes no writes", why=_reason(room), store=room.directory, cause=cause
            )

    async def _restart(self, room: Room) -> None:
        log.warning("engine is restarted, since it takes no writes", room=room)
        self._is_down = True
        try:
            await self._server.restart()
        except (ServerStartFailed, StoreRefused, EngineUnavailable, OSError) as error:
            log.error("engine could not be restarted", error=error)
        else:
            self._is_down = False
        self._restart_at_s = self._clock.monotonic_s() + self._restart_wait_s
        self._restart_wait_s = min(2 * self._restart_wait_s, RESTART_S_MAX)


def _reason(room: Room) -> str:
    if room.is_enough:
        return f"it does not acknowledge them, although {room}; it is restarted if that lasts"
    return f"most likely the disk is full ({room})"
