"""How does a stem get its code? The launcher mounts it, then tells the program that waits.

Inside, nobody may mount any more: init and program were as confined as they will ever be when they
said that they were ready. So the launcher enters the stem's mount namespace for a moment (it is
single-threaded, and no code of a function has ever run in there), attaches the detached read-only
mounts, and goes back.
"""

import os
import socket
from collections.abc import Sequence

from hearth.worker.sandboxes import linux, wire
from hearth.worker.sandboxes.messages import BindOrder
from hearth.worker.sandboxes.stage import box_directory, resize_tmpfs, shown
from hearth.worker.sandboxes.zygote_root import READ_ONLY


class Binder:
    """Made once, when the launcher is where it always comes back to."""

    def __init__(self) -> None:
        self._home: int | None = None

    def bind(
        self, order: BindOrder, namespace: int, program: socket.socket, root: int | None = None
    ) -> None:
        """`namespace` is closed. `root`: the directory in it below which to mount, where that is
        not its own. Raises OSError; then the stem is of no use to anybody."""
        trees: list[int] = []
        places: list[int] = []
        try:
            if order.tmp_bytes is not None:
                resize_tmpfs(box_directory(order.box), order.tmp_bytes)
            trees.extend(detached(shown(mount)) for mount in order.mounts)
            targets: list[str] | list[int] = [mount[1] for mount in order.mounts]
            if root is not None:
                places.extend(_directory(mount[1].lstrip("/"), root) for mount in order.mounts)
                targets = places
            self._mount_inside(namespace, trees, targets)
        finally:
            for fd in (namespace, *trees, *places):
                os.close(fd)
        content = {
            "argv": order.argv,
            "environment": order.environment,
            "working_directory": order.working_directory,
            "rlimits": order.rlimits,
        }
        wire.send(program, content)

    def _mount_inside(self, namespace: int, trees: list[int], targets: Sequence[str | int]) -> None:
        if self._home is None:
            self._home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        linux.join_mounts(namespace)
        try:
            for tree, target in zip(trees, targets, strict=True):
                linux.move_mount(tree, target)
        finally:
            try:
                linux.join_mounts(self._home)
            except OSError:
                os._exit(1)  # whatever came next would be done in the wrong place


def _directory(path: str, below: int) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=below)


def detached(tree: int) -> int:
    """The detached mount, made read-only; closed if that fails. Raises OSError."""
    try:
        linux.restrict_mount(tree, READ_ONLY)
    except OSError:
        os.close(tree)
        raise
    return tree
