"""What does a hostile function try, what must come of it, and why? The one table.

docs/escape-probe.md is made from it (tools/escape_probe.py), and tests/integration/
test_escape_probe.py holds every tier to it. An outcome is an error's name, or a word of the
attempt's own; OPEN means that it works, and then the reason says why that does no harm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

MISSING = "ENOENT"
REFUSED = "EPERM"


@dataclass(frozen=True, slots=True)
class Attempt:
    name: str
    allowed: tuple[str, ...]
    """Any of these outcomes."""
    reason: str
    only: str = ""
    """The tiers in which `allowed` holds; another row has the others."""

    def allows(self, outcome: str) -> bool:
        return outcome in self.allowed or outcome.replace(" ", "-") in self.allowed


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    attempts: tuple[Attempt, ...]


def group(title: str, *parts: tuple[Attempt, ...]) -> Group:
    return Group(title, tuple(attempt for part in parts for attempt in part))


def rows(allowed: str, reason: str, *names: str, only: str = "") -> tuple[Attempt, ...]:
    """Several with the same outcome, for the same reason."""
    return tuple(Attempt(name, tuple(allowed.split()), reason, only) for name in names)


def words(prefix: str, text: str) -> list[str]:
    return [prefix + word for word in text.split()]


IDENTITY = group(
    "Become somebody else",
    rows(
        "EINVAL EPERM",
        "its user namespace has one uid and one gid, and neither is 0",
        "become root",
        "become another sandbox's user",
        "become root's group",
        "give a file to root",
    ),
    rows("EPERM", "setgroups is denied in its user namespace", "join groups"),
    rows(
        "EPERM",
        "it has no capabilities, and its bounding set is empty",
        "take all capabilities",
        "raise an ambient capability",
    ),
    rows(
        "EINVAL",
        "the kernel knows no way back from either",
        "clear no-new-privileges",
        "switch seccomp off",
        "C: switch the filter off",
    ),
    rows(
        "EPERM EACCES",
        "the maps of a user namespace are written once",
        "map root into the user namespace",
        "map root's group",
        "allow setgroups",
    ),
    (
        Attempt(
            "raise the limit on descriptors",
            ("not allowed to raise maximum limit",),
            "raising a hard limit takes CAP_SYS_RESOURCE",
        ),
        Attempt(
            "raise the limit on core dumps",
            ("not allowed to raise maximum limit",),
            "a core dump may go to a handler that runs as the host's root",
        ),
    ),
)

PROCESSES = group(
    "Other processes",
    rows("the-same", "pid 1 inside is as confined as it is", "find more privileges in pid 1"),
    rows(
        "empty EACCES",
        "bubblewrap is started without an environment; a zygote's init cannot be dumped",
        "read the environment of pid 1",
    ),
    rows(
        "EACCES EPERM",
        "pid 1 cannot be dumped, so its files of /proc are for root",
        "read the memory of pid 1",
        "write the memory of pid 1",
        "leave through pid 1's root",
        "leave through pid 1's directory",
        "C: join pid 1's user namespace",
        only="zygote runc crun",
    ),
    rows(
        "OPEN EACCES",
        "bubblewrap's pid 1 has no more privileges, namespaces or files than it has itself",
        "read the memory of pid 1",
        "write the memory of pid 1",
        only="bubblewrap",
    ),
    rows(
        "ENOENT EACCES",
        "pid 1 has the same root",
        "leave through pid 1's root",
        "leave through pid 1's directory",
        only="bubblewrap",
    ),
    rows(
        "EPERM EACCES",
        "setns is refused by the filter",
        "C: join pid 1's user namespace",
        only="bubblewrap",
    ),
    rows(
        "ignored",
        "a pid namespace's first process hears only the signals that it handles",
        "kill pid 1",
        "stop pid 1",
    ),
    rows(
        "ESRCH",
        "its pid namespace has no number for processes outside",
        "signal the worker by its number",
        "signal the other sandbox by its number",
        "signal the launcher's group",
        "hold the worker by a pidfd",
    ),
    rows("ENOENT", "its /proc shows its own pid namespace", "read the worker's environment"),
    rows(
        "EPERM",
        "the filter refuses ptrace and its relatives",
        "C: trace its parent",
        "C: trace pid 1",
        "C: be traced",
        "C: read its parent's memory",
        "C: write its parent's memory",
        "C: take its parent's descriptor",
    ),
    rows("ECHILD", "pid 1 is nobody's child inside", "C: wait for pid 1"),
    rows(
        "EPERM EACCES",
        "priorities above the usual take CAP_SYS_NICE",
        "real-time scheduling",
        "a better nice value",
        "real-time disk access",
    ),
    rows(
        "EACCES",
        "a lower score takes CAP_SYS_RESOURCE: sandboxes go before Hearth does",
        "survive others when memory runs out",
    ),
    rows("ENOMEM EPERM", "RLIMIT_MEMLOCK is 64 KiB, as in Lambda", "lock much memory"),
)

FILES = group(
    "The host's files",
    rows(
        MISSING,
        "its root holds /usr, a made /etc, /dev and /proc, and its own directories only",
        *words("list ", "/sys /root /home /run /boot /host /outside /mnt /srv"),
        "list the worker's directory",
        "list Hearth's state",
        "list the host's cgroups",
        *words("read /etc/", "shadow machine-id hostname"),
    ),
    rows("own-root", "the root of a mount namespace has nothing above it", "climb out by .."),
    rows(
        "ENOENT EACCES EPERM empty",
        "covered by an empty file, or for the host's root only",
        *words("read /proc/", "kcore kmsg keys key-users kallsyms slabinfo vmallocinfo"),
        *words("read /proc/", "pagetypeinfo kpagecount kpageflags kpagecgroup timer_list"),
        "read /proc/sched_debug",
    ),
    rows(
        MISSING,
        "/dev holds null, zero, full, random and urandom",
        *words("open /dev/", "mem kmem port kmsg sda vda nvme0n1 loop0 loop-control fuse kvm"),
        *words("open /dev/", "vsock vhost-net net/tun ptmx tty tty0 console mapper/control rtc0"),
        *words("open /dev/", "input/event0 dri/card0 userfaultfd"),
    ),
    rows(
        "EACCES EROFS ENOENT EPERM",
        "the kernel's settings are for uid 0 of the host, which it never is",
        *words("write /proc/sys/kernel/", "core_pattern modprobe panic sysrq hotplug"),
        *words("write /proc/sys/kernel/", "kptr_restrict randomize_va_space"),
        *words("write /proc/sys/vm/", "drop_caches overcommit_memory mmap_min_addr"),
        *words("write /proc/sys/fs/", "file-max suid_dumpable"),
        "write /proc/sys/net/ipv4/ip_forward",
        *words("write /proc/", "sysrq-trigger irq/default_smp_affinity mtrr latency_stats"),
        "write /proc/acpi/wakeup",
    ),
    rows(
        "EPERM",
        "device nodes take CAP_MKNOD, and its mounts are nodev",
        "make a memory device",
        "make a disk device",
    ),
    rows("EPERM", "refused by the filter, and takes CAP_SYS_CHROOT", "chroot"),
)

CODE = group(
    "Files of which all sandboxes see the same pages",
    rows(
        "EROFS EACCES EPERM",
        "every mount but /tmp and /dev/shm is read-only",
        "overwrite the function's code",
        "add to the function's code",
        "delete the function's code",
        "rename the function's code",
        "truncate the function's code",
        "change the mode of the code",
        "change the time of the code",
        "label the function's code",
        "map the code to be written",
        "overwrite the interpreter",
        "overwrite the C library",
        "map the C library to be written",
        *words("overwrite ", "/etc/passwd /etc/ld.so.cache /usr/bin/env"),
        *words("make a file in ", "/usr/lib /opt /var /etc /dev"),
    ),
    rows("ENOENT EACCES EPERM", "/proc holds no files but the kernel's", "make a file in /proc"),
    rows("EXDEV EPERM", "/tmp is another mount", "link the code into /tmp"),
    rows(
        "EPERM",
        "the filter refuses leases: to the kernel, an ordinary user's sandbox owns its code",
        "lease the function's code",
    ),
    rows(
        "EPERM EACCES ENOENT",
        "opening these takes a capability of the host",
        "write through /proc/self/map_files",
    ),
    rows(
        "unchanged",
        "old holes of the kernel, closed long ago",
        "C: write the code's pages through a pipe",
        "C: write the code's pages in a race",
    ),
    rows(
        "OPEN",
        "known: advisory locks and inotify belong to the file, not to the mount. Programs of the "
        "host that lock a file which anybody may read can be kept waiting; which shared files of "
        "/usr are opened can be watched, but not by whom. runsc has neither",
        "lock a file that all share",
        "watch a file that all share",
    ),
)

OTHERS = group(
    "Other sandboxes, and the worker",
    rows(
        MISSING,
        "/tmp and /dev/shm are each sandbox's own",
        "find the other sandbox's file in /tmp",
        "find the other sandbox's file in /dev/shm",
        "find the host's file in /dev/shm",
    ),
    rows(
        MISSING,
        "its IPC namespace is its own",
        "attach the host's shared memory",
        "open the host's message queue",
    ),
    rows(MISSING, "no cgroup file system is mounted", "move itself to another cgroup"),
    rows(
        "ECONNREFUSED",
        "its loopback and its abstract sockets are those of its own network namespace",
        "connect to the host's loopback",
        "connect to the host by 0.0.0.0",
        "connect to the host's abstract socket",
        "connect to the other sandbox",
        "connect to its abstract socket",
        "connect to the engine's usual port",
        "connect to Hearth's usual port",
    ),
    rows(
        "ECONNREFUSED EADDRNOTAVAIL EAFNOSUPPORT",
        "the same, where there is version 6 at all",
        "connect to the host's loopback, version 6",
    ),
    rows(MISSING, "the file is not in its root", "connect to the worker's socket file"),
    rows("out-of-memory", "its memory is limited", "take memory without end"),
    rows("alive", "the other sandbox runs on after all of this", "harm the other sandbox"),
)

NETWORK = group(
    "The network",
    rows(
        "ENETUNREACH",
        "its network namespace has loopback and no route",
        "connect to the metadata service",
        "connect to a private network",
        "connect to a public address",
        "send to everybody",
    ),
    rows("no-answer", "there is no server to ask", "resolve a name"),
    rows("OPEN", "its own; a control of this probe", "connect to its own loopback"),
    rows("OPEN", "what functions live by", "connect to its own Runtime API"),
    rows(
        "EADDRINUSE",
        "the worker listened there before it ran",
        "take the Runtime API's place",
        "share the Runtime API's place",
    ),
    rows("OPEN", "harmless, and used by libraries", "socket: unix"),
    rows("OPEN EAFNOSUPPORT", "of its own network namespace", "socket: inet6"),
    rows("OPEN", "lists its own interfaces; libraries ask", "socket: netlink route"),
    rows(
        "EPERM",
        "the filter allows four families of sockets, whatever the upper bits say; raw ones take a "
        "capability besides",
        *(f"socket: netlink {name}" for name in ("netfilter", "audit", "kobject")),
        *words("socket: ", "packet raw key vsock alg bluetooth xdp rds tipc can"),
        "socket: raw, of version 6",
        "socket: vsock, high bits set",
        "socket: netfilter, high bits set",
        "C: the kernel's cryptography",
        "C: talk to the host of a virtual machine",
        "C: raw packets",
    ),
    rows(
        "EPERM",
        "its network namespace belongs to a user namespace in which it has no power",
        "take loopback down",
        "give itself another address",
        "add a route",
        "make a network interface",
        "mark its packets",
        "take a larger buffer by force",
        "send from other addresses",
        "rewrite a connection's state",
    ),
)

_NAMESPACES = ("user", "net", "mount", "pid", "ipc", "uts", "cgroup")

CALLS = group(
    "The kernel",
    rows(
        "EPERM",
        "the filter refuses namespaces; max_user_namespaces is 0",
        *(f"unshare: {name}" for name in (*_NAMESPACES, "time")),
        *(f"clone: {name}" for name in _NAMESPACES),
        "C: clone into user and mount namespace",
        "C: clone into a cgroup namespace",
        "C: clone into all namespaces",
        "C: leave user and network namespace",
        "C: join its own mount namespace",
    ),
    rows(
        "ENOSYS",
        "clone3 passes its flags where a filter cannot look; libc falls back to clone",
        "call: clone3",
        "C: clone into a cgroup",
    ),
    rows("ENOSYS", "so that a newer libc falls back", "call: newer than our tables"),
    rows(
        "EPERM",
        "the filter refuses all that has to do with mounts",
        *words("call: ", "setns mount umount2 pivot_root open_tree move_mount fsopen fsconfig"),
        *words("call: ", "fsmount fspick mount_setattr statmount listmount"),
        "C: mount /proc",
        "C: mount the cgroups",
        "C: mount the code to be written",
        "C: uncover /proc/kcore",
        "C: copy the mounts",
    ),
    rows(
        "EPERM",
        "the filter refuses what reaches into other processes",
        *words("call: ", "ptrace process_vm_readv process_vm_writev process_madvise"),
        *words("call: ", "process_mrelease pidfd_getfd kcmp"),
    ),
    rows(
        "EPERM",
        "large parts of the kernel, often broken; the filter refuses them",
        *words("call: ", "io_uring_setup io_uring_enter io_uring_register userfaultfd bpf"),
        "call: perf_event_open",
        "C: io_uring",
        "C: load a BPF program",
        "C: handle page faults",
        "C: secret memory",
        "call: memfd_secret",
        "call: vmsplice",
        "call: personality",
    ),
    rows(
        "EPERM",
        "keys are not of a namespace; the filter refuses them, in threads and after exec too, and "
        "whatever filters are added",
        *words("call: ", "keyctl add_key request_key"),
        "C: join a session of keys",
        "C: keys, from a thread",
        "C: keys, after exec",
        "C: keys, under a filter that allows all",
    ),
    rows(
        "EPERM",
        "moving memory between nodes tells of, and takes from, others",
        *words("call: ", "mbind move_pages migrate_pages set_mempolicy get_mempolicy"),
    ),
    rows(
        "EPERM",
        "handles open files by number, past all directories",
        *words("call: ", "name_to_handle_at open_by_handle_at"),
        "C: open by handle",
    ),
    rows(
        "EPERM",
        "for the host's root only, and refused by the filter besides",
        *words("call: ", "syslog init_module finit_module delete_module kexec_load"),
        *words("call: ", "kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd"),
        *words("call: ", "fanotify_init fanotify_mark settimeofday clock_settime clock_adjtime"),
        *words("call: ", "adjtimex sethostname setdomainname iopl ioperm vhangup"),
        "call: lsm_set_self_attr",
    ),
    rows(
        "EPERM",
        "old, and of no use to a function",
        *words("call: ", "lookup_dcookie modify_ldt ustat sysfs uselib nfsservctl"),
    ),
    rows(
        "EPERM",
        "the filter looks at the request: whoever started Hearth may have a terminal",
        "type into the terminal",
        "type into the terminal, high bits set",
        "use the console's selection",
        "C: type into the terminal",
    ),
    rows("3", "a control of this probe", "a harmless ioctl"),
    rows("killed-by-31", "the filter kills whoever uses another ABI", "a call of x32"),
    rows("killed-by-31", "the same", "C: a call of x32"),
    rows(
        "killed-by-31 killed-by-11",
        "the same; where the kernel has no such ABI, the instruction faults",
        "a call of 32 bits",
        "C: a call of 32 bits",
    ),
    rows("OPEN", "as just-in-time compilers do", "C: make code in memory"),
    rows("EPERM EACCES", "vm.mmap_min_addr", "C: map page zero"),
    rows(
        "killed-by-11",
        "the processor refuses",
        "C: write the kernel's memory",
        "C: halt the processor",
        "C: switch interrupts off",
        "C: read an I/O port",
        "C: read a model-specific register",
    ),
)

APPETITE = group(
    "Bombs",
    rows(
        "EAGAIN",
        "pids.max of its cgroup; RLIMIT_NPROC in its user namespace where there is none",
        "fork without end",
        "C: fork without end",
        "start threads without end",
    ),
    rows("EMFILE", "RLIMIT_NOFILE is 1,024, as in Lambda", "open files without end"),
    rows("EMFILE", "the same, or the kernel's limit for a user", "watch files without end"),
    rows("EPERM", "fs.pipe-max-size", "make a pipe of 8 MB"),
)

DEPLOY = group(
    "Packages",
    rows(
        "refused",
        "a package is unpacked only if every name in it stays below its root",
        "a file above the package's root",
        "a file with an absolute name",
        "a file below a link to elsewhere",
    ),
    rows(
        "harmless",
        "to Linux a backslash is a letter of a name like any other",
        "a name with a backslash and dots",
    ),
    rows(
        "refused",
        "a link may not lead out of the package, followed step by step",
        "a link to the host's /etc/shadow",
        "a link to the worker's state",
    ),
    rows(
        "harmless refused",
        "only the permission bits of a file are kept",
        "a file that sets the user",
        "a device file",
    ),
    rows(
        "refused",
        "what is unpacked is counted while it is unpacked, at most 250 MB",
        "a package that grows a thousandfold",
    ),
    rows(
        "refused",
        "the sizes that an archive states are not believed",
        "a package that lies about its size",
    ),
)

PLATFORM = group(
    "The platform, from a function of it",
    rows(
        "ECONNREFUSED",
        "they listen on the host's loopback",
        "connect to the engine's port",
        "connect to Hearth's port",
    ),
    rows(
        MISSING,
        "none of the state directory is in its root",
        "connect to the administrator's socket",
        "read the access keys",
        "read another function's package",
    ),
    rows(
        "refused",
        "the Runtime API answers only for the event that it has handed out",
        "answer an invoke that is not its own",
        "answer the same invoke twice",
        "fail an init that is over",
    ),
    rows(
        "unharmed",
        "64 connections at most, each of bounded size; other sandboxes have their own",
        "hold all connections of its Runtime API",
    ),
    rows(
        "bounded",
        "bodies that arrive in one sandbox are held up to twice the largest payload, all together",
        "upload without end",
    ),
    rows(
        "unharmed",
        "so many are read in a second, and so many bytes of one function wait; more is lost",
        "flood the X-Ray daemon's port",
    ),
    rows(
        "refused",
        "the listener serves two operations, of the function's own executions, with their tokens",
        "read another function's execution",
        "checkpoint another function's execution",
        "checkpoint its own with a forged token",
        "ask the durable listener for another operation",
    ),
    rows(
        "no-effect",
        "lines are text: what is printed like START or REPORT is logged, as on Lambda, and nothing "
        "is ever read back from a log",
        "print lines like START and REPORT",
    ),
    rows(
        "bounded",
        "a line without an end is cut; what is printed is kept up to the group's limit",
        "print without end",
    ),
    rows(
        "stands-still",
        "what runs on after an invoke is frozen until the next one",
        "go on after the invoke",
    ),
    rows(
        "gone",
        "the end of a sandbox is the end of its pid namespace, whoever has become whose parent",
        "leave a daemon when the function is deleted",
    ),
    rows("empty", "/tmp is an environment's own", "find what another function left in /tmp"),
)

ROOT_INSIDE = ("become root", "become root's group", "give a file to root")
"""OPEN for an ordinary user's containers: the runtimes need a root inside, which is that user."""

