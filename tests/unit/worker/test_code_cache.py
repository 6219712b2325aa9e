"""The code cache: one whole tree a package, or none."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.control import HandClock
from fakes.packages import FILE, LINK, PROGRAM, zip_entries, zip_of
from hearth.base.jobs import Jobs
from hearth.model.errors import InvalidZipFile
from hearth.model.layers import merged_id
from hearth.worker.code_cache import CodeCache

RUNTIME = f"python3.{sys.version_info.minor}"
Scenario = Callable[[CodeCache, "Shelf"], Awaitable[None]]


class Shelf:
    """Where packages lie, and the clock."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.clock = HandClock()
        self._directory = directory

    def put(self, package: bytes) -> str:
        sha256 = hashlib.sha256(package).hexdigest()
        self.path(sha256).write_bytes(package)
        return sha256

    def path(self, sha256: str) -> Path:
        return self._directory / f"{sha256}.zip"


def own_interpreter(runtime: str) -> Path | None:
    return Path(sys.executable) if runtime == RUNTIME else None


@asynccontextmanager
async def opened(
    root: Path, shelf: Shelf, interpreter: Callable[[str], Path | None] = own_interpreter
) -> AsyncIterator[CodeCache]:
    async with Jobs() as jobs:
        cache = CodeCache(
            root / "cache",
            shelf.path,
            jobs,
            shelf.clock,
            interpreter=interpreter,
            unreferenced_s=100,
        )
        await cache.open()
        yield cache


def play(
    root: Path,
    scenario: Scenario,
    interpreter: Callable[[str], Path | None] = own_interpreter,
) -> None:
    async def scene() -> None:
        shelf = Shelf(root / "packages")
        async with opened(root, shelf, interpreter) as cache:
            await scenario(cache, shelf)

    asyncio.run(scene())


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "cache").iterdir() if path.name != ".boot")


