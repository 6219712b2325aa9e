"""Is the export of a bucket complete at any time, and can a bucket be restored from it?"""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from hearth.engine.contract import CaughtUp, Conflict, Entry, KeyValue
from hearth.engine.export import BucketNotEmpty, ExportDamaged, Exporter, read_export, restore
from hearth.engine.memory import MemoryEngine, Outage
from hearth.engine.nats import NatsEngine
from hearth.engine.server import EmbeddedServer

WAIT_S = 60.0


async def new_bucket() -> KeyValue:
    return await MemoryEngine().bucket("META")


def exporting(
    bucket: KeyValue, path: Path, outdated_min: int = 1000
) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    return running(Exporter(bucket, "META", path, outdated_min))


@asynccontextmanager
async def running(exporter: Exporter) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(exporter.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if is_true():
                return
            await asyncio.sleep(0.002)


def has(path: Path, entries: dict[str, bytes]) -> Callable[[], bool]:
    return lambda: path.exists() and read_export(path) == entries


async def entries(bucket: KeyValue) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async with bucket.watch() as changes:
        async for change in changes:
            if isinstance(change, Entry):
                found[change.key] = change.value
            if isinstance(change, CaughtUp):
                break
    return found


def test_an_export_has_what_is_there_and_follows_each_change(tmp_path: Path) -> None:
    path = tmp_path / "exports" / "META.jsonl"

    async def scenario() -> None:
        bucket = await new_bucket()
        a = await bucket.create("a", b'{"x": 1}')
        b = await bucket.create("b", b"\xff\x00")
        async with exporting(bucket, path):
            await wait_until(has(path, {"a": b'{"x": 1}', "b": b"\xff\x00"}))
            await bucket.update("a", "ä".encode(), a)
            await wait_until(has(path, {"a": "ä".encode(), "b": b"\xff\x00"}))
            await bucket.delete("b", b)
            await wait_until(has(path, {"a": "ä".encode()}))

    asyncio.run(scenario())
    assert path.read_text().splitlines() == [
        '{"hearth_export":1,"bucket":"META"}',
        '{"key":"a","revision":1,"value":"{\\"x\\": 1}"}',
        '{"key":"b","revision":2,"base64":"/wA="}',
        '{"key":"a","revision":3,"value":"ä"}',
        '{"key":"b","revision":4,"deleted":true}',
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_empty_bucket_has_an_export_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with exporting(await new_bucket(), tmp_path / "x"):
            await wait_until(has(tmp_path / "x", {}))
        assert await restore(tmp_path / "x", await new_bucket()) == 0

    asyncio.run(scenario())


def test_an_export_that_is_mostly_outdated_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "META.jsonl"

    async def scenario() -> None:
        bucket = await new_bucket()
        revision = await bucket.create("a", b"0")
        async with exporting(bucket, path, outdated_min=10):
            for number in range(1, 200):
                value = b"%d" % number
                revision = await bucket.update("a", value, revision)
                await wait_until(has(path, {"a": value}))
                assert len(path.read_text().splitlines()) <= 1 + 1 + 10

    asyncio.run(scenario())
    assert [child.name for child in tmp_path.iterdir()] == ["META.jsonl"]


def test_an_export_replaces_that_of_the_last_run_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "META.jsonl"

    async def scenario() -> None:
        bucket = await new_bucket()
        revision = await bucket.create("a", b"1")
        async with exporting(bucket, path):
            await wait_until(has(path, {"a": b"1"}))
        await bucket.delete("a", revision)
        await bucket.create("b", b"2")
        (tmp_path / "META.jsonl.new").write_text("left over by a crash")
        async with exporting(bucket, path):
            await wait_until(has(path, {"b": b"2"}))
        assert len(path.read_text().splitlines()) == 2

    asyncio.run(scenario())


def test_an_export_goes_on_after_an_outage_of_the_engine(tmp_path: Path) -> None:
    path = tmp_path / "x"

    async def scenario() -> None:
        engine = MemoryEngine()
        bucket = await engine.bucket("META")
        await bucket.create("a", b"1")
        engine.outage = Outage.UNREACHABLE
        exporter = Exporter(bucket, "META", path, retry_s=0.01)
        async with running(exporter):
            await wait_until(lambda: exporter.is_failing)
            engine.outage = Outage.NONE
            await wait_until(has(path, {"a": b"1"}))
            await wait_until(lambda: not exporter.is_failing)

    asyncio.run(scenario())


def test_an_export_goes_on_after_the_disk_was_full(tmp_path: Path) -> None:
    path = tmp_path / "x"
    (tmp_path / "x.new").symlink_to("/dev/full")  # every write to it fails as on a full disk

    async def scenario() -> None:
        bucket = await new_bucket()
        await bucket.create("a", b"1")
        exporter = Exporter(bucket, "META", path, retry_s=0.01)
        async with running(exporter):
            await wait_until(lambda: exporter.is_failing)
            (tmp_path / "x.new").unlink()
            await wait_until(has(path, {"a": b"1"}))
            await wait_until(lambda: not exporter.is_failing)

    asyncio.run(scenario())


VALUES = {f"fn.{i}": (b"%d" % i if i % 2 else bytes([255, i % 256])) for i in range(200)}


async def export_of_values(path: Path) -> None:
    bucket = await new_bucket()
    for key, value in VALUES.items():
        await bucket.create(key, value)
    async with exporting(bucket, path):
        await wait_until(has(path, VALUES))


def test_a_restored_bucket_has_the_same_entries(tmp_path: Path) -> None:
    async def scenario() -> None:
        await export_of_values(tmp_path / "x")
        bucket = await new_bucket()
        assert await restore(tmp_path / "x", bucket) == len(VALUES)
        assert await entries(bucket) == VALUES

    asyncio.run(scenario())


def test_a_bucket_in_use_is_not_restored_into(tmp_path: Path) -> None:
    async def scenario() -> None:
        await export_of_values(tmp_path / "x")
        for key, value in (("other", b"1"), ("fn.1", b"another value")):
            bucket = await new_bucket()
            await bucket.create(key, value)
            with pytest.raises(BucketNotEmpty, match=key):
                await restore(tmp_path / "x", bucket)
            assert await entries(bucket) == {key: value}

    asyncio.run(scenario())


def test_a_bucket_from_which_all_was_deleted_is_empty(tmp_path: Path) -> None:
    async def scenario() -> None:
        await export_of_values(tmp_path / "x")
        bucket = await new_bucket()
        for key in ("fn.1", "other"):
            await bucket.delete(key, await bucket.create(key, b""))
        await restore(tmp_path / "x", bucket)
        assert await entries(bucket) == VALUES

    asyncio.run(scenario())


def test_an_interrupted_restore_can_be_run_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        await export_of_values(tmp_path / "x")
        bucket = await new_bucket()
        for key in list(VALUES)[:70]:
            await bucket.create(key, VALUES[key])
        assert await restore(tmp_path / "x", bucket) == len(VALUES)
        assert await restore(tmp_path / "x", bucket) == len(VALUES)
        assert await entries(bucket) == VALUES

    asyncio.run(scenario())


class Intruded:
    """A bucket in which somebody writes a key just before we do."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self.get = bucket.get
        self.update = bucket.update
        self.delete = bucket.delete
        self.watch = bucket.watch

    async def create(self, key: str, value: bytes) -> int:
        if key == "fn.7":
            raise Conflict(key)
        return await self._bucket.create(key, value)


def test_a_restore_beside_other_writers_fails(tmp_path: Path) -> None:
    async def scenario() -> None:
        await export_of_values(tmp_path / "x")
        with pytest.raises(BucketNotEmpty, match=r"fn\.7"):
            await restore(tmp_path / "x", Intruded(await new_bucket()))

    asyncio.run(scenario())


HEADER = '{"hearth_export":1,"bucket":"META"}\n'
LINE = '{"key":"a","revision":1,"value":"1"}\n'


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for cut in range(1, len(LINE)):
        path.write_text(HEADER + LINE + LINE.replace('"a"', '"b"')[:cut])
        assert read_export(path) == {"a": b"1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEADER.strip(),
        LINE,
        HEADER.replace("1", "2") + LINE,
        HEADER + "\n" + LINE,
        HEADER + LINE[:9] + "\n" + LINE,
        HEADER + '{"key":"a","revision":1}\n',
        HEADER + '{"key":"a","revision":"1","value":"1"}\n',
        HEADER + '{"key":"a","revision":1,"base64":"?"}\n',
        HEADER + '{"key":"a","revision":1,"value":"1","more":1}\n',
    ],
)
def test_a_damaged_export_is_refused_as_a_whole(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x"
    path.write_text(text)

    async def scenario() -> None:
        bucket = await new_bucket()
        with pytest.raises(ExportDamaged):
            await restore(path, bucket)
        assert await entries(bucket) == {}

    asyncio.run(scenario())


@pytest.mark.integration
def test_a_lost_store_comes_back_from_its_export(tmp_path: Path) -> None:
    """The way out that the decision promises: new state directory, last export."""
    path = tmp_path / "META.jsonl"

    async def lose() -> dict[str, bytes]:
        server = EmbeddedServer(tmp_path / "lost")
        await server.start()
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        bucket = await engine.bucket("META")
        async with exporting(bucket, path, outdated_min=50):
            written = {f"fn.{i}": json.dumps({"n": i}).encode() for i in range(150)}
            for key, value in written.items():
                await bucket.create(key, value)
            found = await bucket.get("fn.3")
            assert found is not None
            await bucket.delete("fn.3", found.revision)
            del written["fn.3"]
            await wait_until(has(path, written))
        await engine.close()
        await server.stop()
        return written

    async def recover() -> dict[str, bytes]:
        server = EmbeddedServer(tmp_path / "new")
        await server.start()
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        bucket = await engine.bucket("META")
        await restore(path, bucket)
        found = await entries(bucket)
        await engine.close()
        await server.stop()
        return found

    written = asyncio.run(lose())
    assert asyncio.run(recover()) == written
