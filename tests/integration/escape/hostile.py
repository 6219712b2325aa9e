"""What can a hostile function see and reach? Run inside a sandbox; prints one JSON object.

Standard library only. An attempt that works reports "OPEN" (or what it got); one that fails, the
error's name. argv[1] is JSON: what is there on the host to be reached, and `marker`.
"""

# Plain calls: what is refused here is refused by the kernel, not by a library.
# ruff: noqa: PTH102, PTH106, PTH108, PTH109, PTH115, PTH118, PTH123, PTH208

import array
import ctypes
import errno
import fcntl
import json
import mmap
import os
import platform
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

TARGETS = json.loads(sys.argv[1])
NUMBERS: dict[str, int] = TARGETS["numbers"]
libc = ctypes.CDLL(None, use_errno=True)
report: dict[str, Any] = {}


def attempt(name: str, what: Callable[[], Any]) -> None:
    try:
        report[name] = what()
    except OSError as error:
        report[name] = errno.errorcode.get(error.errno or 0, str(error))
    except ValueError as error:  # what the resource module makes of EPERM
        report[name] = str(error)


def call(name: str, *arguments: Any) -> str:
    """A system call by its number: no library in between."""
    wide = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(NUMBERS[name]), *wide)
    return "OPEN" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def in_child(what: Callable[[], Any]) -> str:
    """For attempts that may kill, or change what follows."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = what()
        except OSError as error:
            said = errno.errorcode.get(error.errno or 0, "?")
        os.write(write, str(said).encode())
        os._exit(0)
    os.close(write)
    said = os.read(read, 4096).decode()
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return f"killed by {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else said


def done(what: Callable[..., None], *arguments: Any) -> str:
    what(*arguments)
    return "OPEN"


def opened(path: str, flags: int) -> str:
    os.close(os.open(path, flags))
    return "OPEN"


def text(path: str) -> str:
    with open(path) as file:
        return file.read()


def writable(path: str) -> str:
    made = os.path.join(path, ".probe")
    os.close(os.open(made, os.O_CREAT | os.O_WRONLY, 0o600))
    os.unlink(made)
    return "OPEN"


def identity() -> None:
    status = dict(line.split(":\t", 1) for line in text("/proc/self/status").splitlines())
    report["uids"] = [os.getuid(), os.getgid(), *os.getresuid()]
    report["status"] = {
        name: status.get(name, "absent")
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
    }
    report["uid_map"] = text("/proc/self/uid_map").split()
    report["cgroups"] = [line.split(":", 2)[2] for line in text("/proc/self/cgroup").splitlines()]
    report["environment"] = dict(os.environ)
    report["cwd"] = os.getcwd()
    report["hostname"] = os.uname().nodename
    report["limits"] = {
        name: resource.getrlimit(getattr(resource, name))
        for name in ("RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_NPROC", "RLIMIT_MEMLOCK")
    }
    attempt("setuid 0", lambda: in_child(partial(done, os.setuid, 0)))
    attempt("setgroups", lambda: in_child(partial(done, os.setgroups, [0])))
    attempt("raise a limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096)))


def processes() -> None:
    report["processes"] = sorted(int(pid) for pid in os.listdir("/proc") if pid.isdigit())
    attempt("pid 1 environ", lambda: text("/proc/1/environ"))
    attempt("pid 1 descriptors", lambda: links("/proc/1/fd"))
    report["own descriptors"] = links("/proc/self/fd")
    if not TARGETS["own kernel"]:  # which lets it, and that is the end of this sandbox
        attempt("kill pid 1", partial(done, os.kill, 1, 9))


def links(directory: str) -> dict[str, str]:
    found = {}
    for name in os.listdir(directory):
        try:
            found[name] = os.readlink(f"{directory}/{name}")
        except OSError:
            continue  # the listing's own
    return found


def files() -> None:
    report["root"] = sorted(os.listdir("/"))
    report["dev"] = sorted(os.listdir("/dev"))
    report["etc"] = sorted(os.listdir("/etc"))
    report["tmp"] = sorted(os.listdir("/tmp"))
    mounts = [line.split() for line in text("/proc/self/mountinfo").splitlines()]
    report["mounts"] = [[row[4], row[3], row[5]] for row in mounts]
    for path in ("/sys", "/root", "/home", "/run", "/boot", "/host", TARGETS["directory"]):
        attempt(f"list {path}", partial(os.listdir, path))
    for path in ("/etc/shadow", "/dev/kmsg", "/proc/kcore", "/proc/sysrq-trigger", "/dev/mem"):
        attempt(f"read {path}", partial(opened, path, os.O_RDONLY))
    attempt("/proc/keys", lambda: text("/proc/keys"))
    attempt("/proc/kallsyms", lambda: text("/proc/kallsyms"))
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/sys/vm/drop_caches",
    ):
        attempt(f"write {path}", partial(opened, path, os.O_WRONLY))
    report["writable settings"] = [
        os.path.join(at, name)
        for at, _, names in os.walk("/proc/sys")
        for name in names
        if os.access(os.path.join(at, name), os.W_OK)
    ]
    report["writable directories"] = writable_directories()
    report["setuid mounts"] = [
        row[4]
        for row in mounts
        if "nosuid" not in row[5].split(",") and not row[4].startswith("/proc")
    ]
    attempt("make a device", partial(done, os.mknod, "/tmp/mem", 0o20600, os.makedev(1, 1)))
    attempt("chroot", lambda: in_child(partial(done, os.chroot, "/tmp")))
    attempt("chown", lambda: in_child(lambda: take_away("/tmp/mine")))


def take_away(path: str) -> str:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    os.chown(path, 0, 0)
    return "OPEN"


def writable_directories() -> list[str]:
    """Three levels deep, but without /proc."""
    found = []
    for at, names, _ in os.walk("/"):
        if at == "/":
            names.remove("proc")
        if at.count("/") >= 3:
            names.clear()
        try:
            writable(at)
        except OSError:
            continue
        found.append(at)
    return found


def network() -> None:
    report["interfaces"] = [name for _, name in socket.if_nameindex()]
    attempt("host loopback", lambda: connect(socket.AF_INET, ("127.0.0.1", TARGETS["port"])))
    attempt("host abstract", lambda: connect(socket.AF_UNIX, "\0" + TARGETS["abstract"]))
    attempt("host socket file", lambda: connect(socket.AF_UNIX, TARGETS["socket"]))
    attempt("metadata service", lambda: connect(socket.AF_INET, ("169.254.169.254", 80)))
    attempt("the internet", lambda: connect(socket.AF_INET, ("192.0.2.1", 80)))
    attempt("own loopback", own_loopback)
    attempt("api", lambda: connect(socket.AF_INET, ("169.254.100.1", 9001)))
    families = {
        "unix": (1, 1, 0),
        "inet6": (10, 1, 0),
        "netlink route": (16, 3, 0),
        "netlink netfilter": (16, 3, 12),
        "packet": (17, 3, 0),
        "raw": (2, 3, 1),
        "vsock": (40, 1, 0),
        "alg": (38, 5, 0),
        "bluetooth": (31, 3, 1),
        "vsock, high bits set": ((1 << 32) + 40, 1, 0),
        "netfilter, high bits set": ((1 << 32) + 16, 3, (1 << 32) + 12),
    }
    for name, arguments in families.items():
        report[f"socket {name}"] = call("socket", *arguments)


def connect(family: int, address: Any) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect(address)
    return "OPEN"


def own_loopback() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return connect(socket.AF_INET, server.getsockname())


def system_calls() -> None:
    some = ctypes.create_string_buffer(256)
    parent = os.getppid()
    namespaces = {"user": 0x10000000, "net": 0x40000000, "mount": 0x20000, "pid": 0x20000000}
    for name, flag in namespaces.items():
        report[f"unshare {name}"] = in_child(partial(call, "unshare", flag))
        report[f"clone {name}"] = in_child(partial(call, "clone", flag | 17, 0, 0, 0, 0))
    tries: dict[str, tuple[Any, ...]] = {
        "clone3": (some, 88),
        "setns": (0, 0),
        "mount": (some, b"/tmp", b"tmpfs", 0, 0),
        "umount2": (b"/tmp", 2),
        "pivot_root": (b"/", b"/tmp"),
        "open_tree": (0, b"/", 1),
        "move_mount": (0, b"", 0, b"/tmp", 4),
        "fsopen": (b"tmpfs", 0),
        "mount_setattr": (0, b"/", 0, some, 32),
        "ptrace": (0, 0, 0, 0),
        "process_vm_readv": (parent, 0, 0, 0, 0, 0),
        "process_vm_writev": (parent, 0, 0, 0, 0, 0),
        "pidfd_getfd": (0, 0, 0),
        "kcmp": (parent, os.getpid(), 0, 0, 0),
        "io_uring_setup": (1, some),
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
        "name_to_handle_at": (0, b"/", some, some, 0),
        "open_by_handle_at": (0, some, 0),
        "syslog": (10, 0, 0),
        "init_module": (some, 0, b""),
        "finit_module": (0, b"", 0),
        "kexec_load": (0, 0, 0, 0),
        "reboot": (0, 0, 0, 0),
        "swapon": (b"/tmp", 0),
        "acct": (0,),
        "quotactl": (0, 0, 0, 0),
        "fanotify_init": (0, 0),
        "settimeofday": (0, 0),
        "clock_settime": (0, some),
        "sethostname": (b"x", 1),
        "lookup_dcookie": (0, some, 1),
        "vmsplice": (0, 0, 0, 0),
        "memfd_secret": (0,),
    }
    for name, arguments in tries.items():
        if name in NUMBERS:
            report[f"call {name}"] = in_child(partial(call, name, *arguments))
    report["call newer than our tables"] = ask_number(4000)
    for name, request in (("TIOCSTI", 0x5412), ("TIOCSTI, high bits set", (1 << 32) + 0x5412)):
        report[f"ioctl {name}"] = call("ioctl", 0, request, some)
    report["ioctl harmless"] = harmless_ioctl()
    if platform.machine() == "x86_64":
        report["x32"] = in_child(lambda: ask_number(0x40000000 + 39))
        report["32-bit"] = in_child(thirty_two_bit)


def ask_number(number: int) -> str:
    result = libc.syscall(ctypes.c_long(number), 0, 0, 0, 0)
    return "OPEN" if result >= 0 else errno.errorcode.get(ctypes.get_errno(), "?")


def harmless_ioctl() -> str:
    read, write = os.pipe()
    os.write(write, b"abc")
    waiting = array.array("i", [0])
    fcntl.ioctl(read, 0x541B, waiting)  # FIONREAD
    return str(waiting[0])


def thirty_two_bit() -> str:
    """mov eax, 20 (getpid there); int 0x80; ret"""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8" + struct.pack("<I", 20) + b"\xcd\x80\xc3")
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return f"OPEN {ctypes.CFUNCTYPE(ctypes.c_int)(address)()}"


def sizes() -> None:
    """How much fits? Bounded here too, should nothing else bound it."""
    for path in ("/tmp", "/dev/shm"):
        report[f"MiB in {path}"] = fill(path, mib_max=200)
        report[f"files in {path}"] = litter(path, files_max=20_000)


def fill(path: str, mib_max: int) -> int:
    name, written = f"{path}/fill", 0
    fd = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        while written < mib_max << 20:
            written += os.write(fd, bytes(1 << 20))
    except OSError:
        pass
    os.close(fd)
    os.unlink(name)
    return written >> 20


def litter(path: str, files_max: int) -> int:
    directory = f"{path}/litter"
    os.mkdir(directory)
    made = 0
    try:
        while made < files_max:
            os.close(os.open(f"{directory}/{made}", os.O_CREAT | os.O_WRONLY, 0o600))
            made += 1
    except OSError:
        pass
    for number in range(made):
        os.unlink(f"{directory}/{number}")
    os.rmdir(directory)
    return made


for part in (identity, processes, files, network, system_calls, sizes):
    part()
sys.stdout.write(json.dumps(report) + "\n")
sys.stdout.flush()
time.sleep(60)  # be looked at from outside, until killed
