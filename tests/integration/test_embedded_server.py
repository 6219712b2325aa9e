"""Does a real nats-server start safely, keep what it acknowledged, and end when it must?"""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import nats.errors
import pytest
import uvloop
from nats.aio.client import Client
from nats.js import api

from hearth.engine import bound_exec
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Deleted,
    EngineUnavailable,
    Entry,
    KeyValue,
)
from hearth.engine.nats import NatsEngine
from hearth.engine.server import (
    EmbeddedServer,
    Patience,
    ServerDied,
    ServerStartFailed,
    find_binary,
)
from hearth.engine.server_files import StoreRefused

pytestmark = pytest.mark.integration

WAIT_S = 20.0
PATIENT = Patience()
IMPATIENT = Patience(start_s=10.0, lock_s=0.2, stop_s=0.3)


@asynccontextmanager
async def running(
    state: Path, port: int | None = None, patience: Patience = PATIENT
) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(state, port=port, patience=patience)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def connected(server: EmbeddedServer, deadline_s: float = 10.0) -> AsyncIterator[NatsEngine]:
    engine = await NatsEngine.connect(
        server.url, server.user, server.password, deadline_s=deadline_s
    )
    try:
        yield engine
    finally:
        await engine.close()


async def wait_until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while True:
            if is_true():
                return
            await asyncio.sleep(0.005)


