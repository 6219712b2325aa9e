"""What every part of the hostile program needs: one attempt, and what came of it.

Standard library only. An attempt that works is "OPEN"; one that fails is the error's name.
"""

# Plain calls: what is refused here is refused by the kernel, not by a library.
# ruff: noqa: PTH115, PTH123, PTH208

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable
from typing import Any

TARGETS = json.loads(sys.argv[1])
"""What there is on the host to be reached."""
NUMBERS: dict[str, int] = TARGETS["numbers"]
libc = ctypes.CDLL(None, use_errno=True)
facts: dict[str, Any] = {}
attempts: dict[str, str] = {}


def attempt(name: str, what: Callable[..., Any], *arguments: Any) -> None:
    """A text that `what` returns is the outcome; whatever else it returns, it has worked."""
    assert name not in attempts, name
    attempts[name] = outcome(what, *arguments)


def outcome(what: Callable[..., Any], *arguments: Any) -> str:
    try:
        said = what(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except ValueError as error:  # what the resource module makes of EPERM
        return str(error)
    return said if isinstance(said, str) else "OPEN"


def call(name: str, *arguments: Any) -> str:
    """A system call by its number: no library in between."""
    return number_called(NUMBERS[name], *arguments)


def number_called(number: int, *arguments: Any) -> str:
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    return answer(libc.syscall(ctypes.c_long(number), *wide))


def answer(result: int) -> str:
    """Of a function of the C library."""
    return "OPEN" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def in_child(what: Callable[..., Any], *arguments: Any) -> str:
    """For attempts that may kill, or change what follows."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        os.write(write, outcome(what, *arguments).encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return f"killed by {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else said


def opened(path: str, flags: int) -> None:
    os.close(os.open(path, flags | os.O_CLOEXEC))


def written(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def text(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()


def content(path: str) -> str:
    """Whether there is anything in it."""
    return "OPEN" if text(path).strip("\0\n ") else "empty"


def links(directory: str) -> dict[str, str]:
    found = {}
    for name in os.listdir(directory):
        try:
            found[name] = os.readlink(f"{directory}/{name}")
        except OSError:
            continue  # the listing's own
    return found
