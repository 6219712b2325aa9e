"""Does a real nats-server start safely, let in only whom it should, and end when it must?"""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nats
import nats.errors
import pytest
import uvloop
from nats.aio.client import Client

from hearth.engine import bound_exec
from hearth.engine.contract import (
    EngineUnavailable,
    Entry,
)
from hearth.engine.nats import NatsEngine
from hearth.engine.server import (
    EmbeddedServer,
    ServerDied,
    ServerStartFailed,
    find_binary,
)
from hearth.engine.server_files import StoreRefused
from integration.engine_scene import (
    IMPATIENT,
    WAIT_S,
    connected,
    is_running,
    port_of,
    proc,
    program,
    running,
)

pytestmark = pytest.mark.integration


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


def test_ctrl_c_does_not_reach_a_program_that_is_asked_for_its_version(tmp_path: Path) -> None:
    binary = program(
        tmp_path / "program",
        f'[ "$(ps -o sid= -p $$)" -eq {os.getsid(0)} ] && exit 1; echo "nats-server: v2.99.0"',
    )
    assert asyncio.run(find_binary(binary)) == binary


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
