"""A control plane in one process over an engine in memory, with a code cache that obeys a test."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fakes.packages import zip_of
from hearth.base.jobs import Jobs
from hearth.control.deliveries import S3
from hearth.control.functions import Functions
from hearth.control.packages import Packages
from hearth.control.preparation import is_settled
from hearth.control.replica import Replica
from hearth.control.requests import CreateFunction
from hearth.engine.contract import KeyValue
from hearth.model.endpoints import SERVICES, Endpoint, Endpoints
from hearth.model.functions import FunctionVersion
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region

ACCOUNT = AccountId("123456789012")
REGION = Region("eu-central-1")
ROLE = "arn:aws:iam::123456789012:role/r"
WAIT_S_MAX = 60.0
EVERYWHERE = Endpoints({service: Endpoint(service, "http://127.0.0.1:9") for service in SERVICES})
"""Every service has an address. Nobody is there."""


class HandClock:
    """Moves when a test says so. For tests whose code waits for threads: virtual time cannot."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        return self.now_s

    def utc(self) -> datetime:
        return datetime(2026, 11, 23, 15, 4, 5, tzinfo=UTC)

    def epoch_ms(self) -> int:
        return int(self.utc().timestamp() * 1000)


@dataclass
class FakeCodeCache:
    """Ready at once, unless a test closes the gate or names an error."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    prepared: list[tuple[str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def prepare(self, sha256: str, runtime: str | None = None) -> None:
        self.prepared.append((sha256, runtime))
        await self.gate.wait()
        if self.error is not None:
            raise self.error


@dataclass
class ControlPlane:
    functions: Functions
    replica: Replica
    packages: Packages
    code_cache: FakeCodeCache
    jobs: Jobs

    async def settled(self) -> None:
        """Return when no function is Pending or InProgress."""
        await until(lambda: all(is_settled(f) for f in self.replica.all_versions()))

    async def jobs_idle(self) -> None:
        """Return when nothing but the local copy is at work."""
        await until(lambda: {task.get_name() for task in self.jobs._tasks} <= {"replica"})


@asynccontextmanager
async def control_plane(
    kv: KeyValue, directory: Path, code_cache: FakeCodeCache | None = None, s3: S3 | None = None
) -> AsyncIterator[ControlPlane]:
    """As app.py wires it; leaving it ends everything at once, as a kill would."""
    clock, numbers = HandClock(), itertools.count(1)
    async with Jobs() as jobs:
        packages = Packages(directory, clock)
        await packages.open()
        replica = Replica(kv)
        code_cache = code_cache or FakeCodeCache()
        began = id(jobs)
        functions = Functions(
            kv=kv,
            replica=replica,
            packages=packages,
            code_cache=code_cache,
            clock=clock,
            jobs=jobs,
            ids=lambda: f"id-{began}-{next(numbers)}",
            s3=s3,
            endpoints=EVERYWHERE,
        )
        jobs.spawn(replica.run(), name="replica")
        await asyncio.wait_for(replica.ready.wait(), WAIT_S_MAX)
        functions.resume()
        yield ControlPlane(functions, replica, packages, code_cache, jobs)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110 - a fake has no event for each condition
            await asyncio.sleep(0.001)


def function_key(name: str = "f") -> FunctionKey:
    return FunctionKey(ACCOUNT, REGION, FunctionName(name))


def creation(name: str = "f", package: bytes | None = None) -> CreateFunction:
    return CreateFunction(
        key=function_key(name),
        runtime="python3.12",
        handler="app.handler",
        role=ROLE,
        package=zip_of() if package is None else package,
    )


async def made(plane: ControlPlane, name: str = "f") -> FunctionVersion:
    """A function that is Active."""
    await plane.functions.create(creation(name))
    await plane.settled()
    return await plane.functions.get(function_key(name))
