"""How does the launcher have a template fork? And what does it believe of what that has done?

    worker -> launcher     START, may become a template      as ever; it gets an end of a *channel*
    worker -> launcher     TEMPLATE                          and lets the program go on
    template -> launcher   `ready`, or why it cannot be forked
    launcher -> zygote     make a nurse; see zygote_nest.py  then TEMPLATE is answered

    worker -> launcher     START from the template           one after another
    nurse, builder, init   a nest; the launcher has its door, and the write ends of its pipes
    launcher -> template   go on (it is stopped in between), and fork
    fork -> launcher       `ready`, on a socket of this fork's own (*birth*)
    launcher               looks whether it is where it belongs and has what it should
    launcher -> fork       its environment                    then START is answered

A template runs a function's code. What it says is compared with two words, or is a text for
people; who speaks on a birth is what the kernel says. One fork at a time: while a nest is
made, the template is stopped and has no other process, which is looked at each time; the nest is
below a user namespace over which the template's uid has power.
"""

import contextlib
import os
import selectors
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from hearth.worker.sandboxes import launcher_seen, wire, zygote_template
from hearth.worker.sandboxes.launcher_births import Born, hosts_pid
from hearth.worker.sandboxes.processes import close_all

_EARLY_MAX: Final = 64
LOOKS_MAX: Final = 1000
LOOK_AGAIN_S: Final = 0.001
_WORD_BYTES: Final = 1024
_CREDENTIALS: Final = "3i"

Send = Callable[[dict[str, Any], tuple[int, ...]], None]
IsStill = Callable[[int, int, set[int | None]], bool]


@dataclass(slots=True, kw_only=True)
class Fork:
    """One start from a template, from the nest to the answer."""

    born: Born
    outputs: tuple[int, ...] = ()
    """Write ends of the nest's pipes."""
    for_worker: tuple[int, ...] = ()
    door: int | None = None
    """A pidfd."""
    birth: socket.socket | None = None
    inside: int = 0
    """The program's pid inside the template's pid namespace."""
    looks_left: int = LOOKS_MAX
    """Before it is given up, as the template does not stand still."""

    def close(self) -> None:
        close_all(*self.outputs, *self.for_worker, self.door)
        if self.birth is not None:
            self.birth.close()
        self.outputs = self.for_worker = ()
        self.door = None


