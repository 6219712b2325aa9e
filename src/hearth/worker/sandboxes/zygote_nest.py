"""How does a sandbox come to be that a program from elsewhere will move into? A *nest*.

A template has run a function's code, so it can be given no power at all: nothing that its forks do
may be needed to keep them in. So all is made here, by a *nurse*: a copy of the zygote, which has
never run anybody's code, one for each template.

    nurse    forks a builder for each order, into the template's pid namespace: only what is below
             one's own can be entered
    builder  enters the template's user namespace, as its uid, and makes below that: a user
             namespace that owns all the others; network, mounts, listener and pipes in them
    init     pid 1 inside, the builder's fork; makes one more user namespace, which owns nothing,
             and is then as confined as the program will ever be
    door     init's fork, until the program is in: it holds nothing and does nothing, so that the
             program may enter, by one call, what the door is in

The kernel lets a process without capabilities enter a user namespace that is directly below its own
and was made by its own uid, and with it all that those below own. What it has then are
capabilities over a namespace that owns nothing.
"""

import os
import signal
import socket
from typing import Any, NoReturn

from hearth.worker.sandboxes import confine, jail_steps, linux, wire, zygote_child
from hearth.worker.sandboxes.zygote_child import Config

_OWNED = (
    linux.CLONE_NEWNS
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)


class Order:
    """One nest, and the descriptors that came with it."""

    def __init__(self, content: "dict[str, Any]", fds: "list[int]") -> None:
        self.content = content
        rest = iter(fds)
        self.user_namespace = next(rest)
        """The template's."""
        self.tmp = next(rest)
        self.mounts = [(next(rest), destination) for destination in content["mounts"]]
        self.tasks = list(rest)


def nurse(control: socket.socket, pid_namespace: int, config: Config) -> NoReturn:
    """Serve one template, until the launcher closes the socket."""
    jail_steps.close_all_but([control.fileno(), pid_namespace, *config.mount_namespaces])
    linux.setns(pid_namespace, linux.CLONE_NEWPID)
    os.close(pid_namespace)
    while True:
        message, fds = wire.receive(control)
        if message is None:
            os._exit(0)
        try:
            pid = linux.clone(linux.CLONE_PARENT)
        except OSError as error:
            _close(*fds)
            wire.send(control, {"id": message["id"], "error": str(error)})
            continue
        if pid == 0:
            control.close()
            build(socket.socket(fileno=fds[0]), config)
        _close(*fds)
        wire.send(control, {"id": message["id"], "pid": pid})


