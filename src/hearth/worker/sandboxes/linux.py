"""Which system calls does the launcher need that Python's library does not have?

Every function raises OSError with the call's name. Only for single-threaded processes: the
library is bound with PyDLL, which keeps the interpreter lock, because clone3 returns twice.
"""

import ctypes
import errno
import os
import platform
import signal
import struct
from collections.abc import Sequence
from typing import Final

CLONE_PARENT: Final = 0x00008000
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
CLONE_INTO_CGROUP: Final = 0x200000000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

_PR_SET_PDEATHSIG: Final = 1
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1

# (pivot_root, keyctl); clone3 has one number everywhere.
_NUMBERS: Final = {"x86_64": (155, 250), "aarch64": (41, 219)}
_CLONE3: Final = 435
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_FSOPEN: Final = 430
_FSCONFIG: Final = 431
_FSMOUNT: Final = 432
_MOUNT_SETATTR: Final = 442

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NOSUID: Final = 2
MOUNT_ATTR_NODEV: Final = 4
MOUNT_ATTR_NOEXEC: Final = 8
_FSOPEN_CLOEXEC: Final = 1
_FSCONFIG_SET_STRING: Final = 1
_FSCONFIG_CMD_CREATE: Final = 6
_FSMOUNT_CLOEXEC: Final = 1
_MADV_POPULATE_WRITE: Final = 23