@dataclass(slots=True, kw_only=True)
class Template:
    born: Born
    """Of the program that is, or may become, one."""
    channel: socket.socket
    said: str | None = None
    """Its first word, if that came before it was asked for."""
    asked: int | None = None
    """The TEMPLATE order's id, until it is answered."""
    pid: int = 0
    process: int | None = None
    """The same as a pidfd."""
    nurse: socket.socket | None = None
    """Our end, until the nurse is born."""
    forks: dict[int, Born] = field(default_factory=dict)
    """Those that live, by their pids inside the template's pid namespace."""
    early: dict[int, int] = field(default_factory=dict)
    """How some ended that we have not heard of yet."""
    at_work: Fork | None = None
    waiting: deque[int] = field(default_factory=deque)
    """Boxes of the starts to be made next."""
    is_gone: bool = False

    @property
    def box(self) -> int:
        return self.born.order.box

    def signal(self, number: int) -> None:
        """It is no child of ours: only this way nobody else can be meant."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.process, number)


class Templates:
    """Those of one launcher, by their boxes."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        send: Send,
        make_nurse: "Callable[[Template], None]",
        start_next: Callable[[int], None],
        fail: Callable[[Born, str], None],
        is_still: IsStill = launcher_seen.is_still,
    ) -> None:
        """`send` speaks to the worker; `start_next` is told the box whose turn has come, `fail`
        that of which no process came."""
        self._selector = selector
        self._send = send
        self._make_nurse = make_nurse
        self._start_next = start_next
        self._fail_start = fail
        self._is_still = is_still
        self._templates: dict[int, Template] = {}
        self._unsettled: list[tuple[Template, Fork]] = []
        """Those that are looked at again, and what for."""

    def get(self, box: int) -> Template | None:
        return self._templates.get(box)

    # -- becoming one ----------------------------------------------------------------------------

    def add(self, born: Born) -> int:
        """The program's end of its channel; the caller closes it when the program has it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        template = self._templates[born.order.box] = Template(born=born, channel=ours)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(template))
        return theirs.detach()

    def ask(self, number: int, box: int) -> None:
        """Raises OSError."""
        template = self._templates.get(box)
        if template is None:
            raise OSError(0, "it was not started to be a template")
        template.asked = number
        if template.said is not None:
            self._take_word(template, template.said)

    def _hear(self, template: Template) -> None:
        if template.channel.fileno() < 0:
            return  # closed earlier in this turn of the loop
        try:
            said = template.channel.recv(_WORD_BYTES).decode(errors="replace")
        except BlockingIOError:
            return
        except OSError:
            said = ""
        self._selector.unregister(template.channel)  # one word, or a function could keep us busy
        if not said:
            template.channel.close()
            said = "its interpreter was started anew, or has ended"
        template.said = said
        if template.asked is not None:
            self._take_word(template, said)

    def _take_word(self, template: Template, said: str) -> None:
        if said.encode() != zygote_template.READY:
            self._refuse(template, said)
            return
        try:
            template.pid = launcher_seen.children(template.born.pid or 0)[0]
            template.process = os.pidfd_open(template.pid)
            self._make_nurse(template)
        except (OSError, IndexError) as error:
            self._give_up(template, f"no forks could be prepared: {error}")

    def _give_up(self, template: Template, why: str) -> None:
        """Nothing is wrong with the program: another time it may be a template."""
        number, template.asked = template.asked, None
        if number is not None:
            self._answer(number, {"error": why})

    def _refuse(self, template: Template, why: str) -> None:
        template.channel.close()
        number, template.asked = template.asked, None
        if number is not None:
            self._answer(number, {"answer": {"why_not": why}})

    def nurse_is_born(self, box: int, error: str | None) -> None:
        template = self._templates.get(box)
        if template is None:
            return
        if error is not None:
            self._give_up(template, error)
            return
        number, template.asked = template.asked, None
        template.signal(signal.SIGSTOP)
        if number is not None:
            self._answer(number, {"answer": {"why_not": ""}})

    def zygote_is_lost(self, key: int) -> None:
        """Those that wait for a nurse of it wait in vain."""
        for template in self._templates.values():
            if template.asked is not None and template.born.order.zygote == key:
                self._give_up(template, "its zygote has ended")

    def nurse_is_lost(self, box: int) -> None:
        template = self._templates.get(box)
        if template is not None:
            self._give_up(template, "who makes its forks' sandboxes has ended")
            template.is_gone = True

    # -- forking ---------------------------------------------------------------------------------

    def must_wait(self, template: Template, born: Born) -> bool:
        """Whether its turn comes later; else it has begun. Raises OSError."""
        if template.is_gone or not template.pid:
            raise OSError(0, "the template has ended")
        fork = template.at_work
        if fork is not None and fork.born is not born:
            template.waiting.append(born.order.box)
            return True
        if fork is None:
            template.at_work = fork = Fork(born=born)
        if self._stands_still(template):
            return False
        self._unsettled.append((template, fork))
        return True

    def _stands_still(self, template: Template) -> bool:
        """Whether nothing in its pid namespace may run but what it has forked. Raises OSError."""
        init, known = template.born.pid, {born.program for born in template.forks.values()}
        assert init is not None
        return self._is_still(init, template.pid, known)

    @property
    def look_again_s(self) -> float | None:
        """When `look_again` is to be called."""
        return LOOK_AGAIN_S if self._unsettled else None

    def look_again(self, *, in_time: bool) -> None:
        """A signal takes effect when its process has a CPU again, which others need not wait for;
        or never, if the function keeps a process of which we do not know. `in_time`: it is
        `look_again_s` since the last look."""
        unsettled, self._unsettled = self._unsettled, []
        for template, fork in unsettled:
            if template.at_work is not fork:
                continue  # it was killed meanwhile
            fork.looks_left -= in_time
            try:
                if self._stands_still(template):
                    self._start_next(fork.born.order.box)
                elif fork.looks_left:
                    self._unsettled.append((template, fork))
                else:
                    self._fail_start(fork.born, "the template does not stand still")
            except OSError as error:
                self._fail_start(fork.born, str(error))

    def nest_is_made(self, template: Template, born: Born, door: int, fds: list[int]) -> None:
        """`fds`: two write ends, then those for the worker. Raises OSError."""
        fork = template.at_work
        if fork is None or fork.born is not born:
            close_all(*fds)
            return
        fork.outputs, fork.for_worker = tuple(fds[:2]), tuple(fds[2:])
        fork.door = os.pidfd_open(door)
        self._go_on(template)

    def builder_ended(self, template: Template) -> None:
        """Raises OSError."""
        if template.at_work is not None and template.at_work.door is not None:
            self._go_on(template)

    def _go_on(self, template: Template) -> None:
        fork = template.at_work
        assert fork is not None
        born = fork.born
        if born.builder is not None or fork.birth is not None:
            return  # the builder has power over the nest until it has ended
        birth, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        birth.setblocking(False)
        birth.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        fork.birth = birth
        self._selector.register(birth, selectors.EVENT_READ, lambda: self._hear_birth(template))
        tasks: list[int] = []
        try:
            tasks.extend(launcher_seen.open_tasks(born.order))
            assert fork.door is not None
            fds = (fork.door, *fork.outputs, theirs.fileno(), *tasks)
            wire.send(template.channel, {}, fds)
        finally:
            theirs.close()
            close_all(*tasks)
        template.signal(signal.SIGCONT)

    def _hear_birth(self, template: Template) -> None:
        fork = template.at_work
        if fork is None or fork.birth is None or fork.born.program is not None:
            return
        try:
            said, pid = _receive_word(fork.birth)
        except BlockingIOError:
            return
        except OSError:
            said, pid = b"", 0
        template.signal(signal.SIGSTOP)
        self._selector.unregister(fork.birth)
        if said != zygote_template.READY:
            why = said.decode(errors="replace") or "it ended"
            self._fail(template, f"the template could not be forked: {why}")
            return
        try:
            self._look_at(template, fork, pid)
        except OSError as error:
            self._fail(template, f"a fork of the template was refused: {error}")

    def _look_at(self, template: Template, fork: Fork, pid: int) -> None:
        """Raises OSError if the fork is not what it should be. If it is, the door is closed."""
        assert fork.born.pid is not None
        assert fork.door is not None
        fork.inside = launcher_seen.check_fork(pid, fork.born.pid, template.pid)
        fork.born.program = pid
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fork.door, signal.SIGKILL)

    def door_is_closed(self, born: Born) -> None:
        """Init has reaped it: there is nothing in the nest but itself, and what was forked."""
        template = self._templates.get(-(born.order.zygote or 0))
        if template is None:
            return
        fork = template.at_work
        if fork is None or fork.born is not born or born.program is None:
            return
        try:
            self._hand_over(template, fork)
        except OSError as error:
            self._fail(template, f"the fork has ended: {error}")
        else:
            self._next(template)

    def _hand_over(self, template: Template, fork: Fork) -> None:
        """Raises OSError."""
        born, inside = fork.born, fork.inside
        assert fork.birth is not None
        assert born.program is not None
        answer = {"id": born.number, "answer": {"pid": hosts_pid(born.program)}}
        content = {"environment": born.order.environment}
        wire.send(fork.birth, content)  # from now on it runs, and may end before we look
        self._send(answer, fork.for_worker)
        if inside in template.early:
            self._ended(born, template.early.pop(inside))
        else:
            template.forks[inside] = born

    def _fail(self, template: Template, why: str) -> None:
        fork = template.at_work
        if fork is not None:
            self._answer(fork.born.number, {"error": why})
            if fork.born.pid is not None and fork.born.ended is None:
                os.kill(fork.born.pid, signal.SIGKILL)
        self._next(template)

    def _answer(self, number: int, content: dict[str, Any]) -> None:
        self._send({"id": number, **content}, ())

    def _next(self, template: Template) -> None:
        """The one at work is done with, one way or the other."""
        fork, template.at_work = template.at_work, None
        if fork is not None:
            if fork.birth is not None and fork.birth.fileno() in self._selector.get_map():
                self._selector.unregister(fork.birth)
            fork.close()
        if template.waiting:
            self._start_next(template.waiting.popleft())

    # -- ends ------------------------------------------------------------------------------------

    def child_ended(self, box: int, inside: int, status: int) -> None:
        """Init of a template's box has reaped a child that is not the template."""
        template = self._templates.get(box)
        if template is None:
            return
        born = template.forks.pop(inside, None)
        if born is not None:
            self._ended(born, status)
        elif template.at_work is not None and len(template.early) < _EARLY_MAX:
            template.early[inside] = status

    def _ended(self, born: Born, status: int) -> None:
        born.said = {"ended": status, "executed": True}
        if born.pid is not None and born.ended is None:
            os.kill(born.pid, signal.SIGKILL)

    def program_ended(self, box: int) -> None:
        """The template itself; its forks live on, and its init for them."""
        template = self._templates.get(box)
        if template is not None:
            template.is_gone = True
            self._end_init_if_alone(template)

    def leave(self, box: int) -> None:
        """It forks no more; what it has forked stays."""
        template = self._templates.get(box)
        if template is not None and not template.is_gone:
            template.is_gone = True
            template.signal(signal.SIGKILL)

    def nest_is_gone(self, born: Born) -> None:
        """Nothing is left of a start from a template."""
        assert born.order.zygote is not None
        template = self._templates.get(-born.order.zygote)
        if template is None:
            return
        for inside in [i for i, one in template.forks.items() if one is born]:
            del template.forks[inside]
        if born.order.box in template.waiting:
            template.waiting.remove(born.order.box)
        if template.at_work is not None and template.at_work.born is born:
            self._next(template)
        self._end_init_if_alone(template)

    def _end_init_if_alone(self, template: Template) -> None:
        born = template.born
        is_alone = not template.forks and template.at_work is None
        if template.is_gone and is_alone and born.said is not None and born.pid is not None:
            os.kill(born.pid, signal.SIGKILL)

    def remove(self, box: int) -> Template | None:
        """Its init has ended, and all below it."""
        template = self._templates.pop(box, None)
        if template is not None:
            self._give_up(template, "it ended")
            template.is_gone = True
            template.waiting.clear()
            close_all(template.process)
            template.process = None
            if template.channel.fileno() >= 0:
                if template.said is None:
                    self._selector.unregister(template.channel)
                template.channel.close()
        return template


def user_namespace(template: Template) -> int:
    return os.open(f"/proc/{template.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)


def pid_namespace(template: Template) -> int:
    return os.open(f"/proc/{template.born.pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)


def _receive_word(birth: socket.socket) -> tuple[bytes, int]:
    """What was said, and by which process, as the kernel says. Raises OSError."""
    size = struct.calcsize(_CREDENTIALS)
    data, extra, _, _ = birth.recvmsg(_WORD_BYTES, socket.CMSG_SPACE(size))
    for level, kind, payload in extra:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, _, _ = struct.unpack(_CREDENTIALS, payload[:size])
            return data, pid
    return data, 0
