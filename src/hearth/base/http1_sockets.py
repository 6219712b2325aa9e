"""What is set on the socket of an HTTP client, and who is on its other end?"""

import asyncio
import socket
from typing import Final

KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A held-open request notices within two minutes that its client's machine is no more."""


def tune(sock: socket.socket) -> None:
    """Raises OSError if the client has reset the connection meanwhile."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def peer_of(transport: asyncio.BaseTransport) -> str:
    """`127.0.0.1:1234`, or nothing if it is gone already."""
    name = transport.get_extra_info("peername")
    if name is None:
        return ""
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
