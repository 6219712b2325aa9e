"""Can it read, write or watch what is the host's, the function's code, or another sandbox's?"""

# ruff: noqa: PTH108
# ruff: noqa: PTH118, PTH208

import ctypes
import fcntl
import mmap
import os
from functools import partial

from integration.escape.inside.common import (
    TARGETS,
    answer,
    attempt,
    call,
    content,
    facts,
    in_child,
    libc,
    opened,
    text,
    written,
)

CODE = "/var/task/integration/escape/inside/hostile.py"
DEVICES = "mem kmem port kmsg sda vda nvme0n1 loop0 loop-control fuse kvm vsock vhost-net"
DEVICES += " net/tun ptmx tty tty0 console mapper/control rtc0 input/event0 dri/card0 userfaultfd"
SETTINGS = "kernel/core_pattern kernel/modprobe kernel/panic kernel/sysrq kernel/hotplug"
SETTINGS += " kernel/kptr_restrict kernel/randomize_va_space vm/drop_caches vm/overcommit_memory"
SETTINGS += " vm/mmap_min_addr fs/file-max fs/suid_dumpable net/ipv4/ip_forward"
SECRETS = "kcore kmsg keys key-users kallsyms slabinfo vmallocinfo pagetypeinfo kpagecount"
SECRETS += " kpageflags kpagecgroup timer_list sched_debug"
CONTROLS = "sysrq-trigger irq/default_smp_affinity mtrr latency_stats acpi/wakeup"
IN_CREAT_ALL = 0xFFF


def run() -> None:
    sights()
    hosts_files()
    code()
    shared()


def sights() -> None:
    facts["root"] = sorted(os.listdir("/"))
    facts["dev"] = sorted(os.listdir("/dev"))
    facts["etc"] = sorted(os.listdir("/etc"))
    facts["tmp"] = sorted(os.listdir("/tmp"))
    mounts = [line.split() for line in text("/proc/self/mountinfo").splitlines()]
    facts["mounts"] = [[row[4], row[3], row[5]] for row in mounts]
    facts["writable settings"] = [
        os.path.join(at, name)
        for at, _, names in os.walk("/proc/sys")
        for name in names
        if os.access(os.path.join(at, name), os.W_OK)
    ]
    facts["writable directories"] = writable_directories()
    facts["setuid mounts"] = [
        row[4]
        for row in mounts
        if "nosuid" not in row[5].split(",") and not row[4].startswith("/proc")
    ]


def writable_directories() -> list[str]:
    """Three levels deep, but without /proc."""
    found = []
    for at, names, _ in os.walk("/"):
        if at == "/":
            names.remove("proc")
        if at.count("/") >= 3:
            names.clear()
        try:
            made = os.path.join(at, ".probe")
            os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o600))
            os.unlink(made)
        except OSError:
            continue
        found.append(at)
    return found


def hosts_files() -> None:
    for path in ("/sys", "/root", "/home", "/run", "/boot", "/host", "/outside", "/mnt", "/srv"):
        attempt(f"list {path}", os.listdir, path)
    attempt("list the worker's directory", os.listdir, TARGETS["directory"])
    attempt("list Hearth's state", os.listdir, "/var/lib/hearth")
    attempt("list the host's cgroups", os.listdir, "/sys/fs/cgroup")
    attempt("climb out by ..", climb)
    for path in ("/etc/shadow", "/etc/machine-id", "/etc/hostname"):
        attempt(f"read {path}", opened, path, os.O_RDONLY)
    for name in SECRETS.split():
        attempt(f"read /proc/{name}", content, f"/proc/{name}")
    for name in DEVICES.split():
        attempt(f"open /dev/{name}", opened, f"/dev/{name}", os.O_RDONLY | os.O_NONBLOCK)
    for name in SETTINGS.split():
        attempt(f"write /proc/sys/{name}", opened, f"/proc/sys/{name}", os.O_WRONLY)
    for name in CONTROLS.split():
        attempt(f"write /proc/{name}", opened, f"/proc/{name}", os.O_WRONLY)
    make = partial(in_child, os.mknod)
    attempt("make a memory device", make, "/tmp/mem", 0o20600, os.makedev(1, 1))
    attempt("make a disk device", make, "/tmp/disk", 0o60600, os.makedev(8, 0))
    attempt("chroot", in_child, os.chroot, "/tmp")


