"""What does a zygote see, and what may it do? A root of its own, and six capabilities over it.

Runs in a child of the launcher, between fork and exec. The user namespace that it enters owns all
the namespaces that the zygote and its children will ever be in, but for pid and user namespace
of the launcher: a zygote has no power over anything else, and is nobody on the host.

No uid 0 is mapped into it. Files of /proc/sys that belong to a namespace belong to its uid 0, and
where Hearth is an ordinary user the sandboxes have the same uid as the zygote.
"""

import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from hearth.worker.sandboxes import confine, jail_steps, linux, wire
from hearth.worker.sandboxes.messages import ZygoteOrder
from hearth.worker.sandboxes.stage import DEVICES

SOURCES: Final = "/zygote"
"""Our own package, for the moment in which a zygote imports it."""
EMPTY: Final = "/var/empty"
PLACES: Final = ("/tmp", "/opt", "/var/task", "/proc", "/dev/shm")
"""Where each sandbox gets mounts of its own."""
ARGUMENT_BYTES: Final = 4096
"""What a sandbox's own arguments may take in a process listing."""
CAPABILITIES: Final = (
    confine.CAP_SETGID,
    confine.CAP_SETUID,
    confine.CAP_SETPCAP,
    confine.CAP_SYS_CHROOT,  # to join a mount namespace takes both
    confine.CAP_NET_ADMIN,  # loopback up
    confine.CAP_SYS_ADMIN,  # namespaces and mounts
)
READ_ONLY: Final = linux.MOUNT_ATTR_RDONLY | linux.MOUNT_ATTR_NOSUID | linux.MOUNT_ATTR_NODEV

_NAMESPACES: Final = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
)
_PIDS_OF_CHILDREN: Final = (1, 2)
_WHERE: Final = "/tmp"  # of the stage; in this copy of it nobody else looks there


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the launcher knows and the zygote's root is made of."""

    links: Mapping[str, str]
    binds: tuple[str, ...]
    sources: int
    """Our own package's directory, as a detached mount."""
    mounts: tuple[int, ...]
    """Those of the order, as detached mounts."""


def fork_zygote(order: ZygoteOrder, parts: Parts, control: socket.socket) -> int:
    """The zygote's pid, which is never that of any child inside its sandbox. Raises OSError."""
    while True:
        pid = os.fork()
        if pid == 0:
            if os.getpid() in _PIDS_OF_CHILDREN:
                os._exit(0)
            _start(order, parts, control)
        if pid not in _PIDS_OF_CHILDREN:
            return pid


def _start(order: ZygoteOrder, parts: Parts, control: socket.socket) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        linux.die_with_parent(signal.SIGKILL)
        become_zygote(order, parts, control)
    except Exception as error:  # noqa: BLE001 - whatever it is, this copy must not serve on
        wire.send(control, {"error": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(1)


def become_zygote(order: ZygoteOrder, parts: Parts, control: socket.socket) -> NoReturn:
    """Ask the parent to map our uids, then turn into the zygote's interpreter. Raises OSError."""
    linux.unshare(_NAMESPACES)
    wire.send(control, {"unshared": os.getpid()})
    answer, _ = wire.receive(control)
    if answer is None:
        os._exit(1)
    if order.uid is not None:
        jail_steps.become(order.uid)
    _build(order, parts)
    _close_and_exec(order, control.fileno())


def _build(order: ZygoteOrder, parts: Parts) -> None:
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    linux.mount("tmpfs", _WHERE, "tmpfs", 0, "mode=755,size=1m,nr_inodes=512")
    root = Path(_WHERE)
    for place in ("/usr", "/etc", "/dev", SOURCES, *PLACES):
        (root / place.lstrip("/")).mkdir(mode=0o755, parents=True)
    (root / EMPTY.lstrip("/")).touch(mode=0o444)
    for directory in ("/usr", "/etc", *parts.binds):
        (root / directory.lstrip("/")).mkdir(mode=0o755, exist_ok=True)
        _show(directory, f"{root}{directory}", READ_ONLY)
    for link, target in parts.links.items():
        (root / link.lstrip("/")).symlink_to(target)
    _make_devices(root)
    for tree, (_, destination, *_below) in zip(parts.mounts, order.mounts, strict=True):
        (root / destination.lstrip("/")).mkdir(mode=0o755, parents=True, exist_ok=True)
        linux.move_mount(tree, f"{root}{destination}")
    linux.move_mount(parts.sources, f"{root}{SOURCES}")
    # The kernel lets a user namespace mount a new /proc only where it can see one already.
    linux.bind("/proc", f"{root}/proc")
    os.chdir(root)
    linux.pivot_root(".", ".")
    linux.detach(".")
    os.chdir("/")


def _show(source: str, target: str, attributes: int) -> None:
    tree = linux.open_tree(source)
    linux.restrict_mount(tree, attributes)
    linux.move_mount(tree, target)
    os.close(tree)


def _make_devices(root: Path) -> None:
    dev = root / "dev"
    linux.mount("tmpfs", str(dev), "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=64k")
    for name in DEVICES:
        (dev / name).touch()
        _show(f"/dev/{name}", str(dev / name), linux.MOUNT_ATTR_NOSUID)
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")
    (dev / "shm").mkdir()


def _close_and_exec(order: ZygoteOrder, control: int) -> NoReturn:
    null = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    jail_steps.close_all_but([control])
    os.set_inheritable(control, True)
    jail_steps.leave_keys_behind()
    jail_steps.reset_signals()
    confine.keep_only(CAPABILITIES)
    program = f"{SOURCES}/hearth/worker/sandboxes/zygote_process.py"
    room = "-" * ARGUMENT_BYTES
    os.execve(  # noqa: S606
        order.command[0], [*order.command, program, str(control), room], order.environment
    )
