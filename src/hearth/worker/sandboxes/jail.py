"""How does a forked child of the launcher become a sandbox? The steps from fork to exec.

The order is the point:

1. into its cgroups first, so that all that follows is charged there, and before bubblewrap makes
   the cgroup namespace, whose root they become;
2. own network namespace, with the Runtime API's socket listening inside it;
3. own copy of the stage, in which the host is gone and only this sandbox's directories are left;
4. limits, keys, uid - then the death signal, which a change of uid would have cleared;
5. bubblewrap, with an empty environment and nothing open but what it needs.
"""

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
from typing import Final, NoReturn

from hearth.worker.sandboxes import linux, messages
from hearth.worker.sandboxes.arguments import Fds, Root, bubblewrap_arguments
from hearth.worker.sandboxes.messages import API_HOST, API_PORT, StartOrder
from hearth.worker.sandboxes.stage import (
    BOXES,
    BWRAP,
    HOST,
    OUTSIDE,
    SECCOMP,
    SHM_BYTES,
    host_directory,
)

API_BACKLOG: Final = 64

_SIOCSIFADDR: Final = 0x8916
_SIOCSIFFLAGS: Final = 0x8914
_SIOCSIFNETMASK: Final = 0x891C
_IFF_UP_RUNNING: Final = 0x1 | 0x40
_OOM_SCORE: Final = b"600"  # when the machine runs out of memory, sandboxes go before Hearth does


def _address(text: str) -> bytes:
    """A struct ifreq with an IPv4 address for the alias lo:1."""
    return struct.pack("16sHH4s8x", b"lo:1", socket.AF_INET, 0, socket.inet_aton(text))


# Ready before the fork: each page that a child touches first has to be copied.
_LOOPBACK: Final = (
    (_SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING)),
    (_SIOCSIFADDR, _address(API_HOST)),
    (_SIOCSIFNETMASK, _address("255.255.255.255")),  # or all of 169.254/16 would be this machine
)


def become_sandbox(
    order: StartOrder, root: Root, parent: int, status: int, block: int | None
) -> tuple[list[int], "Exec"]:
    """Do steps 1 to 4; the caller sends the descriptors to the worker, then calls the Exec.

    `status` and `block` are bubblewrap's json-status and block descriptors. Raises OSError.
    """
    for tasks in order.cgroup_tasks:
        _write(HOST + tasks, b"0")
    own = linux.CLONE_NEWNS | (linux.CLONE_NEWNET if order.own_network else 0)
    linux.unshare(own)
    for_worker = []
    if order.own_network:
        for_worker.append(_listen().detach())
    _arrange_stage(order)
    outputs = _connect_outputs()
    for_worker += outputs
    _restrict(order, parent)
    seccomp = os.open(SECCOMP, os.O_RDONLY)
    fds = Fds(seccomp=seccomp, status=status, block=block)
    arguments = _in_memory(bubblewrap_arguments(order, root, fds))
    keep = [fd for fd in (arguments, seccomp, status, block) if fd is not None]
    return for_worker, Exec(arguments, keep, order.argv)


class Exec:
    """The last step, when the worker has its descriptors."""

    def __init__(self, arguments: int, keep: list[int], argv: list[str]) -> None:
        self._arguments = arguments
        self._keep = keep
        self._argv = argv

    def __call__(self) -> NoReturn:
        _close_all_but(self._keep)
        os.execve(BWRAP, ["bwrap", "--args", str(self._arguments), "--", *self._argv], {})  # noqa: S606


def _listen() -> socket.socket:
    """Bring loopback up in this namespace, give it Lambda's address, and listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, argument in _LOOPBACK:
            fcntl.ioctl(control, request, argument)
    api = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    api.bind((API_HOST, API_PORT))
    api.listen(API_BACKLOG)
    return api


def _arrange_stage(order: StartOrder) -> None:
    """Mount this sandbox's own directories, then drop the host and every other sandbox's."""
    linux.bind(f"{BOXES}/{order.box}", "/box")
    linux.mount(
        "tmpfs",
        "/shm",
        "tmpfs",
        linux.MS_NOSUID | linux.MS_NODEV,
        f"mode=1777,size={SHM_BYTES},nr_inodes=4096",
    )
    for number, (source, _) in enumerate(order.mounts):
        linux.bind(host_directory(source), f"/mounts/{number}")
    for source, destination in order.host_files:
        linux.bind(HOST + source, destination)
    linux.detach(OUTSIDE)


def _connect_outputs() -> list[int]:
    """stdin from nowhere; stdout and stderr into pipes, whose read ends are returned."""
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    outputs = []
    for number in (1, 2):
        read, write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(read, False)
        os.dup2(write, number)
        os.close(write)
        outputs.append(read)
    return outputs


def _restrict(order: StartOrder, parent: int) -> None:
    _write("/proc/self/oom_score_adj", _OOM_SCORE)
    for kind, limit in order.rlimits:
        resource.setrlimit(kind, (limit, limit))
    try:
        linux.join_new_session_keyring()
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EDQUOT}:
            raise  # these three: a kernel or a container without keys, or none left to give
    os.umask(0o022)
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # Python ignores them, and exec would pass it on
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if order.uid is not None:
        os.setgroups([])
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    linux.die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before the line above


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, data)
    os.close(fd)


def _in_memory(arguments: list[str]) -> int:
    fd = os.memfd_create("arguments", os.MFD_CLOEXEC)
    data = os.fsencode("\0".join([*arguments, ""]))
    while data:
        data = data[os.write(fd, data) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _close_all_but(keep: list[int]) -> None:
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        os.set_inheritable(fd, True)
        low = fd + 1
    os.closerange(low, 1 << 20)


def report(control: socket.socket, number: int, error: Exception) -> NoReturn:
    """Tell the worker why no sandbox came of it."""
    try:
        messages.send(control, {"id": number, "error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(1)
