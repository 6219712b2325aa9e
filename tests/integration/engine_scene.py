"""A real nats-server and connections to it, and what tests ask the machine about them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hearth.engine.nats import NatsEngine
from hearth.engine.server import (
    EmbeddedServer,
    Patience,
)

WAIT_S = 60.0
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
