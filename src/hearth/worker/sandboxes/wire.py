"""How does one message travel between the worker, its launcher and the zygotes?

One message is one packet on a SOCK_SEQPACKET pair: a JSON object, and file descriptors beside it.
Imports little: a zygote keeps all that it has imported, and its children carry it along.
"""

import array
import json
import socket
from typing import Any, Final

BYTES_MAX: Final = 256 << 10  # the kernel lets no packet be larger than the socket buffer
FDS_MAX: Final = 16

_encoder = json.JSONEncoder(separators=(",", ":"))
_decoder = json.JSONDecoder()
_RIGHTS_BYTES = socket.CMSG_SPACE(4 * FDS_MAX)
_buffer = bytearray(BYTES_MAX)
"""For all messages: the kernel would map and unmap so large a one for each."""


def send(control: socket.socket, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
    """Raises OSError; BlockingIOError if the socket does not block and is full."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    control.sendmsg([encode(message)], rights)


def encode(message: dict[str, Any]) -> bytes:
    return _encoder.encode(message).encode()


def receive(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message, or None when the other side has gone. Raises OSError."""
    size, rights, flags, _ = control.recvmsg_into([_buffer], _RIGHTS_BYTES)
    fds = _descriptors(rights) if rights else []
    if not size:
        return None, fds
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise OSError(0, "a message of the launcher was cut off")
    message, _ = _decoder.raw_decode(_buffer[:size].decode("ascii"))
    assert isinstance(message, dict)
    return message, fds


def _descriptors(rights: "list[tuple[int, int, bytes]]") -> list[int]:
    fds = array.array("i")
    for level, kind, payload in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
    return list(fds)
