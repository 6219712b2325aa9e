"""May this very process be forked, so that nobody notices? And what must each fork have anew?

What two forks would share is refused: threads (which would be gone), children, sockets, pipes,
shared memory, files that are written to. What can be had again is had again: standard output and
error, files that are read, and what the init left in /tmp.

Standard library only, and little of it: a zygote keeps what it has imported.
"""

import fcntl
import os
import signal
import stat
import threading
import time
import warnings

_TMP = "/tmp"
_TMP_BYTES_MAX = 16 << 20
_TMP_FILES_MAX = 1000
_COPY_BYTES = 1 << 20
_LOOKS = 50
_LOOK_AGAIN_S = 0.01  # what has been ended takes the kernel a moment to forget


def why_not(own: int) -> str:
    """Empty, if it may. `own` is a descriptor of ours."""
    if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:
        return "it handles SIGCHLD"
    if _has_children():
        return "processes are running after its initialisation"
    if _has_threads():
        return "threads are running after its initialisation"
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        return "a timer is running after its initialisation"
    return _open_things(own) or _shared_memory() or _too_much_in_tmp()


def _has_threads() -> bool:
    """That would be gone in a fork. A library that ends its threads when its process is about to
    be forked, and starts them anew when it needs them, as OpenBLAS does, is not in the way."""
    if _threads() == 1:
        return False
    if threading.active_count() > 1:
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is just what we find out
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    for _ in range(_LOOKS):
        if _threads() == 1:
            return False
        time.sleep(_LOOK_AGAIN_S)
    return True


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _open_things(own: int) -> str:
    outputs = _outputs()
    for fd, what in _descriptors():
        if fd == own or what in outputs:
            continue
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return "it has an open socket or connection"
        if stat.S_ISFIFO(mode):
            return "it has an open pipe"
        if stat.S_ISCHR(mode) or stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            return f"it has an open {what.removeprefix('anon_inode:')}"
        is_read = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if not is_read or what.startswith((_TMP, "/dev/shm", "/memfd:")):
            return f"it has an open file: {what}"
    return ""


def _outputs() -> "set[str]":
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)}  # noqa: PTH115


def _descriptors() -> "list[tuple[int, str]]":
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            what = os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            continue  # that of the listing itself
        found.append((int(name), what))
    return found


def _shared_memory() -> str:
    with open("/proc/self/maps", "rb") as file:  # noqa: PTH123
        for line in file:
            rights = line.split(None, 2)[1]
            if rights.endswith(b"s") and b"w" in rights:
                return "it has shared memory"
    return "it has files in /dev/shm" if os.listdir("/dev/shm") else ""  # noqa: PTH208


def _too_much_in_tmp() -> str:
    count = size = 0
    for place, directories, files in os.walk(_TMP):
        for name in (*directories, *files):
            seen = os.lstat(f"{place}/{name}")
            count, size = count + 1, size + seen.st_size
            if stat.S_IFMT(seen.st_mode) not in {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}:
                return f"it has a file of a kind that cannot be copied: {place}/{name}"
    if size > _TMP_BYTES_MAX or count > _TMP_FILES_MAX:
        return "its initialisation left more in /tmp than is copied"
    return ""


class Kept:
    """What is to be had again, looked at before the other sandbox is entered."""

    def __init__(self, ours_only: "list[int]") -> None:
        self._directory = os.getcwd()  # noqa: PTH109 - pathlib is large
        ours = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in (1, 2)}  # noqa: PTH115
        self._aliases: list[tuple[int, int, bool]] = []
        """A descriptor, which of the outputs it is, whether a program executed inherits it."""
        self._files: list[tuple[int, str, int, bool]] = []
        for fd, what in _descriptors():
            if fd in ours_only:
                continue
            is_inherited = os.get_inheritable(fd)
            output = next((number for number, name in ours.items() if name == what), None)
            if output is not None:
                self._aliases.append((fd, output, is_inherited))
            elif what.startswith("/") and stat.S_ISREG(os.fstat(fd).st_mode):
                self._files.append((fd, what, os.lseek(fd, 0, os.SEEK_CUR), is_inherited))
        self._tmp = os.open(_TMP, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def bring_along(self, stdout: int, stderr: int) -> None:
        """In the other sandbox. Raises OSError."""
        for fd, output, is_inherited in self._aliases:
            os.dup2(stdout if output == 1 else stderr, fd, inheritable=is_inherited)
        os.close(stdout)
        os.close(stderr)
        for fd, path, offset, is_inherited in self._files:
            again = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            os.lseek(again, offset, os.SEEK_SET)
            os.dup2(again, fd, inheritable=is_inherited)
            os.close(again)
        _copy(self._tmp)
        os.close(self._tmp)
        os.chdir(self._directory)


def _copy(tmp: int) -> None:
    """All that is in the open directory, into our own /tmp."""
    for place, directories, files, fd in os.fwalk(".", dir_fd=tmp):
        here = f"{_TMP}/{place}"
        for name in directories:
            seen = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISLNK(seen.st_mode):
                os.symlink(os.readlink(name, dir_fd=fd), f"{here}/{name}")  # noqa: PTH211
            else:
                os.mkdir(f"{here}/{name}", stat.S_IMODE(seen.st_mode))  # noqa: PTH102
        for name in files:
            _copy_file(name, fd, f"{here}/{name}")


def _copy_file(name: str, directory: int, target: str) -> None:
    seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if stat.S_ISLNK(seen.st_mode):
        os.symlink(os.readlink(name, dir_fd=directory), target)  # noqa: PTH211
        return
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    written = os.open(target, flags, stat.S_IMODE(seen.st_mode))
    while data := os.read(source, _COPY_BYTES):
        os.write(written, data)
    os.close(source)
    os.close(written)
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))
