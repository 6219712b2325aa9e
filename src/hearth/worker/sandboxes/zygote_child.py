"""How does a fork of a zygote become a sandbox with a program in it?

Two processes. The first (*init*, pid 1 inside) makes the sandbox and waits for the second (pid 2),
which is the program, in the forked interpreter. Before init forks it, both are as confined as the
program will ever be:

1. wait for the order, with which the launcher waits until it knows our pid; enter the cgroups,
   then a cgroup namespace;
2. the Runtime API listens, in this network namespace;
3. mounts: /proc, /tmp, /dev/shm, the code; host name;
4. limits, keys, uid; then a user namespace of our own, in which no other can be made;
5. no capabilities, no new privileges, the seccomp filter; all descriptors but our own closed;
6. the worker gets its descriptors, then init forks.

A *stem* is such a sandbox without a function: it is forked before one is known, and told later.

What forks of one process share, and what is done about it: docs/decisions/0013-zygotes.md.
"""

import ctypes
import gc
import os
import signal
import socket
import sys
import time
from types import ModuleType
from typing import Any, Callable, Final, NamedTuple, NoReturn, Sequence  # noqa: UP035 - imports less

from hearth.worker.sandboxes import (
    confine,
    jail_steps,
    linux,
    randomness,
    wire,
    zygote_pages,
    zygote_template,
)

PIDS: Final = (1, 2)
"""Of init and the program. OpenSSL and tempfile notice a fork by a pid that has changed."""
EMPTY: Final = "/var/empty"
_START_NAMES: Final = ("LANG", "LANGUAGE", "NLSPATH", "LOCPATH", "GCONV_PATH", "SSLKEYLOGFILE")
_START_PREFIXES: Final = ("PYTHON", "LD_", "LC_", "GLIBC_", "MALLOC_", "OPENSSL_", "SSL_CERT_")
_CODE: Final = ("/var/task", "/opt/python")
_RESOURCE_NPROC: Final = 6

_libc = ctypes.PyDLL(None)
Run = Callable[[], None]


class Config(NamedTuple):
    """What a zygote is, for its children."""

    module: "ModuleType | None"
    script: "str | None"
    command: "list[str]"
    environment: "dict[str, str]"
    """What it was started with."""
    coerced: "dict[str, str]"
    """What the interpreter itself added to that."""
    hidden: "list[str]"
    seccomp: bytes
    loaded: "frozenset[str]"
    """The first names of all modules that it has."""
    arguments: "tuple[int, int]"
    pages: "list[list[int]]"
    """Which a program writes to before it has answered its first event; see zygote_pages.py."""
    mount_namespaces: "tuple[int, int]"
    """One with a /proc, and the one that children get a copy of."""
    reaper: "int | None"
    """A small program for init to turn into: see init/reaper.c."""


class Order:
    """One start, and the descriptors that came with it. Only init hears of it, not the zygote."""

    def __init__(self, content: dict[str, Any], fds: list[int]) -> None:
        self.content = content
        rest = iter(fds)
        self.tmp = next(rest)
        self.channel = next(rest) if content["is_template"] else None
        """On which a program that becomes a template is told what to do."""
        self.mounts = [(next(rest), destination) for destination in content["mounts"]]
        self.tasks = list(rest)
        """Files into which a process writes itself, to be in a cgroup."""


def enter(status: socket.socket, config: Config, *, is_in_cgroup: bool) -> Run:
    """In the fork. Init stays in here for ever; the program comes out, ready to run."""
    try:
        content, fds = wire.receive(status)
        if content is None:
            os._exit(1)
        order = Order(content, fds)
        if is_in_cgroup:
            order.tasks.clear()
        reaper = None if content["is_template"] else config.reaper
        fds = make_sandbox(order, config, status, reaper)
        if content["is_stem"]:
            return split_stem(fds, config, status)
        hand_out(fds, status)
        return split(order, config, status)
    except BaseException as error:  # noqa: BLE001 - whatever it is, nothing else may run here
        if os.getpid() == 1:
            wire.send(status, {"error": f"{type(error).__name__}: {error}"})
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)


def hand_out(fds: "list[int]", status: socket.socket) -> None:
    wire.send(status, {"answer": True}, tuple(fds))
    for fd in fds:
        os.close(fd)