_NOT_OF_THE_HOST = ("list /sys", "list the host's cgroups", "open /dev/")
_DEVICES = words("open /dev/", "mem kmem port kmsg sda vda nvme0n1 kvm vsock vhost-net")

OWN_KERNEL = (
    *("take memory without end", "harm the other sandbox", *_DEVICES),
    *(
        attempt.name
        for attempt in FILES.attempts
        if attempt.allowed == (MISSING,) and not attempt.name.startswith(_NOT_OF_THE_HOST)
    ),
    *(attempt.name for attempt in FILES.attempts if attempt.name.startswith("write /proc/")),
    *("make a memory device", "make a disk device", "chroot"),
    *("overwrite the function's code", "delete the function's code", "overwrite the interpreter"),
    "overwrite the C library",
    *(attempt.name for attempt in OTHERS.attempts if attempt.name.startswith(("find", "connect"))),
    *("attach the host's shared memory", "open the host's message queue"),
    *("connect to the metadata service", "connect to a private network"),
    *("connect to a public address", "resolve a name", "connect to its own Runtime API"),
    *words("call: ", "init_module kexec_load reboot swapon bpf mount settimeofday"),
)
"""Of the attempts, those that reach out of a sandbox with a kernel of its own (runsc): these come
to the same there. What the others come to is that kernel's affair, and nobody else's."""

