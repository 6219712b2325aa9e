"""What is an OCI runtime told? The configuration of one container, and its command line.

https://github.com/opencontainers/runtime-spec/blob/main/config.md
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from hearth.worker.sandboxes.jail_steps import GID, HOSTNAME, SHM_BYTES, UID
from hearth.worker.sandboxes.messages import StartOrder

RUNTIME_STATE: Final = "/runtime-state"
"""Of the child's own copy of the stage: it vanishes with the last process that has it."""
BUNDLE: Final = f"{RUNTIME_STATE}/bundle"
OURS: Final = "/var/hearth"
INIT: Final = f"{OURS}/init"
FILTER: Final = f"{OURS}/seccomp"

_SETTINGS_IN_PROC: Final = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_RLIMITS: Final = {
    4: "RLIMIT_CORE",
    6: "RLIMIT_NPROC",
    7: "RLIMIT_NOFILE",
    8: "RLIMIT_MEMLOCK",
    2: "RLIMIT_DATA",
    9: "RLIMIT_AS",
}
_NPROC: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeTraits:
    """How one runtime differs from the others."""

    flags: tuple[str, ...]
    has_own_kernel: bool = False
    """Its own /dev, /proc and system calls, instead of the host's behind a filter."""
    memory_bytes: int = 0
    """What it needs for itself, beside the function."""
    threads: int = 0


RUNTIMES: Final = {
    "runc": RuntimeTraits(flags=()),
    "crun": RuntimeTraits(flags=("--cgroup-manager=disabled",)),
    "runsc": RuntimeTraits(
        flags=(
            "--rootless",
            "--network=host",  # of the namespace that we have made
            "--ignore-cgroups",
        ),
        has_own_kernel=True,
        memory_bytes=32 << 20,
        threads=1024,  # its own, and one or two for each of the program's
    ),
}


_FLAGS_OF_STEMS: Final = ("--file-access=shared",)


def runtime_arguments(runtime: str, container: str, *, is_stem: bool) -> list[str]:
    """All but the runtime's own name. It leaves when the container runs, or has failed to."""
    flags = RUNTIMES[runtime].flags
    if is_stem:
        flags += _FLAGS_OF_STEMS
    root = f"--root={RUNTIME_STATE}/containers"
    return [root, *flags, "run", "--detach", f"--bundle={BUNDLE}", f"box-{container}"]


def configuration(
    order: StartOrder, root: str, devices: str, hidden: Sequence[str]
) -> dict[str, Any]:
    """config.json."""
    assert order.runtime is not None
    traits = RUNTIMES[order.runtime]
    has_own_uid = order.uid is not None
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": UID, "gid": GID} if has_own_uid else {"uid": 0, "gid": 0},
            "args": [
                INIT,
                "wait" if order.is_stem else "run",
                "-" if traits.has_own_kernel else FILTER,
                *order.argv,
            ],
            # Init takes the underscore off, and leaves out what the runtime adds to these.
            "env": [f"_{name}={value}" for name, value in _environment(order).items()],
            "cwd": order.working_directory,
            "capabilities": {
                name: []
                for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
            },
            "noNewPrivileges": True,
            "rlimits": _rlimits(order),
        },
        "root": {"path": root, "readonly": True},
        "hostname": HOSTNAME,
        "mounts": (
            _mounts_of_own_kernel(order, root)
            if traits.has_own_kernel
            else _mounts_of_host(devices)
        ),
        "linux": {
            "namespaces": [{"type": name} for name in _namespaces(traits)],
            "maskedPaths": list(hidden),
            "readonlyPaths": [f"/proc/{name}" for name in _SETTINGS_IN_PROC],
        },
    }


def _arguments(order: StartOrder, traits: RuntimeTraits) -> list[str]:
    how = "wait" if order.is_stem else "run"
    return [INIT, how, "-" if traits.has_own_kernel else FILTER, *order.argv]


def _namespaces(traits: RuntimeTraits) -> tuple[str, ...]:
    """Beside those that it is started in: user, network, and a pid namespace around its own."""
    shared = ("pid", "mount", "ipc", "uts")
    return shared if traits.has_own_kernel else (*shared, "cgroup")


def _environment(order: StartOrder) -> dict[str, str]:
    return {**order.environment, "PWD": order.working_directory}


def _rlimits(order: StartOrder) -> list[dict[str, Any]]:
    limits = dict((kind, value) for kind, value in order.rlimits)  # noqa: C402
    if order.processes_in_namespace is not None:
        limits[_NPROC] = order.processes_in_namespace
    return [
        {"type": _RLIMITS[kind], "soft": value, "hard": value} for kind, value in limits.items()
    ]


_NOTHING_SPECIAL: Final = ("nosuid", "nodev")
_COMMON_MOUNTS: Final = (
    ("/proc", "proc", "proc", (*_NOTHING_SPECIAL, "noexec")),
    ("/tmp", "bind", "/box", ("rbind", "rw", *_NOTHING_SPECIAL)),
)


def _mounts_of_host(devices: str) -> list[dict[str, Any]]:
    """What is read-only is in the root directory already."""
    own_devices = _mount("/dev", "bind", devices, ("rbind", "ro", *_NOTHING_SPECIAL))
    return [*(_mount(*mount) for mount in _COMMON_MOUNTS), own_devices]


def _mounts_of_own_kernel(order: StartOrder, root: str) -> list[dict[str, Any]]:
    """It has /dev of its own, and must be told of each mount that it is read-only."""
    size = f"size={SHM_BYTES}"
    shm = _mount("/dev/shm", "tmpfs", "tmpfs", (*_NOTHING_SPECIAL, "mode=1777", size))
    read_only = ("rbind", "ro", *_NOTHING_SPECIAL)
    return [
        *(_mount(*mount) for mount in _COMMON_MOUNTS),
        shm,
        *(_mount(place, "bind", f"{root}{place}", read_only) for _, place, *_below in order.mounts),
    ]


def _mount(destination: str, kind: str, source: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}