def is_running(pid: int) -> bool:
    """A zombie has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def has_stopped(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    return all(path.read_text().rpartition(")")[2].split()[0] == "T" for path in threads)


def proc(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()


def port_of(server: EmbeddedServer) -> int:
    return int(server.url.rpartition(":")[2])


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# Starting and stopping


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_server_starts_answers_and_stops(
    tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            async with connected(server) as engine:
                await engine.probe()
            pid = server.pid
            assert is_running(pid)
        assert not is_running(pid)
        await server.stop()
        await server.wait_died()  # it was asked to: nothing to say

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())


def test_what_was_written_is_there_after_a_stop(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server) as engine:
            revision = await (await engine.bucket("META")).create("a", b"value")
        async with running(tmp_path) as server, connected(server) as engine:
            found = await (await engine.bucket("META")).get("a")
            assert found == Entry("a", b"value", revision)

    asyncio.run(scenario())


def test_a_server_is_started_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            with pytest.raises(RuntimeError, match="started before"):
                await server.start()

    asyncio.run(scenario())


def test_a_server_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path, patience=IMPATIENT) as server:
            os.kill(server.pid, signal.SIGSTOP)
        assert not is_running(server.pid)

    asyncio.run(scenario())


def test_a_server_that_dies_by_itself_is_reported(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            os.kill(server.pid, signal.SIGKILL)
            with pytest.raises(ServerDied, match=r"(?s)status -9.*Server is ready"):
                await server.wait_died()

    asyncio.run(scenario())


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path / "a") as first:
            second = EmbeddedServer(tmp_path / "b", port=port_of(first))
            with pytest.raises(ServerStartFailed, match="address already in use"):
                await second.start()
            assert not is_running(second.pid)

    asyncio.run(scenario())


def test_ctrl_c_does_not_reach_the_server_and_the_environment_neither(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            assert os.getsid(server.pid) != os.getsid(0)
            assert proc(server.pid, "environ") == b"GOMEMLIMIT=256MiB\0"

    asyncio.run(scenario())


# Which program


def test_the_installed_server_is_found_and_another_can_be_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        installed = await find_binary(None)
        link = tmp_path / "elsewhere"
        link.symlink_to(installed)
        server = EmbeddedServer(tmp_path / "state", binary=link)
        await server.start()
        try:
            assert proc(server.pid, "cmdline").startswith(bytes(link) + b"\0")
        finally:
            await server.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'nats-server: v2.9.10'", "needed: 2.12 or newer"),
        ("echo 'nats-server: v1.12.0'", "needed: 2.12 or newer"),
        ("echo hello", "not a nats-server"),
        ("exit 1", "not a nats-server"),
    ],
)
def test_a_program_that_is_too_old_or_another_is_refused(
    tmp_path: Path, script: str, message: str
) -> None:
    binary = program(tmp_path / "program", script)
    with pytest.raises(ServerStartFailed, match=message):
        asyncio.run(EmbeddedServer(tmp_path / "state", binary=binary).start())
    assert not (tmp_path / "state").exists()


def test_a_program_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerStartFailed, match="cannot be run"):
        asyncio.run(EmbeddedServer(tmp_path, binary=tmp_path / "none").start())


# Safety of the store


def test_a_server_that_does_not_fsync_every_write_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        real = await find_binary(None)
        careless = program(
            tmp_path / "careless",
            f'[ "$1" = --version ] || sed -i "/sync_interval/d" "$2"\nexec {real} "$@"',
        )
        server = EmbeddedServer(tmp_path / "state", binary=careless)
        with pytest.raises(ServerStartFailed, match="does not fsync every write"):
            await server.start()
        assert not is_running(server.pid)

    asyncio.run(scenario())


def test_a_clustered_store_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "js-standalone"
    store.mkdir()
    (store / "hearth-store.json").write_text('{"kind": "clustered", "version": 1}')
    with pytest.raises(StoreRefused, match="clustered store"):
        asyncio.run(EmbeddedServer(tmp_path).start())


@pytest.mark.parametrize("marker", [None, "", "{}", "[]", '{"kind": "standalone", "version": 2}'])
def test_a_store_of_unknown_origin_is_refused_and_left_alone(
    tmp_path: Path, marker: str | None
) -> None:
    store = tmp_path / "js-standalone"
    (store / "jetstream").mkdir(parents=True)
    if marker is not None:
        (store / "hearth-store.json").write_text(marker)
    with pytest.raises(StoreRefused):
        asyncio.run(EmbeddedServer(tmp_path).start())
    assert list((store / "jetstream").iterdir()) == []


def test_two_servers_never_share_a_store(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as first:
            second = EmbeddedServer(tmp_path, patience=IMPATIENT)
            with pytest.raises(ServerStartFailed, match="running twice"):
                await second.start()
            async with connected(first) as engine:
                await engine.probe()
        async with running(tmp_path, patience=IMPATIENT):
            pass

    asyncio.run(scenario())


def test_a_server_waits_for_the_store_of_one_that_is_about_to_end(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as first:
            second = EmbeddedServer(tmp_path)
            starting = asyncio.create_task(second.start())
            done, _ = await asyncio.wait([starting], timeout=0.2)
            assert not done
            await first.stop()
            async with asyncio.timeout(WAIT_S):
                await starting
            await second.stop()

    asyncio.run(scenario())


# Who may come in


def test_an_anonymous_client_is_not_let_in(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            client = Client()
            with pytest.raises((nats.errors.Error, OSError)):
                await client.connect(server.url, allow_reconnect=False)
            await client.close()
            async with connected(server) as engine:
                await engine.probe()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("user", "password"), [("hearth", "wrong"), ("hearth", ""), ("system", "wrong"), ("", "")]
)
def test_a_client_with_a_wrong_password_learns_at_once_that_it_is_not_let_in(
    tmp_path: Path, user: str, password: str
) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, asyncio.timeout(5.0):
            with pytest.raises(EngineUnavailable) as refused:
                await NatsEngine.connect(server.url, user, password)
            assert "Authorization Violation" in str(refused.value.__cause__)

    asyncio.run(scenario())


def test_a_client_waits_for_a_server_until_its_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            port, user, password = port_of(server), server.user, server.password
        with pytest.raises(EngineUnavailable) as refused:
            await NatsEngine.connect(server.url, user, password, deadline_s=0.3)
        assert isinstance(refused.value.__cause__, ConnectionRefusedError)
        connecting = asyncio.create_task(NatsEngine.connect(server.url, user, password))
        async with running(tmp_path, port=port), asyncio.timeout(WAIT_S):
            engine = await connecting
            await engine.probe()
            await engine.close()

    asyncio.run(scenario())


def test_the_server_listens_on_loopback_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            (ports,) = (tmp_path / "run").glob("*.ports")
            assert json.loads(ports.read_text()) == {"nats": [server.url]}
            assert server.url.startswith("nats://127.0.0.1:")

    asyncio.run(scenario())


def test_each_install_has_a_password_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    async def passwords(state: Path) -> str:
        async with running(state) as server:
            return server.password

    first = asyncio.run(passwords(tmp_path / "a"))
    assert len(first) >= 32
    assert asyncio.run(passwords(tmp_path / "a")) == first
    assert asyncio.run(passwords(tmp_path / "b")) != first


def files_with(secret: bytes, below: Path) -> list[Path]:
    return [p for p in below.rglob("*") if p.is_file() and secret in p.read_bytes()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_secrets_and_data(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            found = files_with(server.password.encode(), tmp_path)
            assert sorted(path.name for path in found) == [
                "engine-credentials.json",
                "nats-server.json",
            ]
            assert {mode(path) for path in found} == {0o600}
            assert {mode(tmp_path / name) for name in ("js-standalone", "run", "log")} == {0o700}

    asyncio.run(scenario())


# Dying with the parent

PARENT = """
import asyncio, sys
from pathlib import Path
from hearth.engine.server import EmbeddedServer

