"""Where does a function's X-Ray SDK send to? The daemon's address, inside its sandbox's network.

A datagram is a line `{"format": "json", "version": 1}` and a document. The documents go on as they
are; nothing of them is read here. How many a function may send in a second is bounded: what is more
is lost, as it is when AWS's daemon has no room.
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-sendingdata.html#xray-api-daemon
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from hearth.base.log import Log
from hearth.worker.sandboxes.contract import Sandbox, SandboxFailed

HOST: Final = "169.254.100.1"
PORT: Final = 2000
DATAGRAM_MAX: Final = 65_535
AT_ONCE: Final = 16
PER_SECOND: Final = 256
PAUSE_S: Final = 1.0

log = Log("xray")


class SegmentListener:
    def __init__(self, take: Callable[[bytes], None]) -> None:
        """`take` must not block and must not raise."""
        self._take = take
        self._socket: socket.socket | None = None
        self._left = PER_SECOND
        self._renewal: asyncio.TimerHandle | None = None

    async def open(self, sandbox: Sandbox) -> None:
        """Where the sandbox has no network of its own, or none that can be joined, do nothing."""
        if not sandbox.api_address.startswith(f"{HOST}:"):
            return
        try:
            opened = await sandbox.open_socket(datagrams=True)
        except SandboxFailed as error:  # it has ended already, say
            log.warning("no X-Ray daemon in a sandbox", sandbox=sandbox.id, why=error)
            return
        try:
            opened.bind((HOST, PORT))
        except OSError as error:  # the function was faster, and has the address itself
            opened.close()
            log.warning("no X-Ray daemon in a sandbox", sandbox=sandbox.id, why=error)
            return
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self._read, opened)

    def close(self) -> None:
        """What has come is still taken."""
        opened, self._socket = self._socket, None
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        if opened is not None:
            self._drain(opened)
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()

    def _read(self, opened: socket.socket) -> None:
        self._drain(opened)
        loop = asyncio.get_running_loop()
        if self._renewal is None:
            self._renewal = loop.call_later(PAUSE_S, self._renew, opened)
        if not self._left:
            loop.remove_reader(opened)

    def _drain(self, opened: socket.socket) -> None:
        for _ in range(min(AT_ONCE, self._left)):
            try:
                datagram = opened.recv(DATAGRAM_MAX)
            except (BlockingIOError, OSError):
                return
            self._left -= 1
            header, newline, document = datagram.partition(b"\n")
            if newline and document and header.lstrip().startswith(b"{"):
                self._take(document)

    def _renew(self, opened: socket.socket) -> None:
        self._renewal = None
        was_out, self._left = not self._left, PER_SECOND
        if was_out and self._socket is opened:
            asyncio.get_running_loop().add_reader(opened, self._read, opened)
