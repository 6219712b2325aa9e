"""How does a forked child of the launcher become a container of runc, crun or runsc?

The same steps as jail.py's, to another end. The child is pid 1 of a pid namespace of its own, so
that its death is the death of runtime and container together, however far each has come. Then:

1. cgroups; own network namespace, with the Runtime API's socket listening inside it; own copy of
   the stage, and in it a complete root directory for the container;
2. a user namespace in which one uid of the host is root and another the program's. The runtime
   runs *inside* it: what may go wrong in it has the power of a uid that owns nothing;
3. our init as the keeper (see init/init.c), which executes the runtime, which makes the other
   namespaces and executes our init once more, which installs the filter and runs the program.
"""

import json
import os
import signal
from pathlib import Path
from typing import Final, NoReturn

from hearth.worker.sandboxes import jail_network, jail_steps, linux
from hearth.worker.sandboxes.arguments import Root
from hearth.worker.sandboxes.container_config import (
    BUNDLE,
    FILTER,
    INIT,
    OURS,
    RUNTIME_STATE,
    RUNTIMES,
    configuration,
    runtime_arguments,
)
from hearth.worker.sandboxes.messages import StartOrder
from hearth.worker.sandboxes.stage import (
    BOXES,
    DEVICES,
    HOST,
    KEEPER,
    OUTSIDE,
    RUNTIME,
    SECCOMP,
    SLIRP_RESOLVER,
    shown,
)
from hearth.worker.sandboxes.zygote_root import READ_ONLY

ROOT: Final = "/rootfs"
_DEV: Final = "/container-dev"
_CGROUPS: Final = "/sys/fs/cgroup"


def become_container(order: StartOrder, root: Root, status: int) -> tuple[list[int], "Exec"]:
    """Do steps 1 and 2; the caller sends the descriptors to the worker, then calls the Exec.

    `status` is where init tells how the program ended. Raises OSError.
    """
    for tasks in order.cgroup_tasks:
        jail_steps.write(HOST + tasks, b"0")
    linux.unshare(linux.CLONE_NEWNS)
    for_worker = []
    if order.own_network:
        jail_network.leave_for_own(order)
        for_worker.append(jail_steps.listen())
    _build_root(order, root)
    outputs = jail_steps.connect_outputs(order.one_output)
    for_worker += outputs
    os.dup2(status, 0)
    jail_steps.go_first_when_memory_runs_out()
    jail_steps.leave_keys_behind()
    os.umask(0o022)
    jail_steps.reset_signals()
    _enter_user_namespace(order)
    linux.die_with_parent(signal.SIGKILL)
    _write_bundle(order, root)
    return for_worker, Exec(order)


class Exec:
    """The last step, when the worker has its descriptors."""

    def __init__(self, order: StartOrder) -> None:
        assert order.runtime is not None
        self._arguments = runtime_arguments(order.runtime, str(order.box), is_stem=order.is_stem)

    def __call__(self) -> NoReturn:
        jail_steps.close_all_but([])
        os.execve(KEEPER, ["init", "keep", RUNTIME, *self._arguments], _RUNTIME_ENVIRONMENT)  # noqa: S606


_RUNTIME_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"}


# -- the root directory --------------------------------------------------------------------------