def build(status: socket.socket, config: Config) -> NoReturn:
    try:
        content, fds = wire.receive(status)
        if content is None:
            os._exit(1)
        order = Order(content, fds)
        for tasks in order.tasks:
            os.write(tasks, b"0")
        with_proc, without = config.mount_namespaces
        linux.join_mounts(with_proc)
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        maker, asked = start_proc_maker()
        linux.join_mounts(without)
        become_owner(order.user_namespace, proc)
        outputs = furnish(order)
        go, going = os.pipe2(os.O_CLOEXEC)
        told, telling = os.pipe2(os.O_CLOEXEC)
        pid = linux.clone(linux.CLONE_PARENT)
        if pid == 0:
            _close(going, told)
            be_init(order, config, status, outputs, (proc, go, telling))
        _close(go, telling)
        os.read(told, 1)  # the launcher knows init: from now on it is that which it may kill
        hang_proc(proc, asked, config)
        os.waitpid(maker, 0)
        os.write(going, b"1")
    except BaseException as error:  # noqa: BLE001 - whatever it is, this copy must not go on
        wire.send(status, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    os._exit(0)


def become_owner(template: int, proc: int) -> None:
    """Of a new user namespace below the template's, and of all that it owns."""
    linux.setns(template, linux.CLONE_NEWUSER)
    os.setresgid(jail_steps.GID, jail_steps.GID, jail_steps.GID)
    os.setresuid(jail_steps.UID, jail_steps.UID, jail_steps.UID)
    linux.unshare(linux.CLONE_NEWUSER)
    _map_ourselves(proc)
    linux.unshare(_OWNED)


def furnish(order: Order) -> "tuple[int, ...]":
    """Write ends of stdout and stderr, the listener, and the pipes' read ends."""
    api = jail_steps.listen()
    linux.set_host_name(jail_steps.HOSTNAME)
    linux.move_mount(order.tmp, "/tmp")
    jail_steps.mount_shared_memory("/dev/shm")
    for tree, destination in order.mounts:
        linux.move_mount(tree, destination)
    read_ends = jail_steps.connect_outputs()
    write_ends = [os.dup(1), os.dup(2)]
    return (*write_ends, api, *read_ends)


# -- /proc, made by one who is in the pid namespace, and where another is to be seen ------------


def start_proc_maker() -> "tuple[int, socket.socket]":
    """A process that keeps what we have now, and the socket on which it is asked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid:
        theirs.close()
        return pid, ours
    try:
        ours.close()
        message, fds = wire.receive(theirs)
        if message is None:
            os._exit(1)
        linux.setns(fds[0], linux.CLONE_NEWPID)
        inside = os.fork()
        if inside == 0:
            wire.send(theirs, {}, (linux.new_proc(),))
        else:
            os.waitpid(inside, 0)
    except OSError as error:
        wire.send(theirs, {"error": str(error)})
    finally:
        os._exit(0)


def hang_proc(proc: int, maker: socket.socket, config: Config) -> None:
    namespace = os.open("self/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    wire.send(maker, {}, (namespace,))
    message, fds = wire.receive(maker)
    if message is None or "error" in message:
        raise OSError(0, "no /proc could be made" if message is None else message["error"])
    linux.move_mount(fds[0], "/proc")
    for path in config.hidden:
        linux.bind(zygote_child.EMPTY, path)


# -- init ------------------------------------------------------------------------------------------


def be_init(
    order: Order,
    config: Config,
    status: socket.socket,
    outputs: "tuple[int, ...]",
    fds: "tuple[int, int, int]",
) -> NoReturn:
    try:
        proc, go, telling = fds
        wire.send(status, {"init": _own_pid(proc)})
        os.write(telling, b"1")
        if not os.read(go, 1):
            os._exit(1)
        content = order.content
        own = os.dup(proc)
        os.close(proc)
        jail_steps.close_all_but([status.fileno(), own, *outputs])
        jail_steps.leave_keys_behind()
        jail_steps.limit(content["rlimits"])
        os.umask(0o022)
        os.setsid()
        linux.unshare(linux.CLONE_NEWUSER)
        _map_ourselves(own)
        jail_steps.write("/proc/sys/user/max_user_namespaces", b"0")
        confine.drop_all()
        confine.set_dumpable(dumpable=False)  # the program has our uid
        os.chdir("/")
        confine.filter_system_calls(config.seccomp)
        door = open_door(own)
        os.close(own)
        wire.send(status, {"answer": True, "door": door}, outputs)
        _close(*outputs)
    except BaseException as error:  # noqa: BLE001 - whatever it is, nothing else may run here
        wire.send(status, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    reap(status)


def open_door(proc: int) -> int:
    """The door's pid, as the launcher has it."""
    told, telling = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.write(telling, str(_own_pid(proc)).encode())
        keep = telling
        os.closerange(0, keep)
        os.closerange(keep + 1, 1 << 16)
        confine.set_dumpable(dumpable=True)  # or nobody may enter
        os.close(keep)
        while True:
            signal.pause()
    os.close(telling)
    with open(told, "rb") as file:  # noqa: PTH123
        return int(file.read())


def reap(status: socket.socket) -> NoReturn:
    """For as long as the sandbox lives; the launcher ends us, and with us all that is in it."""
    os.wait()  # the door, which the launcher ends as soon as the program is in
    wire.send(status, {"closed": True})
    status.close()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # to pid 1 that means: ignored
    while True:
        try:
            os.wait()
        except ChildProcessError:
            signal.sigwait((signal.SIGCHLD,))


def _own_pid(proc: int) -> int:
    return int(os.readlink("self", dir_fd=proc))


def _map_ourselves(proc: int) -> None:
    """In a new user namespace: the same uid and gid as before. Only who is dumpable owns its files
    below /proc. The template's uid is ours, and it has power over what is below it: it is stopped
    and alone in its pid namespace meanwhile, which the launcher has seen to."""
    uid, gid = jail_steps.UID, jail_steps.GID
    confine.set_dumpable(dumpable=True)
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"%d %d 1" % (uid, uid)),
        ("gid_map", b"%d %d 1" % (gid, gid)),
    ):
        fd = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        try:
            os.write(fd, text)
        finally:
            os.close(fd)
    confine.set_dumpable(dumpable=False)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
