"""hearth deploy --watch: when is a directory deployed again? When what would be packed has changed.

Looked at a few times a second, which every file system can do; deployed once nothing has moved
between two looks, so that half a save is not deployed. A package that cannot be made or deployed is
told, and the function stays what it was. Where Hearth does not run it is tried until it does.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hearth.cli.admin_client import Gone
from hearth.cli.output import Failure, note
from hearth.cli.package import files_of

LOOK_S: Final = 0.2
AGAIN_S: Final = 1.0

Look = dict[str, tuple[int, int]]


def watch(directory: Path, deploy: Callable[[], None], deployed: Look) -> None:
    """Call `deploy` after each change of what is `deployed`, until interrupted."""
    note(f"Watching {directory}; a saved file is live on the next invoke. Ctrl-C ends this.")
    was_gone = False
    try:
        while True:
            time.sleep(AGAIN_S if was_gone else LOOK_S)
            now = look(directory)
            if now != deployed:
                now = _settled(directory, now)
                note(f"Changed: {', '.join(changes(deployed, now))}")
            elif not was_gone:
                continue
            is_gone = _try(deploy, is_retry=was_gone and now == deployed)
            deployed, was_gone = now, is_gone
    except KeyboardInterrupt:
        note("Not watching any more; the function stays.")


def _try(deploy: Callable[[], None], *, is_retry: bool) -> bool:
    """Was there nobody to deploy to?"""
    began_s = time.perf_counter()
    try:
        deploy()
    except Gone as gone:
        if not is_retry:  # said before
            note(f"Not deployed yet: {gone.format_message()}")
        return True
    except Failure as failure:
        note(f"Not deployed: {failure.format_message()}")
    else:
        note(f"Live after {(time.perf_counter() - began_s) * 1000:.0f} ms.")
    return False


def look(directory: Path) -> Look:
    """Of each file that would be packed: when it was written, and its size."""
    found: Look = {}
    for name, path in files_of(directory):
        try:
            status = path.lstat()
        except FileNotFoundError:  # gone since it was listed
            continue
        found[name] = (status.st_mtime_ns, status.st_size)
    return found


def changes(before: Look, after: Look) -> list[str]:
    """Names of files that have come, changed or gone; a few, in order."""
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    shown = 5
    return names if len(names) <= shown else [*names[:shown], f"and {len(names) - shown} more"]


def _settled(directory: Path, seen: Look) -> Look:
    while True:
        time.sleep(LOOK_S / 2)
        now = look(directory)
        if now == seen:
            return now
        seen = now
