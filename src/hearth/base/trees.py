"""How is a directory tree removed, however deep it is?

`shutil.rmtree` calls itself for each level: up to Python 3.12 a tree of a thousand levels ends in a
RecursionError, and a package may hold one. Here each directory is moved to the top before it is
looked into, so that no path gets longer, and a removal that was killed can be begun again.
"""

import os
import secrets
from pathlib import Path


def remove_tree(root: Path) -> None:
    """Remove `root` and all below it; links are removed, not followed.

    Nobody else may be writing there. Raises OSError; what is left can be removed later.
    """
    run = secrets.token_hex(8)  # no entry has such a name, not even one left by a killed removal
    moved = 0
    ahead = _emptied(root)
    while ahead:
        directory = ahead.pop()
        for below in _emptied(directory):
            moved += 1
            ahead.append(below.rename(root / f".removing-{run}-{moved}"))
        directory.rmdir()
    root.rmdir()


def _emptied(directory: Path) -> list[Path]:
    """Remove all in it but the directories, which are answered."""
    directory.chmod(0o700)
    with os.scandir(directory) as entries:
        found = [(Path(entry.path), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for path, is_directory in found:
        if is_directory:
            path.chmod(0o700)  # moving a directory writes its `..`
        else:
            path.unlink()
    return [path for path, is_directory in found if is_directory]
