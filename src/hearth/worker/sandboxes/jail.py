"""How does a forked child of the launcher become a sandbox? The steps from fork to exec.

The order is the point:

1. into its cgroups first, so that all that follows is charged there, and before bubblewrap makes
   the cgroup namespace, whose root they become;
2. own network namespace, with the Runtime API's socket listening inside it;
3. own copy of the stage, in which the host is gone and only this sandbox's directories are left;
4. limits, keys, uid - then the death signal, which a change of uid would have cleared;
5. bubblewrap, with an empty environment and nothing open but what it needs.
"""

import fcntl
import os
import signal
import socket
from typing import NoReturn

from hearth.worker.sandboxes import jail_network, jail_steps, linux, messages
from hearth.worker.sandboxes.arguments import Fds, Root, bubblewrap_arguments
from hearth.worker.sandboxes.messages import StartOrder
from hearth.worker.sandboxes.stage import (
    BOXES,
    BWRAP,
    HOST,
    OUTSIDE,
    SECCOMP,
    SLIRP_RESOLVER,
    shown,
)


def become_sandbox(
    order: StartOrder,
    root: Root,
    parent: int,
    status: int,
    block: int | None,
    channel: int | None = None,
) -> tuple[list[int], "Exec"]:
    """Do steps 1 to 4; the caller sends the descriptors to the worker, then calls the Exec.

    `status` and `block` are bubblewrap's json-status and block descriptors; `channel` is for a
    program that waits. Raises OSError.
    """
    if channel is not None:
        status, block = _give_up_number(status), None if block is None else _give_up_number(block)
        if channel != messages.WAIT_FD:
            os.dup2(channel, messages.WAIT_FD, inheritable=False)
    for tasks in order.cgroup_tasks:
        jail_steps.write(HOST + tasks, b"0")
    linux.unshare(linux.CLONE_NEWNS)
    for_worker = []
    if order.own_network:
        jail_network.leave_for_own(order)
        for_worker.append(jail_steps.listen())
    _arrange_stage(order)
    outputs = jail_steps.connect_outputs(order.one_output)
    for_worker += outputs
    _restrict(order, parent)
    seccomp = os.open(SECCOMP, os.O_RDONLY)
    fds = Fds(seccomp=seccomp, status=status, block=block)
    arguments = _in_memory(bubblewrap_arguments(order, root, fds))
    keep = [fd for fd in (arguments, seccomp, status, block) if fd is not None]
    if channel is not None:
        keep.append(messages.WAIT_FD)
    return for_worker, Exec(arguments, keep, order.argv)


class Exec:
    """The last step, when the worker has its descriptors."""

    def __init__(self, arguments: int, keep: list[int], argv: list[str]) -> None:
        self._arguments = arguments
        self._keep = keep
        self._argv = argv

    def __call__(self) -> NoReturn:
        jail_steps.close_all_but(self._keep)
        for fd in self._keep:
            os.set_inheritable(fd, True)
        os.execve(BWRAP, ["bwrap", "--args", str(self._arguments), "--", *self._argv], {})  # noqa: S606


def _arrange_stage(order: StartOrder) -> None:
    """Mount this sandbox's own directories, then drop the host and every other sandbox's."""
    linux.bind(f"{BOXES}/{order.box}", "/box")
    jail_steps.mount_shared_memory("/shm")
    for number, mount in enumerate(order.mounts):
        tree = shown(mount)
        linux.move_mount(tree, f"/mounts/{number}")
        os.close(tree)
    if order.slirp is not None:
        linux.bind(SLIRP_RESOLVER, "/etc/resolv.conf")
    for source, destination in order.host_files:
        linux.bind(HOST + source, destination)
    linux.detach(OUTSIDE)


def _restrict(order: StartOrder, parent: int) -> None:
    jail_steps.go_first_when_memory_runs_out()
    jail_steps.limit(order.rlimits)
    jail_steps.leave_keys_behind()
    os.umask(0o022)
    jail_steps.reset_signals()
    if order.uid is not None:
        jail_steps.become(order.uid)
    linux.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above


def _give_up_number(fd: int) -> int:
    """The descriptor, under a number that is not the one by which a program waits. What is opened
    after that has been taken gets another one by itself."""
    return fd if fd != messages.WAIT_FD else fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, fd + 1)


def _in_memory(arguments: list[str]) -> int:
    fd = os.memfd_create("arguments", os.MFD_CLOEXEC)
    data = os.fsencode("\0".join([*arguments, ""]))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def answer_with_socket(
    control: socket.socket, number: int, inside: int, datagrams: bool
) -> NoReturn:
    """In a fork: a socket in the network of that process, for the worker."""
    try:
        signal.set_wakeup_fd(-1)
        network = os.open(f"/proc/{inside}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        linux.join_network(network)
        protocol = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
        kind = protocol | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        with socket.socket(socket.AF_INET, kind) as opened:
            messages.send(control, {"id": number, "answer": {}}, (opened.fileno(),))
        os._exit(0)
    except Exception as error:  # noqa: BLE001 - whatever it is, this copy must not serve on
        report(control, number, error)


def report(control: socket.socket, number: int, error: Exception) -> NoReturn:
    """Tell the worker why no sandbox came of it."""
    try:
        messages.send(control, {"id": number, "error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(1)
