"""The store of packages."""

import asyncio
import resource
from pathlib import Path

import pytest

from fakes.control import HandClock
from hearth.control.packages import Packages
from hearth.model.errors import CodeStorageExceeded

SHA = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of b"foo"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_package_is_stored_once_under_its_digest(tmp_path: Path) -> None:
    async def scene() -> None:
        packages = Packages(tmp_path / "packages", HandClock())
        await packages.open()
        codes = await asyncio.gather(*(packages.put(b"foo") for _ in range(8)))
        assert {(code.sha256, code.size_bytes) for code in codes} == {(SHA, 3)}
        assert packages.path(SHA).read_bytes() == b"foo"
        assert packages.describe(b"foo") == codes[0]

    asyncio.run(scene())
    assert names(tmp_path / "packages") == [f"{SHA}.zip"]


def test_opening_removes_what_was_half_written(tmp_path: Path) -> None:
    (tmp_path / ".put-abc").write_bytes(b"half")
    (tmp_path / f"{SHA}.zip").write_bytes(b"foo")
    asyncio.run(Packages(tmp_path, HandClock()).open())
    assert names(tmp_path) == [f"{SHA}.zip"]


def test_the_store_has_a_limit_and_a_refused_package_leaves_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / ("a" * 64 + ".zip")).write_bytes(bytes(6))
        packages = Packages(tmp_path, HandClock(), total_bytes_max=10)
        await packages.open()
        await packages.put(b"foo")
        await packages.put(b"foo")  # there already: takes no room
        with pytest.raises(CodeStorageExceeded, match=r"^Code storage limit exceeded\.$"):
            await packages.put(b"ab")

    asyncio.run(scene())
    assert names(tmp_path) == [f"{SHA}.zip", "a" * 64 + ".zip"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        packages = Packages(tmp_path, HandClock())
        await packages.open()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))  # as good as a full disk
        try:
            with pytest.raises(OSError, match="File too large"):
                await packages.put(bytes(2_000_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    asyncio.run(scene())
    assert names(tmp_path) == []


def test_sweeping_waits_until_nobody_has_referred_to_it_for_long(tmp_path: Path) -> None:
    async def scene() -> None:
        clock = HandClock()
        packages = Packages(tmp_path, clock, unreferenced_s=100)
        await packages.open()
        kept = (await packages.put(b"kept")).sha256
        dropped = (await packages.put(b"dropped")).sha256
        assert await packages.sweep({kept, dropped}) == 0
        clock.now_s = 1_000
        assert await packages.sweep({kept}) == 0  # unreferenced only from now on
        clock.now_s = 1_099
        assert await packages.sweep({kept}) == 0
        await packages.put(b"dropped")  # somebody is about to refer to it
        clock.now_s = 1_150
        assert await packages.sweep({kept}) == 0
        clock.now_s = 1_250
        assert await packages.sweep({kept}) == 1
        assert packages.path(kept).exists()
        assert not packages.path(dropped).exists()

    asyncio.run(scene())


def test_what_is_swept_makes_room(tmp_path: Path) -> None:
    async def scene() -> None:
        packages = Packages(tmp_path, HandClock(), total_bytes_max=3, unreferenced_s=0)
        await packages.open()
        await packages.put(b"foo")
        assert await packages.sweep(set()) == 1
        assert (await packages.put(b"bar")).size_bytes == 3

    asyncio.run(scene())


def test_missing_packages_are_named(tmp_path: Path) -> None:
    async def scene() -> None:
        packages = Packages(tmp_path, HandClock())
        await packages.open()
        await packages.put(b"foo")
        assert await packages.missing({SHA, "b" * 64}) == {"b" * 64}

    asyncio.run(scene())
