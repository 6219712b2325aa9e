"""Who forks for the worker? This small process: `python -I -S launcher_process.py FD`.

Forking a large worker blocks its event loop for 10 ms; forking this one costs 1. It is
single-threaded and knows only the standard library.

It is two processes: a stub, the worker's child, and the launcher proper, pid 1 of a pid namespace
in which everything else is born. Its life ends with the worker's - the socket closes, and the
kernel tells each that its parent died - and then the kernel kills all of that namespace, at
whatever point of starting or ending a sandbox is.

A program in a sandbox is three processes here: bubblewrap outside (our child, the *outer*), its
pid 1 inside (the *inner*), and the program. When the outer has died the kernel kills the inner,
we inherit it, and once we have reaped it nothing is left in its pid namespace: only then has the
program ended.
"""

import gc
import json
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # executed by path, without site-packages: find our own package
    sys.path.append(str(Path(__file__).resolve().parents[3]))

from hearth.worker.sandboxes import jail, linux, messages, stub
from hearth.worker.sandboxes.arguments import Root
from hearth.worker.sandboxes.launcher_containers import Containers
from hearth.worker.sandboxes.launcher_waits import Waits
from hearth.worker.sandboxes.launcher_zygotes import Zygotes
from hearth.worker.sandboxes.messages import (
    BoxOrder,
    CreateOrder,
    ExitEvent,
    Opened,
    OpenOrder,
    SocketOrder,
    StartOrder,
)
from hearth.worker.sandboxes.processes import children_of, close_all, fork_into, is_readable
from hearth.worker.sandboxes.stage import (
    BWRAP,
    HOST,
    MOUNTS_MAX,
    Stage,
    box_directory,
    enter_own_namespaces,
    resize_tmpfs,
    sandbox_uids,
)

_NAME = Path(BWRAP).name  # of every process of bubblewrap, as the kernel has it


@dataclass(slots=True, kw_only=True)
class Program:
    """A run, from fork until nothing of it is left."""

    order: StartOrder
    number: int
    """The order's id."""
    outer: int
    status: int
    """Read end of bubblewrap's json-status pipe."""
    block: int | None
    """Write end of the pipe on which bubblewrap waits, if it has to."""
    text: bytes = b""
    inner: int | None = None
    executed: bool = False
    ended: int | None = None
    """The outer's wait status."""
    left: set[int] = field(default_factory=set)
    """Orphans of the outer that are still to be reaped."""
    waiting: list[int] = field(default_factory=list)
    """Ids of the kill orders to answer at the end."""

    @property
    def is_gone(self) -> bool:
        return self.ended is not None and not self.left