_long = ctypes.c_long
_libc = ctypes.PyDLL(None, use_errno=True)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _numbers() -> tuple[int, int]:
    machine = platform.machine()
    if machine not in _NUMBERS:
        raise OSError(0, f"no system call numbers known for {machine}")
    return _NUMBERS[machine]


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` for new ones."""
    _check(_libc.unshare(flags), f"unshare({flags:#x})")


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, options: str = ""
) -> None:
    _check(
        _libc.mount(
            None if source is None else os.fsencode(source),
            os.fsencode(target),
            None if kind is None else kind.encode(),
            flags,
            options.encode() or None,
        ),
        f"mount {source} on {target}",
    )


def bind(source: str, target: str) -> None:
    """Show `source` at `target`, with everything mounted below it.

    A user namespace may not bind without what is below: that could uncover hidden files.
    """
    mount(source, target, None, MS_BIND | MS_REC)


def detach(target: str) -> None:
    """Unmount `target` and all below it, now for new users, later for those inside."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    _check(
        _libc.syscall(
            ctypes.c_long(_numbers()[0]),
            ctypes.c_char_p(os.fsencode(new_root)),
            ctypes.c_char_p(os.fsencode(put_old)),
        ),
        f"pivot_root({new_root})",
    )


def set_host_name(name: str) -> None:
    text = name.encode("ascii")
    _check(_libc.sethostname(text, ctypes.c_size_t(len(text))), "sethostname")


def die_with_parent(number: int) -> None:
    """Get this signal when the parent's thread ends. A change of uid forgets it: call it after."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0), "PR_SET_PDEATHSIG")


def join_new_session_keyring() -> None:
    """Leave the keys of whoever started us behind."""
    _check(
        _libc.syscall(
            ctypes.c_long(_numbers()[1]),
            ctypes.c_ulong(_KEYCTL_JOIN_SESSION_KEYRING),
            ctypes.c_char_p(None),
        ),
        "keyctl(JOIN_SESSION_KEYRING)",
    )


def fork_into_cgroup(cgroup_fd: int) -> int:
    """Fork, the child being born in the cgroup (v2) whose directory is open as `cgroup_fd`.

    Moving a process there later waits for an RCU grace period: 5-8 ms instead of 0.2.
    """
    return clone(CLONE_INTO_CGROUP, cgroup_fd)


def clone(flags: int, cgroup_fd: int = 0) -> int:
    """Fork with flags of clone3(2). The libc is not told: the child's `raise` and threads are
    unusable, until it has forked in the ordinary way."""
    # A child of our parent tells its end as we would tell ours.
    end = 0 if flags & CLONE_PARENT else signal.SIGCHLD
    # struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size,
    # tls, set_tid, set_tid_size, cgroup
    arguments = ctypes.create_string_buffer(
        struct.pack("=11Q", flags, 0, 0, 0, end, 0, 0, 0, 0, 0, cgroup_fd)
    )
    return _check(
        _libc.syscall(ctypes.c_long(_CLONE3), ctypes.byref(arguments), ctypes.c_size_t(88)),
        f"clone3({flags:#x})",
    )


def open_tree(path: str) -> int:
    """A detached copy of the mount at `path` and all below it. Linux 5.2."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    return _check(
        _libc.syscall(
            ctypes.c_long(_OPEN_TREE),
            ctypes.c_long(_AT_FDCWD),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.c_ulong(flags),
        ),
        f"open_tree({path})",
    )


def move_mount(tree: int, target: str | int) -> None:
    """Attach a detached mount, to a path or a directory's descriptor. Linux 5.2."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH
    if isinstance(target, int):
        where, path, flags = target, b"", flags | _MOVE_MOUNT_T_EMPTY_PATH
    else:
        where, path = _AT_FDCWD, os.fsencode(target)
    _check(
        _libc.syscall(
            ctypes.c_long(_MOVE_MOUNT),
            ctypes.c_long(tree),
            ctypes.c_char_p(b""),
            ctypes.c_long(where),
            ctypes.c_char_p(path),
            ctypes.c_ulong(flags),
        ),
        f"move_mount({target})",
    )


def restrict_mount(where: int | str, attributes: int) -> None:
    """Set MOUNT_ATTR_* on a mount, detached or at a path, and on all below it. Linux 5.12."""
    fd, path = (where, b"") if isinstance(where, int) else (_AT_FDCWD, os.fsencode(where))
    # struct mount_attr: attr_set, attr_clr, propagation, userns_fd
    wanted = ctypes.create_string_buffer(struct.pack("=4Q", attributes, 0, 0, 0))
    _check(
        _libc.syscall(
            ctypes.c_long(_MOUNT_SETATTR),
            ctypes.c_long(fd),
            ctypes.c_char_p(path),
            ctypes.c_ulong(_AT_EMPTY_PATH | _AT_RECURSIVE),
            ctypes.byref(wanted),
            ctypes.c_size_t(32),
        ),
        f"mount_setattr({where})",
    )


def populate(address: int, size: int) -> None:
    """Have these pages, as if each had been written to. Linux 5.14."""
    if _madvise(address, size, _MADV_POPULATE_WRITE):  # hundreds of times a start
        _check(-1, f"madvise({address:#x})")


def setns(namespace: int, kinds: int) -> None:
    """Enter that namespace; or, of a process that is open as a pidfd, all of these kinds at once.
    What was asked for of pid namespaces is for children. Linux 5.8 for processes."""
    _check(_libc.setns(namespace, kinds), f"setns({kinds:#x})")


def join_mounts(namespace: int) -> None:
    """Enter the mount namespace that is open as this descriptor."""
    setns(namespace, CLONE_NEWNS)


def join_network(namespace: int) -> None:
    """Enter the network namespace that is open as this descriptor."""
    setns(namespace, CLONE_NEWNET)


def new_proc() -> int:
    """A detached mount of a /proc for our pid namespace. Linux 5.2."""
    return _new_mount("proc", (), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)


def new_overlay(directories: list[int]) -> int:
    """A detached read-only mount that shows these open directories merged: at each name, the first
    that has it. At least two. Linux 5.11 for a user namespace; nothing is copied."""
    # By descriptor: such a text may have 255 bytes, and `:` would divide it.
    paths = [f"/proc/self/fd/{directory}" for directory in directories]
    flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV
    try:
        return _new_mount("overlay", [("lowerdir+", path) for path in paths], flags)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _new_mount("overlay", [("lowerdir", ":".join(paths))], flags)  # before Linux 6.7


def _new_mount(kind: str, settings: Sequence[tuple[str, str]], attributes: int) -> int:
    """A detached mount of a new file system. Linux 5.2."""
    name = ctypes.c_char_p(kind.encode())
    fd = _check(_libc.syscall(_long(_FSOPEN), name, _long(_FSOPEN_CLOEXEC)), f"fsopen({kind})")
    try:
        for key, value in settings:
            _configure(fd, _FSCONFIG_SET_STRING, key.encode(), value.encode())
        _configure(fd, _FSCONFIG_CMD_CREATE, None, None)
        mounted = _libc.syscall(
            _long(_FSMOUNT), _long(fd), _long(_FSMOUNT_CLOEXEC), _long(attributes)
        )
        return _check(mounted, f"fsmount({kind})")
    finally:
        os.close(fd)


def _configure(fd: int, command: int, key: bytes | None, value: bytes | None) -> None:
    texts = ctypes.c_char_p(key), ctypes.c_char_p(value)
    done = _libc.syscall(_long(_FSCONFIG), _long(fd), _long(command), *texts, _long(0))
    _check(done, f"fsconfig({key!r}, {value!r})")
