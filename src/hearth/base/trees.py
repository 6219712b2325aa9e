"""How is a directory tree removed, however deep it is, and how are some laid over one another?

`shutil.rmtree` calls itself for each level: up to Python 3.12 a tree of a thousand levels ends in a
RecursionError, and a package may hold one. Here each directory is moved to the top before it is
looked into, so that no path gets longer, and a removal that was killed can be begun again.
"""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
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


def merge_trees(trees: Sequence[Path], target: Path) -> None:
    """Fill the empty directory `target`: at each name what the last tree has that has it, and
    directories of the same name merged. Files are hard links; where that cannot be, copies.

    Raises OSError; what is there by then can be removed.
    """
    for tree in trees:
        ahead = [(tree, target)]
        while ahead:
            source, copy = ahead.pop()
            with os.scandir(source) as entries:
                for entry in entries:
                    path = copy / entry.name
                    if entry.is_dir(follow_symlinks=False):
                        _make_way(path, for_directory=True)
                        path.mkdir(mode=0o755, exist_ok=True)
                        ahead.append((Path(entry.path), path))
                    else:
                        _make_way(path, for_directory=False)
                        _link(Path(entry.path), path)


def _make_way(path: Path, *, for_directory: bool) -> None:
    """Remove what an earlier tree has at `path`, but for a directory that is to be merged."""
    try:
        is_directory = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_directory:
        path.unlink()
    elif not for_directory:
        remove_tree(path)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK}:
            raise
        shutil.copy2(source, target, follow_symlinks=False)


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