async def main():
    server = EmbeddedServer(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_the_server_dies_with_its_parent_and_the_next_one_takes_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        for _ in range(3):
            parent = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PARENT, str(tmp_path), stdout=subprocess.PIPE
            )
            assert parent.stdout is not None
            pid = int(await parent.stdout.readline())
            assert is_running(pid)
            parent.kill()
            async with running(tmp_path) as server, connected(server) as engine:
                assert not is_running(pid)
                await engine.probe()
            await parent.communicate()

    asyncio.run(scenario())


def test_a_program_whose_parent_is_gone_already_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    somebody_else = os.getppid()
    ended = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            bound_exec.__file__,
            str(somebody_else),
            "A=b",
            "/bin/sh",
            "-c",
            f"touch {trace}",
        ],
        check=False,
    )
    assert ended.returncode == bound_exec.EXIT_ORPHANED
    assert not trace.exists()


# Crashes


async def _write_until_it_breaks(bucket: KeyValue, writer: int, acked: dict[str, int]) -> None:
    """Unique keys, noting each acknowledged one."""
    number = 0
    while True:
        key = f"w.{writer}.{number}"
        try:
            acked[key] = await bucket.create(key, key.encode())
        except EngineUnavailable:
            return
        number += 1


async def _count_until_it_breaks(bucket: KeyValue, acked: list[int]) -> None:
    revision = await bucket.create("count", b"0")
    while True:
        try:
            revision = await bucket.update("count", b"%d" % (len(acked) + 1), revision)
        except EngineUnavailable:
            return
        acked.append(revision)


async def _entries(bucket: KeyValue) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    async with bucket.watch() as changes:
        async for change in changes:
            if isinstance(change, Entry):
                found[change.key] = change
            if isinstance(change, CaughtUp):
                break
    return found


def test_a_killed_server_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    async def scenario() -> None:
        acked: dict[str, int] = {}
        counted: list[int] = []
        async with running(tmp_path) as server, connected(server, deadline_s=1.0) as engine:
            bucket = await engine.bucket("META")
            async with asyncio.TaskGroup() as writers:
                for writer in range(4):
                    writers.create_task(_write_until_it_breaks(bucket, writer, acked))
                writers.create_task(_count_until_it_breaks(bucket, counted))
                await wait_until(lambda: len(acked) > 300 and len(counted) > 50)
                os.kill(server.pid, signal.SIGKILL)
        async with running(tmp_path) as server, connected(server) as engine:
            found = await _entries(await engine.bucket("META"))
        count = found.pop("count")
        lost = {key for key, revision in acked.items() if found[key].revision != revision}
        assert lost == set()
        # What was on its way when the server died has an unknown outcome: at most one a writer.
        assert len(acked) <= len(found) <= len(acked) + 4
        assert int(count.value) in (len(counted), len(counted) + 1)

    asyncio.run(scenario())


