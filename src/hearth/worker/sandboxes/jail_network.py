"""How does a sandbox get a way out? A cable from its network namespace to the host's.

In the launcher's child, as it leaves the host's network namespace. What may pass is not decided
here but by the rules at the host's end; see nat.py. The namespace belongs to the launcher's user
namespace, so the program has no power over its end.
"""

import errno
import os
import socket
from typing import Final

from hearth.worker.sandboxes import linux
from hearth.worker.sandboxes.netlink import Netlink

INSIDE: Final = "eth0"
PREFIX: Final = 30


def leave_for_own(nat: list[str] | None) -> None:
    """Into a network namespace of our own; `nat` is [interface, gateway, address] of a way out.
    Raises OSError."""
    if nat is None:
        linux.unshare(linux.CLONE_NEWNET)
        return
    interface, gateway, address = nat
    with Netlink() as outside:
        host = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            linux.unshare(linux.CLONE_NEWNET)
            own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                _connect(outside, interface, own)
                # An interface's number is asked for in the namespace that one is in.
                linux.join_network(host)
                index = socket.if_nametoindex(interface)
                linux.join_network(own)
            finally:
                os.close(own)
        finally:
            os.close(host)
        outside.add_address(index, gateway, PREFIX)
        outside.set_up(interface)
    with Netlink() as inside:
        index = socket.if_nametoindex(INSIDE)
        inside.add_address(index, address, PREFIX)
        inside.set_up(INSIDE)
        inside.add_default_route(index, gateway)


def _connect(outside: Netlink, interface: str, own: int) -> None:
    try:
        outside.make_pair(interface, INSIDE, own)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        # The namespace of who had it before us is not quite gone: the kernel takes its time.
        try:
            outside.remove(interface)
        except OSError as gone:
            if gone.errno != errno.ENODEV:
                raise
        outside.make_pair(interface, INSIDE, own)
