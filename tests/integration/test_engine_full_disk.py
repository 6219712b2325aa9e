"""Does a real nats-server take writes again after its disk was full, without a gap in watches?"""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hearth.base.clock import SystemClock
from hearth.engine.contract import CaughtUp, Change, EngineTakesNoWrites, Entry, KeyValue
from hearth.engine.health import EngineHealth
from hearth.engine.room import measure
from hearth.engine.server import EmbeddedServer, ServerDied, find_binary
from integration.engine_scene import WAIT_S, connected, is_running, program, running, wait_until

pytestmark = pytest.mark.integration

VALUE = bytes(2000)

# Until its input ends: a mount namespace in which a small disk lies over one directory.
KEEPER = 'mount -t tmpfs -o size=4m none "$0" && echo ready && read -r _'


class SmallDisk:
    """The disk of a store, seen from without the namespace that it is in."""

    def __init__(self, keeper: int, store: Path) -> None:
        self.keeper = keeper
        self.directory = Path(f"/proc/{keeper}/root{store}")

    def fill(self) -> None:
        with (self.directory / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                assert shutil.disk_usage(self.directory).free == 0

    def free(self) -> None:
        (self.directory / "filler").unlink()


@pytest.fixture(name="disk")
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Below the store of a server whose state is in tmp_path."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    store = tmp_path / "js-standalone"
    store.mkdir()
    keeper = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", KEEPER, str(store)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdout is not None
    if keeper.stdout.readline() != "ready\n":
        keeper.communicate()
        pytest.skip("no mounts in a namespace of our own here")
    yield SmallDisk(keeper.pid, store)
    keeper.communicate()


async def follow(bucket: KeyValue, seen: list[Change]) -> None:
    async with bucket.watch("k") as changes:
        while True:
            seen.append(await anext(changes))


async def write_until_refused(bucket: KeyValue) -> tuple[list[int], str]:
    """The revisions of what was acknowledged, and the words of the refusal."""
    written: list[int] = []
    while True:
        try:
            written.append(await bucket.create(f"k.full.{len(written)}", VALUE))
        except EngineTakesNoWrites as refused:
            return written, str(refused)


def test_writes_work_again_after_a_full_disk_and_watches_have_no_gap(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async def scenario() -> None:
        binary = program(
            tmp_path / "nats-server",
            f'exec nsenter --target {disk.keeper} --mount {await find_binary(None)} "$@"',
        )
        server = EmbeddedServer(tmp_path, binary=binary)
        await server.start()
        dying = asyncio.ensure_future(server.wait_died())
        try:
            async with connected(server) as engine:
                bucket = await engine.bucket("META")
                room = partial(asyncio.to_thread, measure, disk.directory)
                watching = asyncio.ensure_future(
                    EngineHealth(engine, server, room, SystemClock(), failing_s_min=1.0).run()
                )
                seen: list[Change] = []
                following = asyncio.ensure_future(follow(bucket, seen))
                first = await bucket.create("k.first", b"")
                url, password, pid = server.url, server.password, server.pid

                disk.fill()
                written, refusal = await write_until_refused(bucket)
                assert "disk is full" in refusal
                began_s = time.monotonic()
                with pytest.raises(EngineTakesNoWrites):
                    await bucket.create("k.never", b"")
                assert time.monotonic() - began_s < 1.0
                found = await bucket.get("k.first")
                assert found == Entry("k.first", b"", first), "reads go on"
                assert server.pid == pid

                disk.free()
                last = await _write_when_it_works(bucket)
                assert (server.url, server.password) == (url, password)
                assert server.pid != pid
                assert not is_running(pid)
                assert not dying.done(), "a restart is no death"
                await wait_until(lambda: Entry("k.last", b"", last) in seen)
                assert [change for change in seen if isinstance(change, Entry)] == [
                    Entry("k.first", b"", first),
                    *(Entry(f"k.full.{i}", VALUE, each) for i, each in enumerate(written)),
                    Entry("k.last", b"", last),
                ]
                assert seen.count(CaughtUp()) == 1
                for task in (watching, following):
                    task.cancel()
                await asyncio.wait([watching, following])
        finally:
            await server.stop()
        await dying

    asyncio.run(scenario())


async def _write_when_it_works(bucket: KeyValue) -> int:
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                return await bucket.create("k.last", b"")
            except EngineTakesNoWrites:
                await asyncio.sleep(0.1)


def test_a_server_that_dies_after_a_restart_is_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            dying = asyncio.ensure_future(server.wait_died())
            async with connected(server) as engine:
                await server.restart()
                await engine.probe()
            assert not dying.done()
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(ServerDied):
                await dying

    asyncio.run(scenario())


def test_a_restart_that_failed_is_no_death_and_can_be_repeated(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            dying = asyncio.ensure_future(server.wait_died())
            configuration = tmp_path / "run" / "nats-server.json.new"
            configuration.mkdir()
            with pytest.raises(IsADirectoryError):
                await server.restart()
            done, _ = await asyncio.wait([dying], timeout=0.1)
            assert not done
            configuration.rmdir()
            await server.restart()
            async with connected(server) as engine:
                await engine.probe()
            assert not dying.done()
        await dying

    asyncio.run(scenario())
