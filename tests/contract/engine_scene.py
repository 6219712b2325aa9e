"""What the contract suite of the engine plays on: the engine in memory, and a real nats-server."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fakes.virtual_time import run_in_virtual_time
from hearth.engine.contract import (
    CaughtUp,
    Change,
    Engine,
    Entry,
    KeyValue,
)
from hearth.engine.memory import MemoryEngine
from hearth.engine.nats import NatsEngine
from hearth.engine.server import EmbeddedServer

PATIENCE_S = 60.0

Scenario = Callable[[Engine, KeyValue], Awaitable[None]]
Play = Callable[[Scenario], None]


@pytest.fixture(name="server", scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    state: Path = tmp_path_factory.mktemp("engine")
    with asyncio.Runner() as runner:
        server = EmbeddedServer(state)
        runner.run(server.start())
        try:
            yield server
        finally:
            runner.run(server.stop())


@pytest.fixture(name="play", params=["memory", pytest.param("nats", marks=pytest.mark.integration)])
def engine_player(request: pytest.FixtureRequest) -> Play:
    """Runs a scenario on an engine with a bucket that nobody has used."""
    if request.param == "memory":
        return _play_in_memory
    server: EmbeddedServer = request.getfixturevalue("server")
    return lambda scenario: _play_on_nats(scenario, server)


def _play_in_memory(scenario: Scenario) -> None:
    async def run() -> None:
        engine = MemoryEngine()
        await scenario(engine, await engine.bucket("TEST"))

    run_in_virtual_time(run())


def _play_on_nats(scenario: Scenario, server: EmbeddedServer) -> None:
    async def run() -> None:
        engine = await NatsEngine.connect(server.url, server.user, server.password)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await scenario(engine, await engine.bucket(f"TEST-{secrets.token_hex(4)}"))
        finally:
            await engine.close()

    asyncio.run(run())


async def until_caught_up(changes: AsyncIterator[Change]) -> list[Change]:
    """What comes before CaughtUp."""
    seen: list[Change] = []
    async for change in changes:
        if isinstance(change, CaughtUp):
            return seen
        seen.append(change)
    raise AssertionError("the watch ended")


async def snapshot(bucket: KeyValue, prefix: str = "") -> list[Change]:
    async with bucket.watch(prefix) as changes:
        return await until_caught_up(changes)


async def keys(bucket: KeyValue, prefix: str = "") -> list[str]:
    return [change.key for change in await snapshot(bucket, prefix) if isinstance(change, Entry)]


@asynccontextmanager
async def watching(
    bucket: KeyValue, prefix: str = ""
) -> AsyncIterator[Callable[[], Awaitable[Change]]]:
    """A watch past CaughtUp; what is yielded gives the next change."""
    async with bucket.watch(prefix) as changes:
        await until_caught_up(changes)

        async def following() -> Change:
            async with asyncio.timeout(PATIENCE_S):
                return await anext(changes)

        yield following
