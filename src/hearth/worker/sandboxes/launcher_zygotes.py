"""How does the launcher make sandboxes from zygotes? The launcher's half; a part of its loop.

    worker -> launcher   ZYGOTE: fork, and exec a zygote       answered when it is ready
    worker -> launcher   START with a zygote's number
    launcher -> zygote   fork; with one end of a socket (*status*)
    zygote -> launcher   the pid that it forked: a child of ours, see zygote_process.py
    launcher -> init     the order, and descriptors of mounts and cgroups: now we can kill it
    init -> launcher     its descriptors, for the worker; in the end, how the program ended
    worker -> launcher   BIND: what a stem is for, see launcher_binds.py

The zygote is told nothing of the order: all that it has ever heard is in the memory of those that
it forks later. And as the fork waits for its order, there is no moment
at which a sandbox lives and we do not know it: a zygote that dies between fork and answer leaves a
process that sees our end closed, and ends.
"""

import os
import selectors
import signal
import socket
from collections.abc import Callable
from typing import Any

from hearth.worker.sandboxes import linux, messages, wire
from hearth.worker.sandboxes.launcher_binds import Binder, detached
from hearth.worker.sandboxes.launcher_births import Born, Zygote, hosts_pid
from hearth.worker.sandboxes.launcher_makers import Makers
from hearth.worker.sandboxes.launcher_seen import open_tasks
from hearth.worker.sandboxes.launcher_templates import (
    Template,
    Templates,
    pid_namespace,
    user_namespace,
)
from hearth.worker.sandboxes.messages import (
    BindOrder,
    BoxOrder,
    ExitEvent,
    StartOrder,
)
from hearth.worker.sandboxes.stage import (
    BOXES,
    HOST,
    Stage,
    shown,
)