def test_a_package_is_unpacked_with_its_programs_and_links(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        package = zip_entries(
            ("bootstrap", PROGRAM, "#!/bin/sh"), ("lib/a", FILE, "a"), ("lib/b", LINK, "a")
        )
        sha256 = shelf.put(package)
        tree = await cache.prepare(sha256)
        assert tree == tmp_path / "cache" / sha256
        assert (tree / "bootstrap").stat().st_mode & 0o777 == 0o755
        assert (tree / "lib/a").stat().st_mode & 0o777 == 0o644
        assert (tree / "lib/b").read_text() == "a"
        assert tree.stat().st_mode & 0o777 == 0o755

    play(tmp_path, scenario)


def test_many_who_ask_at_once_share_one_unpacking(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        sha256 = shelf.put(zip_of())
        trees = await asyncio.gather(*(cache.prepare(sha256) for _ in range(20)))
        assert len(set(trees)) == 1
        inode = trees[0].stat().st_ino
        assert (await cache.prepare(sha256)).stat().st_ino == inode

    play(tmp_path, scenario)


def test_one_who_gives_up_does_not_stop_the_others(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        sha256 = shelf.put(zip_of())
        impatient = asyncio.create_task(cache.prepare(sha256))
        patient = asyncio.create_task(cache.prepare(sha256))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient / "app.py").exists()
        assert impatient.cancelled()

    play(tmp_path, scenario)


def test_a_tree_is_found_again_by_the_next_process(tmp_path: Path) -> None:
    inodes = []

    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        tree = await cache.prepare(shelf.put(zip_of()))
        inodes.append(tree.stat().st_ino)

    play(tmp_path, scenario)
    play(tmp_path, scenario)
    assert inodes[0] == inodes[1]


def test_what_a_kill_left_unfinished_is_cleared_at_the_start(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        await cache.prepare(shelf.put(zip_of()))

    play(tmp_path, scenario)
    for leftover in (".unpack-a1", ".gone-b2"):
        (tmp_path / "cache" / leftover / "deep").mkdir(parents=True)
        (tmp_path / "cache" / leftover / "deep" / "file").touch()
    play(tmp_path, scenario)
    assert len(visible(tmp_path)) == 1


def test_a_tree_is_not_trusted_beyond_the_boot_that_made_it(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        tree = await cache.prepare(shelf.put(zip_of()))
        assert (tree / "app.py").read_bytes()
        (tree / "app.py").write_bytes(b"")  # what a power cut may leave of it

    play(tmp_path, scenario)
    (tmp_path / "cache" / ".boot").write_text("another boot\n")
    play(tmp_path, scenario)


def test_what_no_cache_made_is_never_removed(tmp_path: Path) -> None:
    mine = tmp_path / "cache" / "mine"
    mine.mkdir(parents=True)
    (mine / "app.py").write_text("precious")
    (tmp_path / "cache" / "notes.txt").write_text("precious")
    stale = tmp_path / "cache" / ("a" * 64)
    stale.mkdir()

    async def scenario(_cache: CodeCache, _shelf: Shelf) -> None:
        assert not stale.exists(), "a tree of another boot is"

    play(tmp_path, scenario)
    assert (mine / "app.py").read_text() == "precious"
    assert (tmp_path / "cache" / "notes.txt").read_text() == "precious"


def test_a_damaged_package_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        good = zip_of()
        sha256 = shelf.put(good)
        shelf.path(sha256).write_bytes(good[:-1])
        with pytest.raises(InvalidZipFile):
            await cache.prepare(sha256)
        unsafe = shelf.put(zip_entries(("a", FILE, "a"), ("../b", FILE, "b")))
        with pytest.raises(InvalidZipFile):
            await cache.prepare(unsafe)
        shelf.path(sha256).write_bytes(good)
        assert (await cache.prepare(sha256)).is_dir()  # a failure is not remembered

    play(tmp_path, scenario)
    assert len(visible(tmp_path)) == 1


def test_a_missing_package_is_an_error_of_the_disk(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        with pytest.raises(FileNotFoundError):
            await cache.prepare("0" * 64)

    play(tmp_path, scenario)
    assert visible(tmp_path) == []


def test_what_is_unreferenced_for_long_is_swept(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        kept, dropped = shelf.put(zip_of({"a": "1"})), shelf.put(zip_of({"a": "2"}))
        await cache.prepare(kept)
        await cache.prepare(dropped)
        assert await cache.sweep({kept}) == 0
        shelf.clock.now_s = 99
        assert await cache.sweep({kept}) == 0
        await cache.prepare(dropped)  # asked for again: waits anew
        shelf.clock.now_s = 150
        assert await cache.sweep({kept}) == 0
        shelf.clock.now_s = 250
        assert await cache.sweep({kept}) == 1
        assert visible(tmp_path) == [kept]
        assert (await cache.prepare(dropped) / "a").read_text() == "2"

    play(tmp_path, scenario)


def test_removing_takes_the_tree_and_its_marks(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        sha256 = shelf.put(zip_of())
        await cache.prepare(sha256, RUNTIME)
        assert visible(tmp_path) == [sha256, f"{sha256}.{RUNTIME}"]
        await cache.remove(sha256)
        await cache.remove(sha256)
        assert visible(tmp_path) == []

    play(tmp_path, scenario)


def test_python_sources_are_compiled_once_for_the_runtime(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        package = zip_of({"app.py": "VALUE = 42\n", "lib/bad.py": "print 'python 2'\n"})
        sha256 = shelf.put(package)
        tree = await cache.prepare(sha256, RUNTIME)
        (compiled,) = (tree / "__pycache__").iterdir()
        assert compiled.name == f"app.cpython-3{sys.version_info.minor}.pyc"
        assert compiled.stat().st_mode & 0o777 == 0o644
        assert (tree / "__pycache__").stat().st_mode & 0o777 == 0o755
        flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
        assert flags == 0b01, "hash-based and unchecked"
        (tree / "app.py").write_text("VALUE = 0\n")  # so that only the .pyc can say 42
        asker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "import app; print(app.VALUE)"),
            cwd=tree,
            stdout=asyncio.subprocess.PIPE,
        )
        assert (await asker.communicate())[0] == b"42\n"
        before = compiled.stat().st_mtime_ns
        await cache.prepare(sha256, RUNTIME)
        assert compiled.stat().st_mtime_ns == before

    play(tmp_path, scenario)


def test_a_runtime_without_an_interpreter_here_or_of_another_language_is_not_compiled(
    tmp_path: Path,
) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        sha256 = shelf.put(zip_of())
        for runtime in ("python3.99", "nodejs22.x", "provided.al2023"):
            tree = await cache.prepare(sha256, runtime)
            assert [path.name for path in tree.iterdir()] == ["app.py"]

    play(tmp_path, scenario)


def test_a_compiler_that_fails_does_no_harm(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        tree = await cache.prepare(shelf.put(zip_of()), RUNTIME)
        assert (tree / "app.py").exists()

    play(tmp_path, scenario, interpreter=lambda _runtime: Path("/bin/false"))


UNPACKER = """
import asyncio, sys
from pathlib import Path
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.worker.code_cache import CodeCache

async def main(root, sha256):
    async with Jobs() as jobs:
        package = root / "packages" / f"{sha256}.zip"
        cache = CodeCache(root / "cache", lambda _sha256: package, jobs, SystemClock())
        await cache.open()
        await cache.prepare(sha256)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.parametrize("files_before_kill", [1, 100, 400])
def test_a_kill_leaves_the_whole_tree_or_none(tmp_path: Path, files_before_kill: int) -> None:
    files_max = 500
    package = zip_of({f"d{n % 7}/f{n}": str(n) for n in range(files_max)})
    sha256 = Shelf(tmp_path / "packages").put(package)
    victim = subprocess.Popen([sys.executable, "-c", UNPACKER, str(tmp_path), sha256])
    tree = tmp_path / "cache" / sha256
    while victim.poll() is None and not tree.exists():
        begun = list(tmp_path.glob("cache/.unpack-*"))
        if begun and len(list(begun[0].glob("*/*"))) >= files_before_kill:
            break
    victim.kill()
    victim.wait()
    assert not tree.exists() or len(list(tree.glob("*/*"))) == files_max

    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        await cache.prepare(sha256)
        assert len(list(tree.glob("*/*"))) == files_max

    play(tmp_path, scenario)
    assert visible(tmp_path) == [sha256]


def test_trees_are_merged_once_and_swept_like_others(tmp_path: Path) -> None:
    async def scenario(cache: CodeCache, shelf: Shelf) -> None:
        low, high = (shelf.put(zip_of({"name": n, n: ""})) for n in ("low", "high"))
        for digest in (low, high):
            await cache.prepare(digest)
        first, second = await asyncio.gather(cache.merged([low, high]), cache.merged([low, high]))
        assert first == second
        assert sorted(path.name for path in first.iterdir()) == ["high", "low", "name"]
        assert (first / "name").read_text() == "high"
        other = await cache.merged([high, low])
        assert (other / "name").read_text() == "low"
        kept = {low, high, merged_id([low, high])}
        await cache.sweep(kept)
        shelf.clock.now_s += 101
        assert await cache.sweep(kept) == 1
        assert first.is_dir()
        assert not other.exists()

    play(tmp_path, scenario)
