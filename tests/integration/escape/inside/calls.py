"""Which system calls answer? Each with arguments that would do no harm if it did."""

import array
import ctypes
import fcntl
import mmap
import os
import platform
import struct
from typing import Any

from integration.escape.inside.common import (
    NUMBERS,
    TARGETS,
    attempt,
    call,
    in_child,
    number_called,
)

NAMESPACES = {
    "user": 0x10000000,
    "net": 0x40000000,
    "mount": 0x20000,
    "pid": 0x20000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
    "time": 0x80,
}
TIOCSTI, TIOCLINUX, FIONREAD = 0x5412, 0x541C, 0x541B


def run() -> None:
    for name, flag in NAMESPACES.items():
        attempt(f"unshare: {name}", in_child, call, "unshare", flag)
        # For time, clone has no bit; and gVisor's parent may go on with its child's registers.
        if name != "time" and not TARGETS["own kernel"]:
            attempt(f"clone: {name}", in_child, call, "clone", flag | 17, 0, 0, 0, 0)
    for name, arguments in calls().items():
        if name in NUMBERS:
            attempt(f"call: {name}", in_child, call, name, *arguments)
    attempt("call: newer than our tables", number_called, 4000, 0, 0, 0, 0)
    some = ctypes.create_string_buffer(256)
    attempt("type into the terminal", call, "ioctl", 0, TIOCSTI, some)
    attempt("type into the terminal, high bits set", call, "ioctl", 0, (1 << 32) + TIOCSTI, some)
    attempt("use the console's selection", call, "ioctl", 0, TIOCLINUX, some)
    attempt("a harmless ioctl", harmless_ioctl)
    if platform.machine() == "x86_64":
        attempt("a call of x32", in_child, number_called, 0x40000000 + 39, 0, 0, 0, 0)
        attempt("a call of 32 bits", in_child, thirty_two_bit)


def calls() -> dict[str, tuple[Any, ...]]:
    some = ctypes.create_string_buffer(256)
    parent = os.getppid()
    return {
        "clone3": (some, 88),
        "setns": (0, 0),
        "mount": (some, b"/tmp", b"tmpfs", 0, 0),
        "umount2": (b"/tmp", 2),
        "pivot_root": (b"/", b"/tmp"),
        "open_tree": (0, b"/", 1),
        "move_mount": (0, b"", 0, b"/tmp", 4),
        "fsopen": (b"tmpfs", 0),
        "fsconfig": (0, 0, 0, 0, 0),
        "fsmount": (0, 0, 0),
        "fspick": (0, b"/", 0),
        "mount_setattr": (0, b"/", 0, some, 32),
        "ptrace": (0, 0, 0, 0),
        "process_vm_readv": (parent, 0, 0, 0, 0, 0),
        "process_vm_writev": (parent, 0, 0, 0, 0, 0),
        "process_madvise": (0, 0, 0, 0, 0),
        "process_mrelease": (0, 0),
        "pidfd_getfd": (0, 0, 0),
        "kcmp": (parent, os.getpid(), 0, 0, 0),
        "io_uring_setup": (1, some),
        "io_uring_enter": (0, 0, 0, 0, 0, 0),
        "io_uring_register": (0, 0, 0, 0),
        "userfaultfd": (1,),
        "bpf": (0, some, 72),
        "perf_event_open": (some, 0, -1 & 0xFFFFFFFF, -1 & 0xFFFFFFFF, 0),
        "keyctl": (0, 0xFFFFFFFD, 0),
        "add_key": (b"user", b"k", b"v", 1, 0xFFFFFFFD),
        "request_key": (b"user", b"k", 0, 0),
        "personality": (0x40000,),
        "mbind": (0, 0, 0, 0, 0, 0),
        "move_pages": (0, 0, 0, 0, 0, 0),
        "migrate_pages": (0, 0, 0, 0),
        "set_mempolicy": (0, 0, 0),
        "get_mempolicy": (0, 0, 0, 0, 0),
        "name_to_handle_at": (0, b"/", some, some, 0),
        "open_by_handle_at": (0, some, 0),
        "syslog": (10, 0, 0),
        "init_module": (some, 0, b""),
        "finit_module": (0, b"", 0),
        "delete_module": (b"", 0),
        "kexec_load": (0, 0, 0, 0),
        "kexec_file_load": (0, 0, 0, 0, 0),
        "reboot": (0, 0, 0, 0),
        "swapon": (b"/tmp", 0),
        "swapoff": (b"/tmp",),
        "acct": (b"/nowhere",),
        "quotactl": (0, 0, 0, 0),
        "quotactl_fd": (0, 0, 0, 0),
        "fanotify_init": (0, 0),
        "fanotify_mark": (0, 0, 0, 0, 0),
        "settimeofday": (0, 0),
        "clock_settime": (99, some),
        "clock_adjtime": (99, some),
        "adjtimex": (0,),
        "sethostname": (b"x", 1),
        "setdomainname": (b"x", 1),
        "lookup_dcookie": (0, some, 1),
        "vmsplice": (0, 0, 0, 0),
        "memfd_secret": (0,),
        "iopl": (3,),
        "ioperm": (0, 1, 1),
        "modify_ldt": (0, some, 1),
        "vhangup": (),
        "ustat": (0, some),
        "sysfs": (3,),
        "uselib": (b"",),
        "nfsservctl": (0, 0, 0),
        "statmount": (some, some, 0, 0),
        "listmount": (some, some, 0, 0),
        "lsm_set_self_attr": (0, 0, 0, 0),
    }


def harmless_ioctl() -> str:
    read, write = os.pipe()
    os.write(write, b"abc")
    waiting = array.array("i", [0])
    fcntl.ioctl(read, FIONREAD, waiting)
    os.close(read)
    os.close(write)
    return str(waiting[0])


def thirty_two_bit() -> str:
    """mov eax, 20 (getpid there); int 0x80; ret"""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8" + struct.pack("<I", 20) + b"\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return f"OPEN {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"
