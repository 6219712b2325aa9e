"""How much does it get of what it can take? Bounded here too, should nothing else bound it."""

# ruff: noqa: PTH102, PTH106, PTH108

import contextlib
import fcntl
import os
import signal
import threading

from integration.escape.inside.common import TARGETS, attempt, facts, in_child, libc

PROCESSES_MAX = TARGETS.get("processes max", 0) + 200
DESCRIPTORS_MAX = 5_000
WATCHERS_MAX = 2_000
MIB_MAX = 200
FILES_MAX = 20_000


def run() -> None:
    for path in ("/tmp", "/dev/shm"):
        facts[f"MiB in {path}"] = fill(path)
        facts[f"files in {path}"] = litter(path)
    if not TARGETS["own kernel"]:  # whose own threads are counted too: it ends, with this sandbox
        if PROCESSES_MAX < 500:  # else Python's many pages would be too much first; native.c forks
            attempt("fork without end", in_child, forks)
        attempt("start threads without end", in_child, threads)
    attempt("open files without end", in_child, descriptors)
    attempt("watch files without end", in_child, watchers)
    attempt("make a pipe of 8 MB", in_child, wide_pipe)


def fill(path: str) -> int:
    name, written = f"{path}/fill", 0
    fd = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
    with contextlib.suppress(OSError):
        while written < MIB_MAX << 20:
            written += os.write(fd, bytes(1 << 20))
    os.close(fd)
    os.unlink(name)
    return written >> 20


def litter(path: str) -> int:
    directory = f"{path}/litter"
    os.mkdir(directory)
    made = 0
    with contextlib.suppress(OSError):
        while made < FILES_MAX:
            os.close(os.open(f"{directory}/{made}", os.O_CREAT | os.O_WRONLY, 0o600))
            made += 1
    for number in range(made):
        os.unlink(f"{directory}/{number}")
    os.rmdir(directory)
    return made


def forks() -> None:
    children: list[int] = []
    try:
        for _ in range(PROCESSES_MAX):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def threads() -> str:
    end = threading.Event()
    try:
        for _ in range(PROCESSES_MAX):
            threading.Thread(target=end.wait, daemon=True).start()
    except RuntimeError:  # what Python makes of EAGAIN
        return "EAGAIN"
    finally:
        end.set()
    return "OPEN"


def descriptors() -> None:
    for _ in range(DESCRIPTORS_MAX):
        os.dup(0)


def watchers() -> None:
    for _ in range(WATCHERS_MAX):
        if libc.inotify_init() < 0:
            raise OSError(24, "too many")


def wide_pipe() -> None:
    read, _ = os.pipe()
    fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 8 << 20)
