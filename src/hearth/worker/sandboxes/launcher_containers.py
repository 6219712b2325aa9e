"""How does the launcher run containers? The launcher's half; a part of its loop.

One child for each: the *keeper*, pid 1 of a pid namespace around the runtime and the container.
When it has been reaped, the kernel has emptied that namespace, and nothing is left.
"""

import os
import selectors
import signal
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn

from hearth.worker.sandboxes import jail, jail_container, linux, messages
from hearth.worker.sandboxes.arguments import Root
from hearth.worker.sandboxes.container_config import INIT
from hearth.worker.sandboxes.launcher_binds import Binder
from hearth.worker.sandboxes.messages import BindOrder, ExitEvent, StartOrder
from hearth.worker.sandboxes.processes import children_of, close_all
from hearth.worker.sandboxes.stage import HOST

_INIT_NAME: Final = Path(INIT).name
_GOFER: Final = b"runsc-gofer\0"
_END: Final = struct.Struct("=ii")  # what init tells; see init/init.c


@dataclass(slots=True, kw_only=True)
class Container:
    """A run, from fork until nothing of it is left."""

    order: StartOrder
    number: int
    """The order's id."""
    keeper: int
    status: int
    """Read end of init's pipe; of a stem, our end of its socket."""
    said: bytes = b""
    files: tuple[int, int] | None = None
    """Of a stem that waits for what it is for: where its kernel opens files. A mount namespace and
    its root's directory in that."""
    asked: list[int] = field(default_factory=list)
    """Ids of the orders to answer when it is ready."""
    waiting: list[int] = field(default_factory=list)
    """Ids of the kill orders to answer at the end."""