class Launcher:
    """The loop. Orders come in on `control`; answers and exits go out on it."""

    def __init__(self, control: socket.socket, uids: tuple[int, int] | None) -> None:
        self._control = control
        self._stage = Stage()
        self._root = Root(links={}, binds=(), hidden=())
        self._pid = os.getpid()
        self._programs: dict[int, Program] = {}
        self._last: dict[int, int] = {}
        """By the ids of kills: the boxes that are to be removed then."""
        self._selector = selectors.DefaultSelector()
        self._zygotes = Zygotes(control, self._selector, self._stage, uids, self._killed)
        self._containers = Containers(control, self._selector, self._killed)
        self._waits = Waits(control, self._selector)
        self._do: dict[str, Callable[[int, dict[str, Any]], None]] = {
            messages.CREATE: self._create,
            messages.START: self._start,
            messages.KILL: self._kill,
            messages.TERMINATE: self._terminate,
            messages.SOCKET: self._open_socket,
            messages.DESTROY: self._destroy,
            messages.ZYGOTE: self._zygotes.make,
            messages.RETIRE: self._zygotes.retire,
            messages.BIND: self._bind,
            messages.WAIT: self._wait,
            messages.TEMPLATE: self._zygotes.become_template,
            messages.LEAVE: self._zygotes.leave,
        }

    def open(self, order: OpenOrder) -> None:
        """Raises OSError."""
        self._stage.build(order)
        self._root = Root(
            links=self._stage.links, binds=self._stage.binds, hidden=self._stage.hidden
        )
        gc.collect()
        gc.disable()  # nothing here makes cycles, and a child's collector would copy every page
        gc.freeze()

    def run(self) -> NoReturn:
        """Serve until the worker has gone."""
        wake, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(wake, selectors.EVENT_READ, lambda: self._reap(wake))
        self._selector.register(self._control, selectors.EVENT_READ, self._obey)
        while True:
            ready = self._selector.select(self._zygotes.look_again_s)
            for key, _ in ready:
                try:
                    key.data()
                except (BrokenPipeError, ConnectionResetError):
                    if not self._has_worker():
                        os._exit(0)  # as in _obey
                    # a program's socket, then: the next read of it finds its end
            if self._zygotes.look_again_s is not None:
                self._zygotes.look_again(in_time=not ready)

    def _has_worker(self) -> bool:
        try:
            return bool(self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _obey(self) -> None:
        message, _ = messages.receive(self._control)
        if message is None:
            os._exit(0)  # the worker has gone; the death of pid 1 kills every sandbox
        number = message["id"]
        try:
            self._do[message["do"]](number, message["order"])
        except OSError as error:
            self._answer(number, {"error": str(error) or repr(error)})

    def _answer(self, number: int, content: dict[str, Any]) -> None:
        messages.send(self._control, {"id": number, **content})

    def _create(self, number: int, content: dict[str, Any]) -> None:
        tmp = self._stage.add(CreateOrder(**content))
        messages.send(self._control, {"id": number, "answer": {}}, (tmp,))
        os.close(tmp)

    def _destroy(self, number: int, content: dict[str, Any]) -> None:
        box = BoxOrder(**content).box
        self._last[number] = box
        self._kill(number, content)

    def _killed(self, number: int) -> None:
        """Nothing of the program is left."""
        box = self._last.pop(number, None)
        try:
            if box is not None:
                self._stage.remove(box)
        except OSError as error:
            self._answer(number, {"error": str(error) or repr(error)})
        else:
            self._answer(number, {"answer": {}})

    def _runs(self, box: int) -> bool:
        places = (self._zygotes, self._containers)
        return box in self._programs or any(place.runs(box) for place in places)

    def _kill(self, number: int, content: dict[str, Any]) -> None:
        box = BoxOrder(**content).box
        program = self._programs.get(box)
        if self._zygotes.runs(box):
            self._zygotes.kill(number, box)
            return
        if self._containers.runs(box):
            self._containers.kill(number, box)
            return
        if program is None:
            self._killed(number)
            return
        program.waiting.append(number)
        if program.ended is None:
            os.kill(program.outer, signal.SIGKILL)  # ours and not reaped: no other can have its pid

    def _open_socket(self, number: int, content: dict[str, Any]) -> None:
        """From a fork, since there may be no way back into our own network namespace."""
        order = SocketOrder(**content)
        box = order.box
        program = self._programs.get(box)
        inside = program.outer if program else self._zygotes.first_of(box)
        inside = inside or self._containers.keeper_of(box)
        if inside is None:
            raise OSError(0, "nothing runs in the sandbox")
        child = os.fork()
        if child == 0:
            jail.answer_with_socket(self._control, number, inside, order.datagrams)
        os.waitpid(child, 0)

    def _terminate(self, number: int, content: dict[str, Any]) -> None:
        """SIGTERM to the program: the first child of its sandbox's pid 1, which may get others'
        orphans later."""
        box = BoxOrder(**content).box
        program = self._programs.get(box)
        first = program.inner if program else self._zygotes.first_of(box)
        children = children_of(first) if first else {}
        pid = min(children) if children else self._containers.program_of(box)
        pid = self._zygotes.program_of(box) or pid
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        self._answer(number, {"answer": {}})

    def _start(self, number: int, content: dict[str, Any]) -> None:
        order = StartOrder(**content)
        if self._runs(order.box):
            raise OSError(0, "a program already runs in the sandbox")
        if order.tmp_bytes is not None:
            resize_tmpfs(box_directory(order.box), order.tmp_bytes)
        if order.zygote is not None:
            self._zygotes.start(number, order)
            return
        if len(order.mounts) > MOUNTS_MAX:
            raise OSError(0, f"more than {MOUNTS_MAX} mounts")
        if order.runtime is not None:
            self._containers.start(number, order, self._root)
            return
        status, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        block_read, block = os.pipe2(os.O_CLOEXEC) if order.processes_in_namespace else (None, None)
        channel = self._waits.add(order.box).detach() if order.is_stem else None
        try:
            outer = fork_into(order.cgroup_directory)
            if outer == 0:
                self._become(number, order, (status_write, block_read, channel))
        except OSError:
            self._waits.forget(order.box)
            close_all(status, block)
            raise
        finally:
            close_all(status_write, block_read, channel)
        program = Program(order=order, number=number, outer=outer, status=status, block=block)
        self._programs[order.box] = program
        self._selector.register(status, selectors.EVENT_READ, lambda: self._read_status(program))

    def _wait(self, number: int, content: dict[str, Any]) -> None:
        if self._containers.runs(content["box"]):
            self._containers.wait(number, content["box"])
        else:
            self._waits.wait(number, content)

    def _bind(self, number: int, content: dict[str, Any]) -> None:
        program = self._programs.get(content["box"])
        if self._containers.runs(content["box"]):
            self._containers.bind(number, content)
        elif program is None:
            self._zygotes.bind(number, content)
        else:
            self._waits.bind(number, content, program.inner)

    def _become(
        self, number: int, order: StartOrder, fds: tuple[int, int | None, int | None]
    ) -> NoReturn:
        """In the child: turn into the sandbox, answering the worker on the way."""
        try:
            signal.set_wakeup_fd(-1)
            hosts_pid = int(os.readlink(f"{HOST}/proc/self"))  # noqa: PTH115 - faster
            for_worker, execute = jail.become_sandbox(order, self._root, self._pid, *fds)
            answer = {"id": number, "answer": {"pid": hosts_pid}}
            messages.send(self._control, answer, tuple(for_worker))
            execute()
        except Exception as error:  # noqa: BLE001 - whatever it is, this copy must not serve on
            jail.report(self._control, number, error)

    def _read_status(self, program: Program) -> None:
        """bubblewrap says which pid the inner has, and at the end whether anything was executed."""
        if program.status < 0:
            return  # finished earlier in this turn of the loop
        try:
            data = os.read(program.status, 4096)
        except BlockingIOError:
            return
        if not data:
            self._forget_status(program)
            return
        program.text += data
        *lines, program.text = program.text.split(b"\n")
        for line in lines:
            said = json.loads(line)
            if "child-pid" in said:
                program.inner = said["child-pid"]
                self._unblock(program, said["child-pid"])
            if "exit-code" in said:
                program.executed = True

    def _unblock(self, program: Program, inner: int) -> None:
        """Inside the new user namespace the limit counts this sandbox's processes only; set
        before it was made, it would count all of the user's."""
        if program.block is None:
            return
        limit = program.order.processes_in_namespace
        assert limit is not None
        try:
            resource.prlimit(inner, resource.RLIMIT_NPROC, (limit, limit))
            os.write(program.block, b"1")
        except OSError:  # it has died, or it must not run without its limit
            os.kill(program.outer, signal.SIGKILL)
        close_all(program.block)
        program.block = None

    def _forget_status(self, program: Program) -> None:
        if program.status >= 0:
            self._selector.unregister(program.status)
            os.close(program.status)
            program.status = -1

    def _reap(self, wake: int) -> None:
        os.read(wake, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if self._zygotes.reaped(pid, status) or self._containers.reaped(pid, status):
                continue
            if not self._reaped(pid, status):
                self._zygotes.reaped_unknown(pid, status)
        for program in [p for p in self._programs.values() if p.is_gone]:
            self._finish(program)

    def _reaped(self, pid: int, status: int) -> bool:
        """Whether it was a process of bubblewrap that we know."""
        is_known = False
        for program in list(self._programs.values()):
            if pid in program.left:
                program.left.discard(pid)
                is_known = True
            if program.outer == pid and program.ended is None:
                program.ended = status
                self._inherit(program)
                is_known = True
        return is_known

    def _inherit(self, program: Program) -> None:
        """The outer has been reaped, so whatever it left is our child by now: kill that too."""
        while program.status >= 0 and is_readable(program.status):
            self._read_status(program)
        if program.inner is not None:
            orphans = {program.inner}
        else:  # it died before it could say: every bubblewrap of ours that nobody knows
            known = {p.outer for p in self._programs.values() if p.ended is None}
            known |= {p.inner for p in self._programs.values() if p.inner is not None}
            ours = children_of(os.getpid())
            orphans = {pid for pid, name in ours.items() if name == _NAME} - known
        for pid in orphans:
            if any(pid in other.left for other in self._programs.values()):
                program.left.add(pid)  # killed, and perhaps this one's: all hear when it is reaped
                continue
            try:
                reaped, _ = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue  # the outer had reaped it itself
            if reaped == 0:
                os.kill(pid, signal.SIGKILL)
                program.left.add(pid)

    def _finish(self, program: Program) -> None:
        assert program.ended is not None
        self._forget_status(program)
        self._waits.forget(program.order.box)
        close_all(program.block)
        del self._programs[program.order.box]
        killed = os.WTERMSIG(program.ended) if os.WIFSIGNALED(program.ended) else 0
        code = 0 if killed else os.WEXITSTATUS(program.ended)
        event = ExitEvent(
            box=program.order.box,
            run=program.order.run,
            order=program.number,
            code=code,
            signal=killed,
            executed=program.executed,
        )
        messages.send(self._control, messages.exit_event(event))
        for number in program.waiting:
            self._killed(number)


def main() -> NoReturn:
    worker = os.getppid()
    number = int(sys.argv[1])  # as the worker has it: any
    if number == messages.WAIT_FD:  # which copies of us give away; see jail.py
        number = os.dup(number)
        os.close(messages.WAIT_FD)
    control = socket.socket(fileno=number)
    control.setblocking(True)
    message, _ = messages.receive(control)
    if message is None:
        os._exit(0)
    order = OpenOrder(**message["order"])
    try:
        own_uids = enter_own_namespaces()
        launcher = os.fork()
    except OSError as error:
        messages.send(control, {"id": message["id"], "error": str(error)})
        os._exit(1)
    if launcher == 0:
        linux.die_with_parent(signal.SIGKILL)
        serve(control, message["id"], order, own_uids=own_uids)
    control.close()  # so that the worker sees the end of the launcher proper
    stub.wait_and_clean(launcher, worker, order.cgroups)


def serve(control: socket.socket, number: int, order: OpenOrder, *, own_uids: bool) -> NoReturn:
    """The launcher proper, answering its first order."""
    os.umask(0o022)
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    try:
        uids = sandbox_uids() if own_uids else None
        launcher = Launcher(control, uids)
        launcher.open(order)
    except OSError as error:
        messages.send(control, {"id": number, "error": str(error)})
        os._exit(1)
    first, count = uids or (0, 0)
    opened = Opened(own_uids=own_uids, uid_first=first, uid_count=count)
    messages.send(control, {"id": number, "answer": asdict(opened)})
    launcher.run()


if __name__ == "__main__":
    main()
