"""How does a sandbox get a way out? A cable from its network namespace to the host's.

In the launcher's child, as it leaves the host's network namespace. What may pass is not decided
here but by the rules at the host's end; see nat.py. The namespace belongs to the launcher's user
namespace, so the program has no power over its end.
"""

import errno
import os
import signal
import socket
from typing import Final, NoReturn

from hearth.worker.sandboxes import confine, jail_steps, linux
from hearth.worker.sandboxes.messages import StartOrder
from hearth.worker.sandboxes.netlink import Netlink
from hearth.worker.sandboxes.stage import HOST

INSIDE: Final = "eth0"
PREFIX: Final = 30
_OF_SLIRP: Final = (confine.CAP_NET_ADMIN, confine.CAP_SYS_ADMIN)


def leave_for_own(order: StartOrder) -> None:
    """Into a network namespace of our own, with the way out that the order names.

    Raises OSError.
    """
    if order.slirp is not None:
        _leave_with_slirp(order.slirp)
    elif order.nat is not None:
        _leave_with_cable(*order.nat)
    else:
        linux.unshare(linux.CLONE_NEWNET)


def _leave_with_cable(interface: str, gateway: str, address: str) -> None:
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


def _leave_with_slirp(slirp: dict[str, str]) -> None:
    """slirp4netns stays in the host's network and dies with us; the rules are there before it."""
    arranged, tell_arranged = os.pipe2(os.O_CLOEXEC)
    go, tell_go = socket.socketpair()
    ready, tell_ready = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        tell_go.close()
        _become_slirp(slirp, tell_arranged, go, tell_ready)
    go.close()
    for fd in (tell_arranged, tell_ready):
        os.close(fd)
    _expect(arranged, "slirp4netns cannot be prepared")
    linux.unshare(linux.CLONE_NEWNET)
    _apply(slirp["nft"], slirp["rules"])
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with tell_go:
        socket.send_fds(tell_go, [b"1"], [own])
    _expect(ready, "slirp4netns did not start")
    for fd in (arranged, own, ready):
        os.close(fd)


def _become_slirp(slirp: dict[str, str], arranged: int, go: socket.socket, ready: int) -> NoReturn:
    try:
        linux.die_with_parent(signal.SIGKILL)
        linux.unshare(linux.CLONE_NEWNS)
        linux.bind(f"{HOST}/dev", "/dev")  # it opens /dev/net/tun
        if slirp["resolver"]:
            linux.bind(f"{HOST}{slirp['resolver']}", "/etc/resolv.conf")
        os.write(arranged, b"1")
        namespace = _receive(go)
        null = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1):
            os.dup2(null, number)
        jail_steps.reset_signals()
        for fd in (ready, namespace):
            os.set_inheritable(fd, True)
        confine.keep_only(_OF_SLIRP)
        jail_steps.close_all_but([ready, namespace])
        flags = ["--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={ready}"]
        place = ["--netns-type=path", f"/proc/self/fd/{namespace}", "tap0"]
        os.execve(slirp["program"], ["slirp4netns", *flags, *place], {})  # noqa: S606
    except OSError as error:
        os.write(2, f"slirp4netns: {error}\n".encode())
    finally:
        os._exit(1)


def _receive(go: socket.socket) -> int:
    """The sandbox's network namespace, when it has rules. By descriptor: slirp4netns asks with the
    rights of its uid whether the file is there, and those do not reach into our parent's /proc."""
    _, namespaces, _, _ = socket.recv_fds(go, 1, 1)
    if not namespaces:
        raise OSError(0, "the sandbox did not come to be")
    return namespaces[0]


def _apply(nft: str, rules: str) -> None:
    """In the network namespace that we are in. Raises OSError."""
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        try:
            os.dup2(read, 0)
            confine.keep_only((confine.CAP_NET_ADMIN,))  # or exec would take all of them
            os.execve(nft, ["nft", "-f", "-"], {})  # noqa: S606
        finally:
            os._exit(127)
    os.close(read)
    os.write(write, rules.encode())
    os.close(write)
    _, status = os.waitpid(child, 0)
    if status:
        raise OSError(0, "the rules of the network nat could not be set")


def _expect(fd: int, otherwise: str) -> None:
    if not os.read(fd, 1):
        raise OSError(0, otherwise)
