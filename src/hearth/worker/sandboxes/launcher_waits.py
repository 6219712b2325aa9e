"""How does a program that bubblewrap executed wait for its function? On a socket of the launcher's.

It writes to the socket when it has loaded what it needs, and reads from it what it is for. Until
then it has run nothing but its runtime, in a sandbox that is as closed as it will ever be. What it
lacks is mounted from outside, as for a stem that a zygote forked; see launcher_binds.py.
"""

import os
import resource
import selectors
import socket
from dataclasses import dataclass, field
from typing import Any

from hearth.worker.sandboxes import messages
from hearth.worker.sandboxes.launcher_binds import Binder
from hearth.worker.sandboxes.messages import BindOrder, BoxOrder
from hearth.worker.sandboxes.processes import children_of


@dataclass(slots=True)
class Waiting:
    box: int
    channel: socket.socket
    is_ready: bool = False
    asked: list[int] = field(default_factory=list)
    """Ids of the orders to answer when it is ready."""


class Waits:
    """Those of one launcher, by their boxes; a part of its loop."""

    def __init__(self, control: socket.socket, selector: selectors.BaseSelector) -> None:
        self._control = control
        self._selector = selector
        self._binder = Binder()
        self._waiting: dict[int, Waiting] = {}

    def has(self, box: int) -> bool:
        return box in self._waiting

    def add(self, box: int) -> socket.socket:
        """The program's end of the socket; the caller closes it when the program has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        waiting = self._waiting[box] = Waiting(box, ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(waiting))
        return theirs

    def wait(self, number: int, content: dict[str, Any]) -> None:
        """Answered when the program is ready. Raises OSError."""
        waiting = self._waiting.get(BoxOrder(**content).box)
        if waiting is None:
            raise OSError(0, "there is no such program")
        if waiting.is_ready:
            self._answer(number, {"answer": {}})
        else:
            waiting.asked.append(number)

    def bind(self, number: int, content: dict[str, Any], inner: int | None) -> None:
        """`inner`: pid 1 of its sandbox. Raises OSError; then it is of no use to anybody."""
        order = BindOrder(**content)
        waiting = self._waiting.get(order.box)
        if waiting is None or not waiting.is_ready or inner is None:
            raise OSError(0, "the program does not wait")
        for kind, value in order.rlimits:
            resource.prlimit(min(children_of(inner)), kind, (value, value))
        namespace = os.open(f"/proc/{inner}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self._binder.bind(order, namespace, waiting.channel)
        self.forget(order.box)
        self._answer(number, {"answer": {}})

    def forget(self, box: int) -> None:
        """It was told, or has ended. Safe to call twice."""
        waiting = self._waiting.pop(box, None)
        if waiting is None:
            return
        self._selector.unregister(waiting.channel)
        waiting.channel.close()
        for number in waiting.asked:
            self._answer(number, {"error": "the program ended before it was ready"})

    def _hear(self, waiting: Waiting) -> None:
        if waiting.channel.fileno() < 0:
            return  # closed earlier in this turn of the loop
        try:
            said = waiting.channel.recv(4096)
        except OSError:
            said = b""
        if not said:
            self.forget(waiting.box)
            return
        waiting.is_ready = True
        numbers, waiting.asked = waiting.asked, []
        for number in numbers:
            self._answer(number, {"answer": {}})

    def _answer(self, number: int, content: dict[str, Any]) -> None:
        messages.send(self._control, {"id": number, **content})