def climb() -> str:
    fd = os.open("/", os.O_RDONLY)
    try:
        os.fchdir(fd)
        os.chdir("../" * 20)
        return "own root" if os.listdir(".") == os.listdir("/") else "OPEN"
    finally:
        os.close(fd)
        os.chdir("/var/task")


def code() -> None:
    """Files of which every sandbox sees the same pages."""
    attempt("overwrite the function's code", opened, CODE, os.O_WRONLY)
    attempt("add to the function's code", opened, "/var/task/new.py", os.O_WRONLY | os.O_CREAT)
    attempt("delete the function's code", os.unlink, CODE)
    attempt(
        "rename the function's code",
        os.rename,
        CODE,
        "/var/task/integration/escape/inside/other.py",
    )
    attempt("truncate the function's code", os.truncate, CODE, 0)
    attempt("change the mode of the code", os.chmod, CODE, 0o777)
    attempt("change the time of the code", os.utime, CODE, (0, 0))
    attempt("label the function's code", os.setxattr, CODE, "user.probe", b"x")
    attempt("map the code to be written", map_shared, CODE)
    attempt("link the code into /tmp", os.link, CODE, "/tmp/linked")
    attempt("lease the function's code", lease, CODE)
    attempt("overwrite the interpreter", opened, "/proc/self/exe", os.O_WRONLY)
    attempt("overwrite the C library", opened, c_library(), os.O_WRONLY)
    attempt("map the C library to be written", map_shared, c_library())
    attempt("write through /proc/self/map_files", write_map_file)
    for path in ("/etc/passwd", "/etc/ld.so.cache", "/usr/bin/env"):
        attempt(f"overwrite {path}", opened, path, os.O_WRONLY)
    for path in ("/usr/lib", "/opt", "/var", "/etc", "/dev", "/proc"):
        attempt(f"make a file in {path}", opened, f"{path}/probe", os.O_WRONLY | os.O_CREAT)


def c_library() -> str:
    paths = (line.split()[-1] for line in text("/proc/self/maps").splitlines())
    return next(path for path in paths if "/libc." in path or "/libc-" in path)


def map_shared(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        mmap.mmap(fd, 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()
    finally:
        os.close(fd)


def lease(path: str) -> None:
    """Whoever opens a leased file waits for its holder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    finally:
        os.close(fd)


def write_map_file() -> None:
    line = next(line for line in text("/proc/self/maps").splitlines() if c_library() in line)
    opened(f"/proc/self/map_files/{line.split()[0]}", os.O_WRONLY)


def shared() -> None:
    """What several sandboxes might have in common."""
    attempt("find the other sandbox's file in /tmp", os.stat, "/tmp/neighbours")
    attempt("find the other sandbox's file in /dev/shm", os.stat, "/dev/shm/neighbours")
    attempt("find the host's file in /dev/shm", os.stat, f"/dev/shm/{TARGETS['marker']}")
    attempt("attach the host's shared memory", call, "shmget", TARGETS["shm key"], 0, 0)
    attempt("open the host's message queue", call, "mq_open", TARGETS["marker"].encode(), 0, 0, 0)
    attempt("move itself to another cgroup", written, "/sys/fs/cgroup/cgroup.procs", b"0")
    attempt("lock a file that all share", in_child, lock, "/usr/bin/env")
    attempt("watch a file that all share", in_child, watch, b"/usr/bin/env")


def lock(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def watch(path: bytes) -> str:
    fd = libc.inotify_init()
    return answer(libc.inotify_add_watch(fd, ctypes.c_char_p(path), IN_CREAT_ALL))
