"""Where does the Runtime API listen for a program that shares the host's network?"""

import socket
from typing import Final

_BACKLOG: Final = 64


class HostApi:
    """A port of 127.0.0.1, kept for a sandbox's life. Other programs of the host can reach it."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(_BACKLOG)
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"

    def hand_out(self) -> socket.socket:
        """A duplicate for the next program's server. Connections of the last one are dropped, so
        call this before the next one runs."""
        while True:
            try:
                stale, _ = self._socket.accept()
            except BlockingIOError:
                break
            stale.close()
        own = self._socket.dup()
        own.setblocking(False)
        return own

    def close(self) -> None:
        self._socket.close()
