"""Which addresses are Hearth's? Bound before anything is started, listened to once it is.

An address that is taken is said before an engine runs, with the process that has it.
"""

import errno
import socket
from contextlib import ExitStack
from shlex import quote
from typing import Final, NamedTuple

from hearth.app import port_owner
from hearth.settings import Settings, StartRefused

BACKLOG: Final = 1024


class Addresses(NamedTuple):
    """Bound; nobody can connect yet."""

    front: socket.socket
    metrics: socket.socket | None

    def close(self) -> None:
        """Also after a server has closed them."""
        self.front.close()
        if self.metrics is not None:
            self.metrics.close()


def bind_all(settings: Settings) -> Addresses:
    """Raises StartRefused if one of them cannot be had."""
    with ExitStack() as failed:
        front = failed.enter_context(_bind(settings.host, settings.port, "--listen"))
        metrics = None
        if settings.metrics is not None:
            metrics = failed.enter_context(_bind(*settings.metrics, "--metrics"))
        failed.pop_all()
    return Addresses(front, metrics)


def listen(sock: socket.socket, flag: str) -> None:
    """From now on connections are taken. Raises StartRefused if another was faster."""
    try:
        sock.listen(BACKLOG)
    except OSError as error:
        host, port = sock.getsockname()[:2]
        raise _refusal(host, port, flag, error) from error
    sock.setblocking(False)


def endpoint_of(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(host: str, port: int, flag: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise _refusal(host, port, flag, error) from error
    return sock


def _refusal(host: str, port: int, flag: str, error: OSError) -> StartRefused:
    why, way_out = str(error.strerror), "Choose"
    if error.errno == errno.EADDRINUSE and (owner := port_owner.find(port)) is not None:
        why = f"{owner.name} (pid {owner.pid}) has it"
        way_out = "Stop that, or choose"
        if owner.hearth_state is not None:
            why = f"another Hearth (pid {owner.pid}) has it"
            way_out = (
                f"Stop that with `hearth down --state {quote(str(owner.hearth_state))}`, or choose"
            )
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return StartRefused(
        f"Hearth cannot listen on {address}: {why}. "
        f"{way_out} another address with {flag}; port 0 picks a free one."
    )
