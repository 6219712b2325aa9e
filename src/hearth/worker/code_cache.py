"""Where is the unpacked code of a function on this host? One read-only tree a package.

    <directory>/<sha256>/             the tree, whole; what becomes /var/task, or part of /opt
    <directory>/<sha256>.<runtime>    its .pyc files were made for that runtime
    <directory>/.unpack-*, .gone-*    being made or removed; left by a kill, cleared by open()
    <directory>/.boot                 which boot of the machine wrote all this

A tree is made under a temporary name and renamed when it is complete, so a kill at any moment
leaves all of it or nothing. What a *power cut* can do to a renamed tree (names without content,
because nothing was flushed) is not repaired but avoided: a tree is not trusted beyond the boot
that made it, and can always be made again from its package. That is cheaper than flushing
thousands of files at each deployment. See docs/decisions/0005-metadata-and-packages.md.

Python sources are compiled at deployment, because /var/task is read-only when they run: importing
pandas takes 1,140 ms without .pyc files and 341 ms with them.
"""

import asyncio
import errno
import hashlib
import re
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from hearth.base.archives import BadArchive, open_archive, unpack
from hearth.base.clock import Clock
from hearth.base.grace import Grace
from hearth.base.jobs import Jobs
from hearth.base.log import Log
from hearth.base.trees import merge_trees, remove_tree
from hearth.model import limits
from hearth.model.errors import InvalidZipFile
from hearth.model.layers import merged_id

log = Log("worker")

UNREFERENCED_S: Final = 1_200.0
"""Longer than the longest invoke (900 s): what still runs on old code keeps its tree."""
UNPACKS_MAX: Final = 2
"""At a time; more would only slow each other."""
COMPILE_S_MAX: Final = 120.0
COMPILE_BYTES_MAX: Final = 1024**3

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MARK = re.compile(r"(?P<sha256>[0-9a-f]{64})\.(?P<runtime>python[0-9.]+)")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BOOT = ".boot"
_UNPACKING = ".unpack-"
_GONE = ".gone-"