def make_sandbox(
    order: Order, config: Config, status: socket.socket, reaper: "int | None"
) -> "list[int]":
    """Steps 1 to 5; the descriptors for the worker are returned, and before them, for the launcher,
    the mount namespace of a stem, which is to get its code later. Raises OSError."""
    content = order.content
    confine.set_dumpable(dumpable=True)  # or files below /proc/self are not ours
    for tasks in order.tasks:
        os.write(tasks, b"0")
    linux.unshare(linux.CLONE_NEWCGROUP)
    for_worker = [jail_steps.listen()]
    arrange_mounts(order, config)
    if content["is_stem"]:
        for_worker.insert(0, os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    jail_steps.go_first_when_memory_runs_out()
    linux.set_host_name(jail_steps.HOSTNAME)
    for_worker += jail_steps.connect_outputs()
    own = [fd for fd in (order.channel, reaper) if fd is not None]
    jail_steps.close_all_but([status.fileno(), *own, *for_worker])
    jail_steps.leave_keys_behind()
    jail_steps.limit(content["rlimits"])
    os.umask(0o022)
    os.setsid()
    own_user_namespace(content["uid"], may_nest=content["is_template"])
    if content["processes_in_namespace"] is not None:  # counts those of this namespace only
        limit = content["processes_in_namespace"]
        jail_steps.limit([[_RESOURCE_NPROC, limit]])
    confine.drop_all()
    linux.die_with_parent(signal.SIGKILL)
    os.chdir(content["working_directory"])
    is_template = content["is_template"]
    confine.filter_system_calls(
        zygote_template.that_lets_join(config.seccomp) if is_template else config.seccomp
    )
    return for_worker


def arrange_mounts(order: Order, config: Config) -> None:
    """A user namespace may mount a new /proc only where it sees an old one. That shows more than a
    sandbox should have even under a cover, and to unmount it waits for an RCU grace period, 2 ms.
    So we look at it in another mount namespace than the one we get a copy of."""
    with_proc, without = config.mount_namespaces
    linux.join_mounts(with_proc)
    proc = linux.new_proc()
    linux.join_mounts(without)
    linux.unshare(linux.CLONE_NEWNS)
    linux.move_mount(proc, "/proc")
    for path in config.hidden:
        linux.bind(EMPTY, path)
    linux.move_mount(order.tmp, "/tmp")
    jail_steps.mount_shared_memory("/dev/shm")
    for tree, destination in order.mounts:
        linux.move_mount(tree, destination)


def own_user_namespace(uid: "int | None", *, may_nest: bool) -> None:
    """One uid in it, and nothing that our other namespaces would heed. Below that of a template
    there will be those of its forks."""
    if uid is not None:
        jail_steps.become(uid)
    uid, gid = os.getuid(), os.getgid()
    confine.set_dumpable(dumpable=True)  # a change of uid took it; the files below need it
    linux.unshare(linux.CLONE_NEWUSER)
    jail_steps.write("/proc/self/setgroups", b"deny")
    jail_steps.write("/proc/self/uid_map", b"%d %d 1" % (jail_steps.UID, uid))
    jail_steps.write("/proc/self/gid_map", b"%d %d 1" % (jail_steps.GID, gid))
    if not may_nest:
        jail_steps.write("/proc/sys/user/max_user_namespaces", b"0")


def make_read_only(place: str) -> None:
    """This mount only; what is mounted below has been seen to."""
    flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount(None, place, None, flags)


# -- the two processes ---------------------------------------------------------------------------


def split(order: Order, config: Config, status: socket.socket) -> Run:
    keep = () if order.channel is None else (order.channel,)
    is_template = order.content["is_template"]
    reaper = None if is_template else config.reaper
    failing = split_off_program(status, keep, stays=is_template, reaper=reaper)
    zygote_pages.populate(config.pages)
    status.close()
    run = run_as(order.content, config, failing)
    if order.channel is not None and config.module is not None:
        channel = socket.socket(fileno=order.channel)
        config.module.template = zygote_template.Template(channel, config.seccomp)  # type: ignore[attr-defined]
    return run


def split_stem(fds: "list[int]", config: Config, status: socket.socket) -> Run:
    """The program does beforehand what it can without knowing what it is for, and touches the
    pages that it will need: the first touch of each copies it. Then it waits for the one message
    that says what it is for, in a sandbox that is as closed as it will ever be."""
    failing = split_off_program(status, fds, reaper=config.reaper)
    zygote_pages.populate(config.pages)
    warm = getattr(config.module, "warm", None)
    if warm is not None:
        warm()
    hand_out(fds, status)
    content, _ = wire.receive(status)
    if content is None:
        os._exit(1)
    status.close()
    jail_steps.limit(content["rlimits"])
    os.chdir(content["working_directory"])
    return run_as(content, config, failing)


def split_off_program(
    status: socket.socket,
    fds: "Sequence[int]" = (),
    *,
    stays: bool = False,
    reaper: "int | None" = None,
) -> int:
    """Init stays in here, without `fds`. The program comes out, with the descriptor on which it
    is to write if it could not be executed, and without `reaper`: once init has become that, for
    the pages that it has copied of the zygote's are then the program's, and not copied again."""
    failed, failing = os.pipe2(os.O_CLOEXEC)
    left, leaving = os.pipe2(os.O_CLOEXEC)
    confine.set_dumpable(dumpable=False)  # nobody looks into init
    program = os.fork()
    if program:
        for fd in (*fds, failing, left):
            os.close(fd)
        if reaper is not None:
            become_reaper(reaper, program, status, failed)
        os.close(leaving)
        wait_as_init(program, status, failed, stays=stays)
    os.close(failed)
    os.close(leaving)
    if reaper is not None:
        os.close(reaper)
        os.read(left, 1)  # there is nothing to be read: until it is closed, by exec
    os.close(left)
    confine.set_dumpable(dumpable=True)
    return failing


def run_as(content: "dict[str, Any]", config: Config, failing: int) -> Run:
    # PWD: as bubblewrap, and Lambda, do.
    environment = {**content["environment"], "PWD": content["working_directory"]}
    why = why_executed(config, content["argv"], content["environment"])
    if why is not None:
        execute(content["argv"], environment, failing)
    os.close(failing)
    return become_program(content["argv"], {**config.coerced, **environment}, config)


def become_reaper(reaper: int, program: int, status: socket.socket, failed: int) -> None:
    """Of all that has made the sandbox nothing is needed any more, and it would hold a third of
    what an idle sandbox holds. Returns if it cannot be executed."""
    for fd in (status.fileno(), failed):
        os.set_inheritable(fd, True)
    try:
        os.execve(reaper, ["init", str(program), str(status.fileno()), str(failed)], {})  # noqa: S606
    except OSError:
        return


def wait_as_init(program: int, status: socket.socket, failed: int, *, stays: bool) -> NoReturn:
    """Reap whatever ends here, until the program does; then the kernel ends the rest. One who
    stays tells how each ended, and is ended by the launcher: a template's forks are children of
    ours, and live on without it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # to pid 1 that means: ignored
    while True:
        pid, ended = os.wait()
        if pid == program:
            executed = not os.read(failed, 1)
            wire.send(status, {"ended": ended, "executed": executed})
            if not stays:
                os._exit(0)
            wait_until_killed(status)
        elif stays:
            wire.send(status, {"child": pid, "ended": ended})


def wait_until_killed(status: socket.socket) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    while True:
        try:
            pid, ended = os.wait()
        except ChildProcessError:
            signal.sigwait((signal.SIGCHLD,))
            continue
        wire.send(status, {"child": pid, "ended": ended})


def execute(argv: "list[str]", environment: "dict[str, str]", failing: int) -> NoReturn:
    """In the same sandbox, but with an interpreter of its own."""
    jail_steps.reset_signals()
    try:
        os.execve(argv[0], argv, environment)  # noqa: S606
    except OSError as error:
        os.write(2, os.fsencode(f"{argv[0]}: {error.strerror}\n"))
    os.write(failing, b"1")
    os._exit(1)


def why_executed(config: Config, argv: "list[str]", environment: "dict[str, str]") -> "str | None":
    """What an interpreter reads when it starts, a fork of one cannot be told any more. None: the
    zygote's is the same, and it has loaded nothing that the program has another one of."""
    start = {name: value for name, value in environment.items() if is_read_at_start(name)}
    if start != {n: v for n, v in config.environment.items() if is_read_at_start(n)}:
        return "environment"
    if config.script is not None:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        for directory in (*_CODE, f"/opt/python/lib/{version}/site-packages"):
            try:
                names = os.listdir(directory)  # noqa: PTH208
            except OSError:
                continue
            if not config.loaded.isdisjoint({name.partition(".")[0] for name in names}):
                return "modules"
    return None if argv[: len(config.command)] == config.command else "command"


def is_read_at_start(name: str) -> bool:
    return name in _START_NAMES or name.startswith(_START_PREFIXES)


# -- the program ---------------------------------------------------------------------------------


def become_program(argv: "list[str]", environment: "dict[str, str]", config: Config) -> Run:
    """Make this interpreter look as if it had just been started with these."""
    write_arguments(argv, config.arguments)
    _libc.clearenv()
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    randomness.renew()
    sys.orig_argv[:] = argv
    rest = argv[len(config.command) :]
    gc.enable()
    if rest and rest[0] == "-c":
        sys.argv[:] = ["-c", *rest[2:]]
        return as_main(rest[1])
    assert config.module is not None
    assert rest[:1] == [config.script]
    sys.argv[:] = rest
    config.module.__name__ = "__main__"
    sys.modules["__main__"] = config.module
    run: Run = config.module.main
    return run


def as_main(code: str) -> Run:
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    sys.modules["__main__"] = main
    return lambda: exec(compile(code, "<string>", "exec"), main.__dict__)  # noqa: S102


def argument_area() -> "tuple[int, int]":
    """Where this process' arguments lie, as its listing shows them: address and size."""
    with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
        fields = file.read().rpartition(b")")[2].split()
    first, last = int(fields[45]), int(fields[46])
    return first, last - first


def write_arguments(argv: "list[str]", area: "tuple[int, int]") -> None:
    address, size = area
    text = b"".join(os.fsencode(argument) + b"\0" for argument in argv)[: size - 1]
    ctypes.memset(address, 0, size)
    ctypes.memmove(address, text, len(text))
