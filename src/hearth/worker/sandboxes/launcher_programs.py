"""How does the launcher run programs by bubblewrap? The launcher's half; a part of its loop.

A program in a sandbox is three processes here: bubblewrap outside (our child, the *outer*), its
pid 1 inside (the *inner*), and the program. When the outer has died the kernel kills the inner,
we inherit it, and once we have reaped it nothing is left in its pid namespace: only then has the
program ended.
"""

import json
import os
import resource
import selectors
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hearth.worker.sandboxes import jail, messages
from hearth.worker.sandboxes.arguments import Root
from hearth.worker.sandboxes.launcher_waits import Waits
from hearth.worker.sandboxes.messages import ExitEvent, StartOrder
from hearth.worker.sandboxes.processes import children_of, close_all, fork_into, is_readable
from hearth.worker.sandboxes.stage import BWRAP, HOST

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


class Programs:
    """Those of one launcher, by their boxes."""

    def __init__(
        self,
        control: socket.socket,
        selector: selectors.BaseSelector,
        killed: Callable[[int], None],
    ) -> None:
        """`killed` answers the kill orders of what is gone."""
        self._control = control
        self._selector = selector
        self._killed = killed
        self._pid = os.getpid()
        self._programs: dict[int, Program] = {}
        self._waits = Waits(control, selector)

    def runs(self, box: int) -> bool:
        return box in self._programs

    def outer_of(self, box: int) -> int | None:
        program = self._programs.get(box)
        return None if program is None else program.outer

    def inner_of(self, box: int) -> int | None:
        """If that is known yet."""
        program = self._programs.get(box)
        return None if program is None else program.inner

    def start(self, number: int, order: StartOrder, root: Root) -> None:
        """Raises OSError."""
        status, status_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        block_read, block = os.pipe2(os.O_CLOEXEC) if order.processes_in_namespace else (None, None)
        channel = self._waits.add(order.box).detach() if order.is_stem else None
        try:
            outer = fork_into(order.cgroup_directory)
            if outer == 0:
                self._become(number, order, root, (status_write, block_read, channel))
        except OSError:
            self._waits.forget(order.box)
            close_all(status, block)
            raise
        finally:
            close_all(status_write, block_read, channel)
        program = Program(order=order, number=number, outer=outer, status=status, block=block)
        self._programs[order.box] = program
        self._selector.register(status, selectors.EVENT_READ, lambda: self._read_status(program))

    def wait(self, number: int, content: dict[str, Any]) -> None:
        """Answered when the program that waits is ready. Raises OSError."""
        self._waits.wait(number, content)

    def bind(self, number: int, content: dict[str, Any]) -> None:
        """Raises OSError; then it is of no use to anybody."""
        self._waits.bind(number, content, self._programs[content["box"]].inner)

    def kill(self, number: int, box: int) -> None:
        program = self._programs[box]
        program.waiting.append(number)
        if program.ended is None:
            os.kill(program.outer, signal.SIGKILL)  # ours and not reaped: no other can have its pid

    def finish(self) -> None:
        """What is all gone: tell so."""
        for program in [p for p in self._programs.values() if p.is_gone]:
            self._finish(program)

    def _become(
        self,
        number: int,
        order: StartOrder,
        root: Root,
        fds: tuple[int, int | None, int | None],
    ) -> NoReturn:
        """In the child: turn into the sandbox, answering the worker on the way."""
        try:
            signal.set_wakeup_fd(-1)
            hosts_pid = int(os.readlink(f"{HOST}/proc/self"))  # noqa: PTH115 - faster
            for_worker, execute = jail.become_sandbox(order, root, self._pid, *fds)
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

    def reaped(self, pid: int, status: int) -> bool:
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