class Zygotes:
    """Those of one launcher, and the runs that came from them."""

    def __init__(
        self,
        control: socket.socket,
        selector: selectors.BaseSelector,
        stage: Stage,
        uids: tuple[int, int] | None,
        killed: Callable[[int], None],
    ) -> None:
        """`killed` answers the kill orders of what is gone."""
        self._killed = killed
        self._control = control
        self._selector = selector
        self._binder = Binder()
        self._makers = Makers(control, selector, stage, uids, self._heard, self._lost)
        self.make = self._makers.make
        self.retire = self._makers.retire
        self._born: dict[int, Born] = {}
        self._templates = Templates(
            selector, self._send, self._make_nurse, self._start_next, self._fail
        )
        self.look_again = self._templates.look_again
        self._strays: dict[int, int] = {}
        """Ends of processes whose zygote has not told their pid yet."""

    @property
    def look_again_s(self) -> float | None:
        """When `look_again` is to be called, if nothing happens before."""
        return self._templates.look_again_s

    def runs(self, box: int) -> bool:
        return box in self._born

    def first_of(self, box: int) -> int | None:
        """The pid of that sandbox's init."""
        born = self._born.get(box)
        return None if born is None or born.ended is not None else born.pid

    def program_of(self, box: int) -> int | None:
        """Where that is no child of init's."""
        born = self._born.get(box)
        return None if born is None or born.ended is not None else born.program

    def _heard(self, zygote: Zygote, message: dict[str, Any]) -> None:
        if "id" in message:
            self._forked(zygote, message)
        else:
            self._nurse_is_born(message)

    def _lost(self, zygote: Zygote) -> None:
        for born in list(zygote.forking.values()):
            self._fail(born, "the zygote ended")
        if zygote.key < 0:
            self._templates.nurse_is_lost(-zygote.key)
        else:
            self._templates.zygote_is_lost(zygote.key)

    # -- what they fork --------------------------------------------------------------------------

    def start(self, number: int, order: StartOrder) -> None:
        """Raises OSError."""
        status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        born = Born(order=order, number=number, status=status, theirs=theirs)
        self._born[order.box] = born
        self._selector.register(status, selectors.EVENT_READ, lambda: self._listen(born))
        try:
            self._begin(born)
        except OSError:
            self._forget(born)
            raise

    def _begin(self, born: Born) -> None:
        """Raises OSError."""
        order = born.order
        assert order.zygote is not None
        if born.is_nest and self._templates.must_wait(self._template_of(born), born):
            return
        zygote = self._makers.get(order.zygote)
        if zygote is None or zygote.number is not None or zygote.is_retired:
            raise OSError(0, "there is no such zygote")
        for_zygote = [born.theirs.detach()]
        try:
            self._gather(born)
            if order.cgroup_directory is not None:
                directory = HOST + order.cgroup_directory
                for_zygote.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            wire.send(zygote.control, {"id": born.number}, tuple(for_zygote))
        finally:
            _close(*for_zygote)
        zygote.forking[born.number] = born

    def _start_next(self, box: int) -> None:
        """Its turn has come to be forked from its template."""
        born = self._born[box]
        try:
            self._begin(born)
        except OSError as error:
            self._fail(born, str(error))

    def _gather(self, born: Born) -> None:
        """What init gets, in the order of zygote_child.Order or zygote_nest.Order."""
        order, fds = born.order, born.fds
        if born.is_nest:
            fds.append(user_namespace(self._template_of(born)))
        fds.append(linux.open_tree(f"{BOXES}/{order.box}"))
        if order.is_template:
            fds.append(self._templates.add(born))
        fds.extend(detached(shown(mount)) for mount in order.mounts)
        fds.extend(open_tasks(order))

    def _template_of(self, born: Born) -> Template:
        """Raises OSError."""
        assert born.order.zygote is not None
        template = self._templates.get(-born.order.zygote)
        if template is None:
            raise OSError(0, "there is no such template")
        return template

    def bind(self, number: int, content: dict[str, Any]) -> None:
        """Tell a stem what it is for. Raises OSError."""
        order = BindOrder(**content)
        born = self._born.get(order.box)
        if born is None or born.namespace is None:
            raise OSError(0, "there is no such stem")
        namespace, born.namespace = born.namespace, None
        self._binder.bind(order, namespace, born.status)
        self._answer(number, {"answer": {}})

    def kill(self, number: int, box: int) -> None:
        born = self._born[box]
        born.waiting.append(number)
        born.is_killed = True
        if born.pid is not None and born.ended is None:
            os.kill(born.pid, signal.SIGKILL)  # ours and not reaped: no other can have its pid
        elif born.theirs.fileno() >= 0:  # nobody has been asked to fork it
            self._fail(born, "it was killed before it started")

    def _forked(self, zygote: Zygote, message: dict[str, Any]) -> None:
        born = zygote.forking.pop(message["id"])
        if "error" in message:
            self._fail(born, message["error"])
            return
        born.pid = message["pid"]
        born.builder = born.pid if born.is_nest else None
        if born.pid in self._strays:
            born.ended = self._strays.pop(born.pid)
            self._finish(born)
        elif born.is_killed:
            os.kill(born.pid, signal.SIGKILL)
        else:
            self._send_order(born)

    def _send_order(self, born: Born) -> None:
        assert born.pid is not None
        fds, born.fds = born.fds, []
        try:
            wire.send(born.status, _for_init(born.order), tuple(fds))
            # Now: when it answers it may have ended, and have been reaped, already.
            born.hosts_pid = hosts_pid(born.pid)
        except OSError:
            os.kill(born.pid, signal.SIGKILL)
        finally:
            _close(*fds)

    def _listen(self, born: Born) -> None:
        """Take in all that init has said."""
        while born.status.fileno() >= 0:
            try:
                message, fds = _receive_now(born.status)
            except BlockingIOError:
                return
            except OSError:
                message, fds = None, []
            if message is None:
                self._selector.unregister(born.status)
                born.status.close()
            else:
                self._take_in(born, message, fds)

    def _take_in(self, born: Born, message: dict[str, Any], fds: list[int]) -> None:
        if "answer" in message:
            if born.is_nest:
                self._nest_is_made(born, message["door"], fds)
                return
            if born.order.is_stem:
                born.namespace = fds.pop(0)
            self._answer_start(born, fds)
        elif "error" in message:
            self._answer(born.number, {"error": message["error"]})
        elif "init" in message:
            born.pid = message["init"]
        elif "closed" in message:
            self._templates.door_is_closed(born)
        elif "child" in message:
            self._templates.child_ended(born.order.box, message["child"], message["ended"])
        else:
            born.said = message
            if born.order.is_template:
                self._end_nurse(born.order.box)
                self._templates.program_ended(born.order.box)

    def _nest_is_made(self, born: Born, door: int, fds: list[int]) -> None:
        try:
            self._templates.nest_is_made(self._template_of(born), born, door, fds)
        except OSError as error:
            self._give_up(born, error)

    def _give_up(self, born: Born, error: OSError) -> None:
        """Some process came of it, but no program."""
        self._answer(born.number, {"error": str(error)})
        if born.pid is not None and born.ended is None:
            os.kill(born.pid, signal.SIGKILL)

    def _answer_start(self, born: Born, fds: list[int]) -> None:
        try:
            content = {"id": born.number, "answer": {"pid": born.hosts_pid}}
            messages.send(self._control, content, tuple(fds))
        finally:
            _close(*fds)

    def _fail(self, born: Born, why: str) -> None:
        """No process came of it."""
        self._forget(born)
        self._answer(born.number, {"error": why})
        for number in born.waiting:
            self._killed(number)

    def _forget(self, born: Born) -> None:
        del self._born[born.order.box]
        born.theirs.close()
        _close(*born.fds)
        born.fds = []
        if born.namespace is not None:
            _close(born.namespace)
        if born.status.fileno() >= 0:
            self._selector.unregister(born.status)
            born.status.close()
        if born.is_nest:
            self._templates.nest_is_gone(born)
        if born.order.is_template:
            self._templates.remove(born.order.box)
            self._end_nurse(born.order.box)

    # -- templates; see launcher_templates.py ------------------------------------------------------

    def become_template(self, number: int, content: dict[str, Any]) -> None:
        """Raises OSError."""
        self._templates.ask(number, BoxOrder(**content).box)

    def leave(self, number: int, content: dict[str, Any]) -> None:
        self._templates.leave(BoxOrder(**content).box)
        self._answer(number, {"answer": {}})

    def _make_nurse(self, template: Template) -> None:
        """Raises OSError."""
        assert template.born.order.zygote is not None
        zygote = self._makers.get(template.born.order.zygote)
        if zygote is None or zygote.is_retired:
            raise OSError(0, "its zygote has ended")
        namespace = pid_namespace(template)
        template.nurse, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            wire.send(zygote.control, {"nurse": template.box}, (theirs.fileno(), namespace))
        finally:
            theirs.close()
            _close(namespace)

    def _nurse_is_born(self, message: dict[str, Any]) -> None:
        box = message["nurse"]
        template = self._templates.get(box)
        if "error" not in message and template is not None and template.nurse is not None:
            nurse = Zygote(
                key=-box, order=None, number=None, pid=message["pid"], control=template.nurse
            )
            self._makers.add(nurse)
        self._templates.nurse_is_born(box, message.get("error"))

    def _end_nurse(self, box: int) -> None:
        self._makers.shut(-box)

    # -- ends ------------------------------------------------------------------------------------

    def reaped(self, pid: int, status: int) -> bool:
        """Whether the process was one of ours."""
        for born in list(self._born.values()):
            if born.builder == pid:
                if born.pid == pid:
                    self._listen(born)  # it may have told who is init now
                born.builder = None
                if born.pid != pid:
                    self._builder_ended(born)
                    return True
            if born.pid == pid:
                born.ended = status
                self._finish(born)
                return True
        return self._makers.reaped(pid)

    def _builder_ended(self, born: Born) -> None:
        try:
            self._templates.builder_ended(self._template_of(born))
        except OSError as error:
            self._give_up(born, error)

    def reaped_unknown(self, pid: int, status: int) -> None:
        """Nobody's, so far."""
        if self._makers.are_forking:
            self._strays[pid] = status
        else:
            self._strays.clear()

    def _finish(self, born: Born) -> None:
        """Init has been reaped: the kernel has emptied its pid namespace."""
        assert born.ended is not None
        self._listen(born)
        self._forget(born)
        said = born.said or {"ended": born.ended, "executed": True}
        ended = said["ended"]
        killed = os.WTERMSIG(ended) if os.WIFSIGNALED(ended) else 0
        event = ExitEvent(
            box=born.order.box,
            run=born.order.run,
            order=born.number,
            code=0 if killed else os.WEXITSTATUS(ended),
            signal=killed,
            executed=said["executed"],
            exact=True,
        )
        messages.send(self._control, messages.exit_event(event))
        for number in born.waiting:
            self._killed(number)

    def _answer(self, number: int, content: dict[str, Any]) -> None:
        self._send({"id": number, **content}, ())

    def _send(self, message: dict[str, Any], fds: tuple[int, ...]) -> None:
        messages.send(self._control, message, fds)


def _for_init(order: StartOrder) -> dict[str, Any]:
    return {
        "argv": order.argv,
        "environment": order.environment,
        "working_directory": order.working_directory,
        "mounts": [mount[1] for mount in order.mounts],
        "uid": order.uid,
        "is_stem": order.is_stem,
        "is_template": order.is_template,
        "rlimits": order.rlimits,
        "processes_in_namespace": order.processes_in_namespace,
    }


def _receive_now(control: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Raises BlockingIOError if there is nothing to be received."""
    control.setblocking(False)
    return wire.receive(control)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)
