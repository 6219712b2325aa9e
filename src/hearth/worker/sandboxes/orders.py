"""How is what the worker knows said in an order to the launcher? And what cannot be said at all?"""

import functools
import os
from pathlib import Path
from typing import Final

from hearth.model.isolation import Network
from hearth.worker.limits.contract import MB, Bounds
from hearth.worker.sandboxes.contract import (
    Mount,
    Program,
    SandboxFailed,
    SandboxSpec,
    ZygoteKind,
)
from hearth.worker.sandboxes.messages import API_HOST, API_PORT, WAIT_ARGUMENT
from hearth.worker.sandboxes.nat import resolver_file

_WAITER: Final = Path(__file__).parents[1] / "inner" / "waiter.py"
_WAITER_DIRECTORY: Final = "/var/hearth-waiter"
_API: Final = f"{API_HOST}:{API_PORT}"


def mount_order(mount: Mount) -> list[str]:
    """See StartOrder.mounts. Resolved, because the launcher sees the host below a directory: a
    link would mislead."""
    return [_resolved(mount.source), mount.destination, *map(_resolved, mount.below)]


def _resolved(path: Path) -> str:
    """Trees lie beside one another in few directories, which are looked at once."""
    if path.is_symlink():
        return str(path.resolve())
    return os.path.join(_resolved_parent(path.parent), path.name)  # noqa: PTH118 - a string goes on


@functools.lru_cache(maxsize=64)
def _resolved_parent(directory: Path) -> str:
    return str(directory.resolve())


def bounds(spec: SandboxSpec, memory_bytes_beside: int = 0, threads_beside: int = 0) -> Bounds:
    """`beside`: what the sandbox takes for itself."""
    return Bounds(
        memory_bytes=spec.memory_mb * MB + memory_bytes_beside,
        tmp_bytes=spec.tmp_mb * MB,
        processes_max=spec.processes_max + threads_beside,
    )


def waiting_program(kind: ZygoteKind) -> Program:
    """What is executed before a function of the kind is known: the runtime itself, or a Python that
    would be forked elsewhere."""
    argv, mounts = kind.command, kind.mounts
    if not kind.waits:
        script = f"{_WAITER_DIRECTORY}/{_WAITER.name}"
        argv = (*argv, script, kind.script or "-", str(len(kind.command)))
        mounts = (*mounts, Mount(_WAITER.parent, _WAITER_DIRECTORY))
    return Program(
        argv=(*argv, WAIT_ARGUMENT),
        # So that it can connect, and be accepted when it is bound.
        environment={**dict(kind.environment), "AWS_LAMBDA_RUNTIME_API": _API},
        working_directory="/",
        mounts=mounts,
        one_output=kind.one_output,
    )


def check(program: Program) -> None:
    """Raises SandboxFailed for what no program can be given."""
    texts = [*program.argv, *program.environment, *program.environment.values()]
    texts += [program.working_directory, *(mount.destination for mount in program.mounts)]
    if not program.argv or "\0" in "".join(texts):
        raise SandboxFailed("a program without arguments, or with a zero byte in them")
    if "" in program.environment or "=" in "".join(program.environment):
        raise SandboxFailed("an environment variable without a usable name")


def name_resolution(network: Network) -> list[list[str]]:
    """The host's files that say how names are resolved, for a program that can ask."""
    if network is Network.NONE:
        return []
    if network is Network.NAT:
        servers = resolver_file() if os.geteuid() == 0 else None  # else slirp's: see slirp.py
        return [[str(servers), "/etc/resolv.conf"]] if servers else []
    names = ("resolv.conf", "hosts")
    paths = [(Path("/etc", name).resolve(), f"/etc/{name}") for name in names]
    return [[str(source), target] for source, target in paths if source.is_file()]
