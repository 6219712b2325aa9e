"""How is a program forked that has run its function's init? By itself, when it is told to.

A *template* is a program that waits before its snapshot is restored, and forks for each message on
its channel: a descriptor of the door of a *nest* (zygote_nest.py) comes with it. The fork enters
the nest and goes on there as a program of its own, with a Runtime API, outputs, /tmp, pid and
limits of its own.

Nothing here is trusted: it runs in an interpreter that has run a function's code. Its filter lets
it enter a nest, by one call with one argument and no other; what it has there is power over a
namespace that owns nothing. The launcher looks at what has come of it before the worker hears of
it; see launcher_templates.py.
"""

import array
import gc
import os
import platform
import socket
import struct
import sys
from typing import Final

from hearth.worker.sandboxes import confine, linux, randomness, template_checks, wire

ENTERED: Final = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)
READY: Final = b"ready"
_FDS_MAX: Final = 16
MACHINES: Final = {"x86_64": (0xC000003E, 308), "aarch64": (0xC00000B7, 268)}
"""AUDIT_ARCH and the number of setns."""


def that_lets_join(instructions: bytes, machine: "str | None" = None) -> bytes:
    """The same filter with one exception before it: to enter, by a pidfd, all of what another
    process is in. No other descriptor is taken with these kinds. Raises OSError."""
    machine = machine or platform.machine()
    if machine not in MACHINES:
        raise OSError(0, f"no system call numbers known for {machine}")
    architecture, setns = MACHINES[machine]
    load, equal, answer, allow = 0x20, 0x15, 0x06, 0x7FFF0000
    exception = (
        (load, 0, 0, 4),  # struct seccomp_data: nr, arch, instruction_pointer, args
        (equal, 0, 7, architecture),
        (load, 0, 0, 0),
        (equal, 0, 5, setns),
        (load, 0, 0, 24),
        (equal, 0, 3, ENTERED),
        (load, 0, 0, 28),
        (equal, 0, 1, 0),
        (answer, 0, 0, allow),
    )
    return b"".join(struct.pack("=HBBI", *one) for one in exception) + instructions


class Template:
    """One program's way to become a template, and then to fork."""

    def __init__(self, channel: socket.socket, seccomp: bytes) -> None:
        self._channel = channel
        channel.set_inheritable(False)
        self._seccomp = seccomp

    def serve(self) -> bool:
        """True: we are a fork, in a sandbox of its own. False: this program cannot be forked, and
        has said why. Never returns in one that can."""
        own = self._channel.fileno()
        why = template_checks.why_not(own)
        if why:
            self._channel.send(why.encode()[:1024])
            self._channel.close()
            return False
        sys.stdout.flush()
        sys.stderr.flush()
        gc.collect()
        gc.freeze()  # or a fork's first collection would copy every page
        self._channel.send(READY)
        while True:
            fds = self._told()
            pid = os.fork()
            if pid == 0:
                self._channel.close()
                move(fds, self._seccomp)
                return True
            for fd in fds:
                os.close(fd)
            os.waitpid(pid, 0)

    def _told(self) -> "list[int]":
        data, rights, _, _ = self._channel.recvmsg(16, socket.CMSG_SPACE(4 * _FDS_MAX))
        if not data:
            os._exit(0)
        fds = array.array("i")
        for _level, _kind, payload in rights:
            fds.frombytes(payload)
        return list(fds)


def move(fds: "list[int]", seccomp: bytes) -> None:
    """In the fork: enter the nest, and come out in another fork, which is inside."""
    door, stdout, stderr, birth_fd, *tasks = fds
    birth = socket.socket(fileno=birth_fd)
    template = os.getppid()
    try:
        kept = template_checks.Kept(fds)
        for file in tasks:
            os.write(file, b"0")
            os.close(file)
        linux.setns(door, ENTERED)
        os.close(door)
        confine.drop_all()
        confine.set_dumpable(dumpable=True)  # a change of user namespace took it
        confine.filter_system_calls(seccomp)
        pid = os.fork()
        if pid:
            os._exit(0)
        check_pid(template)
        os.setsid()
        kept.bring_along(stdout, stderr)
        birth.send(READY)
        content, _ = wire.receive(birth)
    except BaseException as error:  # noqa: BLE001 - whatever it is, nothing else may run here
        birth.send(f"{type(error).__name__}: {error}".encode()[:1024])
        os._exit(1)
    if content is None:
        os._exit(1)
    birth.close()
    os.environ.update(content["environment"])
    randomness.renew()


def check_pid(template: int) -> None:
    """OpenSSL and tempfile notice a fork by a pid that has changed. Raises OSError."""
    if os.getpid() == template:
        raise OSError(0, "a fork must not have its template's pid")