# Runs under the function's interpreter, on sources that nobody vouches for: parsed, never run,
# and bounded. Hash-based and unchecked: a .pyc is right because the tree never changes.
_COMPILE: Final = """
import compileall, os, py_compile, resource, sys
tree, bytes_max, cpu_s_max = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.umask(0o022)
os.nice(10)
resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))
resource.setrlimit(resource.RLIMIT_CPU, (cpu_s_max, cpu_s_max))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
compileall.compile_dir(tree, ddir="/var/task", quiet=2, force=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class CodeCache:
    """The trees of one host. `open()` it before anything else."""

    def __init__(
        self,
        directory: Path,
        package_path: Callable[[str], Path],
        jobs: Jobs,
        clock: Clock,
        *,
        interpreter: Callable[[str], Path | None] = lambda _runtime: None,
        unreferenced_s: float = UNREFERENCED_S,
    ) -> None:
        """`interpreter` finds the executable of a runtime (`python3.12`), or None; it may block."""
        self._directory = directory
        self._package_path = package_path
        self._jobs = jobs
        self._clock = clock
        self._interpreter = interpreter
        self._grace: Grace[str] = Grace(unreferenced_s)
        self._ready: set[str] = set()
        self._compiled: set[tuple[str, str]] = set()
        self._running: dict[tuple[str, ...], asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(UNPACKS_MAX)

    async def open(self) -> None:
        """Find what is there; clear what an earlier process left unfinished."""
        self._ready, self._compiled = await asyncio.to_thread(self._open)

    async def prepare(self, sha256: str, runtime: str | None = None) -> Path:
        """The tree of that package; made if it is not there, once, however many ask.

        With a Python `runtime` that this machine has, its .pyc files are there too. A caller who
        gives up does not stop the others. Raises InvalidZipFile, OSError.
        """
        self._grace.keep(sha256)
        if sha256 not in self._ready:
            await self._once(("unpack", sha256), self._unpack(sha256))
        mark = (sha256, runtime or "")
        if _MARK.fullmatch(".".join(mark)) and mark not in self._compiled:
            await self._once(("compile", *mark), self._compile(*mark))
        return self._directory / sha256

    async def merged(self, digests: Sequence[str]) -> Path:
        """One tree of these packages' trees, which must be there: at each name what the last has
        that has it. Of hard links: only for those who cannot have the trees mounted so."""
        name = merged_id(digests)
        self._grace.keep(name)
        if name not in self._ready:
            await self._once(("merge", name), self._merge(name, digests))
        return self._directory / name

    async def remove(self, sha256: str) -> None:
        """Remove the tree. Nobody may be using it."""
        if sha256 not in self._ready:
            return
        self._ready.discard(sha256)
        marks = [mark for mark in self._compiled if mark[0] == sha256]
        self._compiled.difference_update(marks)
        for _sha256, runtime in marks:
            self._mark(sha256, runtime).unlink(missing_ok=True)
        # Renamed before anything can wait: from here on it is not there, and may be made again.
        gone = Path(tempfile.mkdtemp(prefix=_GONE, dir=self._directory))
        (self._directory / sha256).rename(gone / "tree")
        await asyncio.to_thread(remove_tree, gone)

    async def sweep(self, referenced: AbstractSet[str], /) -> int:
        """Remove trees that have been unreferenced for UNREFERENCED_S; returns how many."""
        due = self._grace.due(self._ready - referenced, self._clock.monotonic_s())
        for sha256 in due:
            await self.remove(sha256)
        return len(due)

    async def _once(self, work: tuple[str, ...], job: Coroutine[Any, Any, None]) -> None:
        task = self._running.get(work)
        if task is None:
            task = self._running[work] = self._jobs.spawn(job, name="-".join(work))
            task.add_done_callback(lambda _task: self._running.pop(work, None))
        else:
            job.close()
        await asyncio.shield(task)

    async def _unpack(self, sha256: str) -> None:
        async with self._slots:
            began_s = self._clock.monotonic_s()
            await asyncio.to_thread(self._make, sha256, partial(self._fill, sha256))
        self._ready.add(sha256)
        took_ms = (self._clock.monotonic_s() - began_s) * 1000
        log.debug("package unpacked", package=sha256, took_ms=took_ms)

    async def _merge(self, name: str, digests: Sequence[str]) -> None:
        trees = [self._directory / digest for digest in digests]
        async with self._slots:
            await asyncio.to_thread(self._make, name, lambda draft: merge_trees(trees, draft))
        self._ready.add(name)

    async def _compile(self, sha256: str, runtime: str) -> None:
        """Make .pyc files. That it fails is logged and harmless: functions run without."""
        interpreter = await asyncio.to_thread(self._interpreter, runtime)
        if interpreter is None:
            return
        async with self._slots:
            await _run_compiler(interpreter, self._directory / sha256)
        if sha256 in self._ready:
            self._compiled.add((sha256, runtime))
            self._mark(sha256, runtime).touch()

    def _mark(self, sha256: str, runtime: str) -> Path:
        return self._directory / f"{sha256}.{runtime}"

    def _fill(self, sha256: str, draft: Path) -> None:
        package = self._package_path(sha256)
        with package.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                raise InvalidZipFile("Lambda could not unzip the deployment package.")
        try:
            with open_archive(package) as archive:
                unpack(archive, draft, limits.UNZIPPED_BYTES_MAX - 1)
        except BadArchive as error:
            raise InvalidZipFile("Lambda could not unzip the deployment package.") from error

    def _make(self, name: str, fill: Callable[[Path], None]) -> None:
        temporary = Path(tempfile.mkdtemp(prefix=_UNPACKING, dir=self._directory))
        try:
            temporary.chmod(0o755)
            fill(temporary)
            temporary.rename(self._directory / name)
        except OSError as error:
            # Made meanwhile by a job that was cancelled while its thread went on: equal trees.
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        finally:
            with suppress(OSError):  # open() clears what is left
                remove_tree(temporary)

    def _open(self) -> tuple[set[str], set[tuple[str, str]]]:
        self._directory.mkdir(parents=True, exist_ok=True)
        boot = _BOOT_ID.read_text() if _BOOT_ID.exists() else ""
        known = self._directory / _BOOT
        trusted = bool(boot) and known.exists() and known.read_text() == boot
        for path in self._directory.iterdir():
            if path.name.startswith((_UNPACKING, _GONE)) or (not trusted and _is_ours(path.name)):
                _remove(path)
        known.write_text(boot)
        names = [path.name for path in self._directory.iterdir()]
        ready = {name for name in names if _SHA256.fullmatch(name)}
        marks = [match for name in names if (match := _MARK.fullmatch(name))]
        return ready, {(m["sha256"], m["runtime"]) for m in marks if m["sha256"] in ready}


def _is_ours(name: str) -> bool:
    """Has a cache made this? What somebody else put there is never removed."""
    return bool(_SHA256.fullmatch(name) or _MARK.fullmatch(name))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink()


async def _run_compiler(interpreter: Path, tree: Path) -> None:
    compiler = await asyncio.create_subprocess_exec(
        interpreter,
        *("-I", "-S", "-c", _COMPILE, str(tree)),
        *(str(COMPILE_BYTES_MAX), str(int(COMPILE_S_MAX))),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd="/",
        env={},
    )
    try:
        async with asyncio.timeout(COMPILE_S_MAX):
            status = await compiler.wait()
        if status != 0:
            log.warning("compiling did not end well", tree=tree.name, status=status)
    except TimeoutError:
        log.warning("compiling took too long", tree=tree.name, limit_s=COMPILE_S_MAX)
    finally:
        if compiler.returncode is None:
            compiler.kill()
            await compiler.wait()