class Containers:
    """Those of one launcher."""

    def __init__(
        self,
        control: socket.socket,
        selector: selectors.BaseSelector,
        killed: Callable[[int], None],
    ) -> None:
        """`killed` answers the kill orders of what is gone."""
        self._killed = killed
        self._control = control
        self._selector = selector
        self._containers: dict[int, Container] = {}
        self._binder = Binder()

    def runs(self, box: int) -> bool:
        return box in self._containers

    def start(self, number: int, order: StartOrder, root: Root) -> None:
        """Raises OSError."""
        status, status_write = _socket_pair() if order.is_stem else _pipe()
        try:
            keeper = _fork(order.cgroup_directory)
            if keeper == 0:
                self._become(number, order, root, status_write)
        except OSError:
            os.close(status)
            raise
        finally:
            os.close(status_write)
        container = Container(order=order, number=number, keeper=keeper, status=status)
        self._containers[order.box] = container
        self._selector.register(status, selectors.EVENT_READ, self._reader(container))

    def wait(self, number: int, box: int) -> None:
        """Answered when the stem's program is ready."""
        container = self._containers[box]
        if container.files is not None:
            messages.send(self._control, {"id": number, "answer": {}})
        else:
            container.asked.append(number)

    def bind(self, number: int, content: dict[str, Any]) -> None:
        """A kernel of its own sees files through its gofer: where that looks, the code is mounted,
        before anything inside has looked there. Raises OSError; then it is of no use."""
        order = BindOrder(**content)
        container = self._containers[order.box]
        files, container.files = container.files, None
        if files is None:
            raise OSError(0, "the program does not wait")
        namespace, root = files
        try:
            with socket.socket(fileno=os.dup(container.status)) as program:
                self._binder.bind(order, namespace, program, root)
        finally:
            os.close(root)
        messages.send(self._control, {"id": number, "answer": {}})

    def _become(self, number: int, order: StartOrder, root: Root, status: int) -> NoReturn:
        """In the child: turn into the keeper, answering the worker on the way."""
        try:
            signal.set_wakeup_fd(-1)
            hosts_pid = int(os.readlink(f"{HOST}/proc/self"))  # noqa: PTH115 - faster
            fds, execute = jail_container.become_container(order, root, status)
            messages.send(self._control, {"id": number, "answer": {"pid": hosts_pid}}, tuple(fds))
            execute()
        except Exception as error:  # noqa: BLE001 - whatever it is, this copy must not serve on
            jail.report(self._control, number, error)

    def keeper_of(self, box: int) -> int | None:
        container = self._containers.get(box)
        return None if container is None else container.keeper

    def program_of(self, box: int) -> int | None:
        """keeper -> pid 1 inside -> program; gVisor's is no process of this kernel."""
        keeper = self.keeper_of(box)
        below = children_of(keeper) if keeper is not None else {}
        inits = [pid for pid, name in below.items() if name == _INIT_NAME]
        programs = children_of(inits[0]) if inits else {}
        return min(programs, default=None)

    def kill(self, number: int, box: int) -> None:
        container = self._containers[box]
        container.waiting.append(number)
        os.kill(container.keeper, signal.SIGKILL)  # ours and not reaped: nobody else has its pid

    def _reader(self, container: Container) -> Callable[[], None]:
        return lambda: self._read(container)

    def _read(self, container: Container) -> None:
        """Take in what init said. The program has ended then; so may all the rest."""
        if container.status < 0:
            return  # finished earlier in this turn of the loop
        try:
            data = os.read(container.status, _END.size)
        except BlockingIOError:
            return
        except ConnectionResetError:  # killed before it had read what a stem is told
            data = b""
        if container.order.is_stem and 0 < len(data) < _END.size:
            self._ready(container)
            return
        container.said += data
        if not data or len(container.said) >= _END.size:
            self._forget_status(container)
        if not data or len(container.said) >= _END.size:
            os.kill(container.keeper, signal.SIGKILL)

    def _ready(self, container: Container) -> None:
        try:
            container.files = _files_of(container.keeper)
        except OSError:
            os.kill(container.keeper, signal.SIGKILL)  # half of it has died already
            return
        numbers, container.asked = container.asked, []
        for number in numbers:
            messages.send(self._control, {"id": number, "answer": {}})

    def _forget_status(self, container: Container) -> None:
        if container.status >= 0:
            self._selector.unregister(container.status)
            os.close(container.status)
            container.status = -1
        if container.files is not None:
            close_all(*container.files)
            container.files = None

    def reaped(self, pid: int, status: int) -> bool:
        """Whether the process was one of ours."""
        for container in self._containers.values():
            if container.keeper == pid:
                self._finish(container, status)
                return True
        return False

    def _finish(self, container: Container, status: int) -> None:
        while container.status >= 0:
            before = len(container.said)
            self._read_late(container)
            if len(container.said) == before:
                self._forget_status(container)
        del self._containers[container.order.box]
        ended, executed = _how_it_ended(container.said, status)
        killed = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
        event = ExitEvent(
            box=container.order.box,
            run=container.order.run,
            order=container.number,
            code=0 if killed else os.WEXITSTATUS(ended),
            signal=killed,
            executed=executed,
            exact=True,
        )
        messages.send(self._control, messages.exit_event(event))
        why = "the program ended before it was ready"
        for number in container.asked:
            messages.send(self._control, {"id": number, "error": why})
        for number in container.waiting:
            self._killed(number)

    def _read_late(self, container: Container) -> None:
        try:
            container.said += os.read(container.status, _END.size)
        except (BlockingIOError, ConnectionResetError):
            return


def _pipe() -> tuple[int, int]:
    status, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    return status, theirs


def _socket_pair() -> tuple[int, int]:
    """One packet from the program says that it is ready; the next is init's, of _END."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours.detach(), theirs.detach()


def _files_of(keeper: int) -> tuple[int, int]:
    """Where the process looks through which runsc's kernel opens files. Raises OSError."""
    for pid in children_of(keeper):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(_GOFER):
            root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), root
    raise OSError(0, "the sandbox has no gofer")


def _how_it_ended(said: bytes, keeper: int) -> tuple[int, bool]:
    """The program's wait status, and whether it was ever executed."""
    if len(said) >= _END.size:
        ended, executed = _END.unpack(said[: _END.size])
        return ended, bool(executed)
    if os.WIFEXITED(keeper) and os.WEXITSTATUS(keeper) != 0:
        return keeper, False  # the runtime failed; what it said is on stderr
    return signal.SIGKILL, True  # the keeper was killed, or all inside it but the keeper


def _fork(cgroup: str | None) -> int:
    if cgroup is None:
        return linux.clone(linux.CLONE_NEWPID)
    fd = os.open(HOST + cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return linux.clone(linux.CLONE_NEWPID | linux.CLONE_INTO_CGROUP, fd)
    finally:
        os.close(fd)
