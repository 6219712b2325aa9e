"""How does the worker start several programs in one sandbox? Through a supervisor inside of it.

A sandbox runs one program. Where there are external extensions that is `inner/supervisor.py`,
which starts them and the runtime as it is told, over the Runtime API's own socket: so it works in
whatever isolates the sandbox. It is not trusted: all that it can say is how its own sandbox's
processes ended. See docs/decisions/0021-extensions-and-telemetry.md.
"""

import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from hearth.base.http1 import HttpRequest, Responder
from hearth.worker.inside_errors import ACCEPTED, JSON, UNREADABLE, refuse, refuse_path
from hearth.worker.output import LineSplitter
from hearth.worker.sandboxes.contract import Exit, ExitKind, Mount, Program, Sandbox

OPT: Final = "/opt"
RUNTIME: Final = ""
"""The runtime's name among the supervised; no file has it."""
_SCRIPT: Final = Path(__file__).with_name("inner") / "supervisor.py"
_DIRECTORY: Final = "/var/hearth-supervisor"
"""Not /var/hearth: containers have their init there."""
_PYTHON: Final = "/var/hearth-python"
_SYSTEM: Final = ("/usr/", "/bin/", "/lib/", "/lib64/")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtensionProgram:
    """An executable in /opt/extensions; paths are as seen from inside."""

    name: str
    path: str
    environment: Mapping[str, str]


class _News(msgspec.Struct):
    """Of one process, from inside: not to be believed, but for its own sandbox."""

    name: str
    errno: int = 0
    code: int = 0


class SupervisorEvents(Protocol):
    """What is told of supervised processes. All calls are synchronous and must not raise."""

    def supervised_failed(self, name: str, errno: int) -> None:
        """It was never executed."""
        ...

    def supervised_exited(self, name: str, exit_: Exit) -> None: ...

    def supervised_wrote(self, name: str, lines: list[bytes]) -> None: ...


class Supervision:
    """One supervisor: its program, the orders it gets, the news it brings."""

    def __init__(self, events: SupervisorEvents) -> None:
        self._events = events
        self._path = f"/hearth/{secrets.token_hex(16)}"
        self._orders: list[dict[str, Any]] = []
        self._waiting: Responder | None = None
        self._splitters: dict[str, LineSplitter] = {}
        self.alive: set[str] = set()
        """Names of what runs, or was told to."""

    def program(self, sandbox: Sandbox, runtime: Program) -> Program:
        """What to start in the sandbox in place of `runtime`."""
        script = Mount(_SCRIPT.parent, _DIRECTORY)
        python, mounts = _interpreter(sandbox)
        return Program(
            argv=(
                *(python, "-I", "-S", f"{sandbox.inside(script)}/{_SCRIPT.name}"),
                *(sandbox.api_address, self._path),
            ),
            environment={},
            working_directory="/",
            mounts=(*runtime.mounts, script, *mounts),
            one_output=runtime.one_output,
        )

    def start_extension(self, extension: ExtensionProgram) -> None:
        environment = dict(extension.environment)
        self._start(extension.name, [extension.path], environment, "/", captured=True, logs=False)

    def start_runtime(self, program: Program) -> None:
        directory = program.working_directory
        environment = {**program.environment, "PWD": directory}
        argv = list(program.argv)
        self._start(RUNTIME, argv, environment, directory, captured=False, logs=True)

    def signal(self, name: str, number: int) -> None:
        self._order({"do": "signal", "name": name, "signal": number})

    def handle(self, request: HttpRequest, responder: Responder) -> bool:
        """Whether it was the supervisor's request."""
        if not request.target.startswith(self._path):
            return False
        name, _, rest = request.target[len(self._path) + 1 :].partition("?")
        if name == "orders":
            self._waiting = responder
            self._send()
        elif name == "output":
            responder.send(202, JSON, ACCEPTED)
            self._output(rest, request.body)
        elif name in {"started", "failed", "exited"}:
            self._news(name, request.body, responder)
        else:
            refuse_path(responder)
        return True

    def _start(
        self,
        name: str,
        argv: list[str],
        environment: dict[str, str],
        directory: str,
        *,
        captured: bool,
        logs: bool,
    ) -> None:
        self.alive.add(name)
        self._order(
            {
                "do": "start",
                "name": name,
                "argv": argv,
                "environment": environment,
                "directory": directory,
                "captured": captured,
                "logs": logs,
            }
        )

    def _order(self, order: dict[str, Any]) -> None:
        self._orders.append(order)
        self._send()

    def _send(self) -> None:
        if self._waiting is not None and self._orders:
            orders, self._orders = self._orders, []
            waiting, self._waiting = self._waiting, None
            waiting.send(200, JSON, msgspec.json.encode(orders))

    def _output(self, name: str, data: bytes) -> None:
        if name not in self.alive:
            return
        splitter = self._splitters.setdefault(name, LineSplitter())
        if lines := splitter.feed(data):
            self._events.supervised_wrote(name, lines)

    def _news(self, kind: str, body: bytes, responder: Responder) -> None:
        try:
            news = msgspec.json.decode(body, type=_News)
        except UNREADABLE as error:  # the function itself says this
            refuse(responder, 400, "InvalidRequest", str(error))
            return
        responder.send(202, JSON, ACCEPTED)
        name = news.name
        if kind == "started" or name not in self.alive:
            return
        self.alive.discard(name)
        if kind == "failed":
            self._events.supervised_failed(name, news.errno)
            return
        splitter = self._splitters.pop(name, None)
        if splitter is not None and (lines := splitter.flush()):
            self._events.supervised_wrote(name, lines)
        code = news.code
        exit_ = Exit(ExitKind.SIGNALED, -code) if code < 0 else Exit(ExitKind.EXITED, code)
        self._events.supervised_exited(name, exit_)


def find_extensions(
    sandbox: Sandbox, mounts: Iterable[Mount], environment: Mapping[str, str]
) -> tuple[ExtensionProgram, ...]:
    """The external extensions of what will be at /opt: every file in its `extensions`. Blocks.

    One that cannot be executed is among them: that is told when it is tried, as AWS does.
    """
    return tuple(
        ExtensionProgram(
            name=name, path=f"{sandbox.inside(mount)}/extensions/{name}", environment=environment
        )
        for mount in mounts
        if mount.destination == OPT
        for name in _names((mount.source, *mount.below))
    )


def have_extensions(trees: Iterable[Path]) -> bool:
    """Whether find_extensions would find any in these layers. Blocks."""
    return bool(_names(trees))


def _names(trees: Iterable[Path]) -> list[str]:
    """Of the files that show in `extensions` where these trees lie over one another."""
    shown: dict[str, bool] = {}
    for tree in trees:
        directory = tree / "extensions"
        for entry in directory.iterdir() if directory.is_dir() else ():
            shown.setdefault(entry.name, not entry.is_dir())
    return sorted(name for name, is_file in shown.items() if is_file)


def _interpreter(sandbox: Sandbox) -> tuple[str, tuple[Mount, ...]]:
    """Hearth's own Python, as it is seen from inside; every sandbox has the host's /usr."""
    executable = Path(sys.executable).resolve()
    if str(executable).startswith(_SYSTEM):
        return str(executable), ()
    mount = Mount(Path(sys.base_prefix).resolve(), _PYTHON)
    relative = executable.relative_to(mount.source)
    return f"{sandbox.inside(mount)}/{relative}", (mount,)
