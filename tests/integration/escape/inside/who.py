"""Can it become somebody else, or do something to other processes?"""

# ruff: noqa: PTH108, PTH208

import ctypes
import os
import resource
import signal
import struct

from integration.escape.inside.common import (
    TARGETS,
    answer,
    attempt,
    call,
    content,
    facts,
    in_child,
    libc,
    links,
    opened,
    text,
    written,
)

CAP_SYS_ADMIN = 21


def run() -> None:
    identity()
    privileges()
    processes()
    priorities()


def identity() -> None:
    rows = [line.split(":\t", 1) for line in text("/proc/self/status").splitlines()]
    status = {row[0]: row[1] for row in rows if len(row) == 2}
    names = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    facts["uids"] = [os.getuid(), os.getgid(), *os.getresuid()]
    facts["status"] = {name: status.get(name, "absent") for name in names}
    attempt("find more privileges in pid 1", privileges_of_init, facts["status"])
    facts["uid_map"] = text("/proc/self/uid_map").split()
    facts["cgroups"] = [line.split(":", 2)[2] for line in text("/proc/self/cgroup").splitlines()]
    facts["environment"] = dict(os.environ)
    facts["cwd"] = os.getcwd()  # noqa: PTH109
    facts["hostname"] = os.uname().nodename
    facts["limits"] = {
        name: resource.getrlimit(getattr(resource, name))
        for name in ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_MEMLOCK")
    }


def privileges_of_init(own: dict[str, str]) -> str:
    """Whoever can write its memory has them."""
    rows = [line.split(":\t", 1) for line in text("/proc/1/status").splitlines()]
    its = {row[0]: row[1] for row in rows if len(row) == 2}
    return "the same" if {name: its.get(name, "absent") for name in own} == own else "OPEN"


def privileges() -> None:
    attempt("become root", in_child, os.setuid, 0)
    attempt("become another sandbox's user", in_child, os.setuid, 200_001)
    attempt("become root's group", in_child, os.setgid, 0)
    attempt("join groups", in_child, os.setgroups, [0])
    attempt("give a file to root", in_child, give_away, "/tmp/mine")
    attempt("take all capabilities", in_child, take_capabilities)
    attempt("raise an ambient capability", in_child, prctl, 47, 2, CAP_SYS_ADMIN)
    attempt("clear no-new-privileges", in_child, prctl, 38, 0, 0)
    attempt("switch seccomp off", in_child, prctl, 22, 0, 0)
    attempt("map root into the user namespace", in_child, written, "/proc/self/uid_map", b"0 0 1")
    attempt("map root's group", in_child, written, "/proc/self/gid_map", b"0 0 1")
    attempt("allow setgroups", in_child, written, "/proc/self/setgroups", b"allow")
    limit = (resource.RLIMIT_NOFILE, (1 << 20, 1 << 20))
    attempt("raise the limit on descriptors", resource.setrlimit, *limit)
    core = (resource.RLIMIT_CORE, (1 << 30, 1 << 30))
    attempt("raise the limit on core dumps", resource.setrlimit, *core)


def give_away(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    try:
        os.chown(path, 0, 0)
    finally:
        os.unlink(path)


def take_capabilities() -> str:
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    return call("capset", header, ctypes.create_string_buffer(b"\xff" * 24))


def prctl(what: int, first: int, second: int) -> str:
    wide = ctypes.c_ulong
    return answer(libc.prctl(what, wide(first), wide(second), wide(0), wide(0)))


def processes() -> None:
    facts["processes"] = sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit())
    facts["own descriptors"] = links("/proc/self/fd")
    try:
        facts["pid 1 descriptors"] = links("/proc/1/fd")
    except PermissionError:
        facts["pid 1 descriptors"] = "EACCES"
    attempt("read the environment of pid 1", content, "/proc/1/environ")
    attempt("read the memory of pid 1", read_memory_of_init)
    attempt("write the memory of pid 1", opened, "/proc/1/mem", os.O_WRONLY)
    attempt("leave through pid 1's root", os.listdir, "/proc/1/root/root")
    attempt("leave through pid 1's directory", os.listdir, "/proc/1/cwd/../../../root")
    if not TARGETS["own kernel"]:  # which lets it, and that is the end of this sandbox
        attempt("kill pid 1", signal_init, signal.SIGKILL)
        attempt("stop pid 1", signal_init, signal.SIGSTOP)
    worker, neighbour = TARGETS["worker"], TARGETS["neighbour"]
    attempt("signal the worker by its number", os.kill, worker, 0)
    attempt("signal the other sandbox by its number", os.kill, neighbour, 0)
    attempt("hold the worker by a pidfd", os.pidfd_open, worker)
    attempt("read the worker's environment", content, f"/proc/{worker}/environ")
    attempt("signal the launcher's group", os.kill, -worker, 0)


def read_memory_of_init() -> str:
    start = int(text("/proc/1/maps").partition("-")[0] or "0", 16)
    fd = os.open("/proc/1/mem", os.O_RDONLY)
    try:
        return "OPEN" if os.pread(fd, 64, start) else "empty"
    finally:
        os.close(fd)


def signal_init(number: int) -> str:
    """From inside, the kernel drops what pid 1 of a namespace does not handle."""
    os.kill(1, number)
    state = text("/proc/1/stat").rpartition(")")[2].split()[0]
    return f"state {state}" if state in "TtZX" else "ignored"


def priorities() -> None:
    attempt("real-time scheduling", in_child, real_time)
    attempt("a better nice value", in_child, os.setpriority, os.PRIO_PROCESS, 0, -20)
    attempt("real-time disk access", in_child, call, "ioprio_set", 1, 0, 1 << 13)
    attempt("survive others when memory runs out", written, "/proc/self/oom_score_adj", b"-1000")
    attempt("lock much memory", in_child, lock_memory, 1 << 20)


def real_time() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def lock_memory(size: int) -> str:
    return answer(libc.mlock(ctypes.create_string_buffer(size), ctypes.c_size_t(size)))
