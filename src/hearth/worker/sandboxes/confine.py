"""How does a process give up what it may do, for good?

Capabilities, the way back to them, and system calls. Every function raises OSError with what
failed. Standard library only, and little of it: a zygote keeps what it has imported.
"""

import ctypes
import functools
import os
import struct
from typing import Final

CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_SETPCAP: Final = 8
CAP_NET_ADMIN: Final = 12
CAP_SYS_CHROOT: Final = 18
CAP_SYS_ADMIN: Final = 21

_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2
_VERSION_3: Final = 0x20080522
_CAPABILITIES_MAX: Final = 64
_FILTER_BYTES: Final = 8  # of one instruction

_libc = ctypes.PyDLL(None, use_errno=True)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def keep_only(capabilities: tuple[int, ...]) -> None:
    """Of what we have, keep these, also across exec, for us and all that we start."""
    _drop_bounds(capabilities)
    mask = sum(1 << number for number in capabilities)
    _set(mask, mask, mask)
    for number in capabilities:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, number)


def drop_all() -> None:
    """No capability is left, and none can come back: not by exec, not by a set-uid program."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _drop_bounds(())
    _set(0, 0, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(*, dumpable: bool) -> None:
    """Whether processes of the same uid may look into this one's memory and descriptors."""
    _prctl(_PR_SET_DUMPABLE, int(dumpable))


def filter_system_calls(instructions: bytes) -> None:
    """Install a seccomp filter. Only after drop_all()."""
    program = _Filter(len(instructions) // _FILTER_BYTES, instructions)
    if _libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_SECCOMP_MODE_FILTER), ctypes.byref(program)):
        _fail("PR_SET_SECCOMP")


def _drop_bounds(keep: tuple[int, ...]) -> None:
    for number in known_capabilities():
        if number not in keep:
            _prctl(_PR_CAPBSET_DROP, number)


@functools.cache
def known_capabilities() -> tuple[int, ...]:
    """All that this kernel has. A zygote asks once, for all that it forks."""
    found = []
    for number in range(_CAPABILITIES_MAX):
        if _libc.prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) < 0:
            break
        found.append(number)
    return tuple(found)


def _set(effective: int, permitted: int, inheritable: int) -> None:
    header = ctypes.create_string_buffer(struct.pack("=Ii", _VERSION_3, 0))
    halves = [
        half >> shift & 0xFFFFFFFF
        for shift in (0, 32)
        for half in (effective, permitted, inheritable)
    ]
    if _libc.capset(ctypes.byref(header), ctypes.create_string_buffer(struct.pack("=6I", *halves))):
        _fail("capset")


def _prctl(what: int, first: int, second: int = 0) -> None:
    long = ctypes.c_ulong
    if _libc.prctl(what, long(first), long(second), long(0), long(0)) < 0:
        _fail(f"prctl({what}, {first})")


def _fail(what: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, f"{what}: {os.strerror(code)}")