def test_a_watch_survives_its_server_without_gap_or_repetition(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[Change] = []

        async def follow(bucket: KeyValue) -> None:
            async with bucket.watch("k") as changes:
                async for change in changes:
                    seen.append(change)
                    if isinstance(change, Entry) and change.key == "k.end":
                        return

        async with running(tmp_path) as first, connected(first) as engine:
            port = port_of(first)
            bucket = await engine.bucket("META")
            doomed = await bucket.create("k.doomed", b"")
            following = asyncio.create_task(follow(bucket))
            await wait_until(lambda: CaughtUp() in seen)
            before = await bucket.create("k.before", b"")
            await wait_until(lambda: len(seen) == 3)
            os.kill(first.pid, signal.SIGKILL)
            with pytest.raises(ServerDied):
                await first.wait_died()
            async with running(tmp_path, port=port) as second, connected(second) as other:
                # Written by somebody else, perhaps before the watch is back.
                same = await other.bucket("META")
                deleted = await same.delete("k.doomed", doomed)
                after = await same.create("k.after", b"")
                end = await bucket.create("k.end", b"")  # by the first client, reconnected
                async with asyncio.timeout(WAIT_S):
                    await following
        assert seen == [
            Entry("k.doomed", b"", doomed),
            CaughtUp(),
            Entry("k.before", b"", before),
            Deleted("k.doomed", deleted),
            Entry("k.after", b"", after),
            Entry("k.end", b"", end),
        ]

    asyncio.run(scenario())


def test_a_watch_whose_consumer_vanishes_goes_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server) as engine:
            bucket = await engine.bucket("META")
            operator = await nats.connect(server.url, user=server.user, password=server.password)
            jetstream = operator.jetstream()
            async with bucket.watch() as changes, asyncio.timeout(WAIT_S):
                assert await anext(changes) == CaughtUp()
                for turn in range(3):
                    for consumer in await jetstream.consumers_info("KV_META"):
                        await jetstream.delete_consumer("KV_META", consumer.name)
                    revision = await bucket.create(f"k.{turn}", b"")
                    assert await anext(changes) == Entry(f"k.{turn}", b"", revision)
                assert len(await jetstream.consumers_info("KV_META")) == 1
            assert await jetstream.consumers_info("KV_META") == []  # none is left behind
            await operator.close()

    asyncio.run(scenario())


def test_a_watch_of_a_bucket_that_was_replaced_ends_with_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server) as engine:
            bucket = await engine.bucket("META")
            await bucket.create("a", b"")
            operator = await nats.connect(server.url, user=server.user, password=server.password)
            async with bucket.watch() as changes, asyncio.timeout(WAIT_S):
                assert [type(await anext(changes)) for _ in range(2)] == [Entry, CaughtUp]
                await operator.jetstream().delete_stream("KV_META")
                await engine.bucket("META")
                with pytest.raises(EngineUnavailable, match="replaced"):
                    await anext(changes)
            await operator.close()

    asyncio.run(scenario())


def test_a_watch_ends_with_an_error_when_its_connection_is_closed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            engine = await NatsEngine.connect(server.url, server.user, server.password)
            bucket = await engine.bucket("META")
            async with bucket.watch() as changes, asyncio.timeout(WAIT_S):
                assert await anext(changes) == CaughtUp()
                waiting = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0)
                await engine.close()
                with pytest.raises(EngineUnavailable, match="closed"):
                    await waiting
            with pytest.raises(EngineUnavailable):
                await bucket.get("a")

    asyncio.run(scenario())


def test_closing_amid_attempts_to_reconnect_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server:
            engines = [
                await NatsEngine.connect(server.url, server.user, server.password)
                for _ in range(20)
            ]
        for engine in engines:  # at different moments of their attempts
            await engine.close()
        await wait_until(lambda: len(asyncio.all_tasks()) == 1)

    asyncio.run(scenario())


# Silence and strangers


def test_a_silent_engine_is_unavailable_in_time_and_the_write_is_of_unknown_outcome(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server, deadline_s=0.3) as engine:
            bucket = await engine.bucket("META")
            os.kill(server.pid, signal.SIGSTOP)
            await wait_until(lambda: has_stopped(server.pid))
            try:
                async with asyncio.timeout(3.0):
                    with pytest.raises(EngineUnavailable):
                        await bucket.create("a", b"unknown")
                    with pytest.raises(EngineUnavailable):
                        await bucket.get("a")
                    with pytest.raises(EngineUnavailable):
                        await engine.probe()
                    with pytest.raises(EngineUnavailable):
                        async with bucket.watch():
                            pass
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await engine.probe()
            # This time it had been applied: it lay in the server's socket.
            found = await bucket.get("a")
            assert found is not None
            assert found.value == b"unknown"

    asyncio.run(scenario())


