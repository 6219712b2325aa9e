"""Which steps into a sandbox are the same, whether bubblewrap or a zygote makes the rest?

Standard library only, and little of it: a zygote keeps what it has imported.
"""

import errno
import fcntl
import os
import resource
import signal
import socket
import struct
from typing import Final

from hearth.worker.sandboxes import linux

# Where the Runtime API listens inside a sandbox, as in real Lambda.
API_HOST: Final = "169.254.100.1"
API_PORT: Final = 9001
API_BACKLOG: Final = 64
SHM_BYTES: Final = 64 << 20
# What real Lambda shows: `id` says uid=993(sbx_user1051) gid=990.
UID: Final = 993
GID: Final = 990
HOSTNAME: Final = "localhost"

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


def listen() -> int:
    """Bring loopback up in this namespace, give it Lambda's address, and listen there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, argument in _LOOPBACK:
            fcntl.ioctl(control, request, argument)
    api = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    api.bind((API_HOST, API_PORT))
    api.listen(API_BACKLOG)
    return api.detach()


def mount_shared_memory(target: str) -> None:
    linux.mount(
        "tmpfs",
        target,
        "tmpfs",
        linux.MS_NOSUID | linux.MS_NODEV,
        f"mode=1777,size={SHM_BYTES},nr_inodes=4096",
    )


def connect_outputs(one_output: bool = False) -> list[int]:
    """stdin from nowhere; stdout and stderr into pipes, whose read ends are returned. Both into the
    second pipe, if there is to be one output: the first has ended then."""
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
    if one_output:
        os.dup2(2, 1)
    return outputs


def go_first_when_memory_runs_out() -> None:
    write("/proc/self/oom_score_adj", _OOM_SCORE)


def limit(rlimits: list[list[int]]) -> None:
    for kind, value in rlimits:
        resource.setrlimit(kind, (value, value))


def leave_keys_behind() -> None:
    try:
        linux.join_new_session_keyring()
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EDQUOT}:
            raise  # these three: a kernel or a container without keys, or none left to give


def reset_signals() -> None:
    """Python ignores these, and exec would pass it on."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def close_all_but(keep: list[int]) -> None:
    """Of those above 2."""
    low = 3
    for fd in sorted(keep):
        os.closerange(low, fd)
        low = fd + 1
    os.closerange(low, 1 << 20)
