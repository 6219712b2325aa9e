"""Runs the hostile program in a sandbox, as whoever runs this; prints one JSON object.

`scenario.py DIRECTORY BACKEND [NATIVE]`: a private, empty directory; bubblewrap, zygote, stem,
template (of which each program is a fork), an OCI runtime, or runsc-stem; the program of C,
compiled. Standard library and hearth only, so that it also runs where pytest cannot be imported.
`inside` is what the program reports, `outside` is what the host sees of it, `ends` what became of
the sandboxes.
"""

import asyncio
import ctypes
import dataclasses
import json
import os
import platform
import shutil
import socket
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.model.ids import SandboxId
from hearth.worker.sandboxes.bubblewrap import BubblewrapBackend
from hearth.worker.sandboxes.bubblewrap_sandbox import BubblewrapSandbox
from hearth.worker.sandboxes.contract import Channels, Mount, Program, SandboxSpec, ZygoteKind
from hearth.worker.sandboxes.oci import OciBackend
from hearth.worker.sandboxes.seccomp.numbers import NUMBERS
from hearth.worker.sandboxes.zygote import ZygoteBackend

PYTHON = "/usr/bin/python3"
COMMAND = (PYTHON, "-I", "-S")
KIND = ZygoteKind(tenant="test", command=COMMAND, script=None, environment=(), mounts=())
BACKENDS: dict[str, Callable[..., BubblewrapBackend]] = {
    "bubblewrap": BubblewrapBackend,
    "zygote": ZygoteBackend,
    "stem": ZygoteBackend,
    "template": ZygoteBackend,
    **{name: partial(OciBackend, runtime=name) for name in ("runc", "crun", "runsc")},
    "runsc-stem": partial(OciBackend, runtime="runsc"),
}
WITH_STEMS = {"stem", "runsc-stem"}
OWN_KERNEL = {"runsc", "runsc-stem"}
TMP_MB = 32
SANDBOXES = 3
OWN_NAMESPACES = Path("/proc/self/ns")


PACKAGE = "integration/escape/inside"
INSIDE = Path(__file__).with_name("inside")
SHM_BYTES = 4096
IPC_CREAT, IPC_RMID = 0o1000, 0
EVENTUALLY_S = 60
NEIGHBOUR = """
import socket, sys, time
for directory in ("/tmp", "/dev/shm"):
    open(directory + "/neighbours", "w").close()
server = socket.create_server(("127.0.0.1", 9999))
abstract = socket.socket(socket.AF_UNIX)
abstract.bind("\\0neighbours")
abstract.listen()
while True:
    print("alive", flush=True)
    time.sleep(0.1)
"""
FORKED = """
import sys
template = None
def main():
    print("prepared", flush=True)
    template.serve()
    code = sys.argv[1]
    sys.argv[:] = ["-c", *sys.argv[2:]]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
"""
HUNGRY = "kept = []\nwhile len(kept) < 1_000: kept.append(b'x' * (4 << 20))"

libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def targets(directory: Path, marker: str) -> Iterator[dict[str, Any]]:
    """What an escape would reach: host sockets of three kinds, shared memory, a directory."""
    (directory / "secret").write_text(marker)
    shared = Path("/dev/shm") / marker
    key = int(marker[:7], 16) | 1
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + marker)
        abstract.listen()
        file = stack.enter_context(socket.socket(socket.AF_UNIX))
        file.bind(str(directory / "socket"))
        file.listen()
        shared.touch()
        stack.callback(shared.unlink)
        memory = libc.shmget(key, SHM_BYTES, IPC_CREAT | 0o600)
        stack.callback(libc.shmctl, memory, IPC_RMID, None)
        # mq_open's own system call wants the name without the slash that the library's takes.
        libc.mq_open(b"/" + marker.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
        stack.callback(libc.mq_unlink, b"/" + marker.encode())
        yield {
            "port": port,
            "marker": marker,
            "socket": str(directory / "socket"),
            "directory": str(directory),
            "shm key": key,
            "worker": os.getpid(),
            "release": platform.release(),
            "namespaces": {path.name: str(path.readlink()) for path in OWN_NAMESPACES.iterdir()},
            "numbers": NUMBERS[platform.machine()],
        }


async def report(directory: Path, kind: str, native: Path | None) -> dict[str, Any]:
    marker = uuid.uuid4().hex
    async with Jobs() as jobs:
        backend = BACKENDS[kind](marker[:12], directory, SystemClock(), jobs)
        capabilities = await backend.open()
        if not capabilities.usable:
            return {"capabilities": dataclasses.asdict(capabilities)}
        try:
            stems = SANDBOXES if kind in WITH_STEMS else 0
            if isinstance(backend, ZygoteBackend | OciBackend):
                assert await backend.prepare(KIND, stems), "nothing could be prepared"
            with targets(directory, marker) as reachable:
                reachable["own kernel"] = kind in OWN_KERNEL
                reachable["processes max"] = spec("", kind).processes_max
                found = await attack(backend, kind, directory, reachable, native)
            if isinstance(backend, ZygoteBackend):
                assert backend.forked == SANDBOXES - stems
            if isinstance(backend, ZygoteBackend | OciBackend):
                assert backend.stems().taken == stems
        finally:
            await backend.close()
    return {
        "how": kind,
        "capabilities": dataclasses.asdict(capabilities),
        "targets": reachable,
        **found,
    }


async def attack(
    backend: BubblewrapBackend,
    kind: str,
    directory: Path,
    reachable: dict[str, Any],
    native: Path | None,
) -> dict[str, Any]:
    start = Starts(backend, kind, directory)
    mark = f"neighbour-{reachable['marker']}"
    _, others = await start("neighbour", program(NEIGHBOUR, [mark], ()))
    async with asyncio.timeout(EVENTUALLY_S):
        await next_line(others.stdout)
    # Of a kernel of its own, the host sees no processes but that kernel's.
    seen = processes_with(mark)
    reachable["neighbour"] = seen[-1]["pid"] if seen else os.getpid()
    code = directory / "code"
    shutil.copytree(INSIDE, code / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    if native is not None:
        shutil.copy(native, code / "native")
    text = "import runpy, sys; sys.path.insert(0, '/var/task'); "
    text += "runpy.run_module('integration.escape.inside.hostile', run_name='__main__')"
    hostile = program(text, [json.dumps(reachable)], (Mount(code, "/var/task"),))
    sandbox, channels = await start("hostile", hostile)
    async with asyncio.timeout(EVENTUALLY_S):
        said = await next_line(channels.stdout)
    outside = [seen for seen in processes_with(reachable["marker"]) if mark not in seen["command"]]
    await sandbox.kill()
    errors = rest(channels.stderr)
    rest(others.stdout)
    async with asyncio.timeout(EVENTUALLY_S):
        alive = await next_line(others.stdout)
    bomb, held = await start("bomb", program(HUNGRY, [], ()))
    async with asyncio.timeout(EVENTUALLY_S):
        exit_ = await bomb.wait()
    for open_ in (channels, others, held, *start.templates):
        open_.api.close()
        os.close(open_.stdout)
        os.close(open_.stderr)
    ends = {
        "take memory without end": exit_.kind.value,
        "harm the other sandbox": alive.decode().strip(),
    }
    inside = json.loads(said or "{}")
    return {"inside": inside, "outside": outside, "errors": errors.decode(), "ends": ends}


class Starts:
    """How a program is started: at once, or as a fork of a template that was started so."""

    def __init__(self, backend: BubblewrapBackend, kind: str, directory: Path) -> None:
        self._backend = backend
        self._kind = kind
        self._kit = directory / "kit"
        self.templates: list[Channels] = []

    async def __call__(self, name: str, program: Program) -> tuple[BubblewrapSandbox, Channels]:
        of = spec(name, self._kind)
        if self._kind == "template":
            program = self._scripted(program)
            template = await self._template(f"{name}-template", program)
            of = dataclasses.replace(of, fork_of=template)
        sandbox = await self._backend.create(of)
        return sandbox, await sandbox.start(program)

    async def _template(self, name: str, program: Program) -> BubblewrapSandbox:
        of = dataclasses.replace(spec(name, self._kind), kind=program.zygote, is_template=True)
        sandbox = await self._backend.create(of)
        channels = await sandbox.start(dataclasses.replace(program, is_template=True))
        self.templates.append(channels)
        async with asyncio.timeout(EVENTUALLY_S):
            assert await next_line(channels.stdout) == b"prepared\n"
        assert await sandbox.become_template(lambda: None) == ""
        return sandbox

    def _scripted(self, program: Program) -> Program:
        """The same, by a script that becomes a template first."""
        self._kit.mkdir(exist_ok=True)
        (self._kit / "script.py").write_text(FORKED)
        mount = Mount(self._kit, "/var/runtime")
        script = "/var/runtime/script.py"
        kind = dataclasses.replace(KIND, script=script, mounts=(mount,))
        _, *rest = program.argv[len(COMMAND) :]
        argv = (*COMMAND, script, *rest)
        mounts = (*program.mounts, mount)
        return dataclasses.replace(program, argv=argv, mounts=mounts, zygote=kind)


def spec(name: str, kind: str) -> SandboxSpec:
    made = SandboxSpec(sandbox=SandboxId(name), memory_mb=256, tmp_mb=TMP_MB)
    if kind in WITH_STEMS:  # launched before anybody knew, so with what all get
        return dataclasses.replace(made, kind=KIND)
    return dataclasses.replace(made, processes_max=64)


def program(code: str, arguments: list[str], mounts: tuple[Mount, ...]) -> Program:
    return Program(
        argv=(*COMMAND, "-c", code, *arguments),
        environment={"ONLY": "this"},
        working_directory="/var/task",
        mounts=mounts,
        zygote=KIND,
    )


async def next_line(fd: int) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            await asyncio.sleep(0.01)
            continue
        if not chunk:
            break
        line += chunk
    return line


def rest(fd: int) -> bytes:
    """What there is to be read now."""
    found = b""
    try:
        while chunk := os.read(fd, 65536):
            found += chunk
    except BlockingIOError:
        pass
    return found


def processes_with(marker: str) -> list[dict[str, Any]]:
    """What the host sees of processes that have `marker` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if marker.encode() in command:
                status = (entry / "status").read_text().splitlines()
                rows = dict(row.split(":\t", 1) for row in status if ":\t" in row)
                found.append(
                    {
                        "pid": int(entry.name),
                        "command": command.decode(errors="replace"),
                        "uids": rows["Uid"].split(),
                        "gids": rows["Gid"].split(),
                    }
                )
        except OSError:
            continue
    return found


if __name__ == "__main__":
    compiled = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    sys.stdout.write(json.dumps(asyncio.run(report(Path(sys.argv[1]), sys.argv[2], compiled))))
