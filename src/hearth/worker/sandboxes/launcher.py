"""How does the worker talk to its launcher? Orders out, answers and exits in, on one event loop."""

import asyncio
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hearth.base.log import Log
from hearth.worker.sandboxes import messages
from hearth.worker.sandboxes.contract import SandboxFailed
from hearth.worker.sandboxes.messages import ExitEvent, Opened, OpenOrder

log = Log("launcher")

_PROGRAM = Path(__file__).with_name("launcher_process.py")
_REAP_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    content: dict[str, Any]
    fds: list[int]
    """The caller's from now on."""


class Launcher:
    """A running launcher process. Create it on the main thread: it dies with the thread."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: socket.socket,
        on_exit: Callable[[ExitEvent], None],
        on_lost: Callable[[], None],
        on_zygote_gone: Callable[[int], None],
        before_end: Callable[[], None],
    ) -> None:
        self._process = process
        self._control = control
        self._on_exit = on_exit
        self._on_lost = on_lost
        self._on_zygote_gone = on_zygote_gone
        self._before_end = before_end
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[Answer]] = {}
        self._last_number = 0
        self._unsent: deque[bytes] = deque()
        self.is_alive = True
        self._loop.add_reader(control.fileno(), self._read)

    @classmethod
    async def open(
        cls,
        order: OpenOrder,
        on_exit: Callable[[ExitEvent], None],
        on_lost: Callable[[], None],
        on_zygote_gone: Callable[[int], None] = lambda _: None,
        before_end: Callable[[], None] = lambda: None,
    ) -> tuple[Self, Opened]:
        """Start the process. Raises SandboxFailed if it cannot make its stage.

        `on_exit` is called for each program that has ended, `on_lost` once if the process dies,
        `on_zygote_gone` with the number of each zygote that has ended, `before_end` when the
        process has died or will be ended, before that is waited for.
        """
        try:
            process, ours = _spawn()
        except OSError as error:
            raise SandboxFailed(f"the launcher cannot be executed: {error}") from error
        launcher = cls(process, ours, on_exit, on_lost, on_zygote_gone, before_end)
        try:
            answer = await launcher.ask(messages.OPEN, order)
        except BaseException:
            launcher.close()
            raise
        return launcher, Opened(**answer.content)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def ask(self, do: str, order: Any) -> Answer:
        """Send an order and wait for its answer. Raises SandboxFailed.

        If the caller gives up, the order is carried out all the same.
        """
        answered = self._order(do, order)
        try:
            return await answered
        except asyncio.CancelledError:
            if not answered.cancelled() and answered.exception() is None:
                _close(answered.result().fds)  # it was answered in the very turn of the cancelling
            raise

    def ask_first(self, do: str, order: Any) -> asyncio.Future[Answer]:
        """The same, for who has other orders to send before it needs the answer: they are carried
        out one after another. Raises SandboxFailed; and so may what is returned."""
        answered = self._order(do, order)
        answered.add_done_callback(_see)
        return answered

    def tell(self, do: str, order: Any) -> None:
        """Send an order whose answer nobody waits for; it is logged if it failed."""
        if self.is_alive:
            self._order(do, order).add_done_callback(_log_failure)

    def close(self) -> None:
        """End the process, and with it every sandbox. Safe to call twice."""
        if self.is_alive:
            self._end()
            self._fail_all("the launcher was closed")

    def _order(self, do: str, order: Any) -> asyncio.Future[Answer]:
        if not self.is_alive:
            raise SandboxFailed("the launcher has ended")
        self._last_number += 1
        data = messages.encode(messages.order(self._last_number, do, order))
        if len(data) >= messages.BYTES_MAX // 2:
            raise SandboxFailed("the program's arguments and environment are too large")
        answered = self._asked[self._last_number] = self._loop.create_future()
        self._send(data)
        return answered

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            try:
                self._control.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._control.fileno(), self._flush)
            except OSError as error:
                self._lose(error)
                return
            else:
                return
        self._unsent.append(data)

    def _flush(self) -> None:
        while self._unsent:
            try:
                self._control.send(self._unsent[0])
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error)
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._control.fileno())

    def _read(self) -> None:
        while self.is_alive:
            try:
                message, fds = messages.receive(self._control)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error)
                return
            if message is None:
                self._lose(None)
            elif "event" in message:
                if message.pop("event") == messages.ZYGOTE_GONE:
                    self._on_zygote_gone(message["zygote"])
                else:
                    self._exited(ExitEvent(**message))
            else:
                self._answered(message, fds)

    def _answered(self, message: dict[str, Any], fds: list[int]) -> None:
        answered = self._asked.pop(message["id"])
        if answered.done():  # the caller was cancelled; nobody else will close these
            _close(fds)
        elif "error" in message:
            answered.set_exception(SandboxFailed(message["error"]))
        else:
            answered.set_result(Answer(message["answer"], fds))

    def _exited(self, event: ExitEvent) -> None:
        # Killed between its fork and its answer: whoever waits for that would wait for ever.
        unanswered = self._asked.pop(event.order, None)
        if unanswered is not None and not unanswered.done():
            unanswered.set_exception(SandboxFailed("the program was killed while it started"))
        self._on_exit(event)

    def _lose(self, error: OSError | None) -> None:
        if not self.is_alive:
            return
        self._end()
        log.error("the launcher died", pid=self.pid, code=self._process.returncode, error=error)
        self._fail_all("the launcher died")
        self._on_lost()

    def _end(self) -> None:
        self.is_alive = False
        self._loop.remove_reader(self._control.fileno())
        self._loop.remove_writer(self._control.fileno())
        self._control.close()
        self._before_end()
        try:  # it ends by itself when the last process of any sandbox has: milliseconds
            self._process.wait(_REAP_S)
        except subprocess.TimeoutExpired:
            log.error("the launcher does not end and is killed", pid=self.pid)
            self._process.kill()
            self._process.wait()

    def _fail_all(self, why: str) -> None:
        for answered in self._asked.values():
            if not answered.done():
                answered.set_exception(SandboxFailed(why))
        self._asked.clear()


def _spawn() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """The process and our end of the socket. Raises OSError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        ours.setblocking(False)
        try:  # a session of its own, so that Ctrl-C reaches the worker only, which then drains
            process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(_PROGRAM), str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _log_failure(answered: asyncio.Future[Answer]) -> None:
    if not answered.cancelled() and (error := answered.exception()) is not None:
        log.warning("an order to the launcher failed", error=error)


def _see(answered: asyncio.Future[Answer]) -> None:
    """That it failed is known, also if nobody asks any more."""
    if not answered.cancelled():
        answered.exception()


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
