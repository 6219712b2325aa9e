"""Which zygotes has the launcher made, and what do they say? What they fork: launcher_zygotes.py.

fork_zygote -> a child in namespaces of its own; it says that it has them
we          -> map its uids, tell it its one configuration, with the file of the small init
it          -> is ready; from then on it is heard for whoever has it fork
"""

import os
import selectors
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hearth.worker.sandboxes import linux, messages, wire
from hearth.worker.sandboxes.launcher_binds import detached
from hearth.worker.sandboxes.launcher_births import Zygote
from hearth.worker.sandboxes.messages import RetireOrder, ZygoteOrder
from hearth.worker.sandboxes.processes import close_all
from hearth.worker.sandboxes.stage import REAPER, SECCOMP, Stage, host_directory, shown
from hearth.worker.sandboxes.zygote_root import Parts, fork_zygote


class Makers:
    """The processes of one launcher that others are forked from: zygotes, and templates' nurses."""

    def __init__(
        self,
        control: socket.socket,
        selector: selectors.BaseSelector,
        stage: Stage,
        uids: tuple[int, int] | None,
        heard: Callable[[Zygote, dict[str, Any]], None],
        lost: Callable[[Zygote], None],
    ) -> None:
        """`heard` is told what they say of forks, `lost` who has ended."""
        self._control = control
        self._selector = selector
        self._stage = stage
        self._uids = uids
        self._heard = heard
        self._lost = lost
        self._zygotes: dict[int, Zygote] = {}

    def get(self, key: int) -> Zygote | None:
        return self._zygotes.get(key)

    def add(self, zygote: Zygote) -> None:
        self._zygotes[zygote.key] = zygote
        self._selector.register(zygote.control, selectors.EVENT_READ, lambda: self._hear(zygote))

    @property
    def are_forking(self) -> bool:
        """Whether any has not told a pid yet."""
        return any(zygote.forking for zygote in self._zygotes.values())

    def shut(self, key: int) -> None:
        """It goes when it has carried out what it was told; those that it forked stay."""
        zygote = self._zygotes.get(key)
        if zygote is not None and not zygote.is_retired:
            zygote.is_retired = True
            zygote.control.shutdown(socket.SHUT_WR)

    def reaped(self, pid: int) -> bool:
        """Whether the process was one of these."""
        for zygote in self._zygotes.values():
            if zygote.pid == pid:
                zygote.pid = 0  # its socket tells the rest
                return True
        return False

    def make(self, number: int, content: dict[str, Any]) -> None:
        """Raises OSError."""
        order = ZygoteOrder(**content)
        trees = [detached(shown(mount)) for mount in order.mounts]
        sources = detached(
            linux.open_tree(host_directory(str(Path(__file__).resolve().parents[3])))
        )
        parts = Parts(
            links=self._stage.links,
            binds=tuple(self._stage.binds),
            sources=sources,
            mounts=tuple(trees),
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = fork_zygote(order, parts, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            close_all(*trees, sources)
        zygote = Zygote(key=order.zygote, order=order, number=number, pid=pid, control=ours)
        self.add(zygote)

    def retire(self, number: int, content: dict[str, Any]) -> None:
        self.shut(RetireOrder(**content).zygote)
        self._answer(number, {"answer": {}})

    def _hear(self, zygote: Zygote) -> None:
        if zygote.control.fileno() < 0:
            return  # closed earlier in this turn of the loop
        try:
            message, _ = wire.receive(zygote.control)
        except OSError:
            message = None
        if message is None:
            self._lose(zygote)
        elif "unshared" in message:
            self._map_uids(zygote)
        elif "id" in message or "nurse" in message:
            self._heard(zygote, message)
        elif zygote.number is not None:
            number, zygote.number = zygote.number, None
            said = {"error": message["error"]} if "error" in message else {"answer": message}
            self._answer(number, said)

    def _map_uids(self, zygote: Zygote) -> None:
        """Identities: all that sandboxes may have; as an ordinary user, our only one."""
        first, count = self._uids or (os.geteuid(), 1)
        group = first if self._uids else os.getegid()
        try:
            for name, start in (("uid_map", first), ("gid_map", group)):
                text = f"{start} {start} {count}"
                Path(f"/proc/{zygote.pid}/{name}").write_text(text, encoding="ascii")
            wire.send(zygote.control, {"mapped": True})
            assert zygote.order is not None
            self._configure(zygote.control, zygote.order)
        except OSError as error:
            self._refuse(zygote, str(error))

    def _configure(self, zygote: socket.socket, order: ZygoteOrder) -> None:
        """Raises OSError."""
        content = {
            "script": order.script,
            "command": order.command,
            "environment": order.environment,
            "hidden": self._stage.hidden,
            "seccomp": Path(SECCOMP).read_bytes().hex(),
        }
        fds: tuple[int, ...] = ()
        if Path(REAPER).exists():
            fds = (os.open(REAPER, os.O_PATH | os.O_CLOEXEC),)
        try:
            wire.send(zygote, content, fds)
        finally:
            close_all(*fds)

    def _refuse(self, zygote: Zygote, why: str) -> None:
        if zygote.number is not None:
            number, zygote.number = zygote.number, None
            self._answer(number, {"error": why})
        if zygote.pid:
            os.kill(zygote.pid, signal.SIGKILL)

    def _lose(self, zygote: Zygote) -> None:
        """It has ended, or closed its socket, which it only does then."""
        self._selector.unregister(zygote.control)
        zygote.control.close()
        del self._zygotes[zygote.key]
        if zygote.number is not None:
            self._answer(zygote.number, {"error": "the zygote ended while it started"})
        self._lost(zygote)
        if zygote.key >= 0:
            messages.send(self._control, {"event": messages.ZYGOTE_GONE, "zygote": zygote.key})

    def _answer(self, number: int, content: dict[str, Any]) -> None:
        messages.send(self._control, {"id": number, **content})