def _build_root(order: StartOrder, root: Root) -> None:
    """Everything that the program will see, then drop the host and every other sandbox's."""
    assert order.runtime is not None
    has_own_kernel = RUNTIMES[order.runtime].has_own_kernel
    # runsc will remount it with no flag but read-only; those set here are locked.
    flags = 0 if has_own_kernel else linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("tmpfs", ROOT, "tmpfs", flags, "mode=755,size=1m,nr_inodes=1024")
    top = Path(ROOT)
    for name in ("usr", "etc", "dev", "proc", "tmp", "opt", "var/task", OURS.lstrip("/")):
        (top / name).mkdir(mode=0o755, parents=True)
    if has_own_kernel:
        (top / "sys").mkdir(mode=0o755)
    for link, target in root.links.items():
        (top / link.lstrip("/")).symlink_to(target)
    for directory in ("/usr", "/etc", *root.binds):
        (top / directory.lstrip("/")).mkdir(mode=0o755, exist_ok=True)
        _show(directory, f"{ROOT}{directory}")
    for file, target in ((KEEPER, INIT), (SECCOMP, FILTER)):
        _place(file, top / target.lstrip("/"))
    for mount in order.mounts:
        destination = mount[1]
        (top / destination.lstrip("/")).mkdir(mode=0o755, parents=True, exist_ok=True)
        _attach(shown(mount), f"{ROOT}{destination}")
    if order.slirp is not None:
        _show(SLIRP_RESOLVER, f"{ROOT}/etc/resolv.conf")
    for source, destination in order.host_files:
        _show(HOST + source, f"{ROOT}{destination}")
    linux.bind(f"{BOXES}/{order.box}", "/box")
    jail_steps.mount_shared_memory("/shm")
    _make_devices()
    owner = order.root_uid if order.root_uid is not None else os.geteuid()
    group = order.root_uid if order.root_uid is not None else os.getegid()
    linux.mount(
        "tmpfs",
        RUNTIME_STATE,
        "tmpfs",
        linux.MS_NOSUID | linux.MS_NODEV,
        f"mode=700,size=4m,nr_inodes=256,uid={owner},gid={group}",
    )
    _show_cgroups()
    linux.detach(OUTSIDE)
    # Of our own pid namespace: the runtimes look up those that they have made.
    linux.mount("proc", "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)


def _show_cgroups() -> None:
    """runc and crun insist on seeing some, though they make none: the program is in ours already.
    Read-only, and only for the runtime."""
    v1 = {}
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, kind = line.partition(" - ")
        place = fields.split()[4]
        if kind.startswith("cgroup2 ") and place == f"{HOST}{_CGROUPS}":
            _show(place, _CGROUPS)
            return
        if kind.startswith("cgroup "):
            v1[Path(place).name] = place
    linux.mount("tmpfs", _CGROUPS, "tmpfs", 0, "mode=755,size=4k,nr_inodes=8")
    target = Path(_CGROUPS, "devices")
    target.mkdir()
    if v1:
        _show(v1.get("devices", v1[min(v1)]), str(target))  # runc goes on without any other


def _show(source: str, target: str, attributes: int = READ_ONLY) -> None:
    _attach(linux.open_tree(source), target, attributes)


def _attach(tree: int, target: str, attributes: int = READ_ONLY) -> None:
    try:
        linux.restrict_mount(tree, attributes)
        linux.move_mount(tree, target)
    finally:
        os.close(tree)


def _place(source: str, target: Path) -> None:
    target.write_bytes(Path(source).read_bytes())
    target.chmod(0o555)


def _make_devices() -> None:
    special = linux.MS_NOSUID | linux.MS_NODEV
    linux.mount("tmpfs", _DEV, "tmpfs", special, "mode=755,size=64k,nr_inodes=64")
    dev = Path(_DEV)
    for name in DEVICES:
        (dev / name).touch()
        _show(f"/dev/{name}", str(dev / name), linux.MOUNT_ATTR_NOSUID)
    (dev / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (dev / name).symlink_to(f"/proc/self/fd/{number}")
    (dev / "shm").mkdir()
    linux.bind("/shm", str(dev / "shm"))
    flags = linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount(None, _DEV, None, flags)


# -- the user namespace --------------------------------------------------------------------------


def _enter_user_namespace(order: StartOrder) -> None:
    """Only who has power in the outer namespace may map more than its own uid, or another: so a
    child that stayed there does it for us."""
    uids, groups = id_maps(order)
    ready, tell_ready = os.pipe2(os.O_CLOEXEC)
    mapped, tell_mapped = os.pipe2(os.O_CLOEXEC)
    helper = os.fork()
    if helper == 0:
        _map_and_exit(uids, groups, ready, tell_mapped)
    linux.unshare(linux.CLONE_NEWUSER)
    os.close(tell_mapped)
    os.write(tell_ready, b"1")
    answer = os.read(mapped, 200)
    os.waitpid(helper, 0)
    for fd in (ready, tell_ready, mapped):
        os.close(fd)
    if answer != b"ok":
        raise OSError(0, f"uids cannot be mapped: {answer.decode(errors='replace')}")
    if order.root_uid is not None:
        jail_steps.become(0)


def _map_and_exit(uids: str, groups: str, ready: int, answer: int) -> NoReturn:
    try:
        os.read(ready, 1)
        jail_steps.write("/proc/1/uid_map", uids.encode())
        jail_steps.write("/proc/1/gid_map", groups.encode())
        os.write(answer, b"ok")
    except OSError as error:
        os.write(answer, str(error).encode()[:200])
    finally:
        os._exit(0)


def id_maps(order: StartOrder) -> tuple[str, str]:
    """uid_map and gid_map. An ordinary user has one uid, which is root inside: the runtimes work
    as nobody else."""
    if order.uid is None or order.root_uid is None:
        return f"0 {os.geteuid()} 1", f"0 {os.getegid()} 1"
    root = f"0 {order.root_uid} 1\n"
    return (
        f"{root}{jail_steps.UID} {order.uid} 1\n",
        f"{root}{jail_steps.GID} {order.uid} 1\n",
    )


def _write_bundle(order: StartOrder, root: Root) -> None:
    os.mkdir(BUNDLE, 0o700)  # noqa: PTH102
    text = json.dumps(configuration(order, ROOT, _DEV, root.hidden))
    Path(BUNDLE, "config.json").write_text(text, encoding="utf-8")
