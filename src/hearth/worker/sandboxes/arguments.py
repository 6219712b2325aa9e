"""With which arguments is bubblewrap executed? The whole inside of a sandbox, as one list.

Order matters: bubblewrap carries these out one after the other. Sources are paths of the stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hearth.worker.sandboxes.jail_steps import GID, HOSTNAME, UID
from hearth.worker.sandboxes.messages import StartOrder
from hearth.worker.sandboxes.stage import DEVICES

_ISOLATION: Final = (
    "--unshare-user --unshare-pid --unshare-ipc --unshare-uts --unshare-cgroup"
    f" --uid {UID} --gid {GID} --disable-userns --hostname {HOSTNAME}"
    " --die-with-parent --new-session --cap-drop ALL"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """What of the host's root directory a sandbox shows, and what it hides."""

    links: dict[str, str]
    binds: Sequence[str]
    hidden: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fds:
    """Numbers of descriptors that bubblewrap itself reads and writes."""

    seccomp: int
    status: int
    block: int | None


def bubblewrap_arguments(order: StartOrder, root: Root, fds: Fds) -> list[str]:
    """All but the command: goes through --args, so that no process listing shows a secret."""
    return [
        *_ISOLATION,
        *_system(root),
        *_devices(),
        "--bind", "/box", "/tmp",
        "--perms", "0755", "--dir", "/opt",
        "--perms", "0755", "--dir", "/var",
        "--perms", "0755", "--dir", "/var/task",
        *_mounts(order),
        "--remount-ro", "/",
        "--chdir", order.working_directory,
        "--seccomp", str(fds.seccomp),
        "--json-status-fd", str(fds.status),
        *([] if fds.block is None else ["--block-fd", str(fds.block)]),
        *_environment(order),
    ]  # fmt: skip


def _system(root: Root) -> list[str]:
    arguments = ["--ro-bind", "/usr", "/usr"]
    for link, target in root.links.items():
        arguments += ["--symlink", target, link]
    for path in root.binds:
        arguments += ["--ro-bind", path, path]
    arguments += ["--ro-bind", "/etc", "/etc", "--proc", "/proc"]
    for path in root.hidden:
        arguments += ["--ro-bind", "/empty", path]
    return arguments


def _devices() -> list[str]:
    # Not bubblewrap's own --dev: it brings terminals, and a writable directory without a limit.
    arguments = ["--perms", "0755", "--size", "65536", "--tmpfs", "/dev"]
    for name in DEVICES:
        arguments += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    arguments += ["--symlink", "/proc/self/fd", "/dev/fd"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        arguments += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    return [*arguments, "--bind", "/shm", "/dev/shm", "--remount-ro", "/dev"]


def _mounts(order: StartOrder) -> list[str]:
    arguments: list[str] = []
    for number, (_, destination, *_below) in enumerate(order.mounts):
        arguments += ["--ro-bind", f"/mounts/{number}", destination]
    return arguments


def _environment(order: StartOrder) -> list[str]:
    arguments: list[str] = []
    for name, value in order.environment.items():
        arguments += ["--setenv", name, value]
    return arguments
