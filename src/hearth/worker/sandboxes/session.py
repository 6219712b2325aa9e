"""How is a program killed together with all that it started, without a pid namespace?"""

import contextlib
import os
import signal
import sys
from pathlib import Path


def kill_session(leader: int) -> bool:
    """Kill all that stayed in the session that `leader` made, or below one who did.

    Returns whether there was anything alive. Safe when the leader has been reaped: its number is
    not used again while its session has members, and it is never looked for by itself.
    """
    if sys.platform != "linux":
        return _kill_group(leader)
    found = _members(leader)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _members(leader: int) -> set[int]:
    parents: dict[int, int] = {}
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            continue  # it ended while we looked
        state, parent, _, session = stat.rpartition(")")[2].split()[:4]
        if state == "Z":
            continue  # dead, and only waits for its parent to ask
        pid = int(entry.name)
        parents[pid] = int(parent)
        if int(session) == leader:
            found.add(pid)
    return found | _descendants(found, parents)


def _descendants(ancestors: set[int], parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in ancestors} - found:
        found |= more
        ancestors = more
    return found


def _kill_group(leader: int) -> bool:
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        return False
    return True
