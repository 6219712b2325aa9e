"""Runs the hostile program in a sandbox, as whoever runs this; prints one JSON object.

`scenario.py DIRECTORY BACKEND`: a private, empty directory; bubblewrap, zygote, stem, or an OCI
runtime. Standard library and hearth only, so that it also runs where pytest cannot be imported.
`inside` is what the program reports, `outside` is what the host sees of it.
"""

import asyncio
import dataclasses
import json
import os
import platform
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
from hearth.worker.sandboxes.contract import Mount, Program, SandboxSpec, ZygoteKind
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
    **{name: partial(OciBackend, runtime=name) for name in ("runc", "crun", "runsc")},
}
TMP_MB = 32


@contextmanager
def targets(directory: Path, marker: str) -> Iterator[dict[str, Any]]:
    """What an escape would reach: host sockets of three kinds, and a directory."""
    (directory / "secret").write_text(marker)
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind("\0" + marker)
        abstract.listen()
        file = stack.enter_context(socket.socket(socket.AF_UNIX))
        file.bind(str(directory / "socket"))
        file.listen()
        yield {
            "port": port,
            "abstract": marker,
            "socket": str(directory / "socket"),
            "directory": str(directory),
            "numbers": NUMBERS[platform.machine()],
        }


async def report(directory: Path, kind: str) -> dict[str, Any]:
    marker = uuid.uuid4().hex
    async with Jobs() as jobs:
        backend = BACKENDS[kind](marker[:12], directory, SystemClock(), jobs)
        capabilities = await backend.open()
        if not capabilities.usable:
            return {"capabilities": dataclasses.asdict(capabilities)}
        try:
            stems = 2 if kind == "stem" else 0
            if isinstance(backend, ZygoteBackend):
                assert await backend.prepare(KIND, stems), "no zygote could be made"
            with targets(directory, marker) as reachable:
                reachable["own kernel"] = kind == "runsc"
                found = await attack(backend, kind, directory, reachable)
            if isinstance(backend, ZygoteBackend):
                assert (backend.forked, backend.stems().taken) == ((2, 0) if stems == 0 else (0, 2))
        finally:
            await backend.close()
    return {"capabilities": dataclasses.asdict(capabilities), "targets": reachable, **found}


async def attack(
    backend: BubblewrapBackend, kind: str, directory: Path, reachable: dict[str, Any]
) -> dict[str, Any]:
    neighbour = await backend.create(spec("neighbour", kind))
    hiding = "open('/tmp/neighbours', 'w'); import time; time.sleep(60)"
    others = await neighbour.start(program(hiding, [], ()))
    code = directory / "code"
    code.mkdir()
    (code / "hostile.py").write_bytes(Path(__file__).with_name("hostile.py").read_bytes())
    sandbox = await backend.create(spec("hostile", kind))
    start = "import runpy; runpy.run_path('/var/task/hostile.py', run_name='__main__')"
    mount = Mount(code, "/var/task")
    channels = await sandbox.start(program(start, [json.dumps(reachable)], (mount,)))
    async with asyncio.timeout(60):
        said = await first_line(channels.stdout)
    outside = processes_with(reachable["abstract"])
    await sandbox.kill()
    errors = b""
    while chunk := os.read(channels.stderr, 65536):
        errors += chunk
    for held in (channels, others):
        held.api.close()
        os.close(held.stdout)
        os.close(held.stderr)
    return {"inside": json.loads(said or "{}"), "outside": outside, "errors": errors.decode()}


def spec(name: str, kind: str) -> SandboxSpec:
    stem = KIND if kind == "stem" else None
    return SandboxSpec(sandbox=SandboxId(name), memory_mb=256, tmp_mb=TMP_MB, kind=stem)


def program(code: str, arguments: list[str], mounts: tuple[Mount, ...]) -> Program:
    return Program(
        argv=(*COMMAND, "-c", code, *arguments),
        environment={"ONLY": "this"},
        working_directory="/var/task",
        mounts=mounts,
        zygote=KIND,
    )


async def first_line(fd: int) -> bytes:
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


def processes_with(marker: str) -> list[dict[str, Any]]:
    """What the host sees of processes that have `marker` among their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and marker.encode() in (entry / "cmdline").read_bytes():
                status = (entry / "status").read_text().splitlines()
                rows = dict(row.split(":\t", 1) for row in status if ":\t" in row)
                found.append({"uids": rows["Uid"].split(), "gids": rows["Gid"].split()})
        except OSError:
            continue
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(report(Path(sys.argv[1]), sys.argv[2]))))
