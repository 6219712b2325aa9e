"""Who forks for the worker? This small process: `python -I -S launcher_process.py FD`.

Forking a large worker blocks its event loop for 10 ms; forking this one costs 1. It is
single-threaded and knows only the standard library.

It is two processes: a stub, the worker's child, and the launcher proper, pid 1 of a pid namespace
in which everything else is born. Its life ends with the worker's - the socket closes, and the
kernel tells each that its parent died - and then the kernel kills all of that namespace, at
whatever point of starting or ending a sandbox is.
"""

import gc
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # executed by path, without site-packages: find our own package
    sys.path.append(str(Path(__file__).resolve().parents[3]))

from hearth.worker.sandboxes import jail, linux, messages, stub
from hearth.worker.sandboxes.arguments import Root
from hearth.worker.sandboxes.launcher_containers import Containers
from hearth.worker.sandboxes.launcher_programs import Programs
from hearth.worker.sandboxes.launcher_zygotes import Zygotes
from hearth.worker.sandboxes.messages import (
    BindOrder,
    BoxOrder,
    CreateOrder,
    Opened,
    OpenOrder,
    SocketOrder,
    StartOrder,
)
from hearth.worker.sandboxes.processes import children_of
from hearth.worker.sandboxes.stage import (
    MOUNTS_MAX,
    Stage,
    box_directory,
    enter_own_namespaces,
    resize_tmpfs,
    sandbox_uids,
)


class Launcher:
    """The loop. Orders come in on `control`; answers and exits go out on it."""

    def __init__(self, control: socket.socket, uids: tuple[int, int] | None) -> None:
        self._control = control
        self._stage = Stage()
        self._root = Root(links={}, binds=(), hidden=())
        self._last: dict[int, int] = {}
        """By the ids of kills: the boxes that are to be removed then."""
        self._selector = selectors.DefaultSelector()
        self._zygotes = Zygotes(control, self._selector, self._stage, uids, self._killed)
        self._containers = Containers(control, self._selector, self._killed)
        self._programs = Programs(control, self._selector, self._killed)
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
        return any(place.runs(box) for place in (self._programs, self._zygotes, self._containers))

    def _kill(self, number: int, content: dict[str, Any]) -> None:
        box = BoxOrder(**content).box
        for place in (self._programs, self._zygotes, self._containers):
            if place.runs(box):
                place.kill(number, box)
                return
        self._killed(number)

    def _open_socket(self, number: int, content: dict[str, Any]) -> None:
        """From a fork, since there may be no way back into our own network namespace."""
        order = SocketOrder(**content)
        box = order.box
        inside = self._programs.outer_of(box) or self._zygotes.first_of(box)
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
        first = self._programs.inner_of(box) or self._zygotes.first_of(box)
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
        else:
            self._programs.start(number, order, self._root)

    def _wait(self, number: int, content: dict[str, Any]) -> None:
        if self._containers.runs(content["box"]):
            self._containers.wait(number, content["box"])
        else:
            self._programs.wait(number, content)

    def _bind(self, number: int, content: dict[str, Any]) -> None:
        box = BindOrder(**content).box
        if self._containers.runs(box):
            self._containers.bind(number, content)
        elif self._programs.runs(box):
            self._programs.bind(number, content)
        else:
            self._zygotes.bind(number, content)

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
            if not self._programs.reaped(pid, status):
                self._zygotes.reaped_unknown(pid, status)
        self._programs.finish()


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