GROUPS = (IDENTITY, PROCESSES, FILES, CODE, OTHERS, NETWORK, CALLS, APPETITE)
"""Tried from inside each tier: tests/integration/test_escape_probe.py."""
PLATFORM_GROUPS = (DEPLOY, PLATFORM)
"""Tried on a running Hearth: tests/compat/test_hostile.py."""


def expected(tier: str) -> dict[str, Attempt]:
    """Name -> its row for this tier."""
    return by_name([a for g in GROUPS for a in g.attempts if not a.only or tier in a.only.split()])


def expected_of(part: Group) -> dict[str, Attempt]:
    return by_name(part.attempts)


def by_name(attempts: Sequence[Attempt]) -> dict[str, Attempt]:
    found = {attempt.name: attempt for attempt in attempts}
    assert len(found) == len(attempts), "two rows for one attempt"
    return found


def page() -> str:
    """docs/escape-probe.md."""
    names = {a.name for g in (*GROUPS, *PLATFORM_GROUPS) for a in g.attempts}
    lines = [
        "# What a hostile function tries",
        "",
        "<!-- Made by tools/escape_probe.py from tests/integration/escape/attempts.py. -->",
        "",
        f"{len(names)} attempts, what must come of each, and why. Tests make all of them on every",
        "tier that the machine has, as root and as an ordinary user; some through a program of C",
        "(*C:*). First the program looks whether it is in a sandbox: own namespaces, one uid that",
        "is not 0, no capabilities, no new privileges, a filter. If not, nothing is tried. What",
        "takes resources is bounded by the program too.",
        "",
        "An outcome is the kernel's error, or a word. **OPEN** means that it works. Under `runsc`",
        "a program has a kernel of its own, which answers much that is refused here; what reaches",
        "out of that kernel comes to the same, and only that is asserted. In containers of an",
        f"ordinary user {', '.join(f'*{name}*' for name in ROOT_INSIDE)} are OPEN: the runtimes",
        "need a root inside, who is that user outside.",
    ]
    for part in (*GROUPS, *PLATFORM_GROUPS):
        lines += [
            "",
            f"## {part.title}",
            "",
            "| attempt | outcome | because |",
            "| --- | --- | --- |",
        ]
        lines += [_row(attempt) for attempt in part.attempts]
    return "\n".join(lines) + "\n"


def _row(attempt: Attempt) -> str:
    allowed = " or ".join(word.replace("-", " ") for word in attempt.allowed)
    allowed = allowed.replace("OPEN", "**OPEN**")
    where = f" ({attempt.only.replace(' ', ', ')})" if attempt.only else ""
    return f"| {attempt.name}{where} | {allowed} | {attempt.reason} |"