def test_a_stream_without_a_leader_is_asked_again_until_the_deadline(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server, deadline_s=5.0) as engine:
            bucket = await engine.bucket("META")
            operator = await nats.connect(server.url, user=server.user, password=server.password)
            # Nobody listens to the bucket's subjects: what a client sees during an election.
            await operator.jetstream().delete_stream("KV_META")
            writing = asyncio.create_task(bucket.create("a", b"value"))
            done, _ = await asyncio.wait([writing], timeout=0.3)
            assert not done
            await engine.bucket("META")
            assert await writing == 1
            await operator.close()

    asyncio.run(scenario())


def test_a_stream_that_is_no_bucket_of_ours_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server) as engine:
            operator = await nats.connect(server.url, user=server.user, password=server.password)
            await operator.jetstream().add_stream(
                api.StreamConfig(name="KV_META", subjects=["$KV.META.>"], max_msgs_per_subject=5)
            )
            with pytest.raises(RuntimeError, match="max_msgs_per_subject=5, not 1"):
                await engine.bucket("META")
            await operator.close()

    asyncio.run(scenario())


def test_a_bucket_keeps_what_an_operator_tuned(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server) as engine:
            revision = await (await engine.bucket("META")).create("a", b"value")
            operator = await nats.connect(server.url, user=server.user, password=server.password)
            jetstream = operator.jetstream()
            config = (await jetstream.stream_info("KV_META")).config
            await jetstream.update_stream(config.evolve(description="tuned", max_bytes=10_000_000))
            found = await (await engine.bucket("META")).get("a")
            assert found == Entry("a", b"value", revision)
            assert (await jetstream.stream_info("KV_META")).config.description == "tuned"
            await operator.close()

    asyncio.run(scenario())


def test_a_key_that_nats_own_tools_purged_is_gone_and_can_be_created(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with running(tmp_path) as server, connected(server) as engine:
            bucket = await engine.bucket("META")
            await bucket.create("a", b"value")
            operator = await nats.connect(server.url, user=server.user, password=server.password)
            await (await operator.jetstream().key_value("META")).purge("a")
            assert await bucket.get("a") is None
            revision = await bucket.create("a", b"again")
            assert await bucket.get("a") == Entry("a", b"again", revision)
            await operator.close()

    asyncio.run(scenario())


async def _kick(operator: Client, engine: NatsEngine) -> None:
    """Have the server throw this connection out."""
    client = engine._connection.client
    subject = f"$SYS.REQ.SERVER.{client._server_info['server_id']}.KICK"
    before = client.stats["reconnects"]
    await operator.request(subject, json.dumps({"cid": client.client_id}).encode(), timeout=WAIT_S)
    await wait_until(lambda: client.stats["reconnects"] > before and client.is_connected)


async def _overwrite_often(bucket: KeyValue, written: dict[str, bytes]) -> None:
    for number in range(400):
        key, value = f"k.{number % 50}", b"%d" % number
        found = await bucket.get(key)
        if found is None:
            await bucket.create(key, value)
        else:
            await bucket.update(key, value, found.revision)
        written[key] = value
    await bucket.create("end", b"")


def test_a_watch_that_loses_its_connection_often_stays_in_order_and_true(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen: list[Change] = []
        written: dict[str, bytes] = {}
        async with (
            running(tmp_path) as server,
            connected(server) as unlucky,
            connected(server) as writing,
            asyncio.timeout(WAIT_S),
        ):
            password = json.loads((tmp_path / "engine-credentials.json").read_text())
            operator = await nats.connect(
                server.url, user="system", password=password["system_password"]
            )
            bucket = await writing.bucket("META")
            writer = asyncio.create_task(_overwrite_often(bucket, written))
            async with (await unlucky.bucket("META")).watch() as changes:
                async for change in changes:
                    seen.append(change)
                    if len(seen) in (20, 100, 200):
                        await _kick(operator, unlucky)
                    if isinstance(change, Entry) and change.key == "end":
                        break
            await writer
            await operator.close()
        revisions = [c.revision for c in seen if isinstance(c, Entry)]
        assert revisions == sorted(set(revisions))
        last = {c.key: c.value for c in seen if isinstance(c, Entry)}
        assert last == written | {"end": b""}

    asyncio.run(scenario())
