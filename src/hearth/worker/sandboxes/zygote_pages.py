"""Which pages of a zygote will its forks write to? Those that a dress rehearsal wrote to.

A fork shares all pages with its zygote until it writes to one; then a fault copies it, at a
microsecond or three. A function's start makes 500 such faults, most of them by counting references.
So a throw-away fork of the zygote is a function once, from its import to its first answer, and
tells which pages are its own by then; real forks have the kernel copy these at once, without
faults.

Standard library only, and little of it: a zygote keeps what it has imported.
"""

import array
import errno
import json
import os
from typing import Callable  # noqa: UP035 - imports less

from hearth.worker.sandboxes import linux

_PRESENT = 1 << 63
_OF_FILE = 1 << 61
_OURS_ONLY = 1 << 56
_TURNS = 2
"""In the first, byte code is written that the second finds, as deployed functions find theirs."""


def learn(rehearse: "Callable[[str], None]", directory: str) -> "list[list[int]]":
    """Address and size of what rehearse() writes to, of what we have. Nothing stays in
    `directory`. Raises OSError."""
    before = _areas()
    found: list[list[int]] = []
    os.mkdir(directory)  # noqa: PTH102 - pathlib is large
    try:
        for _ in range(_TURNS):
            found = _turn(rehearse, directory, before)
    finally:
        for place, directories, files in os.walk(directory, topdown=False):
            for name in files:
                os.unlink(f"{place}/{name}")  # noqa: PTH108
            for name in directories:
                os.rmdir(f"{place}/{name}")  # noqa: PTH106
        os.rmdir(directory)  # noqa: PTH106
    return found


def _turn(
    rehearse: "Callable[[str], None]", directory: str, areas: "list[tuple[int, int]]"
) -> "list[list[int]]":
    told, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _rehearse(rehearse, directory, areas, telling)
    os.close(telling)
    with open(told, "rb") as file:  # noqa: PTH123
        text = file.read()
    os.waitpid(pid, 0)
    if not text:
        raise OSError(0, "the dress rehearsal failed")
    pages: list[list[int]] = json.loads(text)
    return pages


def _rehearse(
    rehearse: "Callable[[str], None]", directory: str, areas: "list[tuple[int, int]]", telling: int
) -> None:
    try:
        rehearse(directory)
        os.write(telling, json.dumps(_own_pages(areas)).encode())
    finally:
        os._exit(0)


def populate(pages: "list[list[int]]") -> None:
    """Before a kernel that can (5.14) each page is copied when it is first written to."""
    try:
        for address, size in pages:
            linux.populate(address, size)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOMEM, errno.EFAULT}:
            raise


def _areas() -> "list[tuple[int, int]]":
    """What can be written to, and is not a file's."""
    found = []
    with open("/proc/self/maps", "rb") as file:  # noqa: PTH123
        for line in file:
            area, rights = line.split()[:2]
            if rights == b"rw-p":
                first, last = (int(end, 16) for end in area.split(b"-"))
                found.append((first, last))
    return found


def _own_pages(areas: "list[tuple[int, int]]") -> "list[list[int]]":
    """Those of `areas` that no other process has, one after another as one."""
    page = os.sysconf("SC_PAGE_SIZE")
    found: list[list[int]] = []
    with open("/proc/self/pagemap", "rb", 0) as file:  # noqa: PTH123
        for first, last in areas:
            file.seek(first // page * 8)
            entries = array.array("Q", file.read((last - first) // page * 8))
            for number, entry in enumerate(entries):
                if not entry & _PRESENT or not entry & _OURS_ONLY or entry & _OF_FILE:
                    continue
                address = first + number * page
                if found and sum(found[-1]) == address:
                    found[-1][1] += page
                else:
                    found.append([address, page])
    return found
